// @ts-nocheck
// duplicate-name: acts: 0
import { defineLoss, exp, f32, field, i32, logAddExp, logSumExp, recurrence, sum } from 'trellis-jit/dsl';

export default defineLoss(
  { name: 'wrong', inputs: { acts: f32('T', 'U+1', 'V'), labels: i32('U') }, params: { acts: 0 } },
  ({ acts, T, U, V }) => {
    const logZ = field([T, U + 1], (t, u) => logSumExp(V, (v) => acts(t, u, v)));
    return { loss: -logZ(0, 0), gradients: {} };
  },
);
