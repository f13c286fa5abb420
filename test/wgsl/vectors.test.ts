/** Four neighbours at once: which loops are printed so, how they read, and that they give what single lanes give. */
import { expect } from 'vitest';
import { interpretProgram } from '../../compiler/kernel/interpret.js';
import type { KExpr, KernelProgram, KStmt } from '../../compiler/kernel/kernel.js';
import { printWgsl } from '../../compiler/wgsl/index.js';
import * as k from '../kernel/helpers.js';
import { describe, test } from './lane.js';
import { compileGpu, variantName, variants } from './run.js';

const { i, v, size } = k;
const target = { subgroups: false, workgroupSize: 64, maxWorkgroupStorage: 16384 };
const single = (name: string): KExpr => v(name, 'f32');
const codeOf = (program: KernelProgram, vectors?: boolean): string =>
  printWgsl(program, { ...target, ...(vectors !== undefined && { vectors }) }).phases[0]![0]!.code;

/** Rows of N: their softmax, with the logit of one column, which is loaded alone, subtracted from all. */
function rows(N: number): KernelProgram {
  const x = (column: KExpr): KExpr => k.load('x', 'f32', k.add(k.mul(v('b'), i(N)), column));
  return k.program(
    k.sizes('B'),
    [
      k.buffer('input', 'x', 'f32', size('B'), i(N)),
      k.buffer('input', 'column', 'i32', size('B')),
      k.buffer('output', 'out', 'f32', size('B'), i(N)),
    ],
    [
      k.kernel('rows', { b: size('B') }, [
        k.let_('picked', k.load('column', 'index', v('b'))),
        k.let_('middle', x(v('picked'))),
        k.lanes(
          'm',
          k.to(i(N)),
          [k.let_('e', k.prim('f32', 'exp', k.prim('f32', 'sub', x(v('m')), single('middle'))))],
          {
            precision: 'f32',
            reduce: [k.sum('total', 'f32', single('e'))],
          },
        ),
        k.let_('row', k.mul(v('b'), i(N))),
        k.lanes('n', k.to(i(N)), [
          k.let_('share', k.prim('f32', 'div', k.prim('f32', 'exp', x(v('n'))), single('total'))),
          k.store(
            'out',
            k.add(v('row'), v('n')),
            k.select(k.compare('eq', v('n'), v('picked')), k.f32(0), single('share')),
          ),
        ]),
      ]),
    ],
  );
}

test('how it reads', () => {
  const code = codeOf(rows(1024));
  expect(code).toContain('array<vec4<f32>>; // x[b][t]');
  expect(code).toContain('array<i32>; // column[b]');
  expect(code).toContain('array<vec4<f32>>; // out[b][t]');
  expect(code).toContain('const LANES = vec4<i32>(0, 1, 2, 3);');
  expect(code).toContain(`fn exp_f32_x4(x: vec4<f32>) -> vec4<f32> {
  return vec4<f32>(exp_f32(x.x), exp_f32(x.y), exp_f32(x.z), exp_f32(x.w));
}`);
  expect(code.slice(code.indexOf('  let b = task;'))).toMatchInlineSnapshot(`
    "  let b = task;
      let picked = column[b];
      let middle = finite(x[(b * 1024 + picked) >> 2u][(b * 1024 + picked) & 3]);
      var total_part: vec4<f32> = vec4<f32>(0.0);
      // Read once, and kept.
      let m_1 = 4 * lane;
      let m_2 = 4 * lane + 256;
      let m_3 = 4 * lane + 512;
      let m_4 = 4 * lane + 768;
      var x_kept_1: vec4<f32>;
      var x_kept_2: vec4<f32>;
      var x_kept_3: vec4<f32>;
      var x_kept_4: vec4<f32>;
      x_kept_1 = finite_x4(x[(b * 1024 + m_1) >> 2u]);
      x_kept_2 = finite_x4(x[(b * 1024 + m_2) >> 2u]);
      x_kept_3 = finite_x4(x[(b * 1024 + m_3) >> 2u]);
      x_kept_4 = finite_x4(x[(b * 1024 + m_4) >> 2u]);
      let e = exp_f32_x4(x_kept_1 - middle);
      total_part = total_part + e;
      let e_value = exp_f32_x4(x_kept_2 - middle);
      total_part = total_part + e_value;
      let e_4 = exp_f32_x4(x_kept_3 - middle);
      total_part = total_part + e_4;
      let e_5 = exp_f32_x4(x_kept_4 - middle);
      total_part = total_part + e_5;
      let total = sum_across_f32(total_part.x + total_part.y + (total_part.z + total_part.w), lane);
      let row = b * 1024;
      let share = div_f32_x4(exp_f32_x4(x_kept_1), vec4<f32>(total));
      out[(row + m_1) >> 2u] = result_x4(select(share, vec4<f32>(0.0), (m_1 + LANES == vec4<i32>(picked))));
      let share_value = div_f32_x4(exp_f32_x4(x_kept_2), vec4<f32>(total));
      out[(row + m_2) >> 2u] = result_x4(select(share_value, vec4<f32>(0.0), (m_2 + LANES == vec4<i32>(picked))));
      let share_4 = div_f32_x4(exp_f32_x4(x_kept_3), vec4<f32>(total));
      out[(row + m_3) >> 2u] = result_x4(select(share_4, vec4<f32>(0.0), (m_3 + LANES == vec4<i32>(picked))));
      let share_5 = div_f32_x4(exp_f32_x4(x_kept_4), vec4<f32>(total));
      out[(row + m_4) >> 2u] = result_x4(select(share_5, vec4<f32>(0.0), (m_4 + LANES == vec4<i32>(picked))));
    }
    "
  `);
});

