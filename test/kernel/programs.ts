/** Correct hand-made programs that several tests use. */
import type { KExpr, KernelProgram } from '../../compiler/kernel/kernel.js';
import * as k from './helpers.js';

const { i, v, size, to } = k;
const at = (row: KExpr, width: KExpr, column: KExpr) => k.add(k.mul(row, width), column);

/** out(b, v) = softmax over v of x(b, v), each row a cell: maximum, sum, quotient. */
export function softmax(): KernelProgram {
  const here = at(v('b'), size('V'), v('v'));
  const x = (index: KExpr) => k.load('x', 'f32', index);
  const column = (name: string) => at(v('b'), size('V'), v(name));
  return k.program(
    k.sizes('B', 'V'),
    [k.buffer('input', 'x', 'f32', size('B'), size('V')), k.buffer('output', 'out', 'f32', size('B'), size('V'))],
    [
      k.kernel(
        'softmax',
        { b: size('B') },
        [
          k.lanes('m', to(size('V')), [], {
            precision: 'f32',
            reduce: [{ name: 'high', op: 'max', type: 'f32', value: x(column('m')) }],
          }),
          k.lanes(
            's',
            to(size('V')),
            [k.let_('e', k.prim('f32', 'exp', k.prim('f32', 'sub', x(column('s')), v('high', 'f32'))))],
            {
              precision: 'f32',
              reduce: [k.sum('total', 'f32', v('e', 'f32'))],
            },
          ),
          k.comment('out(v) = exp(x(v) - high) / total'),
          k.lanes(
            'v',
            to(size('V')),
            [
              {
                kind: 'store',
                buffer: 'out',
                index: here,
                value: k.prim(
                  'f32',
                  'div',
                  k.prim('f32', 'exp', k.prim('f32', 'sub', x(here), v('high', 'f32'))),
                  v('total', 'f32'),
                ),
                streaming: true,
              },
            ],
            { precision: 'f32' },
          ),
        ],
        ['out(v) = softmax(x)(v)'],
      ),
    ],
  );
}

/**
 * paths(t, u) = paths(t - 1, u) + paths(t, u - 1), paths(0, 0) = 1, over t < T[b], u < U: diagonals n = t + u, stored
 * skewed as [b][n mod 2][u]; the last cell of each b goes to `count`.
 */
export function diagonal(): KernelProgram {
  const [n, u] = [v('n'), v('u')];
  const U = size('U');
  const T = v('T');
  const cell = (step: KExpr, lane: KExpr) => k.add(k.mul(k.add(k.mul(v('b'), i(2)), k.mod(step, i(2))), U), lane);
  const before = k.sub(k.add(n, i(2)), i(1)); // n - 1, kept at or above 0 for mod
  const read = (lane: KExpr, mask: KExpr) => k.load('paths', 'f64', cell(before, lane), mask, 0);
  return k.program(
    k.sizes('B', 'U'),
    [
      k.buffer('input', 'lens', 'i32', size('B')),
      { ...k.buffer('scratch', 'paths', 'f64', size('B'), i(2), U), layout: 'paths[b][(t + u) mod 2][u]' },
      k.buffer('output', 'count', 'f64', size('B')),
    ],
    [
      k.kernel(
        'paths',
        { b: size('B') },
        [
          k.let_('T', k.load('lens', 'index', v('b'))),
          k.steps('n', to(k.sub(k.add(T, U), i(1))), [
            k.lanes(
              'u',
              [k.max(i(0), k.add(k.sub(n, T), i(1))), k.add(k.min(n, k.sub(U, i(1))), i(1))],
              [
                k.let_('fromLeft', read(u, k.compare('lt', u, n))),
                k.let_('fromBelow', read(k.sub(u, i(1)), k.compare('gt', u, i(0)))),
                k.let_('seed', k.cast('f64', k.select(k.compare('eq', n, i(0)), i(1), i(0)))),
                k.store(
                  'paths',
                  cell(n, u),
                  k.prim(
                    'f64',
                    'add',
                    v('seed', 'f64'),
                    k.prim('f64', 'add', v('fromLeft', 'f64'), v('fromBelow', 'f64')),
                  ),
                ),
              ],
            ),
          ]),
          k.store('count', v('b'), k.load('paths', 'f64', cell(k.sub(k.add(T, U), i(2)), k.sub(U, i(1))))),
        ],
        ['paths(t, u) = paths(t - 1, u) + paths(t, u - 1)'],
      ),
    ],
  );
}

/** out(b, t) = sum of x(b, 0..t), by steps; back(b, t) = sum of x(b, t..T), by reversed steps, in the same phase. */
export function prefixes(): KernelProgram {
  const T = size('T');
  const here = at(v('b'), T, v('t'));
  const step = (name: string, previous: KExpr, inside: KExpr) => [
    k.let_('before', k.load(name, 'f64', previous, inside)),
    k.store(name, here, k.prim('f64', 'add', v('before', 'f64'), k.cast('f64', k.load('x', 'f32', here)))),
  ];
  return k.program(
    k.sizes('B', 'T'),
    [
      k.buffer('input', 'x', 'f32', size('B'), T),
      k.buffer('output', 'out', 'f64', size('B'), T),
      k.buffer('output', 'back', 'f64', size('B'), T),
    ],
    [
      k.kernel('forward', { b: size('B') }, [
        k.steps('t', to(T), step('out', k.sub(here, i(1)), k.compare('gt', v('t'), i(0)))),
      ]),
      k.kernel('backward', { b: size('B') }, [
        k.steps('t', to(T), step('back', k.add(here, i(1)), k.compare('lt', v('t'), k.sub(T, i(1)))), {
          reverse: true,
        }),
      ]),
    ],
  );
}
