/** Expressions times a power of two: what may be multiplied, where the factor goes, and that it changes nothing else. */
import { describe, expect, test } from 'vitest';
import { GraphBuilder } from '../../compiler/graph/build.js';
import { evaluateGraph } from '../../compiler/graph/evaluate.js';
import type { Expr, Graph } from '../../compiler/graph/graph.js';
import { SCALE, scaled } from '../../compiler/schedule/scaling.js';

const b = new GraphBuilder();
const [x, y] = [b.param('x', 'real'), b.param('y', 'real')];
const posterior = (of: Expr): Expr => b.prim('exp', b.prim('min', b.real(0), of));
const posteriors = b.prim('add', posterior(x), b.prim('mul', y, posterior(y)));
const isNone = b.compare('eq', posteriors, b.real(0));

function evaluated(expr: Expr, values: { x: number; y: number }): number {
  const param = (name: 'x' | 'y') => ({ name, type: 'real', default: 0 }) as Graph['params'][number];
  const graph: Graph = {
    name: 'scaled',
    doc: '',
    inputs: [],
    params: [param('x'), param('y')],
    lengths: [],
    fields: [],
    loss: expr,
    gradients: {},
    statics: {},
    origins: new Map(),
    fieldOrigins: new Map(),
  };
  return evaluateGraph(graph, { inputs: {}, sizes: {}, params: values }).loss;
}

const values = [-700, -3, 0, 2, Number.NEGATIVE_INFINITY, Number.POSITIVE_INFINITY, Number.NaN];

describe('what is made of posteriors is multiplied', () => {
  test.each<[string, Expr]>([
    ['one', posterior(x)],
    ['a sum', posteriors],
    ['a product', b.prim('mul', b.prim('exp', x), posterior(y))],
    ['a difference with a choice', b.prim('sub', b.select(isNone, b.real(0), posteriors), posterior(y))],
    ['a quotient', b.prim('div', posterior(x), b.prim('exp', y))],
    ['a clamp', b.prim('max', b.prim('neg', y), b.prim('min', y, posteriors))],
  ])('%s', (_, expr) => {
    const larger = scaled(expr, b)!;
    for (const at of values)
      for (const other of values) {
        const [before, after] = [expr, larger].map((each) => evaluated(each, { x: at, y: other })) as [number, number];
        const expected = before * SCALE;
        if (Number.isFinite(expected) && expected !== 0)
          expect(Math.abs(after / expected - 1), `${at}, ${other}`).toBeLessThan(1e-12);
        else expect(after, `${at}, ${other}`).toBe(expected);
      }
  });
});

test('a choice by whether there is a posterior is made by the larger one', () => {
  const larger = scaled(b.select(isNone, b.real(0), posteriors), b)!;
  expect(larger).toBe(b.select(b.compare('eq', scaled(posteriors, b)!, b.real(0)), b.real(0), scaled(posteriors, b)!));
});

test('what may be of any size is left alone', () => {
  const any = b.read('stored', 'real', []);
  for (const expr of [b.prim('exp', x), b.prim('exp', b.prim('min', y, x)), any, x, b.prim('add', posterior(x), any)])
    expect(scaled(expr, b)).toBeUndefined();
  expect(scaled(b.prim('mul', any, posterior(x)), b)).toBe(b.prim('mul', scaled(posterior(x), b)!, any));
});
