/**
 * RNN-T: the transducer loss of Graves, "Sequence Transduction with Recurrent Neural Networks" (arXiv 1211.3711), with
 * the label weighting of FastEmit (Yu et al., arXiv 2010.11148) and a clamp on the gradient.
 *
 * Node (t, u): frame t is current and u labels are out. With b(t, u) and e(t, u) the probabilities of the blank and of label u,
 * from a softmax of acts(t, u, .),
 *
 *   (t, u) -> (t + 1, u)    with weight b(t, u): a blank goes on to the next frame
 *   (t, u) -> (t, u + 1)    with weight e(t, u): a label is emitted within its frame
 *
 * from (0, 0) to the end (T, U), which only the blank at (T - 1, U) enters. loss = -(1 + lambda) log sum over paths. FastEmit
 * counts label arcs 1 + lambda times, which for lambda > 0 makes the gradient that of no scalar. rnnt-equations.ts has the
 * recurrences and the gradient that follow from these arcs, written out.
 */
import { arc, defineLoss, f32, i32, lattice, logSoftmax, max, min } from 'trellis-jit/dsl';

export default defineLoss(
  {
    name: 'rnnt',
    doc: 'RNN-T: blanks move on in time, labels are emitted within a frame; FastEmit and clamp',
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
