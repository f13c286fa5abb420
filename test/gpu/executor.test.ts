/** The executor with hand-written kernels: data in and out, chunks, buffers of the caller's, errors, loss of the device. */
import { describe, expect, test, vi } from 'vitest';
import { sizeClass, usage } from '../../runtime/gpu/buffers.js';
import { GpuExecutor } from '../../runtime/gpu/executor.js';
import type { GpuProgram } from '../../runtime/gpu/program.js';
import { GpuHost, type GpuOptions, type KernelTime } from '../../runtime/gpu/session.js';
import { missing, sumsCall, sumsProgram } from './gpu.js';

function open(options: GpuOptions = {}, program: GpuProgram = sumsProgram()) {
  const host = new GpuHost(options);
  return { host, executor: new GpuExecutor(program, host) };
}

/** The program with one kernel's text changed. */
function withCode(name: string, change: (code: string) => string): GpuProgram {
  const program = sumsProgram();
  const phases = program.text.phases.map((phase) =>
    phase.map((kernel) => (kernel.name === name ? { ...kernel, code: change(kernel.code) } : kernel)),
  );
  return { ...program, text: { ...program.text, phases } };
}

/** Counts the calls that make something or submit work, by name. */
function counting(device: GPUDevice): Map<string, number> {
  const count = new Map<string, number>();
  const watch = <Owner extends object>(owner: Owner, names: readonly (keyof Owner & string)[]): void => {
    for (const name of names) {
      const original = (owner[name] as (...args: unknown[]) => unknown).bind(owner);
      const counted = (...args: unknown[]): unknown => {
        count.set(name, (count.get(name) ?? 0) + 1);
        return original(...args);
      };
      Object.assign(owner, { [name]: counted });
    }
  };
  watch(device, ['createBuffer', 'createBindGroup', 'createCommandEncoder']);
  watch(device.queue, ['submit']);
  return count;
}

/** The same bits. A matcher would look at millions of elements one by one. */
function expectSame(actual: Float32Array, expected: Float32Array): void {
  const bytes = (array: Float32Array): Buffer => Buffer.from(array.buffer, array.byteOffset, array.byteLength);
  if (bytes(actual).equals(bytes(expected))) return;
  const at = expected.findIndex((value, i) => !Object.is(value, actual[i]));
  expect.fail(`element ${at} of ${expected.length} is ${actual[at]}, expected ${expected[at]}`);
}

async function expectSums(executor: GpuExecutor, samples: number, frames: number, width = 8): Promise<void> {
  const call = sumsCall(samples, frames, width);
  await executor.run(call);
  expect(call.loss).toEqual(call.expected.loss);
  expectSame(call.grad, call.expected.grad);
}

