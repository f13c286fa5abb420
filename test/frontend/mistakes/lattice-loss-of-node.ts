// @ts-nocheck
// index-rank: t
import { arc, defineLoss, exp, f32, field, i32, lattice, logSoftmax, max, sum } from 'trellis-jit/dsl';

export default defineLoss(
  { name: 'wrong', inputs: { acts: f32('T', 'U+1', 'V'), labels: i32('U') }, params: { blank: 0, scale: 0.5 }, statics: { half: 0.5 } },
  ({ acts, labels, T, U, V, blank, scale, half }) => {
    const logp = logSoftmax(acts, V);
    return lattice({
      nodes: [T, U + 1],
      start: [0, 0],
      end: [T, U],
      arcs: [
        arc({ name: 'stay', step: [1, 0], weight: (t, u) => logp(t, u, blank), final: true }),
        arc({ name: 'emit', step: [0, 1], weight: (t, u) => logp(t, u, labels(u)) }),
      ],
      loss: (logLik, t) => -logLik * t,
    });
  },
);
