/** Graphs as JSON: what comes back is the same graph, and makes the same kernels. */
import { readdirSync, readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { compileToGraph, compileToKernels, compileToLlvm, printProgram } from '../../compiler/index.js';
import { readSpec } from '../../compiler/frontend/index.js';
import { GraphBuilder, operands } from '../../compiler/graph/build.js';
import type { Expr, Graph } from '../../compiler/graph/graph.js';
import { type PackedGraph, packGraph, unpackGraph } from '../../compiler/graph/pack.js';
import { printGraph } from '../../compiler/graph/print.js';
import { addSize, scaleSize, sizeConst, sizeSymbol } from '../../compiler/graph/size.js';
import { verifyGraph } from '../../compiler/graph/verify.js';
import { type PrimitiveName, primitives } from '../../dsl/primitives.js';

const specs = ['specs', 'test/specs']
  .flatMap((folder) => readdirSync(folder, { encoding: 'utf8', recursive: true }).map((file) => `${folder}/${file}`))
  .filter((file) => file.endsWith('.ts') && /export default defineLoss\(/.test(readFileSync(file, 'utf8')));

/** Through text, as a file would hold it. */
const back = (graph: Graph): Graph => unpackGraph(JSON.parse(JSON.stringify(packGraph(graph))) as PackedGraph);

/** All that a graph says, its places in the source apart. */
const said = ({ origins: _, fieldOrigins: __, ...rest }: Graph): object => rest;

function expectSame(graph: Graph, again: Graph): void {
  verifyGraph(again);
  expect(said(again)).toEqual(said(graph));
  expect(printGraph(again)).toBe(printGraph(graph));
}

describe.each(specs)('%s', (file) => {
  const { graph, stated } = compileToGraph(file);

  test('comes back as the same graph', () => {
    expectSame(graph, back(graph));
    // As stated: arcs and all.
    expectSame(stated, back(stated));
  });

  test('makes the same kernels and the same text', () => {
    const varying = new Set(graph.lengths.map(({ size }) => size));
    const names = graph.inputs.flatMap(({ dims }) => dims.flatMap(({ terms }) => Object.keys(terms)));
    const sizes = Object.fromEntries(names.filter((name) => !varying.has(name)).map((name) => [name, 21]));
    for (const gradients of [true, false]) {
      const textOf = (each: Graph): string => {
        const source = { graph: each, stated: each, files: [] };
        const program = compileToKernels(source, { sizes, lattice: 'f64', gradients });
        return `${printProgram(program)}\n${compileToLlvm(program, { vectorBits: 256 })}`;
      };
      expect(textOf(back(graph))).toBe(textOf(graph));
    }
  });
});

/** A random expression over a cell (t, u): every operation there is, and every number that JSON cannot write. */
function randomGraph(choices: readonly number[]): Graph {
  const b = new GraphBuilder();
  let at = 0;
  const choose = (count: number): number => (choices[at++ % choices.length] ?? 0) % count;
  const [T, U] = [sizeSymbol('T'), sizeSymbol('U')];
  const [t, u] = [b.index('t'), b.index('u')];
  const names = Object.keys(primitives) as PrimitiveName[];
  const numbers = [0, -0, 1.5, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, Number.NaN, 1e-310, -3];
  const int = (depth: number): Expr => {
    const kind = choose(depth > 0 ? 5 : 4);
    if (kind === 0) return t;
    if (kind === 1) return b.size('U');
    if (kind === 2) return b.int(choose(7) - 3);
    if (kind === 3) return b.param('$', 'int');
    return b.prim('add', int(depth - 1), int(depth - 1));
  };
  const bool = (depth: number): Expr => {
    const compared = b.compare(choose(2) ? 'lt' : 'ne', int(1), int(1));
    return depth > 0 && choose(2)
      ? b.logic(choose(2) ? 'and' : 'or', compared, b.logic('not', bool(depth - 1)))
      : compared;
  };
  const real = (depth: number, inner: Expr): Expr => {
    if (depth === 0) {
      const kind = choose(4);
      if (kind === 0) return b.real(numbers[choose(numbers.length)]!);
      if (kind === 1) return b.param('scale', 'real');
      if (kind === 2) return b.toReal(int(1));
      return b.read('$x', 'real', [int(1), inner]);
    }
    const kind = choose(4);
    if (kind === 0) return b.select(bool(1), real(depth - 1, inner), real(depth - 1, inner));
    if (kind === 1) {
      const v = b.index('v');
      return b.reduce(choose(2) ? 'sum' : 'logSumExp', v, addSize(scaleSize(U, 2), sizeConst(1)), real(depth - 1, v));
    }
    const name = names[choose(names.length)]!;
    return b.prim(name, ...Array.from({ length: primitives[name].arity }, () => real(depth - 1, inner)));
  };
  const body = real(4, u);
  return {
    name: 'random',
    doc: 'a "quoted" line \u2028',
    inputs: [{ name: '$x', element: 'f32', dims: [T, U] }],
    lengths: [{ size: 'T', argument: 'actLens' }],
    params: [
      { name: '$', type: 'int', default: 0, below: T },
      { name: 'scale', type: 'real', default: -0 },
    ],
    statics: { $$: [1, -0], $: 2 },
    fields: [
      { name: '$', kind: 'field', domain: [T, U], axes: [t, u], body, outside: numbers[choose(5)]!, type: 'real' },
    ],
    loss: b.read('$', 'real', [b.int(0), b.int(0)]),
    gradients: { $x: '$' },
    origins: b.origins,
    fieldOrigins: new Map(),
  };
}

test('random graphs come back the same: shared nodes shared, every number its bits', () => {
  const ops = new Set<string>();
  fc.assert(
    fc.property(fc.array(fc.nat(1000), { minLength: 8, maxLength: 60 }), (choices) => {
      const graph = randomGraph(choices);
      verifyGraph(graph);
      const again = back(graph);
      expectSame(graph, again);
      const nodes = (each: Graph): Expr[] => {
        const seen = new Set<Expr>();
        const visit = (expr: Expr): void => {
          if (seen.has(expr)) return;
          seen.add(expr);
          ops.add(expr.op);
          for (const operand of operands(expr)) visit(operand);
        };
        visit(each.fields[0]!.body);
        return [...seen];
      };
      expect(nodes(again)).toHaveLength(nodes(graph).length);
      for (const node of nodes(again)) expect(Object.isFrozen(node)).toBe(true);
    }),
    { numRuns: 300, seed: 11 },
  );
  expect([...ops].sort()).toEqual(
    ['compare', 'const', 'index', 'logic', 'param', 'prim', 'read', 'reduce', 'select', 'size', 'toReal'].sort(),
  );
});

test('what was not packed is refused', () => {
  const packed = packGraph(readSpec('specs/rnnt.ts').graph);
  const broken: PackedGraph[] = [
    { ...packed, exprs: packed.exprs.slice(0, -1) },
    { ...packed, exprs: [...packed.exprs].reverse() },
    { ...packed, exprs: [{ $: 'one' }] },
    { ...packed, graph: null },
    { exprs: [], graph: {} },
    {} as PackedGraph,
  ];
  for (const each of broken) expect(() => unpackGraph(each)).toThrow(/^internal error in graph: a packed graph has /);
});
