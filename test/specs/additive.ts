/** Two inputs whose sum is the logits, never stored; each gradient is a reduction over the axis it lacks. */
import { defineLoss, exp, type Field2, f32, field, i32, logAddExp, logSumExp, recurrence, sum } from 'trellis-jit/dsl';

export default defineLoss(
  {
    name: 'additive',
    inputs: { am: f32('T', 'V'), lm: f32('U+1', 'V'), labels: i32('U') },
    params: { blank: 0 },
  },
  ({ am, lm, labels, T, U, V, blank }) => {
    const logZ = field([T, U + 1], (t, u) => logSumExp(V, (v) => am(t, v) + lm(u, v)));
    const stay = field([T, U + 1], (t, u) => am(t, blank) + lm(u, blank) - logZ(t, u));
    const emit = field([T, U], (t, u) => am(t, labels(u)) + lm(u, labels(u)) - logZ(t, u));
    const alpha: Field2 = recurrence([T, U + 1], (t, u) =>
      t === 0 && u === 0 ? 0 : logAddExp(alpha(t - 1, u) + stay(t - 1, u), alpha(t, u - 1) + emit(t, u - 1)),
    );
    const beta: Field2 = recurrence([T, U + 1], (t, u) =>
      t === T - 1 && u === U ? stay(t, u) : logAddExp(beta(t + 1, u) + stay(t, u), beta(t, u + 1) + emit(t, u)),
    );
    const logLik = beta(0, 0);
    const stayed = field([T, U + 1], (t, u) =>
      t === T - 1 && u === U ? 1 : exp(alpha(t, u) + stay(t, u) + beta(t + 1, u) - logLik),
    );
    const emitted = field([T, U], (t, u) => exp(alpha(t, u) + emit(t, u) + beta(t, u + 1) - logLik), { outside: 0 });
    const node = (t: number, u: number, v: number): number =>
      exp(am(t, v) + lm(u, v) - logZ(t, u)) * (stayed(t, u) + emitted(t, u)) -
      (v === blank ? stayed(t, u) : 0) -
      (u < U && v === labels(u) ? emitted(t, u) : 0);
    const gradAm = field([T, V], (t, v) => sum(U + 1, (u) => node(t, u, v)));
    const gradLm = field([U + 1, V], (u, v) => sum(T, (t) => node(t, u, v)));
    return { loss: -logLik, gradients: { am: gradAm, lm: gradLm } };
  },
);