describe.skipIf(missing !== undefined)('a call', () => {
  test('takes typed arrays and fills typed arrays', async () => {
    const { executor } = open();
    await expectSums(executor, 3, 5);
    await expectSums(executor, 1, 1);
  });

  test('reads and writes views into larger arrays and nothing around them', async () => {
    const { executor } = open();
    const call = sumsCall(2, 3);
    const around = new Float32Array(call.acts.length + 10).fill(77);
    around.set(call.acts, 5);
    const out = new Float32Array(call.grad.length + 10).fill(88);
    const acts = around.subarray(5, 5 + call.acts.length);
    const grad = out.subarray(5, 5 + call.grad.length);
    await executor.run({ ...call, buffers: { ...call.buffers, acts, grad_acts: grad } });
    expect(grad).toEqual(call.expected.grad);
    expect([...out.subarray(0, 5), ...out.subarray(5 + grad.length)]).toEqual(new Array(10).fill(88));
  });

  test('works in place', async () => {
    const { executor } = open();
    const call = sumsCall(2, 3);
    await executor.run({ ...call, buffers: { ...call.buffers, grad_acts: call.acts } });
    expect(call.acts).toEqual(call.expected.grad);
    expect(call.loss).toEqual(call.expected.loss);
  });

  test('larger than a staging buffer arrives whole', async () => {
    const { executor } = open({}, sumsProgram(65_536));
    // 40 MiB in each direction, where staging buffers have 32.
    await expectSums(executor, 5, 32, 65_536);
  });

  test('many calls at once do not disturb each other', async () => {
    const { executor } = open();
    await Promise.all(Array.from({ length: 12 }, (_, n) => expectSums(executor, 1 + (n % 4), 1 + n)));
  });

  test('has more tasks than a dispatch may have workgroups', async () => {
    const { executor } = open({ limits: { workgroups: 7 } });
    await expectSums(executor, 3, 41);
  });

  test('of a batch larger than a binding is cut into chunks', async () => {
    // A sample takes 5 * 8 * 4 bytes: 160. Three fit.
    const { executor } = open({ limits: { bindingBytes: 512 } });
    await expectSums(executor, 8, 5);
  });

  test('with one sample larger than a binding, and no text with windows, is refused with its size', async () => {
    const { executor } = open({ limits: { bindingBytes: 4096 } });
    await expect(executor.run(sumsCall(2, 1000))).rejects.toMatchObject({
      code: 'not-supported',
      message: expect.stringMatching(/'acts' of one utterance takes 0\.0 MiB|binds at most/),
    });
  });

  test('is one submission, and like the last one makes nothing anew', async () => {
    const { host, executor } = open();
    const session = await host.session();
    const count = counting(session.device);
    const made = async (run: () => Promise<void>): Promise<Record<string, number>> => {
      count.clear();
      await run();
      return Object.fromEntries(count);
    };
    const perCall = { submit: 1, createCommandEncoder: 1 };
    const first = await made(() => expectSums(executor, 3, 5));
    expect(first).toMatchObject({ ...perCall, createBindGroup: 3 });
    expect(await made(() => expectSums(executor, 3, 5))).toEqual(perCall);
    // Other sizes in the same buffers are other bindings; then both are there.
    expect(await made(() => expectSums(executor, 2, 5))).toMatchObject({ ...perCall, createBindGroup: 3 });
    for (const samples of [3, 2, 3]) expect(await made(() => expectSums(executor, samples, 5))).toEqual(perCall);
    // Buffers of the caller's are not kept alive by groups.
    const acts = session.device.createBuffer({ size: 480, usage: usage.storage | usage.copyTarget });
    const call = sumsCall(3, 5);
    session.device.queue.writeBuffer(acts, 0, call.acts);
    for (let n = 0; n < 2; n++) {
      const own = await made(() => executor.run({ ...call, buffers: { ...call.buffers, acts } }));
      expect(own.createBindGroup).toBe(2);
    }
    expectSame(call.grad, call.expected.grad);
  });

  test('finds its way when buffers have come and gone', async () => {
    const { host, executor } = open();
    const { pool, bindGroups } = await host.session();
    const get = vi.spyOn(bindGroups, 'get');
    for (let n = 0; n < 60; n++) await expectSums(executor, 1 + (n % 7), 1 + ((5 * n) % 11));
    const groups = new Set(get.mock.results.map(({ value }) => value));
    expect(groups.size).toBeLessThan(get.mock.calls.length);
    // All that waits is freed, as after some seconds; what was bound before is bound no more.
    for (let n = 0; n < 20; n++) pool.endCall();
    expect(pool.stats.buffers).toBe(0);
    await expectSums(executor, 3, 5);
  });

  test('infinities and NaN come out as such', async () => {
    const { executor } = open(
      {},
      withCode('loss', (code) => code.replace(/loss\[task\] = .*;/, 'loss[task] = offset[task];')),
    );
    const call = sumsCall(5, 1);
    call.offset.set([Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, Number.NaN, 1 / 3, -1e20]);
    await executor.run(call);
    expect([...call.loss.subarray(0, 3)]).toEqual([Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, Number.NaN]);
    expect(Math.abs(call.loss[3]! - 1 / 3)).toBeLessThan(1e-14);
    expect(Math.abs(call.loss[4]! / -1e20 - 1)).toBeLessThan(1e-14);
  });

  test('tells the times of its kernels', async () => {
    const times: KernelTime[][] = [];
    const { host, executor } = open({ profile: (all) => times.push([...all]) });
    if (!(await host.session()).timestamps) return; // the adapter has none
    await executor.run(sumsCall(2, 50));
    expect(times).toHaveLength(1);
    expect(times[0]!.map(({ kernel, workgroups }) => [kernel, workgroups])).toEqual([
      ['rows', 100],
      ['loss', 2],
      ['grad_acts', 100],
    ]);
    for (const { milliseconds } of times[0]!) expect(milliseconds).toBeGreaterThan(0);
  });
});

