/**
 * Monotonic RNN-T, free end: every symbol, blank or label, consumes one frame (Tripathi et al., "Monotonic Recurrent
 * Neural Network Transducer and Decoding Strategies", ASRU 2019), so a path is a word of exactly T symbols, either kind
 * may be the last, and there is a path whenever T >= U. FastEmit's weight (arXiv 2010.11148) and the clamp as in RNN-T.
 *
 * Node (t, u): t symbols, u of them labels, are out. With b(t, u) and e(t, u) the probabilities of blank and label,
 *
 *   (t, u) -> (t + 1, u)        with weight b(t, u)
 *   (t, u) -> (t + 1, u + 1)    with weight e(t, u)
 *
 * from (0, 0) to the node (T, U). loss = -(1 + lambda) log sum over paths.
 */
import { arc, defineLoss, f32, i32, lattice, logSoftmax, max, min } from 'trellis-jit/dsl';

export default defineLoss(
  {
    name: 'monotonic',
    doc: 'Monotonic RNN-T: every symbol consumes a frame, either kind may be the last; FastEmit and clamp',
    inputs: { acts: f32('T', 'U+1', 'V'), labels: i32('U', { not: 'blank' }) },
    params: { blank: 0, fastemitLambda: 0, clamp: 0 },
  },
  ({ acts, labels, T, U, V, blank, fastemitLambda, clamp }) => {
    const logp = logSoftmax(acts, V);
    return lattice({
      nodes: [T + 1, U + 1],
      start: [0, 0],
      end: [T, U],
      arcs: [
        arc({ name: 'stay', step: [1, 0], weight: (t, u) => logp(t, u, blank) }),
        arc({ name: 'emit', step: [1, 1], weight: (t, u) => logp(t, u, labels(u)), scale: 1 + fastemitLambda }),
      ],
      loss: (logLik) => -(1 + fastemitLambda) * logLik,
      gradient: (g) => (clamp > 0 ? max(-clamp, min(clamp, g)) : g),
    });
  },
);
