/**
 * Star transducer (arXiv 2504.06963), for transcripts that lack words: beside every blank but the last there is an arc
 * that skips the frame at the constant log-weight skipWeight.
 *
 *   (t, u) -> (t + 1, u)    with weight b(t, u), and once more with weight e^skipWeight if t < T - 1
 *   (t, u) -> (t, u + 1)    with weight e(t, u)
 *
 * The rest is RNN-T (rnnt.ts), FastEmit (arXiv 2010.11148) and the clamp included. A skipped frame gives no gradient. With skipWeight
 * near 0 the loss may be negative; with skipWeight = -Infinity it is RNN-T.
 */
import { arc, defineLoss, f32, i32, lattice, logSoftmax, max, min } from 'trellis-jit/dsl';

export default defineLoss(
  {
    name: 'star',
    doc: 'Star transducer: frames may be skipped at a constant weight, for words missing from transcripts',
    inputs: { acts: f32('T', 'U+1', 'V'), labels: i32('U', { not: 'blank' }) },
    params: { blank: 0, skipWeight: 0, fastemitLambda: 0, clamp: 0 },
  },
  ({ acts, labels, T, U, V, blank, skipWeight, fastemitLambda, clamp }) => {
    const logp = logSoftmax(acts, V);
    return lattice({
      nodes: [T, U + 1],
      start: [0, 0],
      end: [T, U],
      arcs: [
        arc({ name: 'stay', step: [1, 0], weight: (t, u) => logp(t, u, blank), final: true }),
        arc({ name: 'skip', step: [1, 0], weight: () => skipWeight }),
        arc({ name: 'emit', step: [0, 1], weight: (t, u) => logp(t, u, labels(u)), scale: 1 + fastemitLambda }),
      ],
      loss: (logLik) => -(1 + fastemitLambda) * logLik,
      gradient: (g) => (clamp > 0 ? max(-clamp, min(clamp, g)) : g),
    });
  },
);
