/** A recurrence over time alone, one run forward and one backward. */
import { defineLoss, exp, type Field1, f32, field, logSumExp, recurrence, tanh } from 'trellis-jit/dsl';

export default defineLoss(
  { name: 'one-axis', inputs: { acts: f32('T', 'V') }, params: { symbol: 1, slope: 0.5 } },
  ({ acts, T, V, symbol, slope }) => {
    const logZ = field([T], (t) => logSumExp(V, (v) => acts(t, v)));
    const run: Field1 = recurrence([T], (t) =>
      t === 0 ? acts(t, symbol) - logZ(t) : run(t - 1) + slope * tanh(acts(t, symbol) - logZ(t)),
    );
    const rest: Field1 = recurrence([T], (t) => (t === T - 1 ? 1 : 0.5 * rest(t + 1) + 1 / (t + 1)), { outside: 0 });
    const grad = field([T, V], (t, v) => exp(acts(t, v) - logZ(t)) * rest(t) - (v === symbol ? rest(t) : 0));
    return { loss: -run(T - 1), gradients: { acts: grad } };
  },
);
