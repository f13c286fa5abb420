/** The printed text: one whole module, and what decides about barriers, names and precedence. */
import { expect } from 'vitest';
import type { KernelProgram, KStmt } from '../../compiler/kernel/kernel.js';
import { joinDouble, printWgsl, splitDouble } from '../../compiler/wgsl/index.js';
import * as k from '../kernel/helpers.js';
import { diagonal, prefixes, softmax } from '../kernel/programs.js';
import { describe, test } from './lane.js';
import { compileGpu, variantName, variants } from './run.js';

const { i, v, size } = k;
const target = { subgroups: false, workgroupSize: 64, maxWorkgroupStorage: 16384 };
const body = (program: KernelProgram, kernel = 0): string => {
  const { code } = printWgsl(program, target).phases.flat()[kernel]!;
  return code.slice(code.indexOf('fn main'));
};

test('a whole module', () => {
  const [kernel] = printWgsl(softmax(), { ...target, subgroups: true }).phases.flat();
  expect(kernel!.code).toMatchInlineSnapshot(`
    "enable subgroups;

    // example: softmax
    //   out(v) = softmax(x)(v)

    // A float64 as the sum of two float32.
    alias Double = vec2<f32>;

    // What stands for Infinity, and where it begins.
    const INFINITE: f32 = 1e+30;
    const HUGE: f32 = 5e+29;

    struct Launch {
      task_base: i32, // task of the first workgroup
      zero: u32, // always 0, but the compiler does not know
      B: i32,
      V: i32,
    }
    @group(0) @binding(0) var<uniform> launch: Launch;

    @group(0) @binding(1) var<storage, read> x: array<f32>; // x[b][t]
    @group(0) @binding(2) var<storage, read_write> out: array<f32>; // out[b][t]

    fn is_nan(x: f32) -> bool {
      return (bitcast<u32>(x) & 0x7fffffffu) > 0x7f800000u;
    }

    fn max_f32(a: f32, b: f32) -> f32 {
      return select(max(a, b), a + b, is_nan(a) || is_nan(b));
    }

    // What memory outside of kernels holds as kernels have it: +-1e30 for +-Infinity and for magnitudes from 5e29 on.
    fn finite(x: f32) -> f32 {
      let bits = bitcast<u32>(x);
      let size = bits & 0x7fffffffu;
      let is_infinite = size >= 0x70c9f2cau && size <= 0x7f800000u; // 5e29 .. Infinity; beyond are NaNs
      return select(x, bitcast<f32>((bits & 0x80000000u) | 0x7149f2cau), is_infinite);
    }

    fn exp_f32(x: f32) -> f32 {
      return select(exp(x), INFINITE, x > 68.0);
    }

    // The way out: +-Infinity for +-1e30.
    fn result(x: f32) -> f32 {
      let sign = bitcast<u32>(x) & 0x80000000u;
      return select(x, bitcast<f32>(sign | (0x7f800000u ^ launch.zero)), abs(x) >= HUGE);
    }

    fn nan() -> f32 {
      return bitcast<f32>(0x7fc00000u ^ launch.zero);
    }

    // Infinity with the sign of a * b.
    fn infinite_f32(a: f32, b: f32) -> f32 {
      return select(INFINITE, -INFINITE, (a < 0.0) != (b < 0.0));
    }

    fn div_f32(a: f32, b: f32) -> f32 {
      if (is_nan(a) || is_nan(b)) {
        return a + b;
      }
      if (abs(b) >= HUGE) {
        return select(0.0, nan(), abs(a) >= HUGE);
      }
      if (b == 0.0 || abs(a) >= HUGE) {
        return select(infinite_f32(a, b), nan(), a == 0.0);
      }
      return finite(a / b);
    }

    var<workgroup> partials_f32: array<f32, 64>;

    // Neighbours first within each subgroup, then one subgroup after the other.
    fn sum_across_f32(partial_result: f32, lane: i32, subgroup_lane: u32, subgroup_size: u32) -> f32 {
      var total = partial_result;
      let together = min(subgroup_size, 64u);
      for (var apart = 1u; apart < together; apart <<= 1u) {
        total = total + subgroupShuffleXor(total, apart);
      }
      workgroupBarrier(); // the last reduction has been read
      if (subgroup_lane == 0u) {
        partials_f32[u32(lane) / together] = total;
      }
      workgroupBarrier();
      total = partials_f32[0];
      for (var number = 1u; number < 64u / together; number++) {
        total = total + partials_f32[number];
      }
      return total;
    }

    // Neighbours first within each subgroup, then one subgroup after the other.
    fn max_across_f32(partial_result: f32, lane: i32, subgroup_lane: u32, subgroup_size: u32) -> f32 {
      var total = partial_result;
      let together = min(subgroup_size, 64u);
      for (var apart = 1u; apart < together; apart <<= 1u) {
        total = max_f32(total, subgroupShuffleXor(total, apart));
      }
      workgroupBarrier(); // the last reduction has been read
      if (subgroup_lane == 0u) {
        partials_f32[u32(lane) / together] = total;
      }
      workgroupBarrier();
      total = partials_f32[0];
      for (var number = 1u; number < 64u / together; number++) {
        total = max_f32(total, partials_f32[number]);
      }
      return total;
    }

    @compute @workgroup_size(64)
    fn main(
      @builtin(workgroup_id) group: vec3<u32>,
      @builtin(num_workgroups) groups: vec3<u32>,
      @builtin(local_invocation_index) local_index: u32,
      @builtin(subgroup_invocation_id) subgroup_lane: u32,
      @builtin(subgroup_size) subgroup_size: u32,
    ) {
      let lane = i32(local_index);
      let task = launch.task_base + i32(group.x + groups.x * (group.y + groups.y * group.z));
      if (task >= launch.B) {
        return;
      }
      let b = task;
      var high_part: f32 = -INFINITE;
      for (var m = lane; m < launch.V; m += 64) {
        high_part = max_f32(high_part, finite(x[b * launch.V + m]));
      }
      let high = max_across_f32(high_part, lane, subgroup_lane, subgroup_size);
      var total_part: f32 = 0.0;
      for (var s = lane; s < launch.V; s += 64) {
        let e = exp_f32(finite(x[b * launch.V + s]) - high);
        total_part = total_part + e;
      }
      let total = sum_across_f32(total_part, lane, subgroup_lane, subgroup_size);
      // out(v) = exp(x(v) - high) / total
      for (var v = lane; v < launch.V; v += 64) {
        out[b * launch.V + v] = result(div_f32(exp_f32(finite(x[b * launch.V + v]) - high), total));
      }
    }
    "
  `);
  expect(kernel!.bindings).toStrictEqual([
    { binding: 1, buffer: 'x', access: 'read' },
    { binding: 2, buffer: 'out', access: 'read_write' },
  ]);
});

