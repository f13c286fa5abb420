// @ts-nocheck
// missing-key: { inputs: { acts: f32('T', 'U+1', 'V') } }
import { defineLoss, exp, f32, field, i32, logAddExp, logSumExp, recurrence, sum } from 'trellis-jit/dsl';

export default defineLoss(
  { inputs: { acts: f32('T', 'U+1', 'V') } },
  ({ acts, labels, T, U, V, blank, scale }) => {
    const logZ = field([T, U + 1], (t, u) => logSumExp(V, (v) => acts(t, u, v)));
    return { loss: -logZ(0, 0), gradients: {} };
  },
);
