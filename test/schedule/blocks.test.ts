/**
 * Rows worked on in blocks: the same numbers as the spec's own TypeScript gives in float64, for rows shorter and longer than a
 * vector, a staged block and a part, more rows than a block has, fewer and more frames than a tile has, and gradients of any
 * alignment.
 */
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { compile, compileToGraph, compileToKernels } from '../../compiler/compile.js';
import { operandsOf, strideOf } from '../../compiler/kernel/analysis.js';
import { interpretProgram } from '../../compiler/kernel/interpret.js';
import type { KExpr, KLoop, KStmt } from '../../compiler/kernel/kernel.js';
import { printKernel } from '../../compiler/kernel/print.js';
import type { LossDefinition } from '../../dsl/index.js';
import { CpuExecutor } from '../../runtime/cpu/executor.js';
import { describeLlvm } from '../lanes.js';
import { hostJit, widths } from '../llvm/run.js';
import {
  evaluateAsWritten,
  evaluateBatch,
  largestDifference,
  launchArguments,
  type RandomBatch,
  randomBatch,
  randomFrom,
} from '../specs.js';

const path = fileURLToPath(new URL('../../specs/rnnt.ts', import.meta.url));
const spec = compileToGraph(path);
const { graph } = spec;
const definition = ((await import(path)) as { default: LossDefinition }).default;
const options = { lattice: 'f64', blocks: true, gradients: true } as const;

/** Utterances shorter than the first one, by so much in T and U. */
const shorter = [
  [0, 0],
  [1, 2],
  // Whole tiles of padding, and tiles that end within one.
  [9, 1],
  [Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY],
] as const;

/** Some utterances, of which the first has the full lengths. `level` is added to the logits of a third of the rows, and taken from those of another. */
function batchOf(
  T: number,
  U: number,
  V: number,
  { scale = 3, B = 4, level = 0, ...params }: Record<string, number> = {},
): RandomBatch {
  const random = randomFrom(T + 7 * U + 31 * V);
  const own = shorter.slice(0, B).map(([t, u]) => ({ T: Math.max(1, T - t), U: Math.max(0, U - u), V }));
  return {
    B,
    sizes: { T, U, V },
    ownSizes: own,
    inputs: {
      acts: Float32Array.from({ length: B * T * (U + 1) * V }, (_, i) => {
        const kind = Math.floor(i / V) % 3;
        return (random() * 2 - 1) * scale + (kind === 0 ? level : kind === 1 ? -level : 0);
      }),
      labels: Int32Array.from({ length: B * U }, () => Math.min(V - 1, 1 + Math.floor(random() * (V - 1)))),
    },
    shapes: { acts: [B, T, U + 1, V], labels: [B, U] },
    lengths: { actLens: Int32Array.from(own, (one) => one.T), labelLens: Int32Array.from(own, (one) => one.U) },
    params: { blank: 0, fastemitLambda: 0, clamp: 0, ...params },
  };
}

const expectedOf = (batch: RandomBatch) =>
  evaluateBatch(graph, batch, (utterance) => evaluateAsWritten(definition, graph, utterance));

/** T, U, V. */
const shapes: [number, number, number][] = [
  [2, 0, 1],
  [3, 4, 2],
  [2, 70, 3],
  [2, 66, 28],
  [8, 3, 5],
  [9, 70, 3],
  [17, 130, 2],
  [20, 9, 28],
  [3, 5, 50],
  [2, 17, 250],
  [2, 3, 511],
  [2, 2, 520],
  [1, 1, 1024],
  [2, 2, 1100],
];

describe('a strict run of the kernels', () => {
  // With and without rows whose exponentials float32 cannot hold.
  test.each(shapes.flatMap((shape) => [0, 90].map((level) => [...shape, level] as const)))(
    'T %i, U %i, V %i, level %i',
    (T, U, V, level) => {
      const batch = batchOf(T, U, V, { level });
      const program = compileToKernels(spec, { ...options, sizes: { V } });
      const { buffers, scalars } = launchArguments(graph, program, batch);
      interpretProgram(program, {
        buffers: new Map(Object.entries(buffers)),
        scalars: new Map(Object.entries(scalars)),
        seed: V,
      });
      const expected = expectedOf(batch);
      // Rows are summed in float32: a few ulp of it, for values of about 1.
      expect(largestDifference(buffers.loss!, expected.loss)).toBeLessThan(4e-6);
      expect(largestDifference(buffers.grad_acts!, expected.gradients.acts!)).toBeLessThan(4e-6);
    },
  );
});

