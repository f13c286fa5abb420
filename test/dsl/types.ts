/**
 * What the type checker must refuse. Each `@ts-expect-error` is itself an error when the line below it is accepted, so
 * this file type-checks exactly as long as the types are strict enough. Nothing runs it.
 */
import {
  arc,
  defineLoss,
  type Field2,
  type Field3,
  f32,
  field,
  i32,
  lattice,
  logSoftmax,
  recurrence,
  sum,
} from '../../dsl/index.js';

export const accepted = defineLoss(
  {
    name: 'accepted',
    inputs: { acts: f32('T', ' 2*U + 1 ', 'V'), bias: f32('H'), labels: i32('U', 'K', { not: 'blank' }) },
    lengths: { T: 'frames', N: 'ns' },
    params: { blank: 0, scale: 1 },
    statics: { durations: [1, 2], sigma: 0.5 },
  },
  ({ acts, bias, labels, T, U, V, H, K, N, blank, scale, durations, sigma }) => {
    const first: number = durations[0];
    const alpha: Field2 = recurrence([T, U + 1], (t, u) => (t === 0 ? scale : alpha(t - first, u) + acts(t, u, blank)));
    const grad: Field3 = field([T, 2 * U + 1, V], (t, u, v) => acts(t, u, v) * sigma, { outside: 0 });
    const total = sum(H, (h) => bias(h)) + labels(U - 1, K - 1) + N + durations.length;
    return { loss: alpha(0, 0) + total, gradients: { acts: grad } };
  },
);

export const refused = defineLoss(
  { name: 'refused', inputs: { acts: f32('T', 'U+1', 'V'), labels: i32('U') }, params: { blank: 0 } },
  ({ acts, labels, T, U, V, blank }) => {
    // @ts-expect-error an input of three indices
    acts(0, 0);
    // @ts-expect-error an input of one index
    labels(0, 1);
    // @ts-expect-error an index is a number
    labels('0');
    // @ts-expect-error a parameter is no function
    blank(0);
    const two = field([T, U], (t, u) => t + u);
    // @ts-expect-error a field of two indices
    two(0);
    // @ts-expect-error a cell is a number
    field([T], (t) => t === 0);
    // @ts-expect-error a cell of a field over one index has one index
    field([T], (t, u) => t + u);
    // @ts-expect-error at most four indices
    field([T, T, T, T, T], () => 0);
    // @ts-expect-error declared with another rank
    const three: Field3 = recurrence([T, U], () => 0);
    return { loss: three(0, 0, 0) + V, gradients: {} };
  },
);

const header = { name: 'header', inputs: { acts: f32('T', 'V'), labels: i32('U') }, params: { blank: 0 } } as const;

// @ts-expect-error no such parameter
export const unknownParameter = defineLoss(header, ({ lambda }) => ({ loss: lambda, gradients: {} }));
// @ts-expect-error no such size
export const unknownSize = defineLoss(header, ({ W }) => ({ loss: W, gradients: {} }));
// @ts-expect-error the gradient of an input of two dimensions has two indices
export const wrongRank = defineLoss(header, ({ T }) => {
  const grad = field([T], () => 0);
  return { loss: 0, gradients: { acts: grad } };
});
// @ts-expect-error ints have no gradient
export const ofInts = defineLoss(header, ({ U }) => {
  const grad = field([U], () => 0);
  return { loss: 0, gradients: { labels: grad } };
});
// @ts-expect-error an input is no field
export const ofInput = defineLoss(header, ({ acts }) => ({ loss: 0, gradients: { acts } }));
// @ts-expect-error a loss is a number
export const noNumber = defineLoss(header, () => ({ loss: true, gradients: {} }));
// @ts-expect-error a loss is missing
export const noLoss = defineLoss(header, () => ({ gradients: {} }));
export const noBlank = defineLoss(
  // @ts-expect-error `not` names no parameter
  { name: 'noBlank', inputs: { labels: i32('U', { not: 'blank' }) }, params: { blonk: 0 } },
  () => ({ loss: 0, gradients: {} }),
);
// @ts-expect-error at most four dimensions
export const fiveDimensions = f32('A', 'B', 'C', 'D', 'E');
// @ts-expect-error a dimension is a text
export const numericDimension = f32('A', 3);

export const arcsAccepted = defineLoss(
  {
    name: 'arcs',
    inputs: { acts: f32('T', 'U+1', 'V'), labels: i32('U') },
    params: { blank: 0 },
    statics: { durations: [1, 2] },
  },
  ({ acts, labels, T, U, V, blank, durations }) => {
    const logp = logSoftmax(acts, V);
    return lattice({
      nodes: [T, U + 1],
      start: [0, 0],
      end: [T, U],
      arcs: [
        ...durations.map((d, n) => arc({ step: [d, 0], weight: (t, u) => logp(t, u, blank + n), final: d >= 1 })),
        arc({ step: [0, 1], weight: (_, u) => labels(u), when: (t) => t > 0, scale: 2 }),
      ],
      loss: (logLik) => -logLik,
      gradient: (g) => g,
    });
  },
);

export const arcsRefused = defineLoss(
  { name: 'arcs', inputs: { acts: f32('T', 'U+1', 'V'), x: f32('V') } },
  ({ acts, x, T, U, V }) => {
    const logp = logSoftmax(acts, V);
    // @ts-expect-error three indices
    logp(0, 0);
    // @ts-expect-error no index before the last
    logSoftmax(x, V);
    // @ts-expect-error a weight of three indices beside a step of two
    arc({ step: [1, 0], weight: (t, u, v) => logp(t, u, v) });
    // @ts-expect-error a weight is a number
    arc({ step: [1, 0], weight: () => true });
    // @ts-expect-error a condition is no number
    arc({ step: [1, 0], weight: () => 0, when: (t) => t });
    // @ts-expect-error a scale is one number
    arc({ step: [1, 0], weight: () => 0, scale: () => 0 });
    // @ts-expect-error no weight
    arc({ step: [1, 0] });
    const stay = arc({ step: [1, 0], weight: () => 0 });
    // @ts-expect-error a start of one index beside nodes of two
    lattice({ nodes: [T, U], start: [0], end: [T, U], arcs: [stay] });
    // @ts-expect-error an arc of another rank
    lattice({ nodes: [T], start: [0], end: [T], arcs: [stay] });
    // @ts-expect-error no end
    lattice({ nodes: [T, U], start: [0, 0], arcs: [stay] });
    return { loss: 0, gradients: {} };
  },
);
// @ts-expect-error a log-softmax is no field, so no gradient
export const noField = defineLoss(header, ({ acts, V }) => ({ loss: 0, gradients: { acts: logSoftmax(acts, V) } }));
