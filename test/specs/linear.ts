/** The forward algorithm in probabilities, where outside means 0, with a product and a division in the gradient. */
import { defineLoss, exp, type Field2, f32, field, i32, log, recurrence, sum } from 'trellis-jit/dsl';

export default defineLoss(
  { name: 'linear', inputs: { acts: f32('T', 'U+1', 'V'), labels: i32('U') }, params: { blank: 0 } },
  ({ acts, labels, T, U, V, blank }) => {
    const total = field([T, U + 1], (t, u) => sum(V, (v) => exp(acts(t, u, v))));
    const stay = field([T, U + 1], (t, u) => exp(acts(t, u, blank)) / total(t, u), { outside: 0 });
    const emit = field([T, U], (t, u) => exp(acts(t, u, labels(u))) / total(t, u), { outside: 0 });
    const p: Field2 = recurrence(
      [T, U + 1],
      (t, u) => (t === 0 && u === 0 ? 1 : p(t - 1, u) * stay(t - 1, u) + p(t, u - 1) * emit(t, u - 1)),
      { outside: 0 },
    );
    const end = p(T - 1, U) * stay(T - 1, U);
    const grad = field([T, U + 1, V], (t, u, v) => (exp(acts(t, u, v)) / total(t, u)) * p(t, u));
    return { loss: -log(end), gradients: { acts: grad } };
  },
);
