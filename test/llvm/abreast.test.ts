/** Short rows, whose reductions are combined four at a time: which loops are, and that a row comes to the same wherever it stands. */
import { describe, expect, test } from 'vitest';
import type { KExpr, Kernel, KernelProgram, KReduce, KStmt, LocalDecl } from '../../compiler/kernel/kernel.js';
import { verifyProgram } from '../../compiler/kernel/verify.js';
import { findAbreast } from '../../compiler/llvm/abreast.js';
import * as k from '../kernel/helpers.js';
import { describeLlvm } from '../lanes.js';
import { check } from './against.js';
import { compileNative, widths } from './run.js';

const { v, i, size, add, mul } = k;
type Real = 'f32' | 'f64';
const MOST = 16;
const n = size('n');
const reals = (type: Real, length: number, at: (index: number) => number) =>
  type === 'f32' ? Float32Array.from({ length }, (_, j) => at(j)) : Float64Array.from({ length }, (_, j) => at(j));

const ops = ['sum', 'max', 'min', 'max past NaN', 'min past NaN'] as const;
const reductions = (type: Real, value: KExpr): KReduce[] =>
  ops.map((name) => {
    const [op] = name.split(' ') as ['sum' | 'max' | 'min'];
    return { name, op, type, value, ...(name !== op && { passesNaN: true }) };
  });

/** A loop over rows u of V elements of x; what it stores to locals a, b, ... is copied to y[u][local]. */
function rowsOf(
  type: Real,
  V: number,
  locals: readonly string[],
  body: KStmt[],
  before: KStmt[] = [],
  at: (u: KExpr) => KExpr = (u) => u,
): { program: KernelProgram; kernel: Kernel } {
  const copies = locals.map((name, place) =>
    k.store('y', add(mul(v('out'), i(locals.length)), i(place)), k.load(name, type, at(v('out')))),
  );
  const kernel: Kernel = {
    ...k.kernel('main', { one: i(1) }, [...before, k.serial('u', k.to(n), body), k.serial('out', k.to(n), copies)]),
    locals: locals.map((name): LocalDecl => ({ name, element: type, extent: 8 * MOST })),
  };
  const buffers = [k.buffer('input', 'x', type, n, i(V)), k.buffer('output', 'y', type, n, i(locals.length))];
  const program = k.program(k.sizes('n'), buffers, [kernel]);
  verifyProgram(program);
  return { program, kernel };
}
const row = (type: Real, V: number, j: string) => k.load('x', type, add(mul(v('u'), i(V)), v(j)));
const reduced = (type: Real, V: number, more: Parameters<typeof k.lanes>[3] = {}) =>
  k.lanes('j', k.to(i(V)), [], { precision: type, reduce: [k.sum('total', type, row(type, V, 'j'))], ...more });
const stored = (type: Real, local = 'a', index: KExpr = v('u')) => k.store(local, index, v('total', type));

/** Every reduction of every row. */
const all = (type: Real, V: number, precision = type) =>
  rowsOf(
    type,
    V,
    [...ops],
    [
      k.lanes('j', k.to(i(V)), [k.let_('x_j', row(type, V, 'j'))], {
        precision,
        reduce: reductions(type, v('x_j', type)),
      }),
      ...ops.map((name) => k.store(name, v('u'), v(name, type))),
    ],
  );

/** What a softmax needs of a row: two sweeps, the second with what the first comes to. Stored eight apart. */
const softmax = (type: Real, V: number) => {
  const eighth = (u: KExpr) => add(mul(u, i(8)), i(7));
  const body = [
    k.comment('two sweeps'),
    k.lanes('j', k.to(i(V)), [], {
      precision: type,
      reduce: [{ name: 'top', op: 'max', type, value: row(type, V, 'j') }],
    }),
    k.let_('twice', k.prim(type, 'add', v('top', type), v('top', type))),
    k.store('a', eighth(v('u')), v('twice', type)),
    k.lanes('l', k.to(i(V)), [{ kind: 'prefetch', buffer: 'x', index: add(mul(v('u'), i(V)), v('l')) }], {
      precision: type,
      reduce: [k.sum('total', type, k.prim(type, 'exp', k.prim(type, 'sub', row(type, V, 'l'), v('top', type))))],
    }),
    k.store('b', eighth(v('u')), v('total', type)),
  ];
  return rowsOf(type, V, ['a', 'b'], body, [], eighth);
};

