/**
 * CTC: the connectionist temporal classification of Graves et al. (ICML 2006). Every frame has one symbol; repeats are merged
 * and then blanks are removed, and what is left are the labels. So between two equal labels there must be a blank.
 *
 * Node (t, s): t frames are read, and the last of them was in state s. State 0 is before all frames; state s = 1, 3, ..., 2U + 1 is a
 * blank, and s = 2, 4, ..., 2U is label s / 2 - 1. A state lasts, the next one follows, and a label is followed by the next label
 * without a blank where the two differ:
 *
 *   (t, s) -> (t + 1, s), s > 0     (t, s) -> (t + 1, s + 1)     (t, s) -> (t + 1, s + 2), s even, its label not the next one
 *
 * All arcs that leave (t, s) weigh what its state has of its frame, p_symbol(t - 1) from the softmax of acts(t - 1, .), and 1 in state 0. A
 * path ends one step behind the last blank or the last label, so the end is (T + 1, 2U + 2). P is the sum over paths, loss = -log P.
 *
 * There is a path iff T >= U + the number of equal neighbours, and T >= 1.
 */
import { arc, defineLoss, f32, floorDiv, i32, lattice, logSoftmax } from 'trellis-jit/dsl';

export default defineLoss(
  {
    name: 'ctc',
    doc: 'CTC: one symbol per frame, repeats merged and blanks removed',
    inputs: { acts: f32('T', 'V'), labels: i32('U', { not: 'blank' }) },
    params: { blank: 0 },
  },
  ({ acts, labels, T, U, V, blank }) => {
    const logp = logSoftmax(acts, V);
    const isLabel = (s: number) => s === 2 * floorDiv(s, 2);
    const label = (s: number) => labels(floorDiv(s, 2) - 1);
    const weight = (t: number, s: number) => {
      if (s === 0) return 0;
      return isLabel(s) ? logp(t - 1, label(s)) : logp(t - 1, blank);
    };
    return lattice({
      nodes: [T + 1, 2 * U + 2],
      start: [0, 0],
      end: [T + 1, 2 * U + 2],
      arcs: [
        arc({ name: 'stay', step: [1, 0], weight, when: (_, s) => s > 0 }),
        arc({ name: 'next', step: [1, 1], weight, final: true }),
        arc({
          name: 'skip',
          step: [1, 2],
          weight,
          when: (_, s) => isLabel(s) && label(s) !== label(s + 2),
          final: true,
        }),
      ],
    });
  },
);
