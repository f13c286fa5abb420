/** float16 on the GPU: what its kernels load and store, in host and GPU memory, whole and in parts. */
import { type LossResult, RNNTLoss, registerDevice } from 'trellis-jit';
import { afterEach, describe, expect, test } from 'vitest';
import { decodeHalf, encodeHalf } from '../../compiler/kernel/half.js';
import type { KExpr, KernelProgram } from '../../compiler/kernel/kernel.js';
import { printWgsl } from '../../compiler/wgsl/index.js';
import { usage } from '../../runtime/gpu/buffers.js';
import { gpuProgram, openGpuDevice } from '../../runtime/gpu/device.js';
import { GpuExecutor } from '../../runtime/gpu/executor.js';
import { GpuHost, type GpuOptions } from '../../runtime/gpu/session.js';
import { pack, randomProblems } from '../devices/batches.js';
import { halved, narrowed, numbersOf } from '../halves.js';
import * as k from '../kernel/helpers.js';
import { missing } from './gpu.js';

const { v, i, size } = k;
const target = { subgroups: false, workgroupSize: 64, maxWorkgroupStorage: 16384 };

/** x, widened, to `wide`, and y, narrowed, to `narrow`: N of each. */
function conversions(N: number): KernelProgram {
  const at: KExpr = k.add(k.mul(v('b'), i(N)), v('j'));
  const tensor = (role: 'input' | 'output', name: string, element: 'f16' | 'f32') =>
    k.buffer(role, name, element, size('B'), i(N));
  return k.program(
    k.sizes('B'),
    [
      tensor('input', 'x', 'f16'),
      tensor('input', 'y', 'f32'),
      tensor('output', 'wide', 'f32'),
      tensor('output', 'narrow', 'f16'),
    ],
    [
      k.kernel('main', { b: size('B') }, [
        k.lanes('j', k.to(i(N)), [
          k.store('wide', at, k.load('x', 'f32', at)),
          k.store('narrow', at, k.load('y', 'f32', at)),
        ]),
      ]),
    ],
  );
}

test('how it reads', () => {
  const codeOf = (N: number): string => printWgsl(conversions(N), target).phases[0]![0]!.code;
  const fours = codeOf(1024);
  expect(fours.startsWith('enable f16;\n')).toBe(true);
  expect(fours).toContain('x: array<vec4<f16>>;');
  expect(fours).toContain('finite_x4(vec4<f32>(x[');
  expect(fours).toContain('= vec4<f16>(nearest_f16_x4(');
  const ones = codeOf(1023);
  expect(ones).toContain('x: array<f16>;');
  expect(ones).toContain('= f16(nearest_f16(');
  const bfloat = conversions(8);
  const buffers = bfloat.buffers.map((decl) => (decl.name === 'x' ? { ...decl, element: 'bf16' as const } : decl));
  expect(() => printWgsl({ ...bfloat, buffers }, target)).toThrow("buffer 'x' holds bf16");
});

const all = usage.storage | usage.copySource | usage.copyTarget;
const made: GPUBuffer[] = [];
afterEach(() => {
  for (const buffer of made.splice(0)) buffer.destroy();
});

/** Whole words, the last one filled up. */
function upload(gpu: GPUDevice, bits: Uint16Array, flags = all): GPUBuffer {
  const buffer = gpu.createBuffer({ size: Math.ceil(bits.length / 2) * 4, usage: flags, mappedAtCreation: true });
  new Uint16Array(buffer.getMappedRange()).set(bits);
  buffer.unmap();
  made.push(buffer);
  return buffer;
}

async function download(gpu: GPUDevice, buffer: GPUBuffer, count: number): Promise<Uint16Array> {
  const bytes = Math.ceil(count / 2) * 4;
  const staging = gpu.createBuffer({ size: bytes, usage: usage.mapRead | usage.copyTarget });
  made.push(staging);
  const encoder = gpu.createCommandEncoder();
  encoder.copyBufferToBuffer(buffer, 0, staging, 0, bytes);
  gpu.queue.submit([encoder.finish()]);
  await staging.mapAsync(1);
  return new Uint16Array(staging.getMappedRange()).slice(0, count);
}

