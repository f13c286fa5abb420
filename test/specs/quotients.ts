/** Integers divided and rounded down: of what may be negative, of gathers, in indices, conditions and values, by 1 to 5. */
import { defineLoss, exp, type Field2, f32, field, floorDiv, i32, logAddExp, recurrence, sum } from 'trellis-jit/dsl';

export default defineLoss(
  { name: 'quotients', inputs: { acts: f32('T', 'V'), labels: i32('U') }, params: { offset: 2 } },
  ({ acts, labels, T, U, V, offset }) => {
    const pairs: Field2 = recurrence([T, 2 * U + 2], (t, s) =>
      t === 0
        ? acts(0, floorDiv(s, 3))
        : logAddExp(pairs(t - 1, s), pairs(t - 1, s - 2)) + (floorDiv(s - t, 2) === floorDiv(t - s, 2) ? 1 : 0) / 8,
    );
    const before = field([T, V], (t, v) => acts(floorDiv(t - 5, 4) + floorDiv(v, 1), floorDiv(3 * v - T, 5)), {
      outside: 0,
    });
    const own = field([T, U], (t, u) => acts(t, floorDiv(labels(u) + offset, 2)), { outside: 0 });
    const loss = pairs(T - 1, 2 * U + 1) + sum(T, (t) => sum(V, (v) => exp(before(t, v)))) / 8 + floorDiv(-T, 2);
    const grad = field(
      [T, V],
      (t, v) => sum(U, (u) => (floorDiv(labels(u), 2) === v ? exp(own(t, u)) : 0)) + floorDiv(v - t, 3),
    );
    return { loss, gradients: { acts: grad } };
  },
);
