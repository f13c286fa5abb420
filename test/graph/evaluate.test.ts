/** The float64 meaning of graphs: against each spec's own run as plain TypeScript, and the rules of the language. */
import { readdirSync, readFileSync } from 'node:fs';
import { pathToFileURL } from 'node:url';
import { describe, expect, test } from 'vitest';
import { deriveGraph } from '../../compiler/derive/derive.js';
import { readSpec } from '../../compiler/frontend/index.js';
import { evaluateGraph } from '../../compiler/graph/evaluate.js';
import type { Graph } from '../../compiler/graph/graph.js';
import { evalSize } from '../../compiler/graph/size.js';
import { evaluateReference, type LossDefinition } from '../../dsl/index.js';
import { readFiles, spec } from '../frontend/scratch.js';
import { centralDifferences } from '../oracle.js';

const specs = ['specs', 'test/specs']
  .flatMap((folder) => readdirSync(folder).map((file) => `${folder}/${file}`))
  .filter((file) => file.endsWith('.ts') && /export default defineLoss\(/.test(readFileSync(file, 'utf8')));

/** Deterministic numbers in [0, 1). */
function random(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}

function utterance(graph: Graph, seed: number) {
  const next = random(seed);
  const sizes: Record<string, number> = {};
  // Enough for limits such as V - 5.
  const more = Math.max(0, ...graph.inputs.map(({ below }) => -(below?.constant ?? 0)));
  for (const { dims } of graph.inputs) {
    for (const { terms } of dims)
      for (const name of Object.keys(terms)) sizes[name] ??= { T: 6, U: 3 }[name] ?? 5 + more;
  }
  const inputs = Object.fromEntries(
    graph.inputs.map(({ name, element, dims, below }) => {
      const shape = dims.map((dim) => evalSize(dim, sizes));
      const limit = below ? evalSize(below, sizes) : 2;
      const draw = () => (element === 'i32' ? 1 + Math.floor(next() * (limit - 1)) : 4 * next() - 2);
      return [name, { shape, data: Array.from({ length: shape.reduce((a, b) => a * b, 1) }, draw) }];
    }),
  );
  // A negative index counts from the end.
  const params = Object.fromEntries(
    graph.params.map(({ name, default: value, below }) => [
      name,
      value < 0 && below ? value + evalSize(below, sizes) : value,
    ]),
  );
  return { sizes, inputs, params };
}

test.each(specs)('%s: its graph means what it does when it runs', async (file) => {
  const graph = deriveGraph(readSpec(file).graph);
  const { default: definition } = (await import(pathToFileURL(file).href)) as { default: LossDefinition };
  for (const seed of [1, 2, 3]) {
    const given = utterance(graph, seed);
    const expected = evaluateReference(definition, given);
    const result = evaluateGraph(graph, given);
    expect(result.loss).toBeCloseTo(expected.loss, 12);
    if (definition.form === 'arcs' && !Number.isFinite(expected.loss)) {
      for (const { data } of Object.values(result.gradients)) expect(data.every((value) => value === 0)).toBe(true);
      continue;
    }
    if (definition.form === 'arcs') {
      // Plain numbers have no gradient: the derived one is the derivative of the loss.
      for (const [name, { data }] of Object.entries(result.gradients)) {
        const lossAt = (values: Float64Array): number => {
          const inputs = { ...given.inputs, [name]: { data: values } };
          return evaluateReference(definition, { ...given, inputs, gradients: false }).loss;
        };
        const numeric = centralDifferences(lossAt, given.inputs[name]!.data);
        expect(Math.max(...data.map((value, i) => Math.abs(value - numeric[i]!)))).toBeLessThan(1e-7);
        expect(Math.max(...data.map(Math.abs))).toBeGreaterThan(1e-3);
      }
      continue;
    }
    expect(Object.keys(result.gradients)).toEqual(Object.keys(expected.gradients));
    for (const [name, { data }] of Object.entries(result.gradients)) {
      const worst = Math.max(
        ...data.map((value, i) => Math.abs(value - expected.gradients[name]![i]!) / (1 + Math.abs(value))),
      );
      expect(worst).toBeLessThan(1e-12);
    }
  }
});

test('a lattice has no equations until they are derived', () => {
  const { graph } = readSpec('specs/rnnt.ts');
  expect(() => evaluateGraph(graph, utterance(graph, 1))).toThrow(/rnnt states a lattice: derive its equations/);
});

describe('rules', () => {
  const read = (body: string) => readFiles({ 'spec.ts': spec(body) }).graph;
  const zeros = { acts: () => 0, labels: () => 1 };

  test('a chain of a hundred thousand cells needs no stack', () => {
    const graph = read(`const a: Field1 = recurrence([T], (t) => (t === 0 ? 0 : a(t - 1) + 1));
    const b: Field1 = recurrence([T], (t) => (t === T - 1 ? a(t) : b(t + 1) + 1));
    return { loss: b(0), gradients: {} };`);
    expect(evaluateGraph(graph, { inputs: zeros, sizes: { T: 100_000, U: 1, V: 2 } }).loss).toBe(2 * 99_999);
  });
  test('two thousand frames of rnnt', () => {
    const { graph } = readSpec('specs/rnnt-equations.ts');
    const result = evaluateGraph(graph, { inputs: zeros, sizes: { T: 2000, U: 3, V: 2 } });
    // Every path has 2003 symbols of probability 1/2, and there are (2002 choose 3) of them.
    expect(result.loss).toBeCloseTo(2003 * Math.LN2 - Math.log((2002 * 2001 * 2000) / 6), 8);
  });
  test('cells that wait for each other are named', () => {
    const graph = read(`const a: Field1 = recurrence([T], (t) => b(t));
    const b: Field1 = recurrence([T], (t) => a(t));
    return { loss: a(2), gradients: {} };`);
    expect(() => evaluateGraph(graph, { inputs: zeros, sizes: { T: 3, U: 1, V: 2 } })).toThrow(
      'a(2) depends on itself',
    );
  });
  test('reads outside: log 0, -1 for ints, the declared value for fields', () => {
    const at = (loss: string) =>
      evaluateGraph(read(`const f = field([T], (t) => t, { outside: 7 });\nreturn { loss: ${loss}, gradients: {} };`), {
        inputs: zeros,
        sizes: { T: 3, U: 1, V: 2 },
      }).loss;
    expect(at('acts(0, 0, 2)')).toBe(Number.NEGATIVE_INFINITY);
    expect(at('labels(1)')).toBe(-1);
    expect(at('acts(0, 0, labels(1))')).toBe(Number.NEGATIVE_INFINITY);
    expect(at('f(3) + f(-1) + f(2)')).toBe(16);
    expect(at('sum(U - 1, (u) => 1)')).toBe(0);
  });
  test('a loss of +Infinity has zero gradients, NaN keeps its own', () => {
    const graph = read(
      'const g = field([T, U + 1, V], (t, u, v) => 5);\nreturn { loss: acts(0, 0, 0), gradients: { acts: g } };',
    );
    const run = (value: number) =>
      evaluateGraph(graph, { inputs: { ...zeros, acts: () => value }, sizes: { T: 1, U: 0, V: 2 } });
    expect([...run(Number.POSITIVE_INFINITY).gradients.acts!.data]).toEqual([0, 0]);
    expect([...run(Number.NaN).gradients.acts!.data]).toEqual([5, 5]);
    expect(run(1).gradients.acts!.shape).toEqual([1, 1, 2]);
  });
  test('padded tensors, and what is missing is named', () => {
    const graph = read('return { loss: acts(1, 0, 1), gradients: {} };');
    const acts = { data: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11], shape: [2, 2, 3] };
    const sizes = { T: 2, U: 0, V: 2 };
    expect(evaluateGraph(graph, { inputs: { ...zeros, acts }, sizes }).loss).toBe(7);
    expect(() => evaluateGraph(graph, { inputs: { labels: () => 0 }, sizes })).toThrow('input acts has no values');
    expect(() => evaluateGraph(graph, { inputs: { ...zeros, acts }, sizes: { T: 3, U: 0, V: 2 } })).toThrow(
      'input acts has shape [2, 2, 3], too small for [T = 3, U + 1 = 1, V = 2]',
    );
    expect(() => evaluateGraph(graph, { inputs: zeros, sizes: { T: 1 } })).toThrow('size U has no value');
  });
});
