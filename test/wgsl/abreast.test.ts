/** Short rows side by side: how many a workgroup does, which kernels do it, and that it changes no result. */
import { expect } from 'vitest';
import { compileToGraph, compileToKernels } from '../../compiler/compile.js';
import { interpretProgram } from '../../compiler/kernel/interpret.js';
import type { KernelProgram, KLoop, KStmt } from '../../compiler/kernel/kernel.js';
import { printWgsl, type WgslTarget } from '../../compiler/wgsl/index.js';
import { printSized } from '../../runtime/gpu/sized.js';
import * as k from '../kernel/helpers.js';
import { randomFrom } from '../specs.js';
import { describe, test } from './lane.js';
import { type BufferArray, compileGpu, evaluateIndex, type Variant, variantName } from './run.js';

const target: WgslTarget = { subgroups: false, workgroupSize: 64, maxWorkgroupStorage: 16384 };

/** Lanes of a row, and rows of a workgroup, as the text has them; undefined where the whole workgroup does one row. */
function shared(code: string): { lanes: number; rows: number } | undefined {
  const size = Number(/@workgroup_size\((\d+)\)/.exec(code)![1]);
  const place = /let row = lane(?: \/ (\d+))?;/.exec(code);
  const lanes = Number(place?.[1] ?? 1);
  return place === null ? undefined : { lanes, rows: size / lanes };
}

const [b, t, u] = [k.v('b'), k.v('t'), k.v('u')];
const [B, T, U] = [k.size('B'), k.size('T'), k.size('U')];
const cell = k.add(k.mul(k.add(k.mul(b, T), t), U), u);
const total = (V: number, lane = 'v'): KStmt =>
  k.lanes(lane, k.to(k.i(V)), [], {
    precision: 'f32',
    reduce: [k.sum(`sum_${lane}`, 'f32', k.load('x', 'f32', k.add(k.mul(cell, k.i(V)), k.v(lane))))],
  });
const keep = (lane = 'v'): KStmt => k.store('out', cell, k.v(`sum_${lane}`, 'f32'));
/** The sum of each row, and twice its elements; the loop over u is made by `rows`. */
function sums(V: number, rows: (body: KStmt[]) => KStmt[], body: KStmt[] = [total(V), keep()]): KernelProgram {
  return k.program(
    k.sizes('B', 'T', 'U'),
    [
      k.buffer('input', 'x', 'f32', B, T, U, k.i(V)),
      k.buffer('input', 'lens', 'i32', B, T),
      k.buffer('output', 'out', 'f32', B, T, U),
    ],
    [k.kernel('sums', { b: B, t: T }, rows(body))],
  );
}
const inLoop = (body: KStmt[]): KStmt[] => [k.serial('u', k.to(U), body)];
const codeOf = (program: KernelProgram): string => printWgsl(program, target).phases[0]![0]!.code;

test.each([
  [1, 1, 32],
  [4, 1, 32],
  [5, 2, 16],
  [16, 4, 8],
  [28, 8, 4],
  [32, 8, 4],
  [33, 16, 2],
  [50, 16, 2],
  [64, 16, 2],
])('rows of %i elements: %i invocations each, %i rows in a workgroup', (V, lanes, rows) => {
  for (const name of ['rnnt', 'ctc']) {
    const spec = compileToGraph(new URL(`../../specs/${name}.ts`, import.meta.url).pathname);
    const program = compileToKernels(spec, { sizes: { V }, lattice: 'f64', gradients: true });
    const { phases } = printSized(program, { ...target, workgroupSize: 256 });
    const found = phases.flat().map(({ code }) => shared(code));
    expect(found[0], name).toEqual({ lanes, rows });
    // Both passes over the logits of rnnt, each for long paths and others; ctc's gradient goes over an utterance's states as well, of which nothing is known.
    expect(found.filter((each) => each !== undefined)).toHaveLength(name === 'rnnt' ? 4 : 1);
  }
});

test('a row that a workgroup of 32 has use for is alone', () => {
  const program = (V: number): KernelProgram => sums(V, inLoop);
  for (const [V, lanes] of [
    [65, 32],
    [128, 32],
    [129, 64],
    [1024, 256],
  ] as const) {
    const { code, workgroupSize } = printSized(program(V), { ...target, workgroupSize: 256 }).phases[0]![0]!;
    expect([workgroupSize, shared(code)], `V = ${V}`).toEqual([lanes, undefined]);
  }
});

test('tasks are rows where no loop has them, unless each is to have a workgroup', () => {
  const program = sums(6, (body) => [k.let_('u', k.i(0)), ...body]);
  const scalars = new Map(Object.entries({ B: 3, T: 33, U: 1 }));
  const tasks = (more: Partial<WgslTarget>): number =>
    printWgsl(program, { ...target, ...more }).phases[0]![0]!.grid.reduce(
      (product, extent) => product * evaluateIndex(extent, scalars),
      1,
    );
  expect(shared(codeOf(program))).toEqual({ lanes: 2, rows: 32 });
  expect(tasks({})).toBe(3 * 2);
  expect(tasks({ wholeTasks: true })).toBe(3 * 33);
  // Iterations of a loop are rows all the same.
  expect(shared(printWgsl(sums(6, inLoop), { ...target, wholeTasks: true }).phases[0]![0]!.code)).toBeDefined();
});

