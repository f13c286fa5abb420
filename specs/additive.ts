/**
 * RNN-T with the additive joiner (k2's "simple" loss; Kuang et al., arXiv 2206.13236): the logits are the sum of
 * acoustic scores am and scores lm of the label context,
 *
 *   z_v(t, u) = am(t, v) + lm(u, v),   log p_v(t, u) = z_v(t, u) - log sum over w of exp z_w(t, u)
 *
 * on the lattice of rnnt.ts. The sum is never stored: memory is O((T + U) V + T U) for each utterance. The gradients
 * are those of the logits, summed over the axis that each input lacks. FastEmit (arXiv 2010.11148) as in RNN-T.
 */
import { arc, defineLoss, f32, field, i32, lattice, logSumExp } from 'trellis-jit/dsl';

export default defineLoss(
  {
    name: 'additive',
    doc: 'RNN-T on logits that are a sum of acoustic and label scores and never stored (the simple loss of k2); FastEmit',
    inputs: { am: f32('T', 'V'), lm: f32('U+1', 'V'), labels: i32('U', { not: 'blank' }) },
    params: { blank: 0, fastemitLambda: 0 },
  },
  ({ am, lm, labels, T, U, V, blank, fastemitLambda }) => {
    const logZ = field([T, U + 1], (t, u) => logSumExp(V, (v) => am(t, v) + lm(u, v)));
    // A symbol of logit log 0 is impossible even in a row of nothing else, where the softmax would be 0 / 0.
    const normalise = (logit: number, z: number) => (logit === -Infinity ? -Infinity : logit - z);
    const logp = (t: number, u: number, v: number) => normalise(am(t, v) + lm(u, v), logZ(t, u));
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
