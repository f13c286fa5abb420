/** The arcs form as plain TypeScript: against lists of all paths, golden costs, and the mistakes it refuses. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  type ArcOptions,
  arc,
  defineLoss,
  evaluateReference,
  type Field3,
  f32,
  field,
  type LatticeOptions,
  type LossDefinition,
  lattice,
  logSoftmax,
} from '../../dsl/index.js';
import multiblank from '../../specs/multiblank.js';
import rnnt from '../../specs/rnnt-equations.js';
import tdt from '../../specs/tdt.js';
import { loadCases, utteranceOf } from '../cases.js';
import { listPaths } from '../lattices.js';
import { enumeratePaths } from '../oracle.js';
import monotonicArcs from '../../specs/monotonic.js';
import rnntArcs from '../../specs/rnnt.js';
import { asUtterance, harshLogit, problems } from './arbitrary.js';

function expectClose(actual: number, expected: number, tolerance = 1e-10): void {
  if (!Number.isFinite(expected)) expect(actual).toBe(expected);
  else expect(Math.abs(actual - expected)).toBeLessThan(tolerance * Math.max(1, Math.abs(expected)));
}

describe.each([
  { topology: 'rnnt', spec: rnntArcs },
  { topology: 'monotonic', spec: monotonicArcs },
] as const)('$topology by its arcs', ({ topology, spec }) => {
  test('costs what the list of all paths says', () => {
    fc.assert(
      fc.property(problems({ topology, T: 4, U: 4, V: 4, logit: harshLogit }), (problem) => {
        const { loss, gradients } = evaluateReference(spec, asUtterance(problem));
        expectClose(loss, enumeratePaths(problem).loss);
        expect(gradients).toEqual({});
      }),
      { numRuns: 200 },
    );
  });
});

/** Nodes of one to three axes, arcs of several lengths, weights that are numbers or log 0, arcs missing here and there. */
const lattices = fc.integer({ min: 1, max: 3 }).chain((rank) => {
  const most = [8, 5, 3][rank - 1] as number;
  const extent = fc.oneof(
    { weight: 8, arbitrary: fc.integer({ min: 2, max: most }) },
    { weight: 1, arbitrary: fc.nat(1) },
  );
  const nodes = fc.array(extent, { minLength: rank, maxLength: rank });
  const step = fc
    .array(fc.constantFrom(0, 0, 1, 1, 2), { minLength: rank, maxLength: rank })
    .filter((parts) => parts.some((part) => part > 0));
  const weight = fc.oneof(
    { weight: 12, arbitrary: fc.double({ min: -5, max: 3, noNaN: true }) },
    { weight: 1, arbitrary: fc.constant(Number.NEGATIVE_INFINITY) },
    { weight: 1, arbitrary: fc.constant(undefined) },
  );
  const cells = (most + 1) ** rank;
  const arcs = fc.array(
    fc.record({
      step,
      final: fc.boolean(),
      weights: fc.array(weight, { minLength: cells, maxLength: cells }),
    }),
    { minLength: 2, maxLength: 4 },
  );
  return fc.tuple(nodes, arcs).chain(([extents, list]) =>
    fc.record({
      nodes: fc.constant(extents),
      arcs: fc.constant(list),
      start: fc.oneof(
        { weight: 3, arbitrary: fc.constant(extents.map(() => 0)) },
        { weight: 1, arbitrary: fc.tuple(...extents.map((extent) => fc.nat(extent))) },
      ),
      end: fc.oneof(
        {
          weight: 3,
          arbitrary: fc.tuple(...extents.map((extent) => fc.integer({ min: Math.max(0, extent - 2), max: extent }))),
        },
        { weight: 1, arbitrary: fc.tuple(...extents.map((extent) => fc.nat(extent))) },
      ),
      most: fc.constant(most),
    }),
  );
});

