// @ts-nocheck
// unknown-import: softmaxx
import { defineLoss, exp, f32, field, i32, logAddExp, logSumExp, recurrence, softmaxx, sum } from 'trellis-jit/dsl';

export default defineLoss(
  { name: 'wrong', inputs: { acts: f32('T', 'U+1', 'V'), labels: i32('U') }, params: { blank: 0, scale: 0.5 } },
  ({ acts, labels, T, U, V, blank, scale }) => {
    const logZ = field([T, U + 1], (t, u) => logSumExp(V, (v) => acts(t, u, v)));
    return { loss: -logZ(0, 0), gradients: {} };
  },
);
