/** RNN-T by its arcs: the lattice of specs/rnnt.ts, whose equations and gradient the compiler has to find by itself. */
import { arc, defineLoss, f32, i32, lattice, logSoftmax, max, min } from 'trellis-jit/dsl';

export default defineLoss(
  {
    name: 'rnnt-arcs',
    doc: 'RNN-T by its arcs: blanks move on in time, labels are emitted within a frame; FastEmit and clamp',
    inputs: { acts: f32('T', 'U+1', 'V'), labels: i32('U', { not: 'blank' }) },
    params: { blank: 0, fastemitLambda: 0, clamp: 0 },
  },
  ({ acts, labels, T, U, V, blank, fastemitLambda, clamp }) => {
    const logp = logSoftmax(acts, V);
    return lattice({
      nodes: [T, U + 1],
      start: [0, 0],
      end: [T, U],
      arcs: [
        arc({ name: 'stay', step: [1, 0], weight: (t, u) => logp(t, u, blank), final: true }),
        arc({ name: 'emit', step: [0, 1], weight: (t, u) => logp(t, u, labels(u)), scale: 1 + fastemitLambda }),
      ],
      loss: (logLik) => -(1 + fastemitLambda) * logLik,
      gradient: (g) => (clamp > 0 ? max(-clamp, min(clamp, g)) : g),
    });
  },
);