test('any small lattice: the sum over all paths, and the posterior of every arc at every node', () => {
  let impossible = 0;
  let rich = 0;
  fc.assert(
    fc.property(lattices, ({ nodes, arcs, start, end, most }) => {
      const beyond = nodes.every((n) => n > 0) && end.some((at, axis) => at >= (nodes[axis] as number));
      fc.pre(!beyond || arcs.some(({ final }) => final));
      const cellOf = (x: readonly number[]): number => x.reduce((flat, at) => flat * (most + 1) + at, 0);
      const expected = listPaths({
        nodes,
        start,
        end,
        arcs: arcs.map(({ step, final, weights }) => ({ step, final, weightAt: (x) => weights[cellOf(x)] })),
      });
      const definition = defineLoss({ name: 'any', inputs: { x: f32('T') } }, () =>
        lattice({
          nodes: nodes as unknown as [number, number],
          start: start as unknown as [number, number],
          end: end as unknown as [number, number],
          arcs: arcs.map(({ step, final, weights }) =>
            arc({
              step: step as unknown as [number, number],
              weight: (...x: readonly number[]) => weights[cellOf(x)] as number,
              when: (...x: readonly number[]) => weights[cellOf(x)] !== undefined,
              final,
            }),
          ),
        }),
      );
      const { loss, posteriors = {} } = evaluateReference(definition, {
        inputs: { x: { data: [0] } },
        sizes: { T: 1 },
      });
      expectClose(-loss, expected.logLik);
      if (expected.logLik === Number.NEGATIVE_INFINITY) impossible++;
      if (expected.paths > 5) rich++;
      for (const k of arcs.keys()) {
        const got = posteriors[`arc${k}`] as Float64Array;
        expect(got).toHaveLength(nodes.reduce((product, n) => product * n, 1));
        for (let flat = 0; flat < got.length; flat++) {
          const x: number[] = [];
          let rest = flat;
          for (const extent of [...nodes].reverse()) {
            x.unshift(rest % extent);
            rest = Math.floor(rest / extent);
          }
          expectClose(got[flat] as number, expected.posteriors[k]?.get(x.join()) ?? 0);
        }
      }
    }),
    { numRuns: 400 },
  );
  // The cases that matter did occur.
  expect(impossible).toBeGreaterThan(20);
  expect(rich).toBeGreaterThan(20);
});

const golden = loadCases().filter((one) => ['multiblank', 'tdt'].includes(one.spec));
test.each(golden.map((one) => [one.name, one] as const))('the golden costs of %s', (_, one) => {
  const definition = { multiblank, tdt }[one.spec] as LossDefinition;
  const of = (names: readonly string[]) => Object.fromEntries(names.map((name) => [name, one.params[name]]));
  const statics = of(Object.keys(definition.statics)) as Record<string, readonly number[]>;
  const params = of(['blank', 'sigma']) as Record<string, number>;
  for (let b = 0; b < one.shape[0]; b++) {
    const { acts, labels, sizes, cost } = utteranceOf(one, b);
    const { loss } = evaluateReference(definition, { inputs: { acts, labels }, sizes, params, statics });
    expectClose(loss, cost, 1e-9);
  }
});

test('without big blanks multiblank is RNN-T', () => {
  fc.assert(
    fc.property(problems({ topology: 'rnnt', T: 4, U: 3, V: 4, logit: harshLogit }), (problem) => {
      const utterance = { ...asUtterance(problem), statics: { bigBlankDurations: [] } };
      const { loss } = evaluateReference(multiblank, utterance);
      expectClose(loss, enumeratePaths(problem).loss);
    }),
    { numRuns: 50 },
  );
});

test('ten thousand frames do not overflow the stack', () => {
  const T = 10_000;
  const inputs = { acts: { data: new Float32Array(T * 2 * 2) }, labels: { data: [1] } };
  const { loss, posteriors } = evaluateReference(rnntArcs, { inputs, sizes: { T, U: 1, V: 2 } });
  // T places for the label, each with T + 1 symbols of probability 1/2.
  expectClose(loss, (T + 1) * Math.LN2 - Math.log(T));
  const emit = posteriors?.emit as Float64Array;
  expectClose(emit[0] as number, 1 / T, 1e-8);
});

test('the form is known without being run on anything', () => {
  expect(rnnt.form).toBe('equations');
  expect(rnntArcs.form).toBe('arcs');
  expect(tdt.form).toBe('arcs');
});