test('steps of a skewed recurrence', () => {
  expect(body(diagonal())).toMatchInlineSnapshot(`
    "fn main(
      @builtin(workgroup_id) group: vec3<u32>,
      @builtin(num_workgroups) groups: vec3<u32>,
      @builtin(local_invocation_index) local_index: u32,
    ) {
      let lane = i32(local_index);
      let task = launch.task_base + i32(group.x + groups.x * (group.y + groups.y * group.z));
      if (task >= launch.B) {
        return;
      }
      let b = task;
      let T = lens[b];
      let n_end = T + launch.U - 1;
      for (var n = 0; n < n_end; n++) {
        let u_end = min(n, launch.U - 1) + 1;
        for (var u = max(0, n - T + 1) + lane; u < u_end; u += 64) {
          var fromLeft: Double = Double(0.0, 0.0);
          if (u < n) {
            fromLeft = paths[(b * 2 + (n + 2 - 1) % 2) * launch.U + u];
          }
          var fromBelow: Double = Double(0.0, 0.0);
          if (u > 0) {
            fromBelow = paths[(b * 2 + (n + 2 - 1) % 2) * launch.U + (u - 1)];
          }
          let seed = double_of_index(select(0, 1, (n == 0)));
          paths[(b * 2 + n % 2) * launch.U + u] = add_double(seed, add_double(fromLeft, fromBelow));
        }
        storageBarrier();
      }
      if (lane == 0) {
        count[b] = result_double(paths[(b * 2 + (T + launch.U - 2) % 2) * launch.U + (launch.U - 1)]);
      }
    }
    "
  `);
});

test('names that WGSL cannot have, and comments that would end early', () => {
  const odd = k.program(
    k.sizes('B', 'struct'),
    [k.buffer('output', 'fn', 'f64', size('B'))],
    [
      k.kernel('odd', { b: size('B') }, [
        k.comment('one\u2028two\nthree'),
        k.let_('$exp', k.f64(0.1)),
        k.store('fn', v('b'), v('$exp', 'f64')),
      ]),
    ],
  );
  expect(body(odd)).toContain(`  // one two
  // three
  let exp_value = Double(0.1, -1.4901161e-9);
  if (lane == 0) {
    fn_value[b] = result_double(exp_value);
  }`);
});

