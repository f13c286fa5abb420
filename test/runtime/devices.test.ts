/** What the loss module asks of a device, with devices made for the test. */
import {
  type Batch,
  type Device,
  type DeviceFactory,
  type DeviceSpec,
  RNNTLoss,
  type Runner,
  registerDevice,
  TrellisError,
} from 'trellis-jit';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { loadDefinition } from '../../runtime/reference/load.js';
import { signatureOfHeader } from '../../runtime/signature.js';
import { findSpec } from '../../runtime/specs.js';
import { goodCall } from './bad-inputs.js';

const signature = signatureOfHeader(loadDefinition(findSpec('rnnt-equations')));

interface Fake {
  readonly prepared: string[];
  readonly batches: Batch[];
}

/** Registers a device under the name 'cpu' that notes what it is asked for. */
function fakeCpu(run: (batch: Batch) => void = () => {}, prepare: () => Promise<void> = async () => {}): Fake {
  const fake: Fake = { prepared: [], batches: [] };
  const runner: Runner = {
    source: 'disk',
    run: async (batch) => {
      fake.batches.push(batch);
      run(batch);
    },
  };
  const spec: DeviceSpec = {
    signature,
    prepare: async ({ key }) => {
      fake.prepared.push(key);
      await prepare();
      return runner;
    },
  };
  const device: Device = { name: 'cpu', reals: 'f32', open: async () => spec };
  registerDevice('cpu', { load: async () => device });
  return fake;
}

/** A device under the name 'cpu' that need not be waited for. */
function cpuSync(): DeviceFactory {
  const runner: Runner = { source: 'disk', run: async () => {}, runSync: () => {} };
  const spec: DeviceSpec = { signature, prepare: async () => runner, prepareSync: () => runner };
  const device: Device = { name: 'cpu', reals: 'f32', open: async () => spec, openSync: () => spec };
  return { load: async () => device, loadSync: () => device };
}

const forward = (loss: RNNTLoss, tensors: Partial<ReturnType<typeof goodCall>> = {}, call = {}) => {
  const { acts, labels, actLens, labelLens } = { ...goodCall(), ...tensors };
  return loss.forward(acts, labels, actLens, labelLens, call);
};

afterEach(() => vi.restoreAllMocks());

describe('a batch', () => {
  test('is complete, converted and checked', async () => {
    const fake = fakeCpu();
    const acts = { data: Float64Array.from(goodCall().acts.data), shape: [2, 4, 3, 5] };
    const loss = new RNNTLoss({ device: 'cpu', reduction: 'mean', blank: -5, fastemitLambda: 0.5, threads: 3 });
    await forward(loss, {
      acts: acts as never,
      labels: { data: BigInt64Array.of(1n, 2n, 3n, -7n), shape: [2, 2] } as never,
    });
    const [batch] = fake.batches;
    expect(batch).toMatchObject({
      B: 2,
      sizes: { T: 4, U: 2, V: 5 },
      shapes: { acts: [2, 4, 3, 5], labels: [2, 2] },
      params: { blank: 0, fastemitLambda: 0.5, clamp: 0 },
      threads: 3,
    });
    expect(batch?.inputs.acts).toEqual(goodCall().acts.data);
    expect(batch?.inputs.labels).toEqual(Int32Array.of(1, 2, 3, 0));
    expect(batch?.lengths).toEqual({ actLens: Int32Array.of(4, 3), labelLens: Int32Array.of(2, 1) });
    expect(batch?.gradScale).toEqual(Float64Array.of(1 / 4, 1 / 2));
    expect(batch?.out.gradients?.acts).toEqual(new Float32Array(120));
  });

  test('of float32 is not copied', async () => {
    const fake = fakeCpu();
    const { acts } = goodCall();
    await forward(new RNNTLoss({ device: 'cpu' }), { acts }, { grads: 'in-place' });
    expect(fake.batches[0]?.inputs.acts).toBe(acts.data);
    expect(fake.batches[0]?.out.gradients?.acts).toBe(acts.data);
  });

  test("of infeasible: 'error' with an output array is scored first", async () => {
    const fake = fakeCpu(({ out }) => {
      out.loss[1] = Number.POSITIVE_INFINITY;
    });
    const loss = new RNNTLoss({ device: 'cpu', infeasible: 'error' });
    await expect(forward(loss, {}, { grads: 'in-place' })).rejects.toThrow('sample[1] has no possible path');
    expect(fake.prepared).toEqual(['V=5 score']);
    await expect(forward(loss)).rejects.toThrow('sample[1] has no possible path');
    expect(fake.prepared).toEqual(['V=5 score', 'V=5 gradients']);
  });
});

