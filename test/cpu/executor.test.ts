import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { KExpr } from '../../compiler/kernel/kernel.js';
import { CacheStore } from '../../runtime/cache-store.js';
import { type CpuCall, CpuExecutor } from '../../runtime/cpu/executor.js';
import { evaluateExtent } from '../../runtime/cpu/extents.js';
import { LlvmJit } from '../../runtime/cpu/jit.js';
import { addressOf, alignedArray, BlockPool } from '../../runtime/cpu/memory.js';
import { describeLlvm, libraries, llvmMissing, testLlvm } from '../lanes.js';
import { rowSums, rowSumsIr } from './kernels.js';

const [library] = libraries;
let jit: LlvmJit;
let executor: CpuExecutor;
beforeAll(() => {
  if (llvmMissing !== undefined) return;
  jit = new LlvmJit({ library: library! });
  executor = new CpuExecutor(rowSums, rowSumsIr, jit);
});
const cacheFolder = mkdtempSync(join(tmpdir(), 'trellis-executor-'));
afterAll(() => {
  executor?.dispose();
  rmSync(cacheFolder, { recursive: true });
});

/** A call and what must come out; all sums are exact in binary. */
function example(B: number, N: number, more: Partial<CpuCall> = {}) {
  const x = Float32Array.from({ length: B * N }, (_, i) => (i % 7) - 3);
  const labels = Int32Array.from({ length: B * N }, (_, i) => (i % 5) - 2);
  const out = new Float64Array(B);
  const want = Array.from({ length: B }, (_, b) => {
    let squares = 0;
    let row = -4;
    for (let i = b * N; i < (b + 1) * N; i++) {
      squares += x[i]! ** 2;
      row += labels[i]!;
    }
    return 0.25 * squares + row;
  });
  const call: CpuCall = { buffers: { x, labels, out }, scalars: { B, N, scale: 0.25, offset: -4 }, ...more };
  return { call, out, want };
}

describeLlvm('results', () => {
  const shapes = [
    [1, 1],
    [3, 5],
    [7, 1000],
    [64, 333],
    [2, 0],
    [0, 5],
  ] as const;

  test.each(shapes)('[%i, %i], on one thread to nine', async (B, N) => {
    for (const threads of [undefined, 1, 2, 5, 9]) {
      const more = threads === undefined ? {} : { threads };
      const sync = example(B, N, more);
      expect(executor.run(sync.call)).toBe(true);
      expect([...sync.out]).toEqual(sync.want);
      const later = example(B, N, more);
      expect(await executor.runAsync(later.call)).toBe(true);
      expect([...later.out]).toEqual(later.want);
    }
  });

  test('in parts: the same results, and a time for each phase and kernel', () => {
    const { call, out, want } = example(64, 333, { threads: 2 });
    const phases = executor.profile(call);
    expect([...out]).toEqual(want);
    const names = phases.map(({ kernels }) => kernels.map(({ kernel }) => kernel));
    expect(names).toEqual(rowSums.phases.map((phase) => phase.map(({ name }) => name)));
    for (const { milliseconds } of phases) expect(milliseconds).toBeGreaterThan(0);
  });

  test('calls of many sizes at the same time do not meet', async () => {
    const examples = Array.from({ length: 40 }, (_, i) => example(1 + (i % 5), 1 + 37 * i, { threads: 1 + (i % 3) }));
    const finished = await Promise.all(examples.map(({ call }) => executor.runAsync(call)));
    expect(finished.every(Boolean)).toBe(true);
    for (const { out, want } of examples) expect([...out]).toEqual(want);
  });

  test('views into a larger buffer', () => {
    const { call, want } = example(2, 3);
    const memory = new ArrayBuffer(1024);
    const x = new Float32Array(memory, 12, 6);
    x.set(call.buffers.x!);
    const out = new Float64Array(memory, 512, 2);
    executor.run({ ...call, buffers: { ...call.buffers, x, out } });
    expect([...out]).toEqual(want);
    expect(new Float64Array(memory, 528).every((value) => value === 0)).toBe(true);
  });

  test('an abort flag stops a call, sync or not', async () => {
    const { call, out } = example(4, 100, { abort: new Int32Array([1]), threads: 2 });
    expect(executor.run(call)).toBe(false);
    expect(await executor.runAsync(call)).toBe(false);
    expect([...out]).toEqual([0, 0, 0, 0]);
  });

  test('an object made before, and the driver from the cache', () => {
    const { object } = jit.compile(rowSumsIr);
    const write = new CacheStore({ directory: cacheFolder });
    const first = new CpuExecutor(rowSums, object, new LlvmJit({ library: library! }), write);
    expect(write.stats).toMatchObject({ misses: 1, writes: 1 });
    const read = new CacheStore({ directory: cacheFolder });
    const second = new CpuExecutor(rowSums, object, new LlvmJit({ library: library! }), read);
    expect(read.stats).toMatchObject({ diskHits: 1, misses: 0, writes: 0 });
    for (const each of [first, second]) {
      const { call, out, want } = example(5, 50);
      each.run(call);
      expect([...out]).toEqual(want);
      each.dispose();
    }
  });
});

