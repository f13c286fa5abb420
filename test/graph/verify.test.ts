/** Each broken invariant of a graph is found. */
import { describe, expect, test } from 'vitest';
import { readSpec } from '../../compiler/frontend/index.js';
import { GraphBuilder } from '../../compiler/graph/build.js';
import type { ArcDecl, FieldDecl, Graph, LatticeDecl } from '../../compiler/graph/graph.js';
import { addSize, sizeConst, sizeSymbol } from '../../compiler/graph/size.js';
import { verifyGraph } from '../../compiler/graph/verify.js';
import { CompilerBug } from '../../compiler/source.js';

const { graph } = readSpec('specs/rnnt-equations.ts');
const T = sizeSymbol('T');

function withField(make: (b: GraphBuilder) => Partial<FieldDecl>): Graph {
  const b = new GraphBuilder();
  const t = b.index('t');
  const field: FieldDecl = {
    name: 'f',
    kind: 'field',
    domain: [T],
    axes: [t],
    body: b.real(0),
    outside: 0,
    type: 'real',
    ...make(b),
  };
  return { ...graph, fields: [field], loss: b.real(0), gradients: {} };
}
const b = new GraphBuilder();

test('a good graph passes', () => verifyGraph(graph));

describe('broken graphs', () => {
  test.each<[string, Graph]>([
    ['f has 1 axes and 2 sizes', withField(() => ({ domain: [T, T] }))],
    ['the body of f is int', withField((b) => ({ body: b.int(1) }))],
    ['the outside value of f is NaN', withField(() => ({ outside: Number.NaN }))],
    ['unknown size W', withField(() => ({ domain: [sizeSymbol('W')] }))],
    ['the constant 0.5', withField(() => ({ domain: [addSize(T, sizeConst(0.5))] }))],
    ['unknown size W', withField((b) => ({ body: b.toReal(b.size('W')) }))],
    ['index s is not bound', withField((b) => ({ body: b.toReal(b.index('s')) }))],
    ['unknown source nothing', withField((b) => ({ body: b.read('nothing', 'real', []) }))],
    ['read of labels is real', withField((b) => ({ body: b.read('labels', 'real', [b.int(0)]) }))],
    [
      'labels is read with 2 indices',
      withField((b) => ({ body: b.toReal(b.read('labels', 'int', [b.int(0), b.int(0)])) })),
    ],
    ['int parameter clamp is declared real', withField((b) => ({ body: b.toReal(b.param('clamp', 'int')) }))],
    ['f depends on itself', withField((b) => ({ body: b.read('f', 'real', [b.int(0)]) }))],
    ['two inputs or fields are called acts', withField(() => ({ name: 'acts' }))],
    [
      'index i is bound twice',
      withField((b) => {
        const i = b.index('i');
        return { body: b.reduce('sum', i, T, b.reduce('sum', i, T, b.toReal(i))) };
      }),
    ],
    ['the loss is int', { ...graph, loss: b.int(1) }],
    ['a gradient for labels, which is not a real input', { ...graph, gradients: { labels: 'grad' } }],
    ['the gradient of acts is nothing', { ...graph, gradients: { acts: 'nothing' } }],
    ['the gradient of acts is over [T, U + 1]', { ...graph, gradients: { acts: 'alpha' } }],
    ['length W', { ...graph, lengths: [{ size: 'W', argument: 'w' }] }],
    [
      'the default of int blank is 0.5',
      { ...graph, params: graph.params.map((p) => (p.name === 'blank' ? { ...p, default: 0.5 } : p)) },
    ],
    [
      'labels excludes clamp',
      { ...graph, inputs: graph.inputs.map((i) => (i.name === 'labels' ? { ...i, not: 'clamp' } : i)) },
    ],
    [
      'two expressions have the id',
      { ...graph, loss: { op: 'const', type: 'real', value: 123, id: graph.loss.id === 0 ? 1 : 0 } },
    ],
  ])('%s', (problem, broken) => {
    expect(() => verifyGraph(broken)).toThrow(CompilerBug);
    expect(() => verifyGraph(broken)).toThrow(problem);
  });
});

describe('lattices', () => {
  const stated = readSpec('specs/rnnt.ts').graph;
  const lattice = stated.lattice!;
  const [stay, emit] = lattice.arcs as [ArcDecl, ArcDecl];
  const broken = (change: Partial<LatticeDecl>): Graph => {
    const changed = { ...lattice, ...change };
    return { ...stated, lattice: changed, loss: changed.loss };
  };
  const arcs = (change: Partial<ArcDecl>): Graph => broken({ arcs: [stay, { ...emit, ...change }] });
  const c = new GraphBuilder();
  // Ids that the graph does not have yet.
  for (let i = 0; i < 1000; i++) c.int(i);

  test('a good one passes', () => verifyGraph(stated));
  test.each<[string, Graph]>([
    ['the lattice has no axis', broken({ axes: [], nodes: [] })],
    ['the lattice has 1 axes and 2 sizes', broken({ axes: lattice.axes.slice(1) })],
    ['the axis t of the lattice is bound twice', broken({ axes: [lattice.axes[0]!, lattice.axes[0]!] })],
    ['unknown size W', broken({ nodes: [T, sizeSymbol('W')] })],
    ['the start of the lattice has 1 indices, and its nodes 2', broken({ start: [c.int(0)] })],
    ['the end of the lattice is real, not int', broken({ end: [c.real(0), c.int(0)] })],
    ['index t is not bound', broken({ end: lattice.axes })],
    ['the lattice has no arcs', broken({ arcs: [] })],
    ['two arcs are called stay', arcs({ name: 'stay' })],
    ['the step of arc emit has 1 indices, and nodes 2', arcs({ step: [1] })],
    ['the step of arc emit is [0.5, 1]', arcs({ step: [0.5, 1] })],
    ['the step of arc emit leads nowhere', arcs({ step: [0, 0] })],
    ['the weight of arc emit is int, not real', arcs({ weight: c.int(0) })],
    ['the condition of arc emit is real, not bool', arcs({ when: c.real(0) })],
    ['the scale of arc emit is int, not real', arcs({ scale: c.int(1) })],
    ['index t is not bound', arcs({ scale: emit.weight })],
    ['unknown source gradient', broken({ loss: c.read('gradient', 'real', []) })],
    ['unknown source logLik', broken({ gradient: c.read('logLik', 'real', []) })],
    ['unknown source logLik', arcs({ weight: c.read('logLik', 'real', []) })],
    ['the loss of the graph is not that of its lattice', { ...stated, loss: c.real(0) }],
    ['a graph has gradients beside a lattice', { ...stated, gradients: { acts: 'logZ' } }],
  ])('%s', (message, bad) => {
    expect(() => verifyGraph(bad)).toThrow(CompilerBug);
    expect(() => verifyGraph(bad)).toThrow(message);
  });
});