test('scalars have their places, and the rest is zero', () => {
  const text = printWgsl(
    { ...softmax(), scalars: [...k.sizes('B', 'V'), { name: 'rate', type: 'f64', role: 'param' }] },
    target,
  );
  expect(text).toMatchObject({
    taskBase: 0,
    uniformBytes: 32,
    uniform: [
      { name: 'B', type: 'i32', offset: 8 },
      { name: 'V', type: 'i32', offset: 12 },
      { name: 'rate', type: 'f32x2', offset: 16 },
    ],
  });
});

test('little workgroup memory makes workgroups smaller; a size that is no power of two is refused', () => {
  const [kernel] = printWgsl(softmax(), {
    subgroups: false,
    workgroupSize: 256,
    maxWorkgroupStorage: 1024,
  }).phases.flat();
  expect(kernel!.workgroupSize).toBe(64);
  expect(kernel!.code).toContain('@workgroup_size(64)');
  expect(() => printWgsl(softmax(), { ...target, workgroupSize: 96 })).toThrow('workgroupSize: 96 given');
});

test('float64 numbers in two parts and back', () => {
  for (const x of [0, 1, -1 / 3, 1234.56789, 1e-20, -4e29]) {
    const [high, low] = splitDouble(x);
    expect(Math.abs(joinDouble(high, low) - x)).toBeLessThanOrEqual(Math.abs(x) * 2 ** -47);
  }
  for (const x of [Infinity, -Infinity]) expect(joinDouble(...splitDouble(x))).toBe(x);
  expect(joinDouble(...splitDouble(Number.NaN))).toBeNaN();
});

/** out[b] from a body over x[b][n], n < N, and scratch of the same shape. */
function small(statements: KStmt[], scratch = true): KernelProgram {
  return k.program(
    k.sizes('B', 'N'),
    [
      k.buffer('input', 'x', 'f32', size('B'), size('N')),
      ...(scratch ? [k.buffer('scratch', 'work', 'f64', size('B'), size('N'))] : []),
      k.buffer('output', 'out', 'f64', size('B')),
    ],
    [k.kernel('small', { b: size('B') }, statements)],
  );
}
const at = (n: ReturnType<typeof v>) => k.add(k.mul(v('b'), size('N')), n);
const copy: KStmt = k.lanes('n', k.to(size('N')), [
  k.store('work', at(v('n')), k.cast('f64', k.load('x', 'f32', at(v('n'))))),
]);
const total = (variable: string, name: string): KStmt =>
  k.lanes(variable, k.to(size('N')), [], { reduce: [k.sum(name, 'f64', k.load('work', 'f64', at(v(variable))))] });

