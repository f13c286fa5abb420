/** Two recurrences that read each other, one of them at the same cell: computed together, in that order. */
import { defineLoss, type Field2, f32, field, i32, logAddExp, logSumExp, logZero, recurrence } from 'trellis-jit/dsl';

export default defineLoss(
  { name: 'two-states', inputs: { acts: f32('T', 'V'), labels: i32('U', { not: 'blank' }) }, params: { blank: 0 } },
  ({ acts, labels, T, U, V, blank }) => {
    const logZ = field([T], (t) => logSumExp(V, (v) => acts(t, v)));
    const logp = field([T, V], (t, v) => acts(t, v) - logZ(t));
    // CTC: after frame t, in the blank before label u, or in label u.
    const inBlank: Field2 = recurrence([T, U + 1], (t, u) =>
      t === 0
        ? u === 0
          ? logp(0, blank)
          : logZero
        : logp(t, blank) + logAddExp(inBlank(t - 1, u), inLabel(t - 1, u - 1)),
    );
    const inLabel: Field2 = recurrence([T, U], (t, u) =>
      t === 0
        ? u === 0
          ? logp(0, labels(0))
          : logZero
        : logp(t, labels(u)) +
          logAddExp(
            inLabel(t - 1, u),
            inBlank(t - 1, u),
            u > 0 && labels(u) !== labels(u - 1) ? inLabel(t - 1, u - 1) : logZero,
          ),
    );
    const logLik = logAddExp(inBlank(T - 1, U), inLabel(T - 1, U - 1));
    const grad = field([T, V], (t, v) => logp(t, v) * (v === blank ? 2 : 1));
    return { loss: -logLik, gradients: { acts: grad } };
  },
);
