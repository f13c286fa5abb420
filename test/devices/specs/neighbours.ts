/** The gradient of a frame is made of the frame before: nothing one could write in place row by row. */
import { defineLoss, type Field1, f32, field, i32, recurrence } from 'trellis-jit/dsl';

export default defineLoss(
  { name: 'neighbours', inputs: { acts: f32('T', 'U+1', 'V'), labels: i32('U') } },
  ({ acts, T, U, V }) => {
    const run: Field1 = recurrence([T], (t) => (t === 0 ? acts(0, 0, 0) : run(t - 1) + acts(t, 0, 0)));
    const grad = field([T, U + 1, V], (t, u, v) => (t === 0 ? 1 : acts(t - 1, u, v) * 2));
    return { loss: run(T - 1), gradients: { acts: grad } };
  },
);