/** Programs whose text hangs on barriers, and what they give for x[b][n] = n + 1. */
const programs: { name: string; program: KernelProgram; expected: (N: number) => number }[] = [
  {
    name: 'lanes read what other lanes stored',
    program: small([
      copy,
      k.lanes('m', k.to(size('N')), [], {
        reduce: [k.sum('s', 'f64', k.load('work', 'f64', at(k.sub(k.sub(size('N'), i(1)), v('m')))))],
      }),
      k.store('out', v('b'), v('s', 'f64')),
    ]),
    expected: (N) => (N * (N + 1)) / 2,
  },
  {
    name: 'a branch on a reduction, with a reduction inside',
    program: small([
      copy,
      total('m', 's'),
      k.when(
        k.compare('gt', v('s', 'f64'), k.f64(10)),
        [total('m2', 's2'), k.store('out', v('b'), k.prim('f64', 'neg', v('s2', 'f64')))],
        [k.store('out', v('b'), v('s', 'f64'))],
      ),
    ]),
    expected: (N) => ((N * (N + 1)) / 2 > 10 ? -1 : 1) * ((N * (N + 1)) / 2),
  },
  {
    name: 'serial loops around reductions, and within lanes with bounds of their own',
    program: small([
      copy,
      k.serial('r', k.to(i(3)), [total('m', 's')], { reduce: [k.sum('thrice', 'f64', v('s', 'f64'))] }),
      k.lanes(
        'n2',
        k.to(size('N')),
        [
          k.serial('j', k.to(v('n2')), [], {
            reduce: [k.sum('inner', 'f64', k.cast('f64', k.load('x', 'f32', at(v('j')))))],
          }),
        ],
        { reduce: [k.sum('outer', 'f64', v('inner', 'f64'))] },
      ),
      k.store('out', v('b'), k.prim('f64', 'add', v('thrice', 'f64'), v('outer', 'f64'))),
    ]),
    expected: (N) => (3 * N * (N + 1)) / 2 + ((N - 1) * N * (N + 1)) / 6,
  },
  {
    name: 'a recurrence over uniform values, reversed',
    program: small([
      k.steps(
        'n',
        k.to(size('N')),
        [
          k.let_(
            'later',
            k.load('work', 'f64', at(k.add(v('n'), i(1))), k.compare('lt', k.add(v('n'), i(1)), size('N')), 0),
          ),
          k.store(
            'work',
            at(v('n')),
            k.prim('f64', 'add', v('later', 'f64'), k.cast('f64', k.load('x', 'f32', at(v('n'))))),
          ),
        ],
        { reverse: true },
      ),
      k.store('out', v('b'), k.load('work', 'f64', at(i(0)), k.compare('gt', size('N'), i(0)), 0)),
    ]),
    expected: (N) => (N * (N + 1)) / 2,
  },
  {
    name: 'maximum and minimum, their neutral elements where there is nothing',
    program: small(
      [
        k.lanes('n', k.to(size('N')), [k.let_('value', k.load('x', 'f32', at(v('n'))))], {
          precision: 'f32',
          reduce: [
            { name: 'top', op: 'max', type: 'f32', value: v('value', 'f32') },
            { name: 'bottom', op: 'min', type: 'f32', value: v('value', 'f32') },
          ],
        }),
        k.store(
          'out',
          v('b'),
          k.select(
            k.compare('eq', v('bottom', 'f32'), k.f32(Infinity)),
            k.cast('f64', v('top', 'f32')),
            k.prim('f64', 'sub', k.cast('f64', v('top', 'f32')), k.cast('f64', v('bottom', 'f32'))),
          ),
        ),
      ],
      false,
    ),
    expected: (N) => (N === 0 ? -Infinity : N - 1),
  },
];

describe.each(variants.map((variant) => [variantName(variant), variant] as const))('%s', (_, variant) => {
  test.each(programs.map((one) => [one.name, one] as const))('%s', async (_name, { program, expected }) => {
    const { run } = await compileGpu(program, variant);
    for (const N of [0, 1, 4, 63, 64, 65, 1000]) {
      const B = 3;
      const x = Float32Array.from({ length: B * N }, (_, n) => (n % N) + 1);
      const out = new Float64Array(B).fill(12345);
      await run(
        new Map<string, Float32Array | Float64Array>([
          ['x', x],
          ['out', out],
        ]),
        new Map([
          ['B', B],
          ['N', N],
        ]),
      );
      expect([...out], `N = ${N}`).toStrictEqual(new Array(B).fill(expected(N)));
    }
  });

  test('diagonals longer than a workgroup, and more tasks than one dispatch takes', async () => {
    // Numbers of lattice paths: binomial coefficients, exact in 48 bits.
    const { run } = await compileGpu(diagonal(), variant, 2);
    const [B, U] = [5, 400];
    const lens = Int32Array.from({ length: B }, (_, b) => 1 + (b % 4));
    const count = new Float64Array(B);
    await run(
      new Map<string, Int32Array | Float64Array>([
        ['lens', lens],
        ['count', count],
      ]),
      new Map([
        ['B', B],
        ['U', U],
      ]),
    );
    const paths = [1, U, (U * (U + 1)) / 2, (U * (U + 1) * (U + 2)) / 6];
    expect([...count]).toStrictEqual(Array.from(lens, (T) => paths[T - 1]));
  });

  test('outputs that are read back in the same kernel', async () => {
    const { run } = await compileGpu(prefixes(), variant);
    const [B, T] = [2, 100];
    const x = Float32Array.from({ length: B * T }, (_, n) => n % 7);
    const [out, back] = [new Float64Array(B * T), new Float64Array(B * T)];
    await run(
      new Map<string, Float32Array | Float64Array>([
        ['x', x],
        ['out', out],
        ['back', back],
      ]),
      new Map([
        ['B', B],
        ['T', T],
      ]),
    );
    for (let b = 0; b < B; b++) {
      const row = [...x.slice(b * T, (b + 1) * T)];
      const sumOf = (part: number[]) => part.reduce((sum, value) => sum + value, 0);
      expect([...out.slice(b * T, (b + 1) * T)]).toStrictEqual(row.map((_, t) => sumOf(row.slice(0, t + 1))));
      expect([...back.slice(b * T, (b + 1) * T)]).toStrictEqual(row.map((_, t) => sumOf(row.slice(t))));
    }
  });
});
