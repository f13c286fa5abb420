import { defineLoss, type Field2, f32, field, logAddExp, recurrence } from 'trellis-jit/dsl';

export default defineLoss({ name: 'both-ways', inputs: { acts: f32('T', 'U+1') } }, ({ acts, T, U }) => {
  const alpha: Field2 = recurrence([T, U + 1], (t, u) =>
    t === 0 ? acts(t, u) : logAddExp(alpha(t - 1, u), alpha(t + 1, u)),
  );
  const grad = field([T, U + 1], (t, u) => alpha(t, u));
  return { loss: -alpha(T - 1, U), gradients: { acts: grad } };
});
