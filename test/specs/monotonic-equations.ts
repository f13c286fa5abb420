/**
 * The loss of specs/monotonic.ts with everything written out, for comparison. Monotonic RNN-T, free end: every symbol, blank or label, consumes one frame (Tripathi et al., "Monotonic Recurrent
 * Neural Network Transducer and Decoding Strategies", ASRU 2019), so a path is a word of exactly T symbols, either kind
 * may be the last, and there is a path whenever T >= U. FastEmit's weight (arXiv 2010.11148) and the clamp as in RNN-T.
 *
 * Node (t, u): t symbols, u of them labels, are out. With b(t, u) and e(t, u) the probabilities of blank and label,
 *
 *   alpha(0, 0) = 1,   alpha(t, u) = alpha(t-1, u) b(t-1, u) + alpha(t-1, u-1) e(t-1, u-1)
 *   beta(T, U) = 1,    beta(t, u) = b(t, u) beta(t+1, u) + e(t, u) beta(t+1, u+1)
 *   P = beta(0, 0),    loss = -(1 + lambda) log P
 *
 * and, with the posteriors q0 = alpha(t, u) b(t, u) beta(t+1, u) / P and qy = alpha(t, u) e(t, u) beta(t+1, u+1) / P of
 * the two arcs, the gradient with respect to the logits is
 *
 *   p_v (q0 + (1 + lambda) qy) - [v = blank] q0 - [v = label] (1 + lambda) qy
 */
import { defineLoss, exp, type Field2, f32, field, i32, logAddExp, logSumExp, recurrence } from 'trellis-jit/dsl';

export default defineLoss(
  {
    name: 'monotonic-equations',
    doc: 'Monotonic RNN-T: every symbol consumes a frame, either kind may be the last; FastEmit and clamp',
    inputs: { acts: f32('T', 'U+1', 'V'), labels: i32('U', { not: 'blank' }) },
    params: { blank: 0, fastemitLambda: 0, clamp: 0 },
  },
  ({ acts, labels, T, U, V, blank, fastemitLambda, clamp }) => {
    const logZ = field([T, U + 1], (t, u) => logSumExp(V, (v) => acts(t, u, v)));
    // A symbol of logit log 0 is impossible even in a row of nothing else, where the softmax would be 0 / 0.
    const normalise = (logit: number, z: number) => (logit === -Infinity ? -Infinity : logit - z);
    const stay = field([T, U + 1], (t, u) => normalise(acts(t, u, blank), logZ(t, u)));
    const emit = field([T, U], (t, u) => normalise(acts(t, u, labels(u)), logZ(t, u)));

    const alpha: Field2 = recurrence([T + 1, U + 1], (t, u) =>
      t === 0 && u === 0 ? 0 : logAddExp(alpha(t - 1, u) + stay(t - 1, u), alpha(t - 1, u - 1) + emit(t - 1, u - 1)),
    );
    const beta: Field2 = recurrence([T + 1, U + 1], (t, u) =>
      t === T && u === U ? 0 : logAddExp(beta(t + 1, u) + stay(t, u), beta(t + 1, u + 1) + emit(t, u)),
    );
    const logLik = beta(0, 0);

    // At most 1: at logits near the limits of float32 the four terms do not cancel exactly.
    const posterior = (logWeight: number) => exp(Math.min(0, logWeight - logLik));
    const stayed = field([T, U + 1], (t, u) => posterior(alpha(t, u) + stay(t, u) + beta(t + 1, u)));
    const emitted = field(
      [T, U],
      (t, u) => (1 + fastemitLambda) * posterior(alpha(t, u) + emit(t, u) + beta(t + 1, u + 1)),
      { outside: 0 },
    );
    const visits = field([T, U + 1], (t, u) => stayed(t, u) + emitted(t, u));

    const grad = field([T, U + 1, V], (t, u, v) => {
      const shared = visits(t, u) === 0 ? 0 : exp(acts(t, u, v) - logZ(t, u)) * visits(t, u);
      const g = shared - (v === blank ? stayed(t, u) : 0) - (v === labels(u) ? emitted(t, u) : 0);
      return clamp > 0 ? Math.max(-clamp, Math.min(clamp, g)) : g;
    });
    return { loss: -(1 + fastemitLambda) * logLik, gradients: { acts: grad } };
  },
);
