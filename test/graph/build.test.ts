/** What is folded while expressions are built. */
import { expect, test } from 'vitest';
import { GraphBuilder } from '../../compiler/graph/build.js';

test('a multiple and constants, divided and rounded down: the constants count together', () => {
  const b = new GraphBuilder();
  const i = b.index('i');
  const twice = b.prim('mul', b.int(2), i);
  const plus = (by: number, ...more: number[]) =>
    more.reduce(
      (sum, each) => b.prim(each < 0 ? 'sub' : 'add', sum, b.int(Math.abs(each))),
      b.prim('add', twice, b.int(by)),
    );
  const half = (expr: typeof twice) => b.prim('floorDiv', expr, b.int(2));
  expect(half(twice)).toBe(i);
  expect(half(plus(1))).toBe(i);
  expect(half(plus(1, 1))).toBe(b.prim('add', i, b.int(1)));
  expect(half(plus(1, -1))).toBe(i);
  expect(half(plus(3, -4))).toBe(b.prim('add', i, b.int(-1)));
  // Not of a multiple: left to be computed.
  expect(half(b.prim('mul', b.int(3), i)).op).toBe('prim');
});