describe.skipIf(missing !== undefined)("buffers of the caller's", () => {
  async function onGpu(call: ReturnType<typeof sumsCall>, flags = usage.storage | usage.copySource | usage.copyTarget) {
    const { host, executor } = open();
    const { device } = await host.session();
    const acts = device.createBuffer({ size: call.acts.byteLength, usage: flags | usage.copyTarget });
    device.queue.writeBuffer(acts, 0, call.acts);
    const make = (bytes = call.grad.byteLength, use: number = flags): GPUBuffer =>
      device.createBuffer({ size: bytes, usage: use });
    const read = async (buffer: GPUBuffer): Promise<Float32Array> => {
      const staging = device.createBuffer({ size: buffer.size, usage: usage.mapRead | usage.copyTarget });
      const encoder = device.createCommandEncoder();
      encoder.copyBufferToBuffer(buffer, 0, staging, 0, buffer.size);
      device.queue.submit([encoder.finish()]);
      await staging.mapAsync(1);
      return new Float32Array(staging.getMappedRange().slice(0));
    };
    return { host, executor, acts, make, read };
  }

  test('are inputs and outputs without a copy', async () => {
    const call = sumsCall(2, 5);
    const { host, executor, acts, make, read } = await onGpu(call);
    const grad = make();
    await executor.run({ ...call, buffers: { ...call.buffers, acts, grad_acts: grad } });
    expect(call.loss).toEqual(call.expected.loss);
    expect(await read(grad)).toEqual(call.expected.grad);
    expect(await read(acts)).toEqual(call.acts);
    // 320 bytes: nothing of that size was made for the call.
    const { pool } = await host.session();
    expect(pool.stats.bytes).toBeLessThan(12 * 320);
  });

  test('are written in place', async () => {
    const call = sumsCall(2, 5);
    const { executor, acts, read } = await onGpu(call);
    await executor.run({ ...call, buffers: { ...call.buffers, acts, grad_acts: acts } });
    expect(await read(acts)).toEqual(call.expected.grad);
    expect(call.loss).toEqual(call.expected.loss);
  });

  test('are copied where they cannot be bound', async () => {
    const call = sumsCall(2, 5);
    const { executor, acts, make, read } = await onGpu(call, usage.copySource | usage.copyTarget);
    const grad = make();
    await executor.run({ ...call, buffers: { ...call.buffers, acts, grad_acts: grad } });
    expect(await read(grad)).toEqual(call.expected.grad);
  });

  test('are cut into chunks like any other', async () => {
    const call = sumsCall(7, 5);
    const { host, acts, make, read } = await onGpu(call);
    const { device } = await host.session();
    const { executor } = open({ device, limits: { bindingBytes: 512 } });
    const grad = make();
    await executor.run({ ...call, buffers: { ...call.buffers, acts, grad_acts: grad } });
    expect(call.loss).toEqual(call.expected.loss);
    expect(await read(grad)).toEqual(call.expected.grad);
  });

  test('that are too small, or of no use, are refused by name', async () => {
    const call = sumsCall(2, 5);
    const { executor, acts, make } = await onGpu(call);
    const small = executor.run({ ...call, buffers: { ...call.buffers, acts, grad_acts: make(64) } });
    await expect(small).rejects.toMatchObject({
      name: 'InputError',
      argument: 'grads',
      message: expect.stringContaining('320 bytes'),
    });
    const useless = executor.run({ ...call, buffers: { ...call.buffers, acts: make(320, usage.uniform) } });
    await expect(useless).rejects.toMatchObject({
      name: 'InputError',
      argument: 'acts',
      message: expect.stringContaining('COPY_SRC'),
    });
  });

  test('of another device are an error of the call, and the next call works', async () => {
    const call = sumsCall(2, 5);
    const { acts } = await onGpu(call);
    const { executor } = open();
    await expect(executor.run({ ...call, buffers: { ...call.buffers, acts } })).rejects.toMatchObject({
      code: 'device-error',
    });
    await expectSums(executor, 2, 5);
  });
});

