/** Forward in t while u runs down: the front is t - u. */
import { defineLoss, type Field2, f32, field, max, recurrence } from 'trellis-jit/dsl';

export default defineLoss(
  { name: 'mixed-signs', inputs: { score: f32('T', 'U+1') }, params: {} },
  ({ score, T, U }) => {
    const best: Field2 = recurrence(
      [T, U + 1],
      (t, u) => score(t, u) + max(best(t - 1, u), best(t, u + 1), t === 0 && u === U ? 0 : -1000),
    );
    const grad = field([T, U + 1], (t, u) => best(t, u) / 8);
    return { loss: -best(T - 1, 0), gradients: { score: grad } };
  },
);