describeLlvm.each(widths)('native code for vectors of %i bits', (vectorBits) => {
  test.each(shapes)('T %i, U %i, V %i', (T, U, V) => {
    const { program, llvm } = compile(spec, { ...options, sizes: { V }, vectorBits });
    const executor = new CpuExecutor(program, llvm, hostJit());
    for (const params of [{}, { clamp: 0.01, fastemitLambda: 0.3 }, { scale: 40 }, { level: 90 }, { scale: 400 }]) {
      const batch = batchOf(T, U, V, params);
      const expected = expectedOf(batch);
      const { buffers, scalars } = launchArguments(graph, program, batch);
      executor.run({ buffers, scalars, threads: 2 });
      const what = `V ${V} ${JSON.stringify(params)}`;
      expect(largestDifference(buffers.loss!, expected.loss), what).toBeLessThan(4e-6);
      expect(largestDifference(buffers.grad_acts!, expected.gradients.acts!), what).toBeLessThan(1e-5);

      // Unaligned, on one thread: the same bits. And written over the logits.
      const apart = new Float32Array(buffers.grad_acts!.length + 3).subarray(3);
      executor.run({ buffers: { ...buffers, grad_acts: apart }, scalars, threads: 1 });
      expect(Buffer.compare(bytesOf(apart), bytesOf(buffers.grad_acts!)), what).toBe(0);
      const acts = batch.inputs.acts!.slice();
      executor.run({ buffers: { ...buffers, acts, grad_acts: acts }, scalars, threads: 2 });
      expect(Buffer.compare(bytesOf(acts), bytesOf(buffers.grad_acts!)), what).toBe(0);
    }
  });

  test('infinities and NaN among the logits', () => {
    for (const V of [5, 28, 600]) {
      const { program, llvm } = compile(spec, { ...options, sizes: { V }, vectorBits });
      const executor = new CpuExecutor(program, llvm, hostJit());
      for (const value of [Number.NEGATIVE_INFINITY, Number.POSITIVE_INFINITY, Number.NaN]) {
        for (const at of [0, 2, V - 1]) {
          const batch = batchOf(3, 3, V);
          // One element of one row of the first utterance, which all paths need not pass.
          batch.inputs.acts![(1 * 4 + 1) * V + at] = value;
          const expected = expectedOf(batch);
          const { buffers, scalars } = launchArguments(graph, program, batch);
          executor.run({ buffers, scalars, threads: 1 });
          const what = `V ${V}, ${value} at ${at}`;
          expect(largestDifference(buffers.loss!, expected.loss), what).toBeLessThan(4e-6);
          expect(largestDifference(buffers.grad_acts!, expected.gradients.acts!), what).toBeLessThan(1e-5);
        }
      }
    }
  });
});

describeLlvm('rows of two axes, with what labels add to single elements', () => {
  const file = fileURLToPath(new URL('../../specs/ctc.ts', import.meta.url));
  const source = compileToGraph(file);
  /** T, U, V: more labels than a block has rows, labels that occur often, rows in several parts, and of one element. */
  test.each([
    [150, 70, 3, 0],
    [20, 5, 28, 0],
    [12, 4, 4096, 0],
    [12, 4, 4096, 90],
    [9, 3, 9001, 0],
    [3, 0, 1, 0],
  ])('T %i, U %i, V %i, level %i', async (T, U, V, level) => {
    const { default: stated } = (await import(file)) as { default: LossDefinition };
    const rnnt = batchOf(T, U, V, { B: 2, level });
    const acts = rnnt.inputs.acts!.slice(0, 2 * T * V) as Float32Array;
    const batch = {
      ...rnnt,
      params: { blank: 0 },
      inputs: { ...rnnt.inputs, acts },
      shapes: { ...rnnt.shapes, acts: [2, T, V] },
    };
    const { program, llvm } = compile(source, { ...options, sizes: { V }, vectorBits: widths[0]! });
    expect(program.phases.flat().find(({ name }) => name === 'grad_acts')!.locals).toHaveLength(2);
    const executor = new CpuExecutor(program, llvm, hostJit());
    const expected = evaluateBatch(source.graph, batch, (utterance) =>
      evaluateAsWritten(stated, source.graph, utterance),
    );
    const { buffers, scalars } = launchArguments(source.graph, program, batch);
    executor.run({ buffers, scalars, threads: 2 });
    expect(largestDifference(buffers.loss!, expected.loss)).toBeLessThan(4e-6);
    expect(largestDifference(buffers.grad_acts!, expected.gradients.acts!)).toBeLessThan(4e-6);
    expect(expected.loss.every(Number.isFinite)).toBe(true);
    const over = acts.slice();
    executor.run({ buffers: { ...buffers, acts: over, grad_acts: over }, scalars, threads: 1 });
    expect(Buffer.compare(bytesOf(over), bytesOf(buffers.grad_acts!))).toBe(0);
  });
});