test('weights, alpha and beta can be looked at', () => {
  const acts = { data: new Float32Array(8) };
  const result = rnntArcs.evaluate({ inputs: { acts, labels: { data: [1] } }, sizes: { T: 2, U: 1, V: 2 } });
  expect(result.field('beta').at(0, 0)).toBeCloseTo(-result.loss, 12);
  expect(result.field('alpha').at(1, 0)).toBeCloseTo(-Math.LN2, 12);
  expect(result.field('emit').at(0, 0)).toBeCloseTo(-Math.LN2, 12);
  // The last frame is left only from the last label.
  expect(result.field('stay').at(1, 0)).toBe(Number.NEGATIVE_INFINITY);
  expect(result.field('logZ').at(0, 0)).toBeCloseTo(Math.LN2, 12);
  expect(result.posteriors?.stay?.[3]).toBeCloseTo(1, 12);
  const scored = rnntArcs.evaluate({
    inputs: { acts, labels: { data: [1] } },
    sizes: { T: 2, U: 1, V: 2 },
    gradients: false,
  });
  expect(scored.posteriors).toBeUndefined();
});

describe('logSoftmax', () => {
  const header = { name: 'softmax', inputs: { x: f32('T', 'V') } } as const;
  const at = (data: readonly number[], make: (x: Parameters<typeof logSoftmax<2>>[0], V: number) => number): number =>
    defineLoss(header, ({ x, V }) => ({ loss: make(x, V), gradients: {} })).evaluate({
      inputs: { x: { data } },
      sizes: { T: 1, V: data.length },
    }).loss;

  test('is the logit less the log of the sum of the row', () => {
    expect(at([1, 2, 3], (x, V) => logSoftmax(x, V)(0, 1))).toBeCloseTo(
      2 - Math.log(Math.E + Math.E ** 2 + Math.E ** 3),
      12,
    );
  });
  test('over parts of the last index', () => {
    const logits = [1, 2, 3, 5];
    expect(at(logits, (x, V) => logSoftmax(x, V - 2)(0, 1))).toBeCloseTo(2 - Math.log(Math.E + Math.E ** 2), 12);
    expect(at(logits, (x, V) => logSoftmax(x, 2, { from: V - 2 })(0, 0))).toBeCloseTo(-Math.log(1 + Math.E ** 2), 12);
    // Beyond the part is log 0, also where the tensor goes on.
    expect(at(logits, (x, V) => logSoftmax(x, V - 2)(0, 2))).toBe(Number.NEGATIVE_INFINITY);
    expect(at(logits, (x, V) => logSoftmax(x, 2, { from: V - 2 })(0, -1))).toBe(Number.NEGATIVE_INFINITY);
  });
  test('of log 0 is log 0, even in a row of nothing else', () => {
    const none = [Number.NEGATIVE_INFINITY, Number.NEGATIVE_INFINITY];
    expect(at(none, (x, V) => logSoftmax(x, V)(0, 0))).toBe(Number.NEGATIVE_INFINITY);
  });
  test('of a field', () => {
    const definition = defineLoss(
      { name: 'sum', inputs: { a: f32('T', 'V'), b: f32('U', 'V') } },
      ({ a, b, T, U, V }) => {
        const joint: Field3 = field([T, U, V], (t, u, v) => a(t, v) + b(u, v));
        return { loss: logSoftmax(joint, V)(0, 0, 1), gradients: {} };
      },
    );
    const { loss } = definition.evaluate({
      inputs: { a: { data: [1, 2] }, b: { data: [3, 5] } },
      sizes: { T: 1, U: 1, V: 2 },
    });
    expect(loss).toBeCloseTo(7 - Math.log(Math.exp(4) + Math.exp(7)), 12);
  });
  test.each<[string, RegExp]>([
    ['extent', /the extent is 1.5; it must be an integer/],
    ['from', /from: 0.5 }\): from is an integer/],
    ['rank', /needs two to four indices, and these logits have 1/],
    ['logits', /needs an input, or a field/],
  ])('refuses a wrong %s', (what, message) => {
    const definition = defineLoss({ name: 'wrong', inputs: { x: f32('T', 'V'), one: f32('V') } }, ({ x, one, V }) => {
      if (what === 'extent') logSoftmax(x, 1.5);
      if (what === 'from') logSoftmax(x, V, { from: 0.5 });
      if (what === 'rank') logSoftmax(one as unknown as typeof x, V);
      if (what === 'logits')
        logSoftmax(
          Object.assign(() => 0, { kind: 'input', rank: 2 } as const),
          V,
        );
      return { loss: 0, gradients: {} };
    });
    expect(() => definition.form).toThrow(message);
  });
});

