/** Fields told apart by residues: the same numbers, less work, and fields that cannot be told apart left as they are. */
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { evaluateGraph } from '../../compiler/graph/evaluate.js';
import type { Expr, Graph } from '../../compiler/graph/graph.js';
import { addSize, scaleSize, sizeConst } from '../../compiler/graph/size.js';
import { verifyGraph } from '../../compiler/graph/verify.js';
import { compileToGraph, compileToKernels, printGraph } from '../../compiler/index.js';
import { printKernel } from '../../compiler/kernel/print.js';
import { NoOrder, schedule } from '../../compiler/schedule/index.js';
import { byResidues } from '../../compiler/schedule/residues.js';
import { evaluateAsGraph, evaluateBatch, largestDifference, randomBatch } from '../specs.js';
import { HandMade } from './graphs.js';

const shipped = (name: string): Graph =>
  compileToGraph(fileURLToPath(new URL(`../../specs/${name}.ts`, import.meta.url))).graph;
type Nodes = ReturnType<typeof evaluateGraph>['perNode'];
const ctc = shipped('ctc');

interface Shape {
  readonly factor?: number;
  readonly more?: number;
  readonly divisor?: number;
  /** Another divisor, if not 0. */
  readonly other?: number;
  readonly reach?: number;
  /** The other cell that is read is as many frames further. */
  readonly frame?: number;
}

/** r over [T, factor * U + more], whose cells differ by floorDiv(s, divisor); the loss is its sum over the last row. */
function stated({ factor = 2, more = 2, divisor = 2, other = 0, reach = -1, frame = -1 }: Shape): Graph {
  const g = new HandMade();
  const { b } = g;
  const S = addSize(scaleSize({ constant: 0, terms: { U: 1 } }, factor), sizeConst(more));
  const quotient = (s: Expr, by: number): Expr => b.prim('floorDiv', s, b.int(by));
  g.field('r', 'recurrence', [g.T, S], ['t', 's'], (t, s) => {
    const q = quotient(s!, divisor);
    const own = g.acts(t!, q, b.int(0));
    const first = b.compare('eq', s!, b.prim('mul', b.int(divisor), q));
    const before = b.prim(
      'logAddExp',
      g.read('r')(g.plus(t!, -1), g.plus(s!, reach)),
      g.read('r')(g.plus(t!, frame), s!),
    );
    const value = b.prim(
      'add',
      b.select(first, own, b.real(0.25)),
      b.select(b.compare('eq', t!, b.int(0)), own, before),
    );
    return other > 0 ? b.prim('add', value, b.toReal(quotient(s!, other))) : value;
  });
  const s = b.index('s');
  const last = b.prim('sub', b.size('T'), b.int(1));
  return g.graph('r', b.reduce('sum', s, S, b.prim('exp', g.read('r')(last, s))));
}

/** How many additions of logarithms a kernel's text has. */
const logSums = (part: unknown): number => {
  if (typeof part !== 'object' || part === null) return 0;
  const { op, name } = part as { op?: string; name?: string };
  const inside = Object.values(part).reduce((sum: number, each) => sum + logSums(each), 0);
  return inside + (op === 'prim' && name === 'logAddExp' ? 1 : 0);
};

const lossesOf = (graph: Graph): number[] =>
  [1, 2, 3, 4].map((U) => {
    const sizes = { T: 4, U, V: 2 };
    const data = Array.from({ length: 4 * (U + 1) * 2 }, (_, i) => Math.sin(3 * i + U));
    return evaluateGraph(graph, {
      inputs: { acts: { data, shape: [4, U + 1, 2] }, labels: { data: Array(U).fill(1), shape: [U] } },
      sizes,
    }).loss;
  });

describe('a recurrence means the same', () => {
  test.each<[string, Shape]>([
    ['by two', {}],
    ['by two, of an odd extent', { more: 1 }],
    ['by three, of any rest', { factor: 3, more: 1, divisor: 3, reach: -2 }],
    ['by three, reaching further than its parts are many', { factor: 3, more: 3, divisor: 3, reach: -5 }],
    ['reading ahead', { reach: 3 }],
  ])('%s', (_, shape) => {
    const graph = stated(shape);
    const apart = byResidues(graph);
    verifyGraph(apart);
    const names = Array.from({ length: shape.divisor ?? 2 }, (_, r) => `r_${r}`);
    expect(apart.fields.map(({ name }) => name)).toEqual(names);
    for (const [i, loss] of lossesOf(apart).entries()) expect(loss).toBeCloseTo(lossesOf(graph)[i]!, 12);
  });

  test.each<[string, Shape]>([
    ['of an extent that is no multiple', { factor: 1 }],
    ['by two divisors', { other: 3 }],
    ['of more kinds than are worth code of their own', { factor: 5, divisor: 5 }],
  ])('and is left alone %s', (_, shape) => {
    const graph = stated(shape);
    expect(byResidues(graph)).toBe(graph);
  });
});