describe.skipIf(missing !== undefined)('errors', () => {
  test("of the GPU's compiler show the line", async () => {
    const { executor } = open(
      {},
      withCode('loss', (code) => code.replace('var sum = 0.0;', 'var sum = 0.0 + nonsense;')),
    );
    const error = await executor.run(sumsCall(1, 1)).catch((caught: unknown) => caught as Error);
    expect(error).toMatchObject({ name: 'TrellisError', code: 'device-error' });
    expect((error as Error).message).toMatch(/kernel loss, line \d+: .*nonsense/);
    expect((error as Error).message).toContain('var sum = 0.0 + nonsense;');
  });

  test('of validation belong to their call', async () => {
    const program = sumsProgram();
    const bad = {
      ...program,
      buffers: program.buffers.map((decl) => (decl.name === 'rows' ? { ...decl, shape: [] } : decl)),
    };
    const twice = {
      ...bad,
      text: {
        ...program.text,
        phases: program.text.phases.map((phase) =>
          phase.map((kernel) => ({
            ...kernel,
            // The same buffer to read and to write: WebGPU allows no such pair.
            bindings: kernel.bindings.map((each) => (each.buffer === 'grad_acts' ? { ...each, buffer: 'acts' } : each)),
          })),
        ),
      },
    };
    const host = new GpuHost({});
    const wrong = new GpuExecutor({ ...twice, buffers: program.buffers }, host);
    const right = new GpuExecutor(program, host);
    const [failed] = await Promise.all([wrong.run(sumsCall(2, 3)).catch((e: unknown) => e), expectSums(right, 2, 3)]);
    expect(failed).toMatchObject({ name: 'TrellisError', code: 'device-error' });
    await expectSums(right, 2, 3);
  });

  test('of memory are told as such, and the next call works', async () => {
    const { host, executor } = open();
    const { device } = await host.session();
    // No portable way to run out of memory: the second scope that is popped, that of memory, is made to report it.
    const pop = device.popErrorScope.bind(device);
    let popped = 0;
    device.popErrorScope = async () => {
      const answer = await pop();
      return ++popped === 2 ? ({ message: 'vkAllocateMemory failed' } as GPUError) : answer;
    };
    await expect(executor.run(sumsCall(2, 3))).rejects.toMatchObject({
      name: 'TrellisError',
      code: 'out-of-memory',
      message: expect.stringContaining('vkAllocateMemory failed'),
    });
    await expectSums(executor, 2, 3);
  });

  test('that are too much for a buffer at all are told as well', async () => {
    const { host, executor } = open();
    const session = await host.session();
    const most = session.device.limits.maxBufferSize;
    const { problem } = session.guard('a test', () =>
      session.device.createBuffer({ size: 2 * most + 16, usage: usage.storage }),
    );
    expect((await problem)?.code).toMatch(/out-of-memory|device-error/);
    await expectSums(executor, 2, 3);
  });

  test('leave no buffers behind', async () => {
    const { host, executor } = open();
    const { pool } = await host.session();
    const call = sumsCall(2, 5);
    for (let n = 0; n < 5; n++) {
      const { grad_acts, ...incomplete } = call.buffers;
      await expect(executor.run({ ...call, buffers: incomplete as typeof call.buffers })).rejects.toThrow(/grad_acts/);
    }
    expect(pool.stats.buffers).toBe(pool.stats.idleBuffers);
  });
});

