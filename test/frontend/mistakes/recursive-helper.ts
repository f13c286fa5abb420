// @ts-nocheck
// recursive-helper: f(x - 1)
import { defineLoss, exp, f32, field, i32, logAddExp, logSumExp, recurrence, sum } from 'trellis-jit/dsl';

export default defineLoss(
  { name: 'wrong', inputs: { acts: f32('T', 'U+1', 'V'), labels: i32('U') }, params: { blank: 0, scale: 0.5 } },
  ({ acts, labels, T, U, V, blank, scale }) => {
    const logZ = field([T, U + 1], (t, u) => logSumExp(V, (v) => acts(t, u, v)));
    const f = (x) => f(x - 1);
    const a = field([T], (t) => f(t));
    return { loss: -logZ(0, 0), gradients: {} };
  },
);