test('the elements of a row that is never visited are not read', () => {
  const program = compileToKernels(spec, { ...options, sizes: { V: 28 } });
  const text = printKernel(program.phases.flat().find(({ name }) => name === 'grad_acts')!);
  const [zero, other] = text.slice(text.indexOf('if abs(')).split('else');
  expect(zero).not.toContain('acts[at');
  expect(other).toMatch(/acts\w* = acts\[at[\s\S]*exp\(acts/);
});

test('every shipped spec that reads rows is scheduled in blocks, and no program without the option is', () => {
  const batch = randomBatch(graph, 1, { size: 4, scale: 1 });
  const plain = compileToKernels(spec, { sizes: { V: batch.sizes.V! }, lattice: 'f64', gradients: true });
  expect(plain.phases.flat().every(({ locals }) => locals === undefined)).toBe(true);
  for (const name of ['rnnt', 'hat', 'multiblank', 'tdt', 'star', 'rnnt-normalized']) {
    const source = compileToGraph(fileURLToPath(new URL(`../../specs/${name}.ts`, import.meta.url)));
    const sizes = Object.fromEntries(['V', 'D'].map((size) => [size, 40]));
    const kernels = compileToKernels(source, { ...options, sizes }).phases.flat();
    // Sums over rows in float32 and, for long paths, in float64, and a gradient. With normalised inputs there is no sum.
    const blocked = kernels.filter(({ locals }) => locals !== undefined).length;
    expect(blocked, name).toBe(name === 'rnnt-normalized' ? 1 : 3);
  }
});

describe('tiles', () => {
  const kernelsOf = (name: string, V: number, folder = 'specs') => {
    const source = compileToGraph(fileURLToPath(new URL(`../../${folder}/${name}.ts`, import.meta.url)));
    const program = compileToKernels(source, { ...options, sizes: { V, S: 5 } });
    const tiled = program.phases.flat().filter(({ grid }) => grid.some(({ variable }) => variable.endsWith('_tile')));
    return { program, tiled: tiled.map(({ name: kernel }) => kernel) };
  };

  test('short rows of a lattice that is stored by its diagonals', () => {
    expect(kernelsOf('rnnt', 28).tiled).toEqual(['logZ_stay_emit', 'logZ_stay_emit_long', 'grad_acts']);
    expect(kernelsOf('tdt', 28).tiled).toHaveLength(3);
    // Nodes of one row of the output that lie U + 1 apart are side by side as well.
    expect(kernelsOf('wildcard', 28).tiled).toEqual(['grad_acts']);
  });

  test('lanes load and store neighbours: what only tiles touch is stored by diagonals too', () => {
    const { program } = kernelsOf('rnnt', 28);
    expect(program.buffers.find(({ name }) => name === 'logZ')!.layout).toBe('logZ[(t + u) mod T][u]');
    for (const kernel of program.phases.flat().filter(({ locals }) => locals))
      for (const loop of lanesLoops(kernel.body))
        for (const { buffer, index } of accessesIn(loop.body))
          expect(strideOf(index, loop.variable, letsIn(loop.body)), `${kernel.name}: ${buffer}`).toBe(1);
  });

  test('but not long rows, lattices stored otherwise, and windows that begin elsewhere in each frame', () => {
    for (const [name, V, folder] of [
      ['rnnt', 512, 'specs'],
      ['monotonic', 28, 'specs'],
      ['mixed-signs', 28, 'test/specs'],
      ['pruned', 28, 'specs'],
    ] as const)
      expect(kernelsOf(name, V, folder).tiled, name).toEqual([]);
  });

  test('what is also read along rows stays in rows, if no recurrence reads it', () => {
    const { program, tiled } = kernelsOf('confidence', 28, 'test/specs');
    expect(tiled).toEqual(['logZ_stay_emit', 'logZ_stay_emit_long', 'grad_acts']);
    const layoutOf = (buffer: string) => program.buffers.find(({ name }) => name === buffer)!.layout;
    expect(layoutOf('stay')).toBe('stay[(t + u) mod T][u]');
    expect(layoutOf('logZ')).toBe('logZ[t][u]');
  });
});

/** All lanes loops of some statements. */
function lanesLoops(body: readonly KStmt[]): KLoop[] {
  return body.flatMap((statement) => {
    if (statement.kind === 'if') return lanesLoops([...statement.then, ...statement.otherwise]);
    if (statement.kind !== 'loop') return [];
    return statement.mode === 'lanes' ? [statement] : lanesLoops(statement.body);
  });
}

const letsIn = (body: readonly KStmt[]) =>
  new Map(body.flatMap((statement) => (statement.kind === 'let' ? [[statement.name, statement.value]] : [])));

/** Where the statements of a lanes loop load and store. */
function accessesIn(body: readonly KStmt[]): { buffer: string; index: KExpr }[] {
  const loads = (expr: KExpr): { buffer: string; index: KExpr }[] => [
    ...(expr.op === 'load' ? [expr] : []),
    ...operandsOf(expr).flatMap(loads),
  ];
  return body.flatMap((statement) => {
    if (statement.kind === 'let') return loads(statement.value);
    return statement.kind === 'store' ? [statement, ...loads(statement.value)] : [];
  });
}

function bytesOf(array: Float32Array | Float64Array | Int32Array): Buffer {
  return Buffer.from(array.buffer, array.byteOffset, array.byteLength);
}
