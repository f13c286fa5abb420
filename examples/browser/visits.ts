/**
 * Where an RNN-T alignment is at each moment: the lattice of the shipped loss with a weight of the node's own,
 *
 *   alpha(t, u) = bias(t, u) + log of what arrives,   loss = -log P
 *
 * The derivative of log P by bias(t, u) is the probability that the alignment passes node (t, u), so with a bias of zeros
 * the gradient of this loss is the picture of the alignment, negated. Along each diagonal t + u it sums to -1.
 */
import { defineLoss, exp, type Field2, f32, field, i32, logAddExp, logSumExp, min, recurrence } from 'trellis-jit/dsl';

export default defineLoss(
  {
    name: 'visits',
    doc: 'RNN-T with a weight at each node, whose gradient is the posterior of passing there, negated',
    inputs: { acts: f32('T', 'U+1', 'V'), bias: f32('T', 'U+1'), labels: i32('U', { not: 'blank' }) },
    params: { blank: 0 },
  },
  ({ acts, bias, labels, T, U, V, blank }) => {
    const logZ = field([T, U + 1], (t, u) => logSumExp(V, (v) => acts(t, u, v)));
    const stay = field([T, U + 1], (t, u) => acts(t, u, blank) - logZ(t, u));
    const emit = field([T, U], (t, u) => acts(t, u, labels(u)) - logZ(t, u));

    const alpha: Field2 = recurrence([T, U + 1], (t, u) =>
      t === 0 && u === 0
        ? bias(t, u)
        : bias(t, u) + logAddExp(alpha(t - 1, u) + stay(t - 1, u), alpha(t, u - 1) + emit(t, u - 1)),
    );
    const beta: Field2 = recurrence([T, U + 1], (t, u) =>
      t === T - 1 && u === U
        ? bias(t, u) + stay(t, u)
        : bias(t, u) + logAddExp(beta(t + 1, u) + stay(t, u), beta(t, u + 1) + emit(t, u)),
    );
    const logLik = beta(0, 0);
    // Both sums hold the node's own weight.
    const visited = field([T, U + 1], (t, u) => -exp(min(0, alpha(t, u) + beta(t, u) - bias(t, u) - logLik)));
    return { loss: -logLik, gradients: { bias: visited } };
  },
);
