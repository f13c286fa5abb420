/** Each broken invariant of a graph is found. */
import { describe, expect, test } from 'vitest';
import { readSpec } from '../../compiler/frontend/index.js';
import { GraphBuilder } from '../../compiler/graph/build.js';
import type { FieldDecl, Graph } from '../../compiler/graph/graph.js';
import { addSize, sizeConst, sizeSymbol } from '../../compiler/graph/size.js';
import { verifyGraph } from '../../compiler/graph/verify.js';
import { CompilerBug } from '../../compiler/source.js';

const { graph } = readSpec('specs/rnnt.ts');
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
