import { describe, expect, test } from 'vitest';
import { defineLoss, evalDim, f32, field, i32, parseDim } from '../../dsl/index.js';

describe('dimensions', () => {
  test.each([
    ['T', { constant: 0, terms: { T: 1 } }],
    ['U+1', { constant: 1, terms: { U: 1 } }],
    [' 2 * U + 1 ', { constant: 1, terms: { U: 2 } }],
    ['U*2-3', { constant: -3, terms: { U: 2 } }],
    ['-U+T', { constant: 0, terms: { T: 1, U: -1 } }],
    ['V - V + 4', { constant: 4, terms: {} }],
    ['2*3', { constant: 6, terms: {} }],
    ['12', { constant: 12, terms: {} }],
  ])('%s', (text, dim) => {
    expect(parseDim(text)).toEqual(dim);
  });

  test.each([
    ['', 'an integer or a size name is missing at the end'],
    ['U+', 'an integer or a size name is missing at the end'],
    ['U 1', "expected '+' or '-' but found \"1\" at position 3"],
    ['T*U', 'T * U multiplies two sizes'],
    ['2*', 'an integer or a size name after * is missing at the end'],
    ['U++1', 'expected an integer or a size name but found "+" at position 3'],
    ['U / 2', 'unexpected "/" at position 3'],
    ['U+1.5', 'unexpected "." at position 4'],
    ['2U', "expected '+' or '-' but found \"U\" at position 2"],
    ['99999999999999999999', 'the integer 99999999999999999999 is too large'],
  ])('%j is refused', (text, problem) => {
    expect(() => parseDim(text)).toThrow(`dimension ${JSON.stringify(text)}: ${problem}; allowed are`);
  });

  test('have a value once sizes have one', () => {
    expect(evalDim(parseDim('2*U+T-1'), { U: 3, T: 5 })).toBe(10);
    expect(() => evalDim(parseDim('U'), { T: 5 })).toThrow('size U has no value; sizes given: T');
  });
});

describe('headers', () => {
  const body = () => ({ loss: 0, gradients: {} });

  test('defaults: lengths of T and U where they occur, no doc, no parameters', () => {
    const loss = defineLoss({ name: 'a', inputs: { x: f32('U+1', 'V') } }, body);
    expect(loss).toMatchObject({ name: 'a', doc: '', lengths: { U: 'labelLens' }, params: {}, statics: {} });
    const other = defineLoss({ name: 'a', inputs: { x: f32('S', 'V') }, lengths: { S: 'frames' } }, body);
    expect(other.lengths).toEqual({ S: 'frames' });
  });

  test('inputs keep their dimensions and what they exclude', () => {
    expect(f32('T', 'U+1', 'V')).toEqual({ element: 'f32', dims: ['T', 'U+1', 'V'] });
    expect(i32('U', { not: 'blank' })).toEqual({ element: 'i32', dims: ['U'], not: 'blank' });
  });

  test('mistakes are named', () => {
    expect(() => f32('T', 'U^2')).toThrow('dimension "U^2": unexpected "^" at position 2');
    expect(() => defineLoss({ name: '', inputs: { x: f32('T') } }, body)).toThrow('name must be a text');
    expect(() => defineLoss({ name: 'a', inputs: { x: f32('T') }, params: { x: 0 } }, body)).toThrow(
      'defineLoss("a"): x is both an input and a parameter',
    );
    expect(() => defineLoss({ name: 'a', inputs: { T: f32('T') } }, body)).toThrow('T is both an input and a size');
    expect(() => defineLoss({ name: 'a', inputs: { 'x-y': f32('T') } }, body)).toThrow('names are identifiers');
    expect(() => defineLoss({ name: 'a', inputs: { x: f32('T') }, statics: { d: [1, Number.NaN] } }, body)).toThrow(
      'static d is 1,NaN; it must be finite numbers',
    );
    const labels = i32('U', { not: 'blank' as string });
    expect(() => defineLoss({ name: 'a', inputs: { labels }, params: { blonk: 0 } }, body)).toThrow(
      'input labels excludes the value of "blank", which is not a parameter',
    );
  });

  test('a definition runs with the copy of the language it was made by', async () => {
    const { vi } = await import('vitest');
    vi.resetModules();
    const copy = await import('../../dsl/index.js');
    expect(copy.field).not.toBe(field);
    const loss = defineLoss({ name: 'a', inputs: { x: f32('T') } }, ({ x, T }) => {
      const twice = field([T], (t) => 2 * x(t));
      return { loss: twice(0), gradients: { x: twice } };
    });
    const result = copy.evaluateReference(loss, { inputs: { x: { data: [3, 4] } }, sizes: { T: 2 } });
    expect(result.loss).toBe(6);
    expect([...(result.gradients.x ?? [])]).toEqual([6, 8]);
  });
});