describe('the kernel cache', () => {
  test('one kernel serves all lengths, batch sizes and parameters; another V or score-only needs another', async () => {
    const fake = fakeCpu();
    const loss = new RNNTLoss({ device: 'cpu' });
    const run = (shape: number[], call = {}) => {
      const [B = 0, T = 0, rows = 0, V = 0] = shape;
      const acts = { data: new Float32Array(B * T * rows * V), shape };
      const labels = { data: new Int32Array(B * (rows - 1)).fill(1), shape: [B, rows - 1] };
      return loss.forward({ acts, labels }, call);
    };
    await run([2, 4, 3, 5]);
    await run([1, 9, 2, 5], { params: { clamp: 1 } });
    await run([2, 4, 3, 6]);
    const last = await run([2, 4, 3, 5], { grads: false });
    expect(fake.prepared).toEqual(['V=5 gradients', 'V=6 gradients', 'V=5 score']);
    expect(last.shapeClass).toBe('V=5 score');
    expect(loss.cache).toMatchObject({ hits: 1, misses: 3, lastShapeClass: 'V=5 score' });
    expect(loss.cache.entries.map(({ shapeClass, hits, source }) => [shapeClass, hits, source])).toEqual([
      ['V=5 gradients', 1, 'disk'],
      ['V=6 gradients', 0, 'disk'],
      ['V=5 score', 0, 'disk'],
    ]);
    const total = loss.cache.entries.reduce((sum, entry) => sum + entry.compileMilliseconds, 0);
    expect(loss.cache.compileMilliseconds).toBeCloseTo(total, 9);
  });

  test('one build is in flight per class', async () => {
    let release = (): void => {};
    const gate = new Promise<void>((resolve) => {
      release = resolve;
    });
    const fake = fakeCpu(undefined, () => gate);
    const loss = new RNNTLoss({ device: 'cpu' });
    const both = Promise.all([forward(loss), forward(loss)]);
    await loss.ready();
    release();
    await both;
    expect(fake.prepared).toHaveLength(1);
    expect(loss.cache).toMatchObject({ hits: 1, misses: 1 });
  });

  test('a build that fails is forgotten', async () => {
    let fails = true;
    const fake = fakeCpu(undefined, async () => {
      if (fails) throw new Error('no room');
    });
    const loss = new RNNTLoss({ device: 'cpu' });
    const twice = await Promise.allSettled([forward(loss), forward(loss)]);
    expect(twice.map(({ status }) => status)).toEqual(['rejected', 'rejected']);
    expect(fake.prepared).toHaveLength(1);
    fails = false;
    await forward(loss);
    expect(fake.prepared).toHaveLength(2);
    expect(loss.cache.entries).toHaveLength(1);
  });
});

describe('choosing a device', () => {
  const absent = (): void =>
    registerDevice('cpu', {
      load: async () => {
        throw new TrellisError('device-unavailable', 'no libLLVM here');
      },
      loadSync: () => {
        throw new TrellisError('device-unavailable', 'no libLLVM here');
      },
    });

  test("'auto' takes the reference without a cpu device, and says so once", async () => {
    absent();
    const written = vi.spyOn(process.stderr, 'write').mockReturnValue(true);
    expect((await forward(new RNNTLoss())).device).toBe('reference');
    expect((await forward(new RNNTLoss({ device: 'auto' }))).device).toBe('reference');
    const { acts, labels, actLens, labelLens } = goodCall();
    expect(new RNNTLoss().forwardSync(acts, labels, actLens, labelLens).device).toBe('reference');
    expect(written.mock.calls.map(([line]) => line)).toEqual([
      'trellis: the cpu device is not available (no libLLVM here); using the slow float64 reference device\n',
    ]);
  });

  test("'auto' takes the cpu device where there is one", async () => {
    fakeCpu();
    expect((await forward(new RNNTLoss())).device).toBe('cpu');
  });

  test('who asks for the cpu device by name gets its error', async () => {
    absent();
    const error = await forward(new RNNTLoss({ device: 'cpu' })).catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(TrellisError);
    expect(error).toMatchObject({ code: 'device-unavailable', message: 'no libLLVM here' });
  });

  test("'auto' takes a GPU that says it may be taken first; forwardSync passes it over", async () => {
    const gpu: Device = {
      name: 'webgpu',
      reals: 'f32',
      open: async () => ({ signature, prepare: async () => ({ source: 'compiled', run: async () => {} }) }),
    };
    let offered: Device | undefined = gpu;
    registerDevice('webgpu', { load: async () => gpu, loadForAuto: async () => offered });
    registerDevice('cpu', cpuSync());
    const loss = await new RNNTLoss().ready();
    expect((await forward(loss)).device).toBe('webgpu');
    const { acts, labels, actLens, labelLens } = goodCall();
    expect(loss.forwardSync(acts, labels, actLens, labelLens).device).toBe('cpu');
    expect(loss.forwardSync(acts, labels, actLens, labelLens).device).toBe('cpu');
    expect((await forward(loss)).device).toBe('webgpu');
    expect(loss.cache.entries.map(({ shapeClass, hits }) => [shapeClass, hits])).toEqual([
      ['V=5 gradients', 1],
      ['V=5 gradients on cpu', 1],
    ]);
    // By name it has to be what was asked for.
    const named = await new RNNTLoss({ device: 'webgpu' }).ready();
    expect(() => named.forwardSync(acts, labels, actLens, labelLens)).toThrow('the webgpu device has no forwardSync');
    // What only computes on the CPU is not offered.
    offered = undefined;
    expect((await forward(new RNNTLoss())).device).toBe('cpu');
  });

  test("a failure that is no absence is not hidden by 'auto'", async () => {
    registerDevice('cpu', {
      load: async () => {
        throw new Error('a bug');
      },
    });
    await expect(forward(new RNNTLoss())).rejects.toThrow('a bug');
  });

  test('forwardSync on a device that cannot wait', async () => {
    fakeCpu();
    const { acts, labels, actLens, labelLens } = goodCall();
    const loss = new RNNTLoss({ device: 'cpu' });
    expect(() => loss.forwardSync(acts, labels, actLens, labelLens)).toThrow(
      'the cpu device has to be made ready first: await loss.ready() once, then call forwardSync',
    );
    await loss.ready();
    await forward(loss);
    expect(() => loss.forwardSync(acts, labels, actLens, labelLens)).toThrow(
      'the cpu device has no forwardSync; use await loss.forward(...)',
    );
  });
});
