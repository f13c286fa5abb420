/** The webgpu device through the package's own front door: golden cases, limits, sizes, repeatability. */
import { loadLoss, RNNTLoss, registerDevice } from 'trellis-jit';
import { describe, expect, test } from 'vitest';
import { isSoftware } from '../../runtime/gpu/adapter.js';
import { type GpuDevice, openGpuDevice, realGpuFactory } from '../../runtime/gpu/device.js';
import type { GpuOptions, KernelTime } from '../../runtime/gpu/session.js';
import { listSpecs } from '../../runtime/specs.js';
import { loadCases } from '../cases.js';
import { dynamicProgram } from '../oracle.js';
import { largestDifference, randomFrom } from '../specs.js';
import { missing } from './gpu.js';

const configurations: Record<string, GpuOptions> = {
  'as the adapter is': {},
  'without subgroups': { subgroups: false },
  'with small limits': {
    limits: { invocations: 64, workgroupStorage: 16_384, bindingBytes: 134_217_728 },
    subgroups: false,
  },
  'in chunks': { limits: { bindingBytes: 4096 } },
};

/** Makes a device the one that losses get, and says what the kernels of its calls were. */
async function use(options: GpuOptions = {}): Promise<{ device: GpuDevice; times: KernelTime[][] }> {
  const times: KernelTime[][] = [];
  const device = await openGpuDevice({ ...options, profile: (each) => times.push([...each]) });
  registerDevice('webgpu', { load: async () => device });
  return { device, times };
}

interface Utterances {
  readonly B: number;
  readonly T: number;
  readonly U: number;
  readonly V: number;
}

function randomCall({ B, T, U, V }: Utterances, seed = 1) {
  const random = randomFrom(seed);
  const acts = Float32Array.from({ length: B * T * (U + 1) * V }, () => random() * 6 - 3);
  const labels = Int32Array.from({ length: B * U }, () => 1 + Math.floor(random() * (V - 1)));
  const actLens = Int32Array.from({ length: B }, (_, b) => (b === 0 ? T : 1 + Math.floor(random() * T)));
  const labelLens = Int32Array.from({ length: B }, (_, b) => (b === 0 ? U : Math.floor(random() * (U + 1))));
  return { acts: { data: acts, shape: [B, T, U + 1, V] }, labels: { data: labels, shape: [B, U] }, actLens, labelLens };
}

/** Costs relative, gradients absolute, against float64 dynamic programming. */
async function compare(loss: RNNTLoss, size: Utterances, seed = 1) {
  const call = randomCall(size, seed);
  const { acts, labels, actLens, labelLens } = call;
  const result = await loss.forward(acts, labels, actLens, labelLens);
  const { B, T, U, V } = size;
  let [cost, grad] = [0, 0];
  for (let b = 0; b < B; b++) {
    const [ownT, ownU] = [actLens[b]!, labelLens[b]!];
    const own = new Float64Array(ownT * (ownU + 1) * V);
    const rowAt = (t: number, u: number): number => ((b * T + t) * (U + 1) + u) * V;
    for (let t = 0; t < ownT; t++) {
      for (let u = 0; u <= ownU; u++)
        own.set(acts.data.subarray(rowAt(t, u), rowAt(t, u) + V), (t * (ownU + 1) + u) * V);
    }
    const utterance = {
      topology: 'rnnt' as const,
      T: ownT,
      U: ownU,
      V,
      acts: own,
      labels: labels.data.subarray(b * U),
      blank: 0,
    };
    const expected = dynamicProgram(utterance);
    cost = Math.max(cost, largestDifference([result.costs.data[b]!], [expected.loss]));
    for (let t = 0; t < T; t++) {
      for (let u = 0; u <= U; u++) {
        const row = result.grads!.data.subarray(rowAt(t, u), rowAt(t, u) + V);
        const inside = t < ownT && u <= ownU;
        for (let v = 0; v < V; v++) {
          const difference = Math.abs(row[v]! - (inside ? expected.grads[(t * (ownU + 1) + u) * V + v]! : 0));
          if (!(difference <= grad)) grad = difference;
        }
      }
    }
  }
  return { cost, grad };
}

const rnnt = (): RNNTLoss => new RNNTLoss({ device: 'webgpu', reduction: 'none' });

