import { defineLoss, type Field3, f32, field, recurrence } from 'trellis-jit/dsl';

export default defineLoss({ name: 'three-indices', inputs: { acts: f32('T', 'U+1', 'V') } }, ({ acts, T, U, V }) => {
  const run: Field3 = recurrence([T, U + 1, V], (t, u, v) => (t === 0 ? acts(t, u, v) : run(t - 1, u, v) + 1));
  const grad = field([T, U + 1, V], (t, u, v) => run(t, u, v));
  return { loss: run(T - 1, U, V - 1), gradients: { acts: grad } };
});
