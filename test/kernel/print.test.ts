import { describe, expect, test } from 'vitest';
import type { KExpr } from '../../compiler/kernel/kernel.js';
import { printExpr, printProgram } from '../../compiler/kernel/print.js';
import * as k from './helpers.js';
import { diagonal, prefixes, softmax } from './programs.js';

const { i, v, f64, f32 } = k;
const r = (name: string) => v(name, 'f64');
const p = (name: Parameters<typeof k.prim>[1], ...args: KExpr[]) => k.prim('f64', name, ...args);

describe('printProgram', () => {
  test('steps, lanes and masked loads of a skewed recurrence', () => {
    expect(printProgram(diagonal())).toBe(`program example

scalars
  B  index  size
  U  index  size

buffers
  input    lens   i32  [B]        lens[b]
  scratch  paths  f64  [B, 2, U]  paths[b][(t + u) mod 2][u]
  output   count  f64  [B]        count[b]

phase 1

kernel paths  (grid b in 0..B)
  // paths(t, u) = paths(t - 1, u) + paths(t, u - 1)
  let T = lens[b]
  steps n in 0..T + U - 1
    lanes u in max(0, n - T + 1)..min(n, U - 1) + 1  f64
      let fromLeft = paths[(b * 2 + (n + 2 - 1) % 2) * U + u] where u < n else 0.0
      let fromBelow = paths[(b * 2 + (n + 2 - 1) % 2) * U + u - 1] where u > 0 else 0.0
      let seed = f64(n == 0 ? 1 : 0)
      paths[(b * 2 + n % 2) * U + u] = seed + (fromLeft + fromBelow)
  count[b] = paths[(b * 2 + (T + U - 2) % 2) * U + U - 1]
`);
  });

  test('reductions, comments, streamed stores and a phase of two kernels', () => {
    expect(printProgram(softmax())).toContain(`kernel softmax  (grid b in 0..B)
  // out(v) = softmax(x)(v)
  lanes m in 0..V  f32
    reduce high: f32 = max of x[b * V + m]
  lanes s in 0..V  f32
    let e = exp(x[b * V + s] - high)
    reduce total: f32 = sum of e
  // out(v) = exp(x(v) - high) / total
  lanes v in 0..V  f32
    stream out[b * V + v] = exp(x[b * V + v] - high) / total
`);
    const two = printProgram(prefixes());
    expect(two).toContain('phase 1 (2 kernels, independent of each other)\n\nkernel forward  (grid b in 0..B)\n');
    expect(two).toContain('\n  steps t in 0..T  reverse\n');
  });

  test('if and else, no grid, a scalar that shares its name with a loop variable', () => {
    const body = [
      k.when(k.yes, [k.comment('then')], [k.comment('otherwise')]),
      k.serial('B', k.to(k.size('B')), [k.store('y', v('B'), f64(1))]),
    ];
    expect(printProgram(k.program(k.sizes('B'), [], [k.kernel('only', {}, body)]))).toBe(`program example

scalars
  B  index  size

phase 1

kernel only  (one cell)
  if true
    // then
  else
    // otherwise
  serial B in 0..scalar.B
    y[B] = 1.0
`);
  });

  test('an expression too long for a line is broken at its outermost operators and calls', () => {
    const long = (name: string) => p('add', r(`${name}OfTheFirstOperand`), r(`${name}OfTheSecondOperand`));
    const value = p('logAddExp', p('logAddExp', long('x'), long('y')), p('mul', long('z'), long('w')));
    const text = printProgram(k.program([], [], [k.kernel('wide', {}, [k.let_('a', value)])]));
    expect(text.split('phase 1\n\n')[1]).toBe(`kernel wide  (one cell)
  let a = logAddExp(
      logAddExp(xOfTheFirstOperand + xOfTheSecondOperand, yOfTheFirstOperand + yOfTheSecondOperand),
      (zOfTheFirstOperand + zOfTheSecondOperand) * (wOfTheFirstOperand + wOfTheSecondOperand))
`);
    const names = Array.from({ length: 12 }, (_, index) => k.compare('lt', v(`indexNumber${index}`), i(index)));
    const wide = k.select(
      k.logic('and', ...names),
      p('sub', long('x'), r('y')),
      k.load('table', 'f64', i(0), names[0], 2),
    );
    expect(
      printProgram(k.program([], [], [k.kernel('wide', {}, [k.let_('a', p('neg', wide)), k.let_('b', wide)])])).split(
        'cell)\n',
      )[1],
    ).toMatchInlineSnapshot(`
      "  let a = -(indexNumber0 < 0
            && indexNumber1 < 1
            && indexNumber2 < 2
            && indexNumber3 < 3
            && indexNumber4 < 4
            && indexNumber5 < 5
            && indexNumber6 < 6
            && indexNumber7 < 7
            && indexNumber8 < 8
            && indexNumber9 < 9
            && indexNumber10 < 10
            && indexNumber11 < 11
            ? xOfTheFirstOperand + xOfTheSecondOperand - y
            : table[0] where indexNumber0 < 0 else 2.0)
        let b = indexNumber0 < 0
            && indexNumber1 < 1
            && indexNumber2 < 2
            && indexNumber3 < 3
            && indexNumber4 < 4
            && indexNumber5 < 5
            && indexNumber6 < 6
            && indexNumber7 < 7
            && indexNumber8 < 8
            && indexNumber9 < 9
            && indexNumber10 < 10
            && indexNumber11 < 11
            ? xOfTheFirstOperand + xOfTheSecondOperand - y
            : table[0] where indexNumber0 < 0 else 2.0
      "
    `);
  });
});

