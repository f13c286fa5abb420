/**
 * RNN-T with a penalty on each frame's first normaliser: a field of the lattice that is also read frame by
 * frame, so that it cannot be stored along the diagonals as those are that only the lattice and its gradient read.
 */
import { defineLoss, exp, type Field2, f32, field, i32, logAddExp, logSumExp, recurrence, sum } from 'trellis-jit/dsl';

export default defineLoss(
  {
    name: 'confidence',
    inputs: { acts: f32('T', 'U+1', 'V'), price: f32('T'), labels: i32('U', { not: 'blank' }) },
    params: { blank: 0 },
  },
  ({ acts, price, labels, T, U, V, blank }) => {
    const logZ = field([T, U + 1], (t, u) => logSumExp(V, (v) => acts(t, u, v)));
    const stay = field([T, U + 1], (t, u) => acts(t, u, blank) - logZ(t, u));
    const emit = field([T, U], (t, u) => acts(t, u, labels(u)) - logZ(t, u));
    const left: Field2 = recurrence([T, U + 1], (t, u) =>
      t === T - 1 && u === U ? stay(t, u) : logAddExp(left(t + 1, u) + stay(t, u), left(t, u + 1) + emit(t, u)),
    );
    // The gradient of acts is none of this loss; it reads what one would.
    const gradActs = field(
      [T, U + 1, V],
      (t, u, v) => exp(acts(t, u, v) - logZ(t, u)) * exp(Math.min(0, left(t, u) - left(0, 0))) - (v === blank ? 1 : 0),
    );
    const gradPrice = field([T], (t) => logZ(t, 0));
    return { loss: sum(T, (t) => price(t) * logZ(t, 0)) - left(0, 0), gradients: { acts: gradActs, price: gradPrice } };
  },
);
