/**
 * CTC: the connectionist temporal classification of Graves et al. (ICML 2006). Every frame has one symbol; repeats are merged
 * and then blanks are removed, and what is left are the labels. So between two equal labels there must be a blank.
 *
 * The 2U + 1 states are the blanks between labels, b(u) after u labels, and the labels themselves, y(u). With p(t) the softmax of
 * acts(t, .), forward, the current frame's probability included:
 *
 *   B(t, u) = p_blank(t) [ B(t-1, u) + Y(t-1, u-1) ]
 *   Y(t, u) = p_label(t) [ Y(t-1, u) + B(t-1, u) + Y(t-1, u-1) if label u and label u - 1 differ ]
 *
 * with p_blank(0) for u = 0 and p_label(0) for u = 0 at the first frame; backward the same the other way round, without
 * the current frame. P = B(T-1, U) + Y(T-1, U-1), loss = -log P. With the posteriors qb(t, u) and qy(t, u) of the states,
 * of which there is one at each frame, the gradient with respect to the logits is
 *
 *   p_v(t) - [v = blank] sum over u of qb(t, u) - sum over u with label u = v of qy(t, u)
 *
 * There is a path iff T >= U + the number of equal neighbours, and T >= 1.
 */
import { defineLoss, type Field2, f32, field, i32, logAddExp, logSoftmax, recurrence, sum } from 'trellis-jit/dsl';

export default defineLoss(
  {
    name: 'ctc-states',
    doc: 'CTC: one symbol per frame, repeats merged and blanks removed',
    inputs: { acts: f32('T', 'V'), labels: i32('U', { not: 'blank' }) },
    params: { blank: 0 },
  },
  ({ acts, labels, T, U, V, blank }) => {
    const logp = logSoftmax(acts, V);
    const rest = field([T], (t) => logp(t, blank));
    const emit = field([T, U], (t, u) => logp(t, labels(u)));

    const alphaRest: Field2 = recurrence(
      [T, U + 1],
      (t, u) => rest(t) + (t === 0 && u === 0 ? 0 : logAddExp(alphaRest(t - 1, u), alphaEmit(t - 1, u - 1))),
    );
    const alphaEmit: Field2 = recurrence([T, U], (t, u) => {
      const skip = labels(u) === labels(u - 1) ? -Infinity : alphaEmit(t - 1, u - 1);
      return emit(t, u) + (t === 0 && u === 0 ? 0 : logAddExp(alphaEmit(t - 1, u), alphaRest(t - 1, u), skip));
    });
    const betaRest: Field2 = recurrence([T, U + 1], (t, u) =>
      t === T - 1 && u === U ? 0 : logAddExp(betaRest(t + 1, u) + rest(t + 1), betaEmit(t + 1, u) + emit(t + 1, u)),
    );
    const betaEmit: Field2 = recurrence([T, U], (t, u) => {
      const skip = labels(u) === labels(u + 1) ? -Infinity : betaEmit(t + 1, u + 1) + emit(t + 1, u + 1);
      const onward = logAddExp(betaEmit(t + 1, u) + emit(t + 1, u), betaRest(t + 1, u + 1) + rest(t + 1), skip);
      return t === T - 1 && u === U - 1 ? 0 : onward;
    });
    const logLik = logAddExp(alphaRest(T - 1, U), alphaEmit(T - 1, U - 1));

    // At most 1: far below zero the terms do not cancel exactly.
    const rested = field([T], (t) =>
      sum(U + 1, (u) => Math.exp(Math.min(0, alphaRest(t, u) + betaRest(t, u) - logLik))),
    );
    const emitted = field([T, U], (t, u) => Math.exp(Math.min(0, alphaEmit(t, u) + betaEmit(t, u) - logLik)));
    const grad = field([T, V], (t, v) => {
      const ofLabels = sum(U, (u) => (labels(u) === v ? emitted(t, u) : 0));
      return Math.exp(logp(t, v)) - (v === blank ? rested(t) : 0) - ofLabels;
    });
    return { loss: -logLik, gradients: { acts: grad } };
  },
);
