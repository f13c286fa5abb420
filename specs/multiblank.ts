/**
 * Multi-blank RNN-T (Xu et al., arXiv 2211.03541): besides the blank that consumes one frame there are big blanks that
 * consume several, each a class of its own in the same softmax. FastEmit (arXiv 2010.11148) and the clamp as in RNN-T.
 *
 * The big blank of duration bigBlankDurations[i] has the index blank - 1 - i, so they stand before the blank, which is
 * last. Node (t, u): frame t is current and u labels are out. With p(t, u) the probabilities of symbols and the set D
 * of the durations and 1,
 *
 *   (t, u) -> (t + d, u)    with weight p of the blank of d, times e^-sigma, for each d in D
 *   (t, u) -> (t, u + 1)    with weight p of label u, times e^-sigma
 *
 * where no blank leads beyond the last frame, and only a blank from (T - d, U) ends a path, exactly at T. Logits are
 * under-normalised by sigma (0.05 in the paper), which favours paths of fewer symbols: with sigma > 0 the loss is no
 * longer the negative log of a probability. With it, loss = -(1 + lambda) log sum over paths.
 */
import { arc, defineLoss, f32, i32, lattice, logSoftmax, max, min } from 'trellis-jit/dsl';

export default defineLoss(
  {
    name: 'multiblank',
    doc: 'Multi-blank RNN-T: big blanks consume several frames at once; sigma, FastEmit and clamp',
    inputs: { acts: f32('T', 'U+1', 'V'), labels: i32('U', { not: 'blank' }) },
    params: { blank: -1, sigma: 0, fastemitLambda: 0, clamp: 0 },
    statics: { bigBlankDurations: [2, 4] },
  },
  ({ acts, labels, T, U, V, blank, sigma, fastemitLambda, clamp, bigBlankDurations }) => {
    const logp = logSoftmax(acts, V);
    const stay = (duration: number, symbol: number) =>
      arc({
        name: `stay${duration}`,
        step: [duration, 0],
        weight: (t, u) => logp(t, u, symbol) - sigma,
        final: true,
      });
    return lattice({
      nodes: [T, U + 1],
      start: [0, 0],
      end: [T, U],
      arcs: [
        stay(1, blank),
        ...bigBlankDurations.map((duration, i) => stay(duration, blank - 1 - i)),
        arc({ name: 'emit', step: [0, 1], weight: (t, u) => logp(t, u, labels(u)) - sigma, scale: 1 + fastemitLambda }),
      ],
      loss: (logLik) => -(1 + fastemitLambda) * logLik,
      gradient: (g) => (clamp > 0 ? max(-clamp, min(clamp, g)) : g),
    });
  },
);
