import { defineLoss, type Field2, f32, field, recurrence } from 'trellis-jit/dsl';

export default defineLoss({ name: 'same-cell', inputs: { acts: f32('T', 'U+1') } }, ({ acts, T, U }) => {
  const a: Field2 = recurrence([T, U + 1], (t, u) => acts(t, u) + b(t, u));
  const b: Field2 = recurrence([T, U + 1], (t, u) => a(t, u) * 0.5);
  const grad = field([T, U + 1], (t, u) => a(t, u));
  return { loss: -a(T - 1, U), gradients: { acts: grad } };
});