test('one at a time on request, and where sizes are open', () => {
  const refused = codeOf(rows(1024), false);
  expect(refused).not.toMatch(/vec4|LANES/);
  expect(refused).toContain('let m_16 = lane + 960;');
  expect(codeOf(rows(1026))).not.toMatch(/vec4|LANES/);
});

/** A kernel over x[B][16] and out[B][16], f32, and work[B][16], f64. */
function small(body: KStmt[], columns: KExpr = i(16)): KernelProgram {
  return k.program(
    k.sizes('B', 'N'),
    [
      k.buffer('input', 'x', 'f32', size('B'), columns),
      k.buffer('scratch', 'work', 'f64', size('B'), columns),
      k.buffer('output', 'out', 'f32', size('B'), columns),
    ],
    [k.kernel('small', { b: size('B') }, body)],
  );
}
const place = (column: KExpr): KExpr => k.add(k.mul(v('b'), i(16)), column);
const x = (column: KExpr, mask?: KExpr): KExpr => k.load('x', 'f32', place(column), mask);
const n = v('n');
const copy = (from = i(0), to = i(16)): KStmt => k.lanes('n', [from, to], [k.store('out', place(n), x(n))]);

describe('which buffers are bound by fours', () => {
  const byFour = (program: KernelProgram): string[] =>
    [...codeOf(program).matchAll(/(\w+): array<vec4<f32>>/g)].map(([, name]) => name!);

  test.each<[string, KernelProgram, string[]]>([
    ['a copy', small([copy()]), ['x', 'out']],
    ['from a multiple of 4 on', small([copy(i(4), i(12))]), ['x', 'out']],
    ['from 2 on', small([copy(i(2), i(14))]), []],
    ['to 14', small([copy(i(0), i(14))]), []],
    ['to a scalar', small([copy(i(0), size('N'))]), []],
    ['rows of unknown length', small([copy()], size('N')), []],
    [
      'rows that begin anywhere',
      small([k.lanes('n', k.to(i(16)), [k.store('out', k.add(k.mul(v('b'), size('N')), n), x(n))])]),
      [],
    ],
    [
      'a product of two even numbers, through a let',
      small([
        k.let_('twice', k.mul(v('b'), i(2))),
        k.lanes('n', k.to(i(16)), [k.store('out', k.add(k.mul(v('twice'), i(6)), n), x(n))]),
      ]),
      ['x', 'out'],
    ],
    ['every second element', small([k.lanes('n', k.to(i(8)), [k.store('out', place(n), x(k.mul(n, i(2))))])]), []],
    ['the next element', small([k.lanes('n', k.to(i(8)), [k.store('out', place(n), x(k.add(n, i(1))))])]), []],
    [
      'a mask of its own for each lane',
      small([k.lanes('n', k.to(i(16)), [k.store('out', place(n), x(n, k.compare('lt', n, size('N'))))])]),
      [],
    ],
    [
      'one mask for all',
      small([k.lanes('n', k.to(i(16)), [k.store('out', place(n), x(n, k.compare('lt', v('b'), size('N'))))])]),
      ['x', 'out'],
    ],
    [
      'float64',
      small([k.lanes('n', k.to(i(16)), [k.store('out', place(n), k.cast('f32', k.load('work', 'f64', place(n))))])]),
      [],
    ],
    [
      'a sum in float64',
      small([k.lanes('n', k.to(i(16)), [], { reduce: [k.sum('s', 'f64', k.cast('f64', x(n)))] })]),
      [],
    ],
    ['a single store elsewhere', small([copy(), k.store('out', place(i(3)), k.f32(0))]), []],
    [
      'a single store to what another loop loads by fours',
      small([
        k.lanes('m', k.to(i(16)), [], { reduce: [k.sum('s', 'f32', k.load('out', 'f32', place(v('m'))))] }),
        copy(),
        k.store('out', place(i(3)), single('s')),
      ]),
      [],
    ],
    [
      'loops that have nothing to do with each other',
      small([
        k.lanes('m', k.to(i(16)), [], { reduce: [k.sum('s', 'f32', x(v('m')))] }),
        k.lanes('n', k.to(i(3)), [k.store('out', place(n), single('s'))]),
      ]),
      ['x'],
    ],
  ])('%s', (_, program, expected) => {
    expect(byFour(program)).toStrictEqual(expected);
  });
});

