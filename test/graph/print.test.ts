/** Graphs as text: the text is a spec again, and means the same graph. */
import { readdirSync, readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { readSpec } from '../../compiler/frontend/index.js';
import { GraphBuilder } from '../../compiler/graph/build.js';
import type { Expr, Graph } from '../../compiler/graph/graph.js';
import { printGraph } from '../../compiler/graph/print.js';
import { sizeSymbol } from '../../compiler/graph/size.js';
import { verifyGraph } from '../../compiler/graph/verify.js';
import { readFiles } from '../frontend/scratch.js';

const specs = ['specs', 'test/specs']
  .flatMap((folder) => readdirSync(folder).map((file) => `${folder}/${file}`))
  .filter((file) => file.endsWith('.ts') && /export default defineLoss\(/.test(readFileSync(file, 'utf8')));

describe.each(specs)('%s', (file) => {
  test('is printed as a spec that is read as the same text', () => {
    const { graph } = readSpec(file);
    verifyGraph(graph);
    const text = printGraph(graph);
    expect(printGraph(readFiles({ 'spec.ts': text }).graph)).toBe(text);
    expect(printGraph(readSpec(file).graph)).toBe(text);
  });
});

/** A graph of one field over [T] and the loss, with the expression that `make` builds for a cell. */
function graphOf(make: (b: GraphBuilder, t: Expr) => Expr): Graph {
  const b = new GraphBuilder();
  const t = b.index('t');
  const T = sizeSymbol('T');
  const body = make(b, t);
  return {
    name: 'built',
    doc: '',
    inputs: [{ name: 'x', element: 'f32', dims: [T] }],
    lengths: [{ size: 'T', argument: 'actLens' }],
    params: [],
    statics: {},
    fields: [{ name: 'f', kind: 'field', domain: [T], axes: [t], body, outside: 0, type: 'real' }],
    loss: b.read('f', 'real', [b.int(0)]),
    gradients: { x: 'f' },
    origins: b.origins,
    fieldOrigins: new Map(),
  };
}

const cell = (make: (b: GraphBuilder, t: Expr, x: Expr) => Expr): string => {
  const graph = graphOf((b, t) => make(b, t, b.read('x', 'real', [t])));
  verifyGraph(graph);
  return /const f = field\(\[T\], \(t\) => (.*), \{ outside: 0 \}\);/.exec(printGraph(graph))![1]!;
};

describe('parentheses, as few as the tree needs', () => {
  test.each<[string, (b: GraphBuilder, t: Expr, x: Expr) => Expr]>([
    ['x(t) - (x(t) - x(t))', (b, _, x) => b.prim('sub', x, b.prim('sub', x, x))],
    ['x(t) - x(t) - x(t)', (b, _, x) => b.prim('sub', b.prim('sub', x, x), x)],
    ['(x(t) + x(t)) * x(t)', (b, _, x) => b.prim('mul', b.prim('add', x, x), x)],
    ['x(t) / (x(t) * x(t))', (b, _, x) => b.prim('div', x, b.prim('mul', x, x))],
    ['-(-x(t))', (b, _, x) => b.prim('neg', b.prim('neg', x))],
    ['-(x(t) + -1)', (b, _, x) => b.prim('neg', b.prim('add', x, b.real(-1)))],
    ['x(t) * -0', (b, _, x) => b.prim('mul', x, b.real(-0))],
    [
      '(x(t) < 0 ? 1 : 2) + x(t)',
      (b, _, x) => b.prim('add', b.select(b.compare('lt', x, b.real(0)), b.real(1), b.real(2)), x),
    ],
    [
      'min(x(t), 1, min(x(t), 2))',
      (b, _, x) => b.prim('min', b.prim('min', x, b.real(1)), b.prim('min', x, b.real(2))),
    ],
    ['exp(x(t + 1))', (b, t) => b.prim('exp', b.read('x', 'real', [b.prim('add', t, b.int(1))]))],
  ])('%s', (text, make) => expect(cell(make)).toBe(text));

  test('conditions', () => {
    const text = cell((b, t, x) => {
      const [p, q, r] = [b.compare('eq', t, b.int(0)), b.compare('lt', x, b.real(1)), b.compare('ge', x, b.real(2))];
      const test = b.logic('and', b.logic('or', p, q), b.logic('not', r));
      return b.select(b.logic('or', test, b.logic('and', p, r)), x, b.toReal(t));
    });
    expect(text).toBe('(t === 0 || x(t) < 1) && !(x(t) >= 2) || t === 0 && x(t) >= 2 ? x(t) : t');
  });
});

test('indices of one name are told apart', () => {
  const text = cell((b, _, x) => {
    const [i, j] = [b.index('t'), b.index('t')];
    const inner = b.reduce('sum', j, sizeSymbol('T'), b.prim('add', b.toReal(i), b.prim('add', b.toReal(j), x)));
    return b.reduce('max', i, sizeSymbol('T'), inner);
  });
  expect(text).toBe('maxOver(T, (t_2) => sum(T, (t_3) => t_2 + (t_3 + x(t))))');
});

test('what is shared a thousandfold is printed once', () => {
  const graph = graphOf((b, t) => {
    let value: Expr = b.read('x', 'real', [t]);
    for (let i = 0; i < 40; i++) value = b.prim('mul', b.prim('add', value, b.real(i)), b.prim('exp', value));
    const s = b.index('s');
    let inner: Expr = b.prim('add', b.read('x', 'real', [s]), value);
    for (let i = 0; i < 40; i++) inner = b.prim('mul', inner, b.prim('tanh', inner));
    return b.prim('add', value, b.reduce('sum', s, sizeSymbol('T'), inner));
  });
  verifyGraph(graph);
  const text = printGraph(graph);
  expect(text.length).toBeLessThan(10_000);
  expect(printGraph(readFiles({ 'spec.ts': text }).graph)).toBe(text);
});

test('names beside a lattice that its words have too', () => {
  const text = `import { arc as edge, defineLoss, f32, lattice } from 'trellis-jit/dsl';
export default defineLoss(
  { name: 'named', inputs: { logLik: f32('T'), gradient: f32('T'), arc: f32('T') }, params: { lattice: 1 } },
  ({ logLik, gradient, arc, T, lattice: factor }) =>
    lattice({
      nodes: [T],
      start: [0],
      end: [T],
      arcs: [
        edge({ step: [1], weight: (i) => logLik(i), final: true }),
        edge({ name: 'two', step: [2], weight: (i) => gradient(i) + arc(i), when: (i) => i > 0, scale: factor }),
      ],
      loss: (l) => -l * factor,
      gradient: (g) => g + factor,
    }),
);`;
  const { graph } = readFiles({ 'spec.ts': text });
  const printed = printGraph(graph);
  expect(printed.slice(printed.indexOf('return'))).toBe(`return lattice_2({
      nodes: [T],
      start: [0],
      end: [T],
      arcs: [
        arc_2({
          name: 'arc0',
          step: [1],
          weight: (i) => logLik(i),
          final: true,
        }),
        arc_2({
          name: 'two',
          step: [2],
          weight: (i) => gradient(i) + arc(i),
          when: (i) => i > 0,
          scale: lattice,
        }),
      ],
      loss: (logLik_2) => -logLik_2 * lattice,
      gradient: (gradient_2) => gradient_2 + lattice,
    });
  },
);
`);
  expect(printGraph(readFiles({ 'spec.ts': printed }).graph)).toBe(printed);
});

test('a name that hides a word of the vocabulary', () => {
  const graph = graphOf((b, t) => b.prim('exp', b.read('x', 'real', [t])));
  const field = { ...graph.fields[0]!, name: 'exp' };
  const loss = new GraphBuilder().real(1);
  const text = printGraph({ ...graph, fields: [field], loss, gradients: { x: 'exp' } });
  expect(text).toContain('exp as exp_2');
  expect(text).toContain('const exp = field([T], (t) => exp_2(x(t)), { outside: 0 });');
});