describe('printExpr', () => {
  const cases: [KExpr, string][] = [
    [k.mul(k.add(v('a'), v('b')), v('c')), '(a + b) * c'],
    [k.add(v('a'), k.add(v('b'), v('c'))), 'a + b + c'],
    [k.sub(v('a'), k.add(v('b'), v('c'))), 'a - (b + c)'],
    [k.add(v('a'), i(-1)), 'a - 1'],
    [k.mul(v('a'), k.div(v('b'), v('c'))), 'a * (b / c)'],
    [k.mul(v('a'), k.mul(v('b'), v('c'))), 'a * b * c'],
    [k.mod(k.mul(v('a'), v('b')), v('c')), 'a * b % c'],
    [p('add', r('a'), p('add', r('b'), r('c'))), 'a + (b + c)'],
    [p('add', p('add', r('a'), r('b')), r('c')), 'a + b + c'],
    [p('div', r('a'), p('mul', r('b'), r('c'))), 'a / (b * c)'],
    [p('neg', p('add', r('a'), r('b'))), '-(a + b)'],
    [p('neg', p('neg', r('a'))), '-(-a)'],
    [p('sub', r('a'), f64(-1)), 'a - -1.0'],
    [p('max', r('a'), f64(Number.NEGATIVE_INFINITY)), 'max(a, -inf)'],
    [f32(Number.NEGATIVE_INFINITY), 'f32(-inf)'],
    [f32(0.5), '0.5f'],
    [f64(1e-30), '1e-30'],
    [f64(-0), '-0.0'],
    [i(3), '3'],
    [k.logic('not', k.compare('eq', v('a'), i(1))), '!(a == 1)'],
    [k.logic('or', k.logic('and', v('x', 'bool'), v('y', 'bool')), v('z', 'bool')), 'x && y || z'],
    [k.logic('and', k.logic('or', v('x', 'bool'), v('y', 'bool')), v('z', 'bool')), '(x || y) && z'],
    [
      k.select(k.compare('ne', v('a'), i(1)), k.select(k.yes, i(1), i(2)), k.select(k.yes, i(3), i(4))),
      'a != 1 ? (true ? 1 : 2) : true ? 3 : 4',
    ],
    [p('add', k.load('x', 'f64', i(1), k.yes, 2), r('a')), '(x[1] where true else 2.0) + a'],
    [k.cast('f32', p('add', r('a'), r('b'))), 'f32(a + b)'],
  ];
  test.each(cases.map(([expr, text]) => ({ expr, text })))('$text', ({ expr, text }) => {
    expect(printExpr(expr)).toBe(text);
  });
});