describe.skipIf(missing !== undefined).each(Object.entries(configurations))('golden cases %s', (_, options) => {
  const shipped = new Set(listSpecs().map(({ name }) => name));
  const cases = loadCases().filter(({ spec }) => shipped.has(spec));

  test('there are some', () => {
    expect(cases.length).toBeGreaterThan(10);
  });

  test.each(cases.map((one) => [one.name, one] as const))('%s', async (name, one) => {
    await use(options);
    const params = Object.fromEntries(Object.entries(one.params).filter(([, value]) => typeof value === 'number'));
    const loss = await loadLoss(one.spec, {
      device: 'webgpu',
      reduction: 'none',
      params: params as Record<string, number>,
    });
    const [B, , columns] = one.shape;
    const labels = { data: one.labels, shape: [B, columns - 1] };
    const [actLens, labelLens] = [Int32Array.from(one.actLens), Int32Array.from(one.labelLens)];
    const result = await loss.forward({ data: one.acts, shape: one.shape }, labels, actLens, labelLens);
    expect(result.device).toBe('webgpu');
    expect(largestDifference(result.costs.data, one.costs)).toBeLessThan(2e-5);
    const tolerance = name === 'rnnt-huge-logits' ? 3e-4 : 1e-5;
    const gradient = [...result.grads!.data];
    expect(
      gradient.findIndex(
        (value, i) => !(Object.is(value, one.grads[i]) || Math.abs(value - one.grads[i]!) < tolerance),
      ),
    ).toBe(-1);
  });
});

describe.skipIf(missing !== undefined)('sizes', () => {
  test.each([2, 3, 127, 4096])('V = %i', async (V) => {
    await use();
    const { cost, grad } = await compare(rnnt(), { B: 2, T: 4, U: 3, V });
    expect(cost).toBeLessThan(2e-5);
    expect(grad).toBeLessThan(1e-5);
  });

  test('diagonals of 1025 cells, longer than any workgroup', async () => {
    await use();
    const { cost, grad } = await compare(rnnt(), { B: 1, T: 1100, U: 1024, V: 2 });
    expect(cost).toBeLessThan(2e-5);
    expect(grad).toBeLessThan(1e-5);
  });

  test('T = 1500, U = 300', async () => {
    await use();
    const { cost, grad } = await compare(rnnt(), { B: 2, T: 1500, U: 300, V: 3 });
    expect(cost).toBeLessThan(2e-6);
    expect(grad).toBeLessThan(1e-5);
  });

  test('no labels at all', async () => {
    await use();
    const { cost, grad } = await compare(rnnt(), { B: 3, T: 5, U: 0, V: 4 });
    expect(cost).toBeLessThan(2e-5);
    expect(grad).toBeLessThan(1e-5);
  });

  test('a batch larger than a binding is cut along B', async () => {
    // A sample's logits take 12 * 6 * 8 * 4 bytes: 2304.
    const { times } = await use({ limits: { bindingBytes: 5000 } });
    const { cost, grad } = await compare(rnnt(), { B: 5, T: 12, U: 5, V: 8 });
    expect(cost).toBeLessThan(2e-5);
    expect(grad).toBeLessThan(1e-5);
    const [call] = times;
    if (call !== undefined)
      expect(call.filter(({ kernel }) => kernel.split('+').includes('grad_acts'))).toHaveLength(3);
  });

  test('an utterance larger than a binding is cut along T', async () => {
    // Its logits take 40 * 6 * 64 * 4 bytes: 61,440; its fields 40 * 6 * 8: 1920. Ten frames fit.
    const { times } = await use({ limits: { bindingBytes: 16_000 } });
    for (const gradients of [true, false]) {
      const { cost, grad } = await compare(rnnt(), { B: 2, T: 40, U: 5, V: 64 }, gradients ? 1 : 2);
      expect(cost).toBeLessThan(2e-5);
      expect(grad).toBeLessThan(1e-5);
    }
    const [call] = times;
    if (call !== undefined)
      expect(call.filter(({ kernel }) => kernel.split('+').includes('grad_acts'))).toHaveLength(8);
  });

  test('cut along T in place', async () => {
    await use({ limits: { bindingBytes: 16_000 } });
    const { acts, labels, actLens, labelLens } = randomCall({ B: 2, T: 40, U: 5, V: 64 });
    const apart = await rnnt().forward(acts, labels, actLens, labelLens);
    const expected = apart.grads!.data.slice();
    await rnnt().forward(acts, labels, actLens, labelLens, { grads: 'in-place' });
    expect(acts.data).toEqual(expected);
  });

  test('one frame larger than a binding is refused with its size and what to do', async () => {
    await use({ limits: { bindingBytes: 4096 } });
    const { acts, labels, actLens, labelLens } = randomCall({ B: 1, T: 3, U: 20, V: 64 });
    await expect(rnnt().forward(acts, labels, actLens, labelLens)).rejects.toMatchObject({
      code: 'not-supported',
      message: expect.stringMatching(/'acts' of one utterance takes .* binds at most .*cpu/),
    });
  });
});