describe('rows are taken abreast', () => {
  const found = ({ kernel }: { kernel: Kernel }) =>
    [...findAbreast(kernel)].map(({ variable }) => variable).join() === 'u';
  const V = 28;
  const body = (...more: KStmt[]) => [reduced('f32', V), stored('f32'), ...more];
  const plain = rowsOf('f32', V, ['a'], body());

  test('where they do not depend on each other', () => {
    expect(found(plain)).toBe(true);
    expect(found(all('f32', V))).toBe(true);
    expect(found(softmax('f32', V))).toBe(true);
  });

  test('where they read what was stored before the loop', () => {
    const before = [k.serial('s', k.to(n), [k.store('b', v('s'), k.f32(1))])];
    const reading = [k.let_('shift', k.load('b', 'f32', v('u'))), ...body()];
    expect(found(rowsOf('f32', V, ['a', 'b'], reading, before))).toBe(true);
  });

  test('in branches and in loops that are not abreast themselves', () => {
    const [rows] = plain.kernel.body as [KStmt];
    const branch = k.when(k.compare('gt', n, i(0)), [], [k.steps('s', k.to(n), [rows])]);
    expect(found({ kernel: { ...plain.kernel, body: [branch] } })).toBe(true);
  });

  test('but not rows of float64', () => {
    expect(found(all('f64', V))).toBe(false);
  });

  test('nor in lanes', () => {
    const [rows] = plain.kernel.body as [KStmt];
    const kernel = { ...plain.kernel, body: [k.lanes('w', k.to(n), [rows])] };
    expect(found({ kernel })).toBe(false);
  });

  const loop = plain.kernel.body[0]!;
  const other = (more: object): Kernel => ({ ...plain.kernel, body: [{ ...loop, ...more } as KStmt] });
  const last = k.load('a', 'f32', v('u'));
  test.each<[string, Kernel]>([
    ['reads what the one before stored', rowsOf('f32', V, ['a'], [k.let_('before', last), ...body()]).kernel],
    [
      'reads it in its lanes',
      rowsOf('f32', V, ['a'], [reduced('f32', V, { body: [k.let_('q', last)] }), stored('f32')]).kernel,
    ],
    [
      'reduces it',
      rowsOf('f32', V, ['a'], [reduced('f32', V, { reduce: [k.sum('total', 'f32', last)] }), stored('f32')]).kernel,
    ],
    ['stores it on', rowsOf('f32', V, ['a', 'b'], body(k.store('b', v('u'), last))).kernel],
    ['stores twice to one local', rowsOf('f32', V, ['a'], body(stored('f32', 'a', add(v('u'), i(1))))).kernel],
    ['stores to a buffer', rowsOf('f32', V, ['a'], body(stored('f32', 'y'))).kernel],
    ['stores in its lanes', other({ body: [reduced('f32', V, { body: [k.store('a', v('j'), k.f32(0))] })] })],
    ['branches', other({ body: body(k.when(k.compare('gt', n, i(1)), [])) })],
    ['has no row', other({ body: [k.store('a', v('u'), k.f32(0))] })],
    ['has a row that reduces nothing', other({ body: [reduced('f32', V, { reduce: [] })] })],
    ['has a long row', other({ body: [reduced('f32', 1000), stored('f32')] })],
    ['has a long row beside a short one', other({ body: [...body(), reduced('f32', 1000)] })],
    ['has a row of any length', other({ body: [reduced('f32', V, { to: n }), stored('f32')] })],
    ['has a loop of its own', other({ body: body(k.serial('s', k.to(n), [])) })],
    ['is in reverse', other({ reverse: true })],
    ['is one of steps', other({ mode: 'steps' })],
    ['reduces rows', other({ reduce: [k.sum('rows', 'f32', v('total', 'f32'))] })],
  ])('but not where an iteration %s', (_, kernel) => {
    expect(found({ kernel })).toBe(false);
  });
});

