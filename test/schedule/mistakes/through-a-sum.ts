import { defineLoss, type Field1, type Field2, f32, field, logSumExp, recurrence } from 'trellis-jit/dsl';

export default defineLoss({ name: 'through-a-sum', inputs: { acts: f32('T', 'U+1') } }, ({ acts, T, U }) => {
  const alpha: Field2 = recurrence([T, U + 1], (t, u) => (t === 0 ? acts(t, u) : acts(t, u) + norm(t - 1)));
  const norm: Field1 = recurrence([T], (t) => logSumExp(U + 1, (u) => alpha(t, u)));
  const grad = field([T, U + 1], (t, u) => alpha(t, u));
  return { loss: -norm(T - 1), gradients: { acts: grad } };
});