const why = missing ?? ((await new GpuHost({}).session()).float16 ? undefined : 'the adapter has no shader-f16');
if (why !== undefined) console.warn(`SKIPPED: tests of float16 on the GPU, since ${why}`);

describe.skipIf(why !== undefined)('float16', () => {
  test.each([4, 1])('every number comes in and goes out as it should, %i at a time', async (multiple) => {
    const y = narrowed('f16');
    const N = Math.floor(y.length / 4) * 4 + (multiple === 4 ? 0 : -1);
    const x = Uint16Array.from({ length: N }, (_, index) => index & 0xffff);
    const buffers = { x, y, wide: new Float32Array(N), narrow: new Uint16Array(N) };
    const executor = new GpuExecutor(gpuProgram(conversions(N), target), new GpuHost({}));
    await executor.run({ buffers, scalars: { B: 1 } });
    /** GPUs may take a subnormal number for 0. */
    const right = (got: number, bits: number): boolean => {
      const want = decodeHalf('f16', bits);
      return Object.is(got, want) || (Math.abs(want) < 2 ** -14 && got === 0);
    };
    expect([...x.keys()].filter((n) => !right(buffers.wide[n]!, x[n]!))).toEqual([]);
    const narrow = numbersOf('f16', buffers.narrow);
    expect([...x.keys()].filter((n) => !right(narrow[n]!, encodeHalf('f16', y[n]!)))).toEqual([]);
  });

  // 3 * 3 * 37 = 333 elements in an utterance: the second begins in the middle of a word.
  const sizes = { T: 3, U: 2, V: 37 };
  const problems = randomProblems({ spec: 'rnnt', seed: 3, B: 3, kind: 'mild', ...sizes });
  const { acts, labels, actLens, labelLens } = pack(problems, sizes, 3);
  const { tensor } = halved('f16', acts.data, acts.shape);
  const { shape } = tensor;
  const count = tensor.data.length;
  const dtype = 'float16';
  const open = async (options: GpuOptions = {}) => {
    const device = await openGpuDevice(options);
    registerDevice('webgpu', { load: async () => device });
    const loss = new RNNTLoss({ device: 'webgpu', reduction: 'none', blank: problems[0]!.blank });
    return { loss: await loss.ready(), gpu: await device.gpuDevice() };
  };
  const rest = [labels, actLens, labelLens] as const;

  test('an odd number of elements in host memory: nothing beside the gradient is written', async () => {
    const { loss } = await open();
    const expected = await loss.forward<Uint16Array>(tensor, ...rest);
    expect(expected.shapeClass).toBe('V=37 acts:float16 gradients');
    const memory = new Uint16Array(count + 7).fill(0x1234);
    const grads = memory.subarray(3, 3 + count);
    await loss.forward<Uint16Array>(tensor, ...rest, { grads });
    expect(grads).toEqual(expected.grads!.data);
    expect([...memory.subarray(0, 3), ...memory.subarray(3 + count)]).toEqual(Array(7).fill(0x1234));
  });

  test('in chunks of utterances, and in windows of one, every bit is the same', async () => {
    const { loss } = await open();
    const expected = await loss.forward<Uint16Array>(tensor, ...rest);
    for (const bindingBytes of [1400, 700, 256]) {
      const { loss: cut } = await open({ limits: { bindingBytes } });
      const result = await cut.forward<Uint16Array>(tensor, ...rest);
      expect(result.costs.data).toEqual(expected.costs.data);
      expect(result.grads!.data).toEqual(expected.grads!.data);
    }
  });

  test('in GPU memory: the gradient is a buffer of float16, or goes where the caller says', async () => {
    const { loss, gpu } = await open();
    const expected = await loss.forward<Uint16Array>(tensor, ...rest);
    const data = upload(gpu, tensor.data);
    const result = await loss.forward<GPUBuffer>({ data, shape, dtype }, ...rest);
    made.push(result.grads!.data);
    expect(result.grads).toMatchObject({ shape, dtype });
    expect(result.grads!.data.size).toBe(Math.ceil(count / 2) * 4);
    expect(result.costs.data).toEqual(expected.costs.data);
    expect(await download(gpu, result.grads!.data, count)).toEqual(expected.grads!.data);

    const target = upload(gpu, new Uint16Array(count));
    const given = await loss.forward<GPUBuffer>(tensor, ...rest, { grads: target });
    expect(given.grads).toMatchObject({ data: target, dtype });
    expect(await download(gpu, target, count)).toEqual(expected.grads!.data);

    const host = new Uint16Array(count);
    await loss.forward({ data, shape, dtype }, ...rest, { grads: host });
    expect(host).toEqual(expected.grads!.data);
    const wide = new Float32Array(count);
    await loss.forward({ data, shape, dtype }, ...rest, { grads: wide });
    expect(Uint16Array.from(wide, (each) => encodeHalf('f16', each))).toEqual(expected.grads!.data);

    await loss.forward<GPUBuffer>({ data, shape, dtype }, ...rest, { grads: 'in-place' });
    expect(await download(gpu, data, count)).toEqual(expected.grads!.data);
  });

  test('refused: a buffer too small, bfloat16 and unknown types in GPU memory, cuts within a word', async () => {
    const { loss, gpu } = await open();
    const data = upload(gpu, tensor.data);
    const run = (call: object, options = {}): Promise<LossResult> =>
      loss.forward({ data, shape, dtype, ...call } as never, ...rest, options);
    await expect(run({ shape: [4, 3, 3, 37] })).rejects.toThrow(
      'acts.data is a GPUBuffer of 2000 bytes where shape [4, 3, 3, 37] of float16 has 2664; allowed: at least 2664 bytes',
    );
    await expect(run({ dtype: 'bfloat16' })).rejects.toThrow(
      'acts is a GPUBuffer of bfloat16, which the kernels of this webgpu device cannot read; allowed: a GPUBuffer of float32, or the bfloat16 in a Uint16Array',
    );
    await expect(run({ dtype: 'int8' })).rejects.toThrow('acts.dtype is "int8"; allowed: "float32" (the default)');
    await expect(run({}, { grads: upload(gpu, new Uint16Array(10)) })).rejects.toMatchObject({ argument: 'grads' });
    const bfloat = halved('bf16', acts.data, acts.shape).tensor;
    await expect(loss.forward(bfloat, ...rest, { grads: data })).rejects.toThrow(
      'grads is a GPUBuffer, to which this webgpu device cannot write the bfloat16 of acts',
    );
    const { loss: cut, gpu: other } = await open({ limits: { bindingBytes: 700 } });
    const there = upload(other, tensor.data);
    await expect(cut.forward({ data: there, shape, dtype }, ...rest)).rejects.toThrow(
      'its float16 elements cannot be cut at a whole word',
    );
  });

  test('without shader-f16 the host converts, and only GPU memory is refused', async () => {
    const { loss: own } = await open();
    const expected = await own.forward<Uint16Array>(tensor, ...rest);
    const { loss, gpu } = await open({ float16: false });
    const result = await loss.forward<Uint16Array>(tensor, ...rest);
    expect(result.shapeClass).toBe('V=37 gradients');
    expect(result.costs.data).toEqual(expected.costs.data);
    expect(result.grads!.data).toEqual(expected.grads!.data);
    const data = upload(gpu, tensor.data);
    await expect(loss.forward({ data, shape, dtype }, ...rest)).rejects.toThrow('acts is a GPUBuffer of float16');
  });
});