test('rows that depend on one another, or whose barriers do on the row, are not side by side', () => {
  const bound = k.load('lens', 'index', k.add(k.mul(b, T), k.mul(t, u)));
  const repeated = (end: typeof bound): KStmt[] => [
    k.serial('n', k.to(end), [total(6)]),
    k.store('out', cell, k.f32(1)),
  ];
  const programs: Record<string, [program: KernelProgram, suits: boolean]> = {
    plain: [sums(6, inLoop), true],
    'what other rows store': [sums(6, inLoop, [k.let_('before', k.load('out', 'f32', cell)), total(6), keep()]), false],
    'one place for all rows': [sums(6, inLoop, [total(6), k.store('out', k.add(k.mul(b, T), t), k.f32(1))]), false],
    'a running sum': [
      sums(6, (body) => [k.serial('u', k.to(U), body, { reduce: [k.sum('all', 'f32', k.v('sum_v', 'f32'))] })]),
      false,
    ],
    steps: [sums(6, (body) => [k.steps('u', k.to(U), body)]), false],
    'as many sums as the row says': [sums(6, inLoop, repeated(bound)), false],
    'as many sums for every row': [sums(6, inLoop, repeated(k.load('lens', 'index', k.add(k.mul(b, T), t)))), true],
    'neighbours of unknown number': [
      sums(6, inLoop, [
        total(6),
        k.lanes('w', k.to(T), [], { reduce: [k.sum('other', 'f32', k.load('x', 'f32', k.v('w')))] }),
        keep(),
      ]),
      false,
    ],
  };
  for (const [what, [program, suits]] of Object.entries(programs)) {
    // Nor as tasks: t does as well as u.
    const loops = program.phases[0]![0]!.body.filter((each): each is KLoop => each.kind === 'loop');
    expect(loops.length, what).toBeGreaterThan(0);
    expect(/for \(var u_first/.test(codeOf(program)), what).toBe(suits);
  }
});

const V = 9;
const ofTasks = 'tasks, and a branch with sums in both arms';
const isFirst = k.compare('lt', t, k.load('lens', 'index', k.mul(b, T)));
const oddRow = k.compare('eq', k.mod(u, k.i(2)), k.i(1));
/** Programs that print differently: a branch that rows take apart, with sums in both arms, in one, in none; and inner loops. */
const shapes: Record<string, KernelProgram> = {
  'a loop': sums(V, inLoop),
  [ofTasks]: sums(V, (body) => [
    k.let_('u', k.i(0)),
    k.when(isFirst, body, [total(V, 'w'), k.store('out', cell, k.prim('f32', 'neg', k.v('sum_w', 'f32')))]),
  ]),
  'branches with sums within each other': sums(V, inLoop, [
    k.when(
      oddRow,
      [k.when(isFirst, [total(V), keep()], [k.store('out', cell, k.f32(3))])],
      [k.when(k.compare('lt', u, k.i(3)), [total(V, 'w'), keep('w')], [k.store('out', cell, k.f32(4))])],
    ),
  ]),
  'a branch without sums': sums(V, inLoop, [
    total(V),
    k.when(oddRow, [keep()], [k.store('out', cell, k.cast('f32', u))]),
  ]),
  'a loop within a row': sums(V, inLoop, [
    k.serial('n', k.to(k.i(3)), [total(V)], { reduce: [k.sum('thrice', 'f32', k.v('sum_v', 'f32'))] }),
    k.store('out', cell, k.v('thrice', 'f32')),
  ]),
  'a row of two widths': sums(V, inLoop, [
    total(V),
    k.lanes('w', k.to(k.i(40)), [], {
      precision: 'f32',
      reduce: [
        { name: 'top', op: 'max', type: 'f64', value: k.cast('f64', k.load('x', 'f32', k.min(k.v('w'), cell))) },
      ],
    }),
    k.store('out', cell, k.prim('f32', 'sub', k.v('sum_v', 'f32'), k.cast('f32', k.v('top', 'f64')))),
  ]),
};
const ways: Variant[] = [false, true].flatMap((subgroups) =>
  [32, 128].map((workgroupSize) => ({ subgroups, workgroupSize })),
);

describe.each(ways.map((variant) => [variantName(variant), variant] as const))('%s', (_, variant) => {
  test.each(Object.entries(shapes))('%s: as the interpreter has it', async (_name, program) => {
    const compiled = await compileGpu(program, variant);
    expect(shared(compiled.text.phases[0]![0]!.code)).toBeDefined();
    // A program of tasks has one row in each.
    const inTasks = program === shapes[ofTasks];
    for (const [frames, rows] of inTasks
      ? ([
          [1, 1],
          [7, 1],
          [67, 1],
        ] as const)
      : ([
          [1, 1],
          [7, 5],
          [3, 67],
        ] as const)) {
      const sizes = { B: 2, T: frames, U: rows };
      const random = randomFrom(frames);
      const outputs = () => new Float32Array(2 * frames * rows);
      const inputs: [string, BufferArray][] = [
        ['x', Float32Array.from({ length: 2 * frames * rows * V }, () => random() - 0.5)],
        ['lens', Int32Array.from({ length: 2 * frames }, () => 1 + Math.floor(random() * frames))],
      ];
      const actual = outputs();
      await compiled.run(new Map([...inputs, ['out', actual]]), new Map(Object.entries(sizes)));
      const expected = outputs();
      const buffers = new Map([...inputs, ['out', expected]]);
      interpretProgram(program, { buffers, scalars: new Map(Object.entries(sizes)), seed: 1 });
      for (const [n, value] of actual.entries()) {
        expect(Math.abs(value - expected[n]!), `${frames}, ${rows}: ${n}`).toBeLessThan(1e-5);
      }
    }
  });
});
