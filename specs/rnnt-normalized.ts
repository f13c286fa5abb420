/**
 * RNN-T on log-probabilities: the lattice of rnnt.ts (Graves, arXiv 1211.3711; FastEmit, arXiv 2010.11148) for models
 * that end in a log-softmax of their own, or in another normalisation altogether (a factorised blank, say).
 *
 * acts(t, u, v) is taken as the log-probability of v at node (t, u) and is not normalised again, so
 *
 *   b(t, u) = exp acts(t, u, blank),   e(t, u) = exp acts(t, u, label u)
 *
 * and the gradient, with respect to the log-probabilities, has the two posteriors at their places and is zero elsewhere:
 *
 *   -[v = blank] q0 - [v = label] (1 + lambda) qy
 */
import { defineLoss, exp, type Field2, f32, field, i32, logAddExp, max, min, recurrence } from 'trellis-jit/dsl';

export default defineLoss(
  {
    name: 'rnnt-normalized',
    doc: 'RNN-T on log-probabilities, with the gradient with respect to those; FastEmit and clamp',
    inputs: { acts: f32('T', 'U+1', 'V'), labels: i32('U', { not: 'blank' }) },
    params: { blank: 0, fastemitLambda: 0, clamp: 0 },
  },
  ({ acts, labels, T, U, V, blank, fastemitLambda, clamp }) => {
    const stay = field([T, U + 1], (t, u) => acts(t, u, blank));
    const emit = field([T, U], (t, u) => acts(t, u, labels(u)));

    const alpha: Field2 = recurrence([T, U + 1], (t, u) =>
      t === 0 && u === 0 ? 0 : logAddExp(alpha(t - 1, u) + stay(t - 1, u), alpha(t, u - 1) + emit(t, u - 1)),
    );
    const beta: Field2 = recurrence([T, U + 1], (t, u) =>
      t === T - 1 && u === U ? stay(t, u) : logAddExp(beta(t + 1, u) + stay(t, u), beta(t, u + 1) + emit(t, u)),
    );
    const logLik = beta(0, 0);

    // At most 1: at log-probabilities far below zero the four terms do not cancel exactly.
    const posterior = (logWeight: number) => exp(min(0, logWeight - logLik));
    const stayed = field([T, U + 1], (t, u) =>
      t === T - 1 && u === U ? 1 : posterior(alpha(t, u) + stay(t, u) + beta(t + 1, u)),
    );
    const emitted = field(
      [T, U],
      (t, u) => (1 + fastemitLambda) * posterior(alpha(t, u) + emit(t, u) + beta(t, u + 1)),
      { outside: 0 },
    );

    const grad = field([T, U + 1, V], (t, u, v) => {
      const g = -(v === blank ? stayed(t, u) : 0) - (v === labels(u) ? emitted(t, u) : 0);
      return clamp > 0 ? max(-clamp, min(clamp, g)) : g;
    });
    return { loss: -(1 + fastemitLambda) * logLik, gradients: { acts: grad } };
  },
);