const N = 1200;
/** Every kind of operation between loads and stores of N neighbours, and all reductions. */
function everything(): KernelProgram {
  const at = (column: KExpr): KExpr => k.add(v('row'), column);
  const near = k.logic(
    'or',
    k.compare('eq', n, v('pick')),
    k.logic('and', k.compare('ge', n, i(4)), k.logic('not', k.compare('lt', single('a'), single('alone')))),
  );
  const wave = k.prim('f32', 'tanh', k.prim('f32', 'neg', k.prim('f32', 'abs', single('a'))));
  const limited = k.prim('f32', 'max', k.f32(-50), k.prim('f32', 'min', single('scaled'), k.f32(50)));
  const positive = k.compare('gt', single('alone'), k.f32(0));
  return k.program(
    k.sizes('B'),
    [
      k.buffer('input', 'x', 'f32', size('B'), i(N)),
      k.buffer('input', 'y', 'f32', size('B'), i(N)),
      k.buffer('input', 'column', 'i32', size('B')),
      k.buffer('output', 'out', 'f32', size('B'), i(N)),
      k.buffer('output', 'stats', 'f32', size('B'), i(4)),
    ],
    [
      k.kernel('everything', { b: size('B') }, [
        k.let_('row', k.mul(v('b'), i(N))),
        k.let_('pick', k.load('column', 'index', v('b'))),
        k.let_('alone', k.load('x', 'f32', at(v('pick')))),
        k.lanes('n', k.to(i(N)), [
          k.let_('a', k.load('x', 'f32', at(n))),
          k.let_('c', k.load('y', 'f32', at(n), positive, 0.5)),
          k.let_('near', near),
          k.let_(
            'scaled',
            k.select(
              v('near', 'bool'),
              k.prim('f32', 'mul', single('a'), single('c')),
              k.prim('f32', 'div', single('a'), single('c')),
            ),
          ),
          k.let_('capped', k.select(positive, limited, single('scaled'))),
          k.let_('kept', k.select(k.compare('eq', single('a'), k.f32(-Infinity)), k.f32(7), single('capped'))),
          k.let_('known', k.select(k.compare('ne', single('c'), k.f32(Infinity)), single('kept'), k.f32(8))),
          k.let_('third', k.cast('f32', k.max(k.mod(n, i(3)), i(1)))),
          k.store('out', at(n), k.prim('f32', 'add', k.prim('f32', 'add', single('known'), single('third')), wave)),
        ]),
        k.lanes('m', [i(8), i(N)], [k.let_('d', k.load('y', 'f32', at(v('m'))))], {
          precision: 'f32',
          reduce: [
            { name: 'top', op: 'max', type: 'f32', value: single('d') },
            { name: 'bottom', op: 'min', type: 'f32', value: single('d') },
            k.sum('total', 'f32', single('d')),
            k.sum('count', 'f32', k.f32(1)),
          ],
        }),
        ...['top', 'bottom', 'total', 'count'].map((name, which) =>
          k.store('stats', k.add(k.mul(v('b'), i(4)), i(which)), single(name)),
        ),
      ]),
    ],
  );
}

const B = 3;
const scalars = new Map([['B', B]]);

/** Rows with -Infinity among the logits and +Infinity among the factors, and room for what comes out. */
function batch(): Map<string, Float32Array | Int32Array> {
  const x = Float32Array.from({ length: B * N }, (_, j) => (j % 97 === 5 ? -Infinity : 40 * Math.sin(j * 1.7)));
  x[N + 602] = 5;
  // Whole numbers and a half: their sums are exact in any order.
  const y = Float32Array.from({ length: B * N }, (_, j) => 0.5 + ((j * 31) % 64)).fill(Infinity, N + 100, N + 103);
  return new Map<string, Float32Array | Int32Array>([
    ['x', x],
    ['y', y],
    ['column', Int32Array.of(1, 602, 1199)],
    ['out', new Float32Array(B * N)],
    ['stats', new Float32Array(4 * B)],
  ]);
}

const expected = batch();
interpretProgram(everything(), { buffers: expected, scalars, seed: 1 });

test.each(variants.map((variant) => [variantName(variant), variant] as const))(
  'every operation gives the same bits by fours, and what the interpreter gives: %s',
  async (_, variant) => {
    const [fours, singles] = [batch(), batch()];
    const compiled = await compileGpu(everything(), variant);
    expect(compiled.text.phases[0]![0]!.code).toContain('array<vec4<f32>>');
    await compiled.run(fours, scalars);
    await (await compileGpu(everything(), { ...variant, vectors: false })).run(singles, scalars);

    expect(fours.get('out')).toStrictEqual(singles.get('out'));
    expect(fours.get('stats')).toStrictEqual(singles.get('stats'));
    expect(fours.get('stats')).toStrictEqual(expected.get('stats'));
    const out = fours.get('out')!;
    const wrong = [...expected.get('out')!.entries()].filter(
      ([j, value]) => out[j] !== value && !(Math.abs(out[j]! - value) <= 1e-6 * Math.max(1, Math.abs(value))),
    );
    expect(wrong).toStrictEqual([]);
  },
);
