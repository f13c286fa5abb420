/** Reads up and to the right of the frame before: only the steep front 2 t + u orders the cells. */
import { defineLoss, exp, type Field2, f32, field, logAddExp, recurrence } from 'trellis-jit/dsl';

export default defineLoss(
  { name: 'steep', inputs: { score: f32('T', 'U+1') }, lengths: { T: 'rows', U: 'columns' }, params: {} },
  ({ score, T, U }) => {
    const path: Field2 = recurrence([T, U + 1], (t, u) =>
      t === 0 && u === 0
        ? score(0, 0)
        : score(t, u) + logAddExp(path(t, u - 1), path(t - 1, u + 1) - 0.5, path(t - 1, u)),
    );
    const grad = field([T, U + 1], (t, u) => exp(path(t, u) - path(T - 1, U)));
    return { loss: -path(T - 1, U), gradients: { score: grad } };
  },
);