test('a recurrence without an order is refused by its own name', () => {
  const graph = stated({ reach: 0, frame: 1 });
  expect(byResidues(graph)).not.toBe(graph);
  const plan = () => schedule(graph, { sizes: { V: 2 }, lattice: 'f64', gradients: false });
  expect(plan).toThrow(NoOrder);
  expect(plan).toThrow(/^r has no order/);
});

test('a graph without quotients is the same graph', () => {
  const graph = shipped('rnnt');
  expect(byResidues(graph)).toBe(graph);
});

describe('the states of a lattice, blanks and labels by turns', () => {
  const apart = byResidues(ctc);

  test('the same loss, gradient and posteriors', () => {
    verifyGraph(apart);
    for (const seed of [1, 2, 3]) {
      const batch = randomBatch(ctc, seed, { size: 7, scale: 3 });
      const [expected, actual] = [ctc, apart].map((graph) =>
        evaluateBatch(graph, batch, (utterance) => evaluateAsGraph(graph, utterance)),
      ) as [ReturnType<typeof evaluateBatch>, ReturnType<typeof evaluateBatch>];
      expect(largestDifference(actual.loss, expected.loss)).toBeLessThan(1e-12);
      expect(largestDifference(actual.gradients.acts!, expected.gradients.acts!)).toBeLessThan(1e-12);
    }
    const given = {
      inputs: {
        acts: { data: Array.from({ length: 12 }, (_, i) => Math.cos(5 * i)), shape: [4, 3] },
        labels: { data: [2, 1], shape: [2] },
      },
      sizes: { T: 4, U: 2, V: 3 },
      params: { blank: 0 },
    };
    const [expected, actual] = [ctc, apart].map((graph) => evaluateGraph(graph, given, { perNode: true }).perNode) as [
      Nodes,
      Nodes,
    ];
    expect(Object.keys(expected)).toEqual(['stay', 'next', 'skip', 'occupancy']);
    for (const name of Object.keys(expected))
      expect(largestDifference(actual[name]!.data, expected[name]!.data), name).toBeLessThan(1e-12);
  });

  test('no cell asks which of the two it is, and blanks have no arc past a label', () => {
    const text = printGraph({ ...apart, perNode: {} });
    const alpha = text.slice(text.indexOf('const alpha_1'), text.indexOf('const beta_0'));
    expect(alpha).not.toContain('floorDiv');
    expect(alpha.match(/alpha_\d\(/g)).toHaveLength(2);
  });

  test('what the labels are worth is looked up once, before the recurrences, and a step adds no more than by hand', () => {
    const planned = (name: string) =>
      compileToKernels(compileToGraph(fileURLToPath(new URL(`../../${name}.ts`, import.meta.url))), {
        sizes: { V: 16 },
        lattice: 'f64',
        blocks: true,
        gradients: true,
      });
    const { buffers, phases } = planned('specs/ctc');
    const waves = phases.flat().filter(({ name }) => /alpha|beta/.test(name));
    expect(waves).toHaveLength(2);
    const byHand = planned('test/specs/ctc-states')
      .phases.flat()
      .filter(({ name }) => /alpha|beta/.test(name));
    expect(waves.map(logSums)).toEqual([3, 3]);
    expect(byHand.map(logSums)).toEqual([3, 3]);
    for (const wave of waves) expect(printKernel(wave)).not.toMatch(/ acts\[[^\]]*labels/);
    // For each of 2 (U + 1) states and frames: half a weight, alpha, beta and the occupancy.
    const stored = buffers.filter(({ role, shape }) => role === 'scratch' && shape.length === 3);
    expect(stored.map(({ name }) => name).sort()).toEqual([
      'alpha_0',
      'alpha_1',
      'beta_0',
      'beta_1',
      'occupancy_0',
      'occupancy_1',
      'weight_0',
    ]);
  });
});
