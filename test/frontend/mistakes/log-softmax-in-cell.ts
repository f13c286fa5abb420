// @ts-nocheck
// nested-field: logSoftmax(acts, V)
import { arc, defineLoss, exp, f32, field, i32, lattice, logSoftmax, max, sum } from 'trellis-jit/dsl';

export default defineLoss(
  { name: 'wrong', inputs: { acts: f32('T', 'U+1', 'V'), labels: i32('U') }, params: { blank: 0, scale: 0.5 }, statics: { half: 0.5 } },
  ({ acts, labels, T, U, V, blank, scale, half }) => {
    const a = field([T], (t) => logSoftmax(acts, V)(t, 0, 0));
    return { loss: a(0), gradients: {} };
  },
);