describe.skipIf(missing !== undefined)('a loss on the GPU', () => {
  test('gives the same bits twice, and whatever the chunks', async () => {
    const { acts, labels, actLens, labelLens } = randomCall({ B: 4, T: 20, U: 8, V: 33 });
    const results = [];
    for (const limits of [{}, {}, { bindingBytes: 50_000 }, { bindingBytes: 16_000 }]) {
      await use({ limits });
      results.push(await rnnt().forward(acts, labels, actLens, labelLens));
    }
    for (const { costs, grads } of results) {
      expect(costs.data).toEqual(results[0]!.costs.data);
      expect(grads!.data).toEqual(results[0]!.grads!.data);
    }
  });

  test('keeps NaN to its sample, and infinite costs to theirs', async () => {
    await use();
    const { acts, labels } = randomCall({ B: 4, T: 5, U: 3, V: 6 });
    const [actLens, labelLens] = [Int32Array.of(5, 5, 5, 0), Int32Array.of(3, 3, 3, 3)];
    const clean = await rnnt().forward(acts, labels, actLens, labelLens);
    const perSample = 5 * 4 * 6;
    acts.data[perSample + 37] = Number.NaN;
    const result = await rnnt().forward(acts, labels, actLens, labelLens);
    expect([...result.costs.data].map(Number.isNaN)).toEqual([false, true, false, false]);
    expect(result.costs.data[3]).toBe(Number.POSITIVE_INFINITY);
    const part = ({ grads }: typeof result, b: number) => grads!.data.subarray(b * perSample, (b + 1) * perSample);
    for (const b of [0, 2, 3]) expect(part(result, b)).toEqual(part(clean, b));
    // Where a symbol cannot be on any path the gradient is 0, whatever the logits.
    expect([...part(result, 1)].filter(Number.isNaN).length).toBeGreaterThan(perSample / 2);
    expect([...part(result, 3)].every((value) => value === 0)).toBe(true);
  });

  test('survives the loss of the device', async () => {
    const { device } = await use();
    const { acts, labels, actLens, labelLens } = randomCall({ B: 2, T: 60, U: 40, V: 200 });
    const loss = rnnt();
    const before = await loss.forward(acts, labels, actLens, labelLens);
    const gpu = await device.gpuDevice();
    const running = loss.forward(acts, labels, actLens, labelLens);
    setImmediate(() => gpu.destroy());
    await expect(running).rejects.toMatchObject({ name: 'TrellisError', code: 'device-lost' });
    const after = await loss.forward(acts, labels, actLens, labelLens);
    expect(after.grads!.data).toEqual(before.grads!.data);
  });

  test('has no forwardSync', async () => {
    await use();
    const { acts, labels, actLens, labelLens } = randomCall({ B: 1, T: 2, U: 1, V: 3 });
    const loss = await rnnt().ready();
    expect(() => loss.forwardSync(acts, labels, actLens, labelLens)).toThrow(/forward/);
  });

  test('is not chosen by itself where the adapter computes on the CPU', async () => {
    const { device } = await use();
    const software = isSoftware((await device.gpuDevice()).adapterInfo);
    if (software) await expect(realGpuFactory.load()).rejects.toMatchObject({ code: 'device-unavailable' });
    else expect((await realGpuFactory.load()).name).toBe('webgpu');
  });
});

test('software rasterisers are known by name', () => {
  const info = (description: string) => ({ vendor: '', architecture: '', device: '', description });
  for (const name of [
    'llvmpipe: Mesa 25.0.7 (LLVM 15.0.6)',
    'SwiftShader Device (LLVM 16.0.0)',
    'Microsoft Basic Render Driver',
  ]) {
    expect(isSoftware(info(name))).toBe(true);
  }
  for (const name of ['NVIDIA H200', 'AMD Radeon RX 7900 XTX (RADV)', 'Apple M3', 'Intel(R) Arc(tm) A770']) {
    expect(isSoftware(info(name))).toBe(false);
  }
});