describeLlvm.each(widths)('vectors of %i bits', (vectorBits) => {
  /** Small integers with both signs, so that sums are exact in any order. */
  const mixed = (index: number) => ((index * 37) % 23) - 11;
  const counts = Array.from({ length: 10 }, (_, count) => count);
  const extents = [1, 3, 4, 15, 16, 28, 50, 64];

  test.each([
    ['f32', 'f32'],
    ['f64', 'f64'],
    ['f64', 'f32'],
  ] as const)('reductions of any number of rows of %s, in lanes for %s', (type, precision) => {
    for (const V of extents) {
      const { program } = all(type, V, precision);
      for (const count of counts) {
        const x = reals(type, count * V, mixed);
        check(
          { program, buffers: { x, y: reals(type, count * ops.length, () => 0) }, scalars: { n: count } },
          { vectorBits },
        );
      }
    }
  });

  test.each(['f32', 'f64'] as const)('a row of %s that is not finite is so by itself', (type) => {
    for (const V of [3, 28, 50]) {
      const { program } = all(type, V);
      for (const special of [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY])
        for (const at of [0, 1, 2, 3, 6]) {
          for (const where of ['first', 'last', 'all']) {
            const among = (j: number) => where === 'all' || j === (where === 'first' ? 0 : V - 1);
            const x = reals(type, 7 * V, (j) => (Math.floor(j / V) === at && among(j % V) ? special : mixed(j)));
            check(
              { program, buffers: { x, y: reals(type, 7 * ops.length, () => 0) }, scalars: { n: 7 } },
              { vectorBits },
            );
          }
        }
    }
  });

  test.each(['f32', 'f64'] as const)('two sweeps over rows of %s, stored apart', (type) => {
    for (const V of extents) {
      for (const count of [3, 4, 9]) {
        const x = reals(type, count * V, (j) => Math.sin(j * 12.9898) * 5);
        const buffers = { x, y: reals(type, count * 2, () => 0) };
        check({ program: softmax(type, V).program, buffers, scalars: { n: count } }, { vectorBits, tolerance: 1e-5 });
      }
    }
  });

  test.each(['f32', 'f64'] as const)('a row of %s comes to the same bits alone and in every place', (type) => {
    for (const V of extents) {
      for (const { program } of [all(type, V), softmax(type, V)]) {
        const kinds = program.phases[0]![0]!.locals!.length;
        const native = compileNative(program, vectorBits);
        const run = (count: number, x: Float32Array | Float64Array): number[] => {
          const y = reals(type, count * kinds, () => 0);
          const buffers = { x, y };
          native.bind(new Map(Object.entries(buffers)), new Map([['n', count]]))('main', 0, 1);
          return [...y];
        };
        // Of sizes so different that every order of additions rounds in its own way.
        const x = reals(type, 9 * V, (j) => Math.sin(j * 78.233) * 2 ** ((j * 29) % 19));
        const alone = counts.slice(0, 9).flatMap((u) => run(1, x.slice(u * V, (u + 1) * V)));
        for (const count of counts) expect(run(count, x)).toEqual(alone.slice(0, count * kinds));
      }
    }
  });

  test('rows that depend on each other are done in order', () => {
    const V = 28;
    const sum = k.prim('f64', 'add', v('total', 'f64'), v('before', 'f64'));
    const body = [
      k.let_('before', k.load('a', 'f64', v('u'))),
      reduced('f64', V),
      k.store('a', add(v('u'), i(1)), sum),
    ];
    const { program } = rowsOf('f64', V, ['a'], body, [k.store('a', i(0), k.f64(0))]);
    const x = reals('f64', 9 * V, mixed);
    check({ program, buffers: { x, y: reals('f64', 9, () => 0) }, scalars: { n: 9 } }, { vectorBits });
  });
});
