/**
 * TDT, the token-and-duration transducer (Xu et al., arXiv 2304.06795): every symbol says how many frames it consumes.
 * FastEmit (arXiv 2010.11148) and the clamp as in RNN-T.
 *
 * The last index of acts holds the logits of the tokens, then one for each duration of `durations`, with a softmax each.
 * Node (t, u): frame t is current and u labels are out. With p(t, u) the probabilities of tokens and r(t, u) those of
 * durations,
 *
 *   (t, u) -> (t + d, u)        with weight p of the blank, times e^-sigma, times r of d, for each d >= 1
 *   (t, u) -> (t + d, u + 1)    with weight p of label u, times e^-sigma, times r of d, for each d
 *
 * where nothing leads beyond the last frame, and only a blank from (T - d, U) ends a path, exactly at T. sigma under-normalises
 * the tokens, which favours paths of fewer symbols. loss = -(1 + lambda) log sum over paths. FastEmit counts label arcs
 * 1 + lambda times, in the gradient of the durations as well, and the clamp bounds all of acts.
 */
import { arc, defineLoss, f32, i32, lattice, logSoftmax, max, min } from 'trellis-jit/dsl';

export default defineLoss(
  {
    name: 'tdt',
    doc: 'TDT, token-and-duration transducer: every symbol says how many frames it consumes; sigma, FastEmit and clamp',
    inputs: { acts: f32('T', 'U+1', 'V'), labels: i32('U', { not: 'blank' }) },
    params: { blank: -1, sigma: 0, fastemitLambda: 0, clamp: 0 },
    statics: { durations: [0, 1, 2, 3, 4] },
  },
  ({ acts, labels, T, U, V, blank, sigma, fastemitLambda, clamp, durations }) => {
    const tokens = V - durations.length;
    const token = logSoftmax(acts, tokens);
    const lasts = logSoftmax(acts, durations.length, { from: tokens });
    const stay = (d: number, n: number) =>
      arc({
        name: `stay${d}`,
        step: [d, 0],
        weight: (t, u) => token(t, u, blank) - sigma + lasts(t, u, n),
        final: true,
      });
    const emit = (d: number, n: number) =>
      arc({
        name: `emit${d}`,
        step: [d, 1],
        weight: (t, u) => token(t, u, labels(u)) - sigma + lasts(t, u, n),
        scale: 1 + fastemitLambda,
      });
    return lattice({
      nodes: [T, U + 1],
      start: [0, 0],
      end: [T, U],
      arcs: [...durations.flatMap((d, n) => (d === 0 ? [] : [stay(d, n)])), ...durations.map(emit)],
      loss: (logLik) => -(1 + fastemitLambda) * logLik,
      gradient: (g) => (clamp > 0 ? max(-clamp, min(clamp, g)) : g),
    });
  },
);
