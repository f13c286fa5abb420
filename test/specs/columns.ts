/** A lattice that advances in u only: steps are columns, lanes are frames. */
import { defineLoss, exp, type Field2, f32, field, i32, logAddExp, logSumExp, recurrence } from 'trellis-jit/dsl';

export default defineLoss(
  { name: 'columns', inputs: { acts: f32('T', 'U+1', 'V'), labels: i32('U') }, params: { blank: 0 } },
  ({ acts, labels, T, U, V, blank }) => {
    const logZ = field([T, U + 1], (t, u) => logSumExp(V, (v) => acts(t, u, v)));
    const label = field([T, U], (t, u) => acts(t, u, labels(u)) - logZ(t, u));
    const end = field([T], (t) => acts(t, U, blank) - logZ(t, U));
    // Any frame may follow by at most two: from (t, u), (t + 1, u) or (t + 2, u).
    const forward: Field2 = recurrence([T, U + 1], (t, u) =>
      u === 0
        ? 0
        : logAddExp(
            forward(t, u - 1) + label(t, u - 1),
            forward(t + 1, u - 1) + label(t + 1, u - 1),
            forward(t + 2, u - 1) + label(t + 2, u - 1),
          ),
    );
    const total = logSumExp(T, (t) => forward(t, U) + end(t));
    const grad = field([T, U + 1, V], (t, u, v) =>
      u === U
        ? (exp(acts(t, u, v) - logZ(t, u)) - (v === blank ? 1 : 0)) * exp(forward(t, U) + end(t) - total)
        : exp(forward(t, u)) * (v === labels(u) ? 0.5 : 0.25),
    );
    return { loss: -total, gradients: { acts: grad } };
  },
);
