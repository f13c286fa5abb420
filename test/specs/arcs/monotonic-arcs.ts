/** Monotonic RNN-T by its arcs: the lattice of specs/monotonic.ts. The end is a node, which either kind of symbol may enter. */
import { arc, defineLoss, f32, i32, lattice, logSoftmax, max, min } from 'trellis-jit/dsl';

export default defineLoss(
  {
    name: 'monotonic-arcs',
    doc: 'Monotonic RNN-T by its arcs: every symbol consumes a frame, either kind may be the last; FastEmit and clamp',
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
