/** Blanks of several durations: a static array that unrolls, helpers from another file, a guard on the path. */
import { defineLoss, exp, type Field2, f32, field, i32, logAddExp, recurrence } from 'trellis-jit/dsl';
import { logSoftmax, penalty as price } from './helpers.js';

export default defineLoss(
  {
    name: 'jumps',
    doc: 'big blanks',
    inputs: { acts: f32('T', 'U+1', 'V'), labels: i32('U', { not: 'blank' }) },
    params: { blank: 0, sigma: 0.05 },
    statics: { durations: [1, 2, 4] },
  },
  ({ acts, labels, T, U, V, blank, sigma, durations }) => {
    const logp = field([T, U + 1, V], (t, u, v) => logSoftmax(acts, V, t, u, v) - sigma);
    const alpha: Field2 = recurrence([T + 1, U + 1], (t, u) => {
      if (t === 0 && u === 0) return 0;
      const jumps = durations.map((d, n) => alpha(t - d, u) + logp(t - d, u, blank) - price(n));
      return logAddExp(...jumps, t < T ? alpha(t, u - 1) + logp(t, u - 1, labels(u - 1)) : -Infinity);
    });
    const grad = field([T, U + 1, V], (t, u, v) => exp(logp(t, u, v) + Math.min(0, alpha(t, u) - alpha(T, U))));
    return { loss: -alpha(T, U), gradients: { acts: grad } };
  },
);