describe('mistakes', () => {
  const weight = (): number => 0;
  const stay = { name: 'stay', step: [1, 0], weight, final: true } as const;
  const emit = { name: 'emit', step: [0, 1], weight } as const;
  const plain = { nodes: [2, 2], start: [0, 0], end: [2, 1], arcs: [stay, emit] };
  type Change = Partial<Record<keyof typeof plain, unknown>>;
  const made = (change: Change): LossDefinition =>
    defineLoss({ name: 'wrong', inputs: { x: f32('T') } }, () => {
      const { arcs, ...rest } = { ...plain, ...change } as { arcs: ArcOptions<readonly [number, number]>[] };
      return lattice({ ...rest, arcs: arcs.map((one) => arc(one)) } as unknown as LatticeOptions<
        readonly [number, number]
      >);
    });
  const evaluate = (change: Change): number =>
    made(change).evaluate({ inputs: { x: { data: [0] } }, sizes: { T: 1 } }).loss;

  test('the lattice they are made of has none', () => expect(evaluate({})).toBeCloseTo(-Math.log(2), 12));
  test.each<[string, Change, RegExp]>([
    [
      'a step of another rank',
      { arcs: [stay, { ...emit, step: [0, 1, 1] }] },
      /arc emit has the step \[0, 1, 1\]; it must have 2 numbers/,
    ],
    [
      'a fractional step',
      { arcs: [{ ...stay, step: [0.5, 0] }, emit] },
      /arc stay has the step \[0.5, 0\]; steps are integers/,
    ],
    [
      'a step that leads nowhere',
      { arcs: [stay, { ...emit, step: [0, 0] }] },
      /arc emit has the step \[0, 0\], so it leads nowhere/,
    ],
    ['no arcs', { arcs: [] }, /there are no arcs/],
    [
      'an end that no arc enters',
      { arcs: [emit] },
      /the end \[2, 1\] lies beyond the nodes \[2, 2\], and no arc is final/,
    ],
    ['arcs of one name', { arcs: [stay, { ...emit, name: 'stay' }] }, /two arcs are called stay/],
    [
      'a name taken by default',
      {
        arcs: [
          { ...stay, name: 'arc1' },
          { ...emit, name: undefined },
        ],
      },
      /two arcs are called arc1/,
    ],
    ['a name that is no identifier', { arcs: [{ ...stay, name: 'to end' }] }, /an arc is called "to end"/],
    ['a scale that is no number', { arcs: [{ ...stay, scale: () => 2 }] }, /arc stay has the scale/],
    ['a start of another rank', { start: [0] }, /start \[0\] has 1 numbers, but nodes has 2/],
    ['an end of another rank', { end: [2, 1, 0] }, /end \[2, 1, 0\] has 3 numbers, but nodes has 2/],
    ['a fractional start', { start: [0.5, 0] }, /start is \[0.5, 0\]; it must be integers/],
    ['fractional nodes', { nodes: [1.5, 2] }, /nodes is \[1.5, 2\]; it must be integers/],
    ['no axis', { nodes: [], start: [], end: [] }, /nodes \[\] has 0 extents; 1 to 4 are allowed/],
    ['arcs in a circle', { arcs: [stay, emit, { name: 'back', step: [-1, 0], weight }] }, /beta depends on itself/],
  ])('%s', (_, change, message) => expect(() => evaluate(change)).toThrow(message));

  test('without nodes there is no path, whatever the end', () => {
    expect(evaluate({ nodes: [0, 2], end: [0, 1], arcs: [emit] })).toBe(Number.POSITIVE_INFINITY);
    expect(evaluate({ nodes: [0, 1], end: [0, 0] })).toBe(Number.POSITIVE_INFINITY);
  });
  test('a loss that is no number', () => {
    const definition = defineLoss({ name: 'wrong', inputs: { x: f32('T') } }, () =>
      lattice({
        nodes: [2],
        start: [0],
        end: [1],
        arcs: [arc({ step: [1], weight })],
        loss: () => 'much' as unknown as number,
      }),
    );
    expect(() => definition.evaluate({ inputs: { x: { data: [0] } }, sizes: { T: 1 } })).toThrow(/the loss is much/);
  });
});