describe.skipIf(missing !== undefined)('loss of the device', () => {
  test('during a call rejects it, and the next call works', async () => {
    const { host, executor } = open({}, sumsProgram(65_536));
    await expectSums(executor, 1, 1, 65_536);
    const { device } = await host.session();
    const call = sumsCall(4, 16, 65_536);
    const running = executor.run(call);
    setImmediate(() => device.destroy());
    await expect(running).rejects.toMatchObject({
      name: 'TrellisError',
      code: 'device-lost',
      message: expect.stringContaining('destroyed'),
    });
    await expectSums(executor, 1, 1, 65_536);
    expect((await host.session()).device).not.toBe(device);
  });

  test('between calls goes unnoticed', async () => {
    const { host, executor } = open();
    await expectSums(executor, 2, 5);
    const { device } = await host.session();
    device.destroy();
    await device.lost;
    await expectSums(executor, 2, 5);
  });

  test('while several calls run rejects them all', async () => {
    const { host, executor } = open({}, sumsProgram(65_536));
    await expectSums(executor, 1, 1, 65_536);
    const { device } = await host.session();
    const calls = Array.from({ length: 4 }, () => executor.run(sumsCall(4, 16, 65_536)));
    await new Promise((resolve) => setImmediate(resolve));
    device.destroy();
    for (const result of await Promise.allSettled(calls)) {
      expect(result).toMatchObject({ status: 'rejected', reason: { code: 'device-lost' } });
    }
    await expectSums(executor, 1, 1, 65_536);
  });
});

describe.skipIf(missing !== undefined)('abort', () => {
  test('rejects with the reason, and the arrays are not touched afterwards', async () => {
    const { executor } = open({ limits: { bindingBytes: 2 ** 20 } }, sumsProgram(65_536));
    const call = sumsCall(64, 4, 65_536);
    const controller = new AbortController();
    const running = executor.run({ ...call, signal: controller.signal });
    setTimeout(() => controller.abort(new Error('enough')), 5);
    await expect(running).rejects.toThrow('enough');
    const then = call.grad.slice();
    await expectSums(executor, 1, 1, 65_536);
    expectSame(call.grad, then);
    expect(Number.isNaN(call.grad[call.grad.length - 1])).toBe(true);
  });

  test('before the call does nothing at all', async () => {
    const { executor } = open();
    const call = sumsCall(1, 1);
    await expect(executor.run({ ...call, signal: AbortSignal.abort('never') })).rejects.toBe('never');
    expect(call.loss[0]).toBeNaN();
  });
});

describe.skipIf(missing !== undefined)('memory', () => {
  test('is flat over a thousand calls of changing shape', async () => {
    const { host, executor } = open();
    const { pool } = await host.session();
    const most = { buffers: 0, bytes: 0 };
    let early: typeof most | undefined;
    for (let n = 0; n < 1000; n++) {
      const call = sumsCall(1 + (n % 7), 1 + ((n * 37) % 31) * 5);
      await executor.run(call);
      most.buffers = Math.max(most.buffers, pool.stats.buffers);
      most.bytes = Math.max(most.bytes, pool.stats.bytes);
      if (n === 300) early = { ...most };
    }
    expect(most).toEqual(early);
    expect(pool.stats.buffers).toBe(pool.stats.idleBuffers);
  });

  test('is freed a while after the last call', async () => {
    const { host, executor } = open();
    await expectSums(executor, 2, 5);
    const { pool } = await host.session();
    expect(pool.stats.buffers).toBeGreaterThan(0);
    await new Promise((resolve) => setTimeout(resolve, 5_200));
    expect(pool.stats).toEqual({ buffers: 0, bytes: 0, idleBuffers: 0, idleBytes: 0 });
  });

  test('size classes waste at most a quarter', () => {
    for (let bytes = 1; bytes < 1e9; bytes = Math.ceil(bytes * 1.07)) {
      const size = sizeClass(bytes);
      expect(size).toBeGreaterThanOrEqual(bytes);
      expect(size % 4).toBe(0);
      if (bytes > 256) expect(size).toBeLessThan(bytes * 1.25 + 1);
    }
  });
});