describeLlvm('refusals, before anything runs', () => {
  const { call, out } = example(2, 3);
  const withBuffers = (more: Record<string, unknown>): CpuCall => ({
    ...call,
    buffers: { ...call.buffers, ...more } as CpuCall['buffers'],
  });
  test.each([
    ['a missing buffer', withBuffers({ x: undefined }), "buffer 'x' of 'row_sums' is missing"],
    ['a wrong type', withBuffers({ x: new Float64Array(6) }), "buffer 'x' must hold f32, not be a Float64Array"],
    [
      'a short array',
      withBuffers({ x: new Float32Array(5) }),
      "buffer 'x' has 5 elements, but its shape [2, 3] needs 6",
    ],
    ['a detached array', withBuffers({ out: detached() }), "buffer 'out' has 0 elements, but its shape [2] needs 2"],
    ['a missing size', { ...call, scalars: { B: 2, scale: 1, offset: 0 } }, "scalar 'N' is missing"],
    ['a missing parameter', { ...call, scalars: { B: 2, N: 3, offset: 0 } }, "scalar 'scale' of 'row_sums' is missing"],
    ['a broken integer', { ...call, scalars: { B: 2, N: 3, scale: 1, offset: 0.5 } }, "scalar 'offset' is 0.5, but"],
    [
      'a huge size',
      { ...call, scalars: { B: 2 ** 30, N: 2 ** 30, scale: 1, offset: 0 } },
      'would have 1152921504606847000',
    ],
    ['no threads', { ...call, threads: 0 }, 'threads is 0, but it must be an integer of at least 1'],
    ['half a thread', { ...call, threads: 1.5 }, 'threads is 1.5'],
    [
      'an empty abort flag',
      { ...call, abort: new Int32Array(0) },
      'abort must be an Int32Array of at least one element',
    ],
  ])('%s', async (_name, bad, message) => {
    expect(() => executor.run(bad)).toThrow(message);
    await expect(executor.runAsync(bad)).rejects.toThrow(message);
    expect([...out]).toEqual([0, 0]);
  });

  function detached(): Float64Array {
    const array = new Float64Array(2);
    structuredClone(array.buffer, { transfer: [array.buffer] });
    return array;
  }

  test('code that lacks a kernel', () => {
    const text = rowSumsIr.replace('@total', '@other');
    expect(() => new CpuExecutor(rowSums, text, jit)).toThrow(/symbol 'total'/);
  });

  test('a call after dispose, and dispose during a call', async () => {
    const mine = new CpuExecutor(rowSums, rowSumsIr, jit);
    const running = mine.runAsync(call);
    expect(() => mine.dispose()).toThrow("'row_sums' is running");
    await running;
    mine.dispose();
    mine.dispose();
    expect(() => mine.run(call)).toThrow("'row_sums' has been disposed of");
    await expect(mine.runAsync(call)).rejects.toThrow('disposed of');
    out.fill(0);
  });
});

