/**
 * Long paths, on a processor: rows are summed in float64 there, and what a gradient singles out is computed whole. Every number is
 * compared with float64, relative to itself; and whether an utterance's path is long is its own affair, not its batch's.
 */
import { readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { compile, compileToGraph, compileToKernels } from '../../compiler/compile.js';
import { interpretProgram } from '../../compiler/kernel/interpret.js';
import { printKernel } from '../../compiler/kernel/print.js';
import { CpuExecutor } from '../../runtime/cpu/executor.js';
import { describeLlvm } from '../lanes.js';
import { hostJit, widths } from '../llvm/run.js';
import { dynamicProgram } from '../oracle.js';
import {
  evaluateAsGraph,
  evaluateBatch,
  largestDifference,
  launchArguments,
  type RandomBatch,
  randomBatch,
  randomFrom,
} from '../specs.js';

const at = (path: string): string => fileURLToPath(new URL(`../../${path}`, import.meta.url));
const options = { lattice: 'f64', blocks: true, gradients: true } as const;
const rnnt = compileToGraph(at('specs/rnnt.ts'));

/** Kernels of a spec on native code. */
function nativeOf(spec: ReturnType<typeof compileToGraph>, sizes: Record<string, number>, vectorBits: 128 | 256 | 512) {
  const { program, llvm } = compile(spec, { ...options, sizes, vectorBits });
  const executor = new CpuExecutor(program, llvm, hostJit());
  return (batch: RandomBatch) => {
    const { buffers, scalars } = launchArguments(spec.graph, program, batch);
    executor.run({ buffers, scalars, threads: 2 });
    return buffers;
  };
}

/** RNN-T utterances of given lengths. `level` is added to the logits of a third of the rows, and taken from those of another. */
function utterances(
  lengths: readonly (readonly [T: number, U: number])[],
  V: number,
  level = 0,
  scale = 3,
): RandomBatch {
  const random = randomFrom(V + level);
  const [T, U] = [0, 1].map((axis) => Math.max(...lengths.map((own) => own[axis]!))) as [number, number];
  const B = lengths.length;
  const height = [0, level, -level];
  return {
    B,
    sizes: { T, U, V },
    ownSizes: lengths.map(([t, u]) => ({ T: t, U: u, V })),
    inputs: {
      acts: Float32Array.from(
        { length: B * T * (U + 1) * V },
        (_, i) => (random() * 2 - 1) * scale + height[Math.floor(i / V) % 3]!,
      ),
      labels: Int32Array.from({ length: B * U }, () => 1 + Math.floor(random() * (V - 1))),
    },
    shapes: { acts: [B, T, U + 1, V], labels: [B, U] },
    lengths: { actLens: Int32Array.from(lengths, ([t]) => t), labelLens: Int32Array.from(lengths, ([, u]) => u) },
    params: { blank: 0, fastemitLambda: 0, clamp: 0 },
  };
}

/** What elements of rows of V are off by, relative to themselves: the most of those that are above a millionth of their row's largest. */
function worstElement(got: ArrayLike<number>, wanted: ArrayLike<number>, V: number): number {
  let worst = 0;
  for (let row = 0; row < wanted.length; row += V) {
    let largest = 0;
    for (let v = 0; v < V; v++) largest = Math.max(largest, Math.abs(wanted[row + v]!));
    for (let v = 0; v < V; v++) {
      const value = wanted[row + v]!;
      if (Math.abs(value) < Math.max(2 ** -126, 1e-6 * largest)) continue;
      worst = Math.max(worst, Math.abs(got[row + v]! / value - 1));
    }
  }
  return worst;
}

/** Relative errors of a batch's costs, and of the elements of its gradient. */
function relativeErrors({ B, sizes, ownSizes, inputs }: RandomBatch, buffers: Record<string, ArrayLike<number>>) {
  const { T, U, V } = sizes as { T: number; U: number; V: number };
  const stride = (U + 1) * V;
  const worst = { cost: 0, element: 0 };
  for (let b = 0; b < B; b++) {
    const own = ownSizes[b] as { T: number; U: number };
    const acts = new Float32Array(own.T * (own.U + 1) * V);
    const place = (t: number): number => (b * T + t) * stride;
    for (let t = 0; t < own.T; t++)
      acts.set((inputs.acts as Float32Array).subarray(place(t), place(t) + (own.U + 1) * V), t * (own.U + 1) * V);
    const labels = (inputs.labels as Int32Array).subarray(b * U, b * U + own.U);
    const exact = dynamicProgram({ topology: 'rnnt', ...own, V, acts, labels, blank: 0 });
    worst.cost = Math.max(worst.cost, Math.abs(buffers.loss![b]! / exact.loss - 1));
    for (let t = 0; t < own.T; t++) {
      const size = (own.U + 1) * V;
      const got = (buffers.grad_acts as Float32Array).subarray(place(t), place(t) + size);
      worst.element = Math.max(worst.element, worstElement(got, exact.grads.subarray(t * size, (t + 1) * size), V));
    }
  }
  return worst;
}

test('kernels of their own sum over rows in float64, from 1024 cells on', () => {
  const phase = compileToKernels(rnnt, { ...options, sizes: { V: 28 } }).phases[0]!;
  const [short, long] = phase.map((kernel) => printKernel(kernel)) as [string, string];
  expect(short).toMatch(/if T \+ U < 1024 &&/);
  expect(short).toContain('f32 = sum of exp(');
  expect(long).toMatch(/if T \+ U >= 1024 &&/);
  expect(long).toContain('f64 = sum of exp(');
  // On a GPU as well; where there is no float64, and where cells share rows, there is one way.
  expect(compileToKernels(rnnt, { ...options, blocks: false, sizes: { V: 28 } }).phases[0]).toHaveLength(2);
  expect(compileToKernels(rnnt, { ...options, lattice: 'f32', sizes: { V: 28 } }).phases[0]).toHaveLength(1);
  const ctc = compileToKernels(compileToGraph(at('specs/ctc.ts')), { ...options, sizes: { V: 28 } });
  expect(ctc.phases.flat().filter(({ name }) => name.endsWith('_long'))).toEqual([]);
});

describe('a strict run of the kernels', () => {
  // With and without rows whose exponentials float32 cannot hold.
  test.each([0, 90])('long and short utterances, level %i', (level) => {
    const batch = utterances(
      [
        [1030, 2],
        [5, 2],
        [1022, 1],
        [1023, 1],
      ],
      3,
      level,
    );
    const program = compileToKernels(rnnt, { ...options, sizes: { V: 3 } });
    const { buffers, scalars } = launchArguments(rnnt.graph, program, batch);
    const memory = { buffers: new Map(Object.entries(buffers)), scalars: new Map(Object.entries(scalars)), seed: 1 };
    interpretProgram(program, memory);
    const expected = evaluateBatch(rnnt.graph, batch, (utterance) => evaluateAsGraph(rnnt.graph, utterance));
    expect(largestDifference(buffers.loss!, expected.loss)).toBeLessThan(4e-7);
    for (const b of [0, 3]) expect(Math.abs(buffers.loss![b]! / expected.loss[b]! - 1)).toBeLessThan(1e-12);
    expect(largestDifference(buffers.grad_acts!, expected.gradients.acts!)).toBeLessThan(4e-6);
  });
});

describeLlvm.each(widths)('native code for vectors of %i bits', (vectorBits) => {
  // One vector, several, a part of one, and rows that are worked on one at a time.
  test.each(vectorBits === 512 ? [2, 8, 28, 50, 600] : [3, 28, 600])('V %i: each element to 1e-5 of itself', (V) => {
    const run = nativeOf(rnnt, { V }, vectorBits);
    const tall = V > 50 ? 1 : 24;
    const lengths = [[1024 - tall, tall], ...(V < 50 ? [[1040, tall - 2] as const] : [])] as const;
    // Where all other symbols come to far less than blank and label, float64 itself leaves no digits of p g - q.
    for (const [level, scale] of [[0, 3], [90, 3], ...(V < 28 ? [] : [[0, 15]])]) {
      const batch = utterances(lengths, V, level, scale);
      const { cost, element } = relativeErrors(batch, run(batch));
      // Of the recurrence, whose steps add with 32 bits; the rows have more.
      expect(cost).toBeLessThan(1e-11);
      expect(element, `level ${level}, scale ${scale}`).toBeLessThan(1e-5);
    }
  });

  test('an utterance comes to the same in any batch', () => {
    const run = nativeOf(rnnt, { V: 28 }, vectorBits);
    const lengths = [
      [1030, 3],
      [1020, 3],
      [1021, 3],
      [7, 3],
    ] as const;
    const together = utterances(lengths, 28);
    const size = 1030 * 4 * 28;
    const all = run(together);
    for (const [b, own] of lengths.entries()) {
      const acts = (together.inputs.acts as Float32Array).slice(b * size, (b + 1) * size);
      const labels = (together.inputs.labels as Int32Array).slice(3 * b, 3 * b + 3);
      const alone = run({
        ...utterances([[1030, 3]], 28),
        ownSizes: [{ T: own[0], U: own[1], V: 28 }],
        inputs: { acts, labels },
        lengths: { actLens: Int32Array.of(own[0]), labelLens: Int32Array.of(own[1]) },
      });
      expect(alone.loss![0]).toBe(all.loss![b]);
      expect([...alone.grad_acts!]).toEqual([...all.grad_acts!.slice(b * size, (b + 1) * size)]);
    }
  });

  test('infinities and NaN among the logits', () => {
    const run = nativeOf(rnnt, { V: 5 }, vectorBits);
    for (const value of [Number.NEGATIVE_INFINITY, Number.POSITIVE_INFINITY, Number.NaN]) {
      for (const symbol of [0, 2, 4]) {
        const batch = utterances([[1030, 3]], 5);
        batch.inputs.acts![(500 * 4 + 1) * 5 + symbol] = value;
        const expected = evaluateBatch(rnnt.graph, batch, (utterance) => evaluateAsGraph(rnnt.graph, utterance));
        const buffers = run(batch);
        expect(largestDifference(buffers.loss!, expected.loss), `${value}`).toBeLessThan(1e-11);
        expect(largestDifference(buffers.grad_acts!, expected.gradients.acts!), `${value}`).toBeLessThan(1e-6);
      }
    }
  });
});

describeLlvm('any spec, with long paths', () => {
  const specs = ['specs', 'test/specs'].flatMap((folder) =>
    readdirSync(at(folder))
      .filter((name) => name.endsWith('.ts') && name !== 'helpers.ts')
      .map((name) => `${folder}/${name}`),
  );
  /** Those whose cells have a row of logits each, and single elements out of it. */
  const exact =
    /^specs\/(constrained|delay-penalty|hat|monotonic|multiblank|restricted|star|tdt|tdt-tokens|wildcard)\.ts$/;
  test.each(specs)('%s', (path) => {
    const spec = compileToGraph(at(path));
    const T = spec.graph.lengths[0]?.size ?? 'T';
    const sizes = { [T]: 1040, ...(exact.test(path) && { U: 4, V: 12 }) };
    const batch = randomBatch(spec.graph, 1, { size: 5, scale: 3, sizes });
    const buffers = nativeOf(spec, batch.sizes, widths.at(-1)!)(batch);
    const expected = evaluateBatch(spec.graph, batch, (utterance) => evaluateAsGraph(spec.graph, utterance));
    expect(largestDifference(buffers.loss!, expected.loss)).toBeLessThan(1e-6);
    for (const [name, gradient] of Object.entries(expected.gradients)) {
      const got = buffers[`grad_${name}`]!;
      expect(largestDifference(got, gradient), name).toBeLessThan(4e-6);
      if (!exact.test(path)) continue;
      // The first utterance is the long one.
      const row = batch.shapes[name]!.at(-1)!;
      const one = gradient.length / batch.B;
      expect(worstElement(got, Array.from(gradient).slice(0, one), row), name).toBeLessThan(1e-5);
    }
  });
});
