/**
 * W-Transducer (Laptev, Bataev, Gitman, Ginsburg, arXiv 2303.10384), for transcripts that lack the beginning or the end:
 * any number of frames at either end may be skipped, for the constant log-weight w = wildcardWeight each time.
 *
 *   (0, 0) -> (t, 0)        with weight e^w, for t = 1 .. T - 1
 *   (t, U) -> (T - 1, U)    with weight e^w, for t = 0 .. T - 2, if forceFinal = 1: the final blank is still due
 *   (t, U) -> the end       with weight e^w, for t = 0 .. T - 2, if forceFinal = 0
 *
 * in addition to the arcs of RNN-T (rnnt.ts), with FastEmit (arXiv 2010.11148) and the clamp as there. Skipping gives no gradient.
 * With w near 0 the loss may be negative; with w = -Infinity it is RNN-T.
 *
 * An arc over any number of frames is a walk through a row of its own, paid for once: row 0 before the first label,
 * row U + 2 after the last; u labels are out in row u + 1. Entering row 1 from row 0 is free, and so is going on in them.
 */
import { arc, defineLoss, f32, i32, lattice, logSoftmax, max, min } from 'trellis-jit/dsl';

export default defineLoss(
  {
    name: 'wildcard',
    doc: 'W-Transducer: frames at both ends may be skipped at a constant weight; FastEmit and clamp',
    inputs: { acts: f32('T', 'U+1', 'V'), labels: i32('U', { not: 'blank' }) },
    params: { blank: 0, wildcardWeight: 0, forceFinal: 1, fastemitLambda: 0, clamp: 0 },
  },
  ({ acts, labels, T, U, V, blank, wildcardWeight, forceFinal, fastemitLambda, clamp }) => {
    // Rows without symbols have no logits: every weight there is log 0.
    const logp = logSoftmax(acts, V);
    const wordless = (_: number, row: number) => row === 0 || row === U + 2;
    const scale = 1 + fastemitLambda;
    return lattice({
      nodes: [T, U + 3],
      start: [0, 0],
      end: [T, U + 2],
      arcs: [
        arc({ name: 'begin', step: [0, 1], weight: () => 0, when: (_, row) => row === 0 }),
        arc({ name: 'stay', step: [1, 0], weight: (t, row) => logp(t, row - 1, blank) }),
        arc({ name: 'emit', step: [0, 1], weight: (t, row) => logp(t, row - 1, labels(row - 1)), scale }),
        arc({ name: 'skip', step: [1, 0], weight: (t, row) => (t + row === 0 ? wildcardWeight : 0), when: wordless }),
        arc({ name: 'leave', step: [1, 1], weight: () => wildcardWeight, when: (_, row) => row === U + 1 }),
        // The last blank, from the row of the last label or from the one after it.
        ...[1, 2].map((behind) =>
          arc({
            name: behind === 1 ? 'finish' : 'resume',
            step: [1, 2 - behind],
            weight: (t, row) => (behind === 1 || forceFinal > 0 ? logp(t, row - behind, blank) : 0),
            when: (t, row) => t === T - 1 && row === U + behind,
            final: true,
          }),
        ),
      ],
      loss: (logLik) => -scale * logLik,
      gradient: (g) => (clamp > 0 ? max(-clamp, min(clamp, g)) : g),
    });
  },
);
