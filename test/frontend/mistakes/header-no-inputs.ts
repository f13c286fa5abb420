// @ts-nocheck
// missing-key: { name: 'wrong' }
import { defineLoss, exp, f32, field, i32, logAddExp, logSumExp, recurrence, sum } from 'trellis-jit/dsl';

export default defineLoss(
  { name: 'wrong' },
  ({}) => {
    const logZ = field([T, U + 1], (t, u) => logSumExp(V, (v) => acts(t, u, v)));
    return { loss: -logZ(0, 0), gradients: {} };
  },
);