testLlvm('a small call takes microseconds, not the milliseconds of threads and allocation', () => {
  const { call } = example(4, 16, { work: 64 });
  const times: number[] = [];
  for (let round = 0; round < 40; round++) {
    const start = performance.now();
    for (let i = 0; i < 100; i++) executor.run(call);
    times.push((performance.now() - start) * 10);
  }
  expect(Math.min(...times)).toBeLessThan(30); // microseconds a call, on the quietest of the rounds
});

testLlvm('bytes of scratch', () => {
  expect(executor.scratchBytes({ B: 2, N: 100 })).toBe(832 + 64);
});

describe('memory', () => {
  test('aligned arrays', () => {
    for (const element of ['f32', 'f64', 'i32'] as const) {
      for (const length of [1, 3, 16, 1000]) {
        const array = alignedArray(element, length);
        expect(array).toHaveLength(length);
        expect(addressOf(array) % 64n).toBe(0n);
        expect(array.every((value) => value === 0)).toBe(true);
      }
      expect(alignedArray(element, 0)).toHaveLength(0);
    }
    expect(addressOf(new Float32Array(0))).toBe(0n);
  });

  test('small arrays stay where their address says', () => {
    const arrays = Array.from({ length: 100 }, (_, i) => new Float32Array([i]));
    const before = arrays.map(addressOf);
    const garbage: unknown[] = [];
    for (let i = 0; i < 200_000; i++) garbage[i % 1000] = { i, more: [i] };
    expect(arrays.map(addressOf)).toEqual(before);
    expect(new Set(before).size).toBe(100);
  });

  test('the pool lends the tightest fit, keeps a bounded amount, and lets go when idle', async () => {
    const pool = new BlockPool(1_000_000, 20);
    const [a, b] = [pool.take(300_000), pool.take(600_000)];
    expect(a.address % 64n).toBe(0n);
    expect(a.bytes).toHaveLength(300_000);
    pool.give(a);
    pool.give(b);
    expect(pool.take(250_000)).toBe(a);
    expect(pool.take(550_000)).toBe(b);
    pool.give(a);
    pool.give(b);
    const tiny = pool.take(10);
    expect(tiny).not.toBe(a);
    const large = pool.take(2_000_000);
    pool.give(large);
    expect(pool.kept).toBe(0);
    pool.give(tiny);
    expect(pool.kept).toBe(10);
    await new Promise((resolve) => setTimeout(resolve, 100));
    expect(pool.kept).toBe(0);
  });
});

describe('extents', () => {
  const index = (value: number): KExpr => ({ op: 'const', type: 'index', value });
  const n: KExpr = { op: 'scalar', type: 'index', name: 'n' };
  test.each([
    ['add', 10],
    ['sub', 4],
    ['mul', 21],
    ['div', 2],
    ['mod', 1],
    ['min', 3],
    ['max', 7],
  ] as const)('%s', (name, want) => {
    expect(evaluateExtent({ op: 'index', type: 'index', name, args: [n, index(3)] }, { n: 7 })).toBe(want);
  });
  test('select on a comparison', () => {
    const below: KExpr = { op: 'compare', type: 'bool', compare: 'lt', args: [n, index(3)] };
    const not: KExpr = { op: 'logic', type: 'bool', logic: 'not', args: [below] };
    const both: KExpr = { op: 'logic', type: 'bool', logic: 'and', args: [below, not] };
    const either: KExpr = { op: 'logic', type: 'bool', logic: 'or', args: [below, not] };
    const choose = (condition: KExpr): KExpr => ({
      op: 'select',
      type: 'index',
      args: [condition, index(1), index(2)],
    });
    expect([below, not, both, either].map((c) => evaluateExtent(choose(c), { n: 2 }))).toEqual([1, 2, 2, 1]);
    expect([below, not, both, either].map((c) => evaluateExtent(choose(c), { n: 3 }))).toEqual([2, 1, 2, 1]);
  });
  test('nothing that is only known in a kernel', () => {
    expect(() => evaluateExtent({ op: 'var', type: 'index', name: 'i' }, {})).toThrow("cannot depend on a 'var'");
  });
});
