/**
 * RNN-T with the additive joiner (additive.ts), smoothed as in k2 (Kuang et al., arXiv 2206.13236; `rnnt_loss_smoothed`): log-weights are
 * mixed with those of the label context alone and of the frame alone, so that each is trained to do something by itself.
 *
 *   w = (1 - lmScale - amScale) w_both + lmScale w_lm + amScale w_am
 *   w_both(t, u, v) = am(t, v) + lm(u, v) - log sum over k of exp(am(t, k) + lm(u, k))
 *   w_lm(u, v)      = lm(u, v) - log sum over k of exp lm(u, k)
 *   w_am(t, v)      = am(t, v) + log m(v) - log sum over k of m(k) exp am(t, k)
 *
 * with m the average of softmax(lm(u, .)) over the utterance's own U + 1 positions. k2 averages over the whole batch, padding included,
 * so that there a loss depends on what else is in the batch. The weights are not log-probabilities if both scales are not 0.
 * Gradients go through m as well. Memory is O((T + U) V + T U) for each utterance.
 */
import { arc, defineLoss, f32, field, i32, lattice, log, logSumExp } from 'trellis-jit/dsl';

export default defineLoss(
  {
    name: 'additive-smoothed',
    doc: 'The additive RNN-T, its log-weights mixed with those of the label context and of the frame alone (k2); FastEmit',
    inputs: { am: f32('T', 'V'), lm: f32('U+1', 'V'), labels: i32('U', { not: 'blank' }) },
    params: { blank: 0, lmScale: 0, amScale: 0, fastemitLambda: 0 },
  },
  ({ am, lm, labels, T, U, V, blank, lmScale, amScale, fastemitLambda }) => {
    const logZ = field([T, U + 1], (t, u) => logSumExp(V, (v) => am(t, v) + lm(u, v)));
    const lmZ = field([U + 1], (u) => logSumExp(V, (v) => lm(u, v)));
    // A logit of log 0 is impossible even in a row of nothing else, and no scale of 0 makes it NaN.
    const normalise = (logit: number, z: number) => (logit === -Infinity ? -Infinity : logit - z);
    const unigram = field([V], (v) => logSumExp(U + 1, (u) => normalise(lm(u, v), lmZ(u))) - log(U + 1));
    const amZ = field([T], (t) => logSumExp(V, (v) => am(t, v) + unigram(v)));
    const part = (scale: number, weight: number) => (scale === 0 ? 0 : scale * weight);
    const logp = (t: number, u: number, v: number) =>
      part(1 - lmScale - amScale, normalise(am(t, v) + lm(u, v), logZ(t, u))) +
      part(lmScale, normalise(lm(u, v), lmZ(u))) +
      part(amScale, normalise(am(t, v) + unigram(v), amZ(t)));
    return lattice({
      nodes: [T, U + 1],
      start: [0, 0],
      end: [T, U],
      arcs: [
        arc({ name: 'stay', step: [1, 0], weight: (t, u) => logp(t, u, blank), final: true }),
        arc({ name: 'emit', step: [0, 1], weight: (t, u) => logp(t, u, labels(u)), scale: 1 + fastemitLambda }),
      ],
      loss: (logLik) => -(1 + fastemitLambda) * logLik,
    });
  },
);
