/** A reduction over earlier cells inside of a recurrence, a delay that depends on t, and a per-utterance weight vector. */
import {
  abs,
  defineLoss,
  type Field2,
  f32,
  field,
  i32,
  logSumExp,
  min,
  recurrence,
  sigmoid,
  softplus,
  sum,
} from 'trellis-jit/dsl';

export default defineLoss(
  {
    name: 'window',
    inputs: { acts: f32('T', 'U+1', 'V'), weights: f32('V'), labels: i32('U') },
    params: { rate: 0.1 },
    statics: { reach: 3 },
  },
  ({ acts, weights, labels, T, U, V, rate, reach }) => {
    const cell = field(
      [T, U + 1],
      (t, u) => sum(V, (v) => acts(t, u, v) * weights(v)) / V - rate * abs(t - (T - 1) / 2),
    );
    const far: Field2 = recurrence([T, U + 1], (t, u) =>
      t === 0
        ? -u
        : softplus(cell(t, u)) +
          logSumExp(reach, (d) => far(t - 1 - d, u) - d) +
          (u > 0 ? min(0, acts(t, u - 1, labels(u - 1))) : 0),
    );
    const loss = logSumExp(U + 1, (u) => far(T - 1, u));
    const gradActs = field([T, U + 1, V], (t, u, v) => weights(v) * sigmoid(far(t, u) - loss));
    const gradWeights = field([V], (v) => sum(T, (t) => sum(U + 1, (u) => acts(t, u, v) * 0.01)));
    return { loss, gradients: { acts: gradActs, weights: gradWeights } };
  },
);
