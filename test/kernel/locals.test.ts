/** What only kernels for the CPU hold: memory of a cell's own, hints to fetch, maxima that pass over NaN. */
import { describe, expect, test } from 'vitest';
import { interpretProgram } from '../../compiler/kernel/interpret.js';
import type { KernelProgram, KExpr, KReduce, KStmt, LocalDecl } from '../../compiler/kernel/kernel.js';
import { printProgram } from '../../compiler/kernel/print.js';
import { verifyProgram } from '../../compiler/kernel/verify.js';
import { printWgsl } from '../../compiler/wgsl/index.js';
import { describeLlvm } from '../lanes.js';
import { check } from '../llvm/against.js';
import { widths } from '../llvm/run.js';
import * as k from './helpers.js';

const { i, v, add, mul, mod } = k;
const WIDTH = 8;
const cellsOf = (locals: readonly LocalDecl[], body: KStmt[]): KernelProgram => ({
  ...k.program(
    k.sizes('n'),
    [k.buffer('input', 'x', 'f32', k.size('n')), k.buffer('output', 'y', 'f32', k.size('n'))],
    [{ ...k.kernel('main', { c: i(4) }, body), locals }],
  ),
});
const row: LocalDecl = { name: 'row', element: 'f32', extent: WIDTH };
const at = (cell: string, lane: string): KExpr => add(mul(v(cell), i(WIDTH)), v(lane));
const sumOf = (a: KExpr, b: KExpr): KExpr => k.prim('f32', 'add', a, b);
const lanes = (name: string, body: KStmt[]): KStmt => k.lanes(name, k.to(i(WIDTH)), body, { precision: 'f32' });

/** y = x + the neighbour that is next, round about, by way of local memory. */
const neighbours = (): KernelProgram =>
  cellsOf(
    [row],
    [
      lanes('j', [
        { kind: 'prefetch', buffer: 'x', index: add(at('c', 'j'), i(1000)) },
        k.store('row', v('j'), k.load('x', 'f32', at('c', 'j'))),
      ]),
      { kind: 'prefetch', buffer: 'y', index: mul(v('c'), i(WIDTH)), forWriting: true },
      lanes('l', [
        k.let_('next', mod(add(v('l'), i(1)), i(WIDTH))),
        k.store('y', at('c', 'l'), sumOf(k.load('row', 'f32', v('l')), k.load('row', 'f32', v('next')))),
      ]),
    ],
  );
const numbers = Float32Array.from({ length: 4 * WIDTH }, (_, index) => index * index);

describe('local memory', () => {
  test('belongs to a cell', () => {
    const y = new Float32Array(numbers.length);
    interpretProgram(neighbours(), {
      buffers: new Map(Object.entries({ x: numbers, y })),
      scalars: new Map([['n', numbers.length]]),
    });
    expect([...y]).toEqual(
      Array.from(y, (_, index) => {
        const first = Math.floor(index / WIDTH) * WIDTH;
        return numbers[index]! + numbers[first + ((index - first + 1) % WIDTH)]!;
      }),
    );
  });

  test('is printed', () => {
    const text = printProgram(neighbours());
    expect(text).toContain('local row: f32 [8]');
    expect(text).toContain('prefetch x[c * 8 + j + 1000]\n');
    expect(text).toContain('prefetch y[c * 8]  to write\n');
  });

  test('is read by the cell that wrote it only', () => {
    const first = k.when(k.compare('eq', v('c'), i(0)), [k.store('row', i(3), k.f32(1))]);
    const program = cellsOf([row], [first, k.store('y', mul(v('c'), i(WIDTH)), k.load('row', 'f32', i(3)))]);
    const run = () =>
      interpretProgram(program, {
        buffers: new Map(Object.entries({ x: numbers, y: new Float32Array(numbers.length) })),
        scalars: new Map([['n', numbers.length]]),
      });
    expect(run).toThrow(/loads row\[3\] of this cell before it stored anything there/);
  });

  test.each([
    ['a name of its own', [{ ...row, name: 'x' }], /main, local x: has the name of a buffer/],
    ['only one of a name', [row, row], /local row: has the name of a buffer or of another local/],
    ['a size', [{ ...row, extent: 0 }], /local row: has 0 elements/],
  ])('has %s', (_, locals, problem) => {
    expect(() => verifyProgram(cellsOf(locals, neighbours().phases[0]![0]!.body as KStmt[]))).toThrow(problem);
  });

  test('is not for a GPU', () => {
    const target = { subgroups: false, workgroupSize: 64, maxWorkgroupStorage: 16384 };
    expect(() => printWgsl(neighbours(), target)).toThrow(/kernel main has memory of its cells' own/);
  });
});

test('a prefetch is of a buffer of the program', () => {
  expect(() => verifyProgram(cellsOf([row], [{ kind: 'prefetch', buffer: 'z', index: i(0) }]))).toThrow(
    /prefetch of z, which is not a buffer/,
  );
});

const largest = (op: KReduce['op']): KernelProgram =>
  k.program(
    k.sizes('n'),
    [k.buffer('input', 'x', 'f32', k.size('n')), k.buffer('output', 'y', 'f32', i(1))],
    [
      k.kernel('main', { one: i(1) }, [
        k.lanes('j', k.to(k.size('n')), [], {
          precision: 'f32',
          reduce: [{ name: 'top', op, type: 'f32', value: k.load('x', 'f32', v('j')), passesNaN: true }],
        }),
        k.store('y', i(0), v('top', 'f32')),
      ]),
    ],
  );

test('sums do not pass over NaN', () => {
  expect(() => verifyProgram(largest('sum'))).toThrow(/sum top passes over NaN/);
});

describeLlvm.each(widths)('native code for vectors of %i bits does the same:', (vectorBits) => {
  test('local memory', () => {
    check(
      {
        program: neighbours(),
        buffers: { x: numbers, y: new Float32Array(numbers.length) },
        scalars: { n: numbers.length },
      },
      { vectorBits },
    );
  });

  test.each(['max', 'min'] as const)('%s that passes over NaN', (op) => {
    for (const n of [1, 5, 16, 40, 200]) {
      for (const nan of [[], [0], [n - 1], [0, Math.floor(n / 2)], Array.from({ length: n }, (_, index) => index)]) {
        const x = Float32Array.from({ length: n }, (_, index) => (nan.includes(index) ? Number.NaN : Math.sin(index)));
        check({ program: largest(op), buffers: { x, y: new Float32Array(1) }, scalars: { n } }, { vectorBits });
      }
    }
  });

  test('remainders of neighbours, also where they wrap more than once in a vector', () => {
    const program = k.program(
      k.sizes('n', 'from', 'm'),
      [k.buffer('output', 'y', 'i32', k.size('n'))],
      [
        k.kernel('main', { one: i(1) }, [
          k.lanes('j', k.to(k.size('n')), [k.store('y', v('j'), mod(add(k.size('from'), v('j')), k.size('m')))]),
        ]),
      ],
    );
    for (const m of [1, 2, 3, 5, 7, 8, 9, 17, 1000])
      for (const from of [0, 1, 6, 999])
        check({ program, buffers: { y: new Int32Array(37) }, scalars: { n: 37, from, m } }, { vectorBits });
  });
});
