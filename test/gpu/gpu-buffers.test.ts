/** Tensors in GPU memory: logits in, gradients out, without a round trip through the host. */
import { RNNTLoss } from 'trellis-jit';
import { afterEach, describe, expect, test } from 'vitest';
import { usage } from '../../runtime/gpu/buffers.js';
import { randomBatch } from '../devices/batches.js';
import { missing } from './gpu.js';

const mapRead = 1;
const { tensors, params } = randomBatch({ spec: 'rnnt', seed: 4, B: 3, T: 9, U: 4, V: 12, kind: 'mild' });
const { acts, labels, actLens, labelLens } = tensors;
const shape = [...acts.shape];
const options = { device: 'webgpu', reduction: 'none', blank: params.blank } as const;
const all = usage.storage | usage.copySource | usage.copyTarget;

const made: GPUBuffer[] = [];
afterEach(() => {
  for (const buffer of made.splice(0)) buffer.destroy();
});

function upload(gpu: GPUDevice, flags: number, data: Float32Array = acts.data): GPUBuffer {
  const buffer = gpu.createBuffer({ size: data.byteLength, usage: flags, mappedAtCreation: true });
  new Float32Array(buffer.getMappedRange()).set(data);
  buffer.unmap();
  made.push(buffer);
  return buffer;
}

async function download(gpu: GPUDevice, buffer: GPUBuffer): Promise<Float32Array> {
  const staging = gpu.createBuffer({ size: acts.data.byteLength, usage: mapReadFlags() });
  made.push(staging);
  const encoder = gpu.createCommandEncoder();
  encoder.copyBufferToBuffer(buffer, 0, staging, 0, acts.data.byteLength);
  gpu.queue.submit([encoder.finish()]);
  await staging.mapAsync(mapRead);
  return new Float32Array(staging.getMappedRange()).slice();
}
const mapReadFlags = (): number => usage.mapRead | usage.copyTarget;

describe.skipIf(missing !== undefined)('GPUBuffers', () => {
  const open = async () => {
    const loss = await new RNNTLoss(options).ready();
    const gpu = await loss.gpuDevice();
    const expected = await loss.forward(acts, labels, actLens, labelLens);
    return { loss, gpu, expected };
  };

  test('logits in GPU memory: the gradient stays there, in a buffer that is the caller’s', async () => {
    const { loss, gpu, expected } = await open();
    for (const flags of [usage.storage, usage.copySource, all]) {
      const input = upload(gpu, flags);
      const result = await loss.forward<GPUBuffer>({ data: input, shape }, labels, actLens, labelLens);
      const gradient = result.grads!.data;
      made.push(gradient);
      expect(gradient).not.toBe(input);
      expect(result.grads!.shape).toEqual(shape);
      expect(result.gradients.acts!.data).toBe(gradient);
      expect(result.costs.data).toEqual(expected.costs.data);
      expect(await download(gpu, gradient)).toEqual(expected.grads!.data);
    }
  });

  test('score only, and a gradient brought to an array of the host', async () => {
    const { loss, gpu, expected } = await open();
    const data = upload(gpu, usage.storage);
    const scored = await loss.forward({ data, shape }, labels, actLens, labelLens, { grads: false });
    expect(scored.costs.data).toEqual(expected.costs.data);
    expect(scored.grads).toBe(null);
    const grads = new Float32Array(acts.data.length);
    const result = await loss.forward({ data, shape }, labels, actLens, labelLens, { grads });
    expect(result.grads!.data).toBe(grads);
    expect(grads).toEqual(expected.grads!.data);
  });

  test('in place, and into a buffer of the caller, from the host or from GPU memory', async () => {
    const { loss, gpu, expected } = await open();
    const own = upload(gpu, all);
    const replaced = await loss.forward<GPUBuffer>({ data: own, shape }, labels, actLens, labelLens, {
      grads: 'in-place',
    });
    expect(replaced.grads!.data).toBe(own);
    expect(await download(gpu, own)).toEqual(expected.grads!.data);
    for (const from of [acts, { data: upload(gpu, usage.storage), shape }]) {
      const target = upload(gpu, all, new Float32Array(acts.data.length).fill(7));
      const result = await loss.forward<GPUBuffer>(from, labels, actLens, labelLens, { grads: target });
      expect(result.grads!.data).toBe(target);
      expect(await download(gpu, target)).toEqual(expected.grads!.data);
    }
  });

  test('refused: too small, for ints, of the wrong usage, of another device, destroyed', async () => {
    const { loss, gpu, expected } = await open();
    const run = (data: GPUBuffer, call = {}) => loss.forward({ data, shape }, labels, actLens, labelLens, call);
    const good = upload(gpu, all);
    const small = upload(gpu, all, new Float32Array(8));
    await expect(run(small)).rejects.toMatchObject({
      name: 'InputError',
      message: `acts.data is a GPUBuffer of 32 bytes where shape [${shape.join(', ')}] of float32 has ${acts.data.byteLength}; allowed: at least ${acts.data.byteLength} bytes`,
    });
    await expect(run(good, { grads: small })).rejects.toMatchObject({ name: 'InputError', argument: 'grads' });
    await expect(loss.forward(acts, { data: good, shape: [3, 4] }, actLens, labelLens)).rejects.toThrow(
      'labels is a GPUBuffer, and integers have to be checked; allowed: Int32Array',
    );
    await expect(run(upload(gpu, usage.uniform))).rejects.toMatchObject({
      name: 'InputError',
      argument: 'acts',
      message: expect.stringContaining('allowed: a GPUBuffer with usage STORAGE or COPY_SRC'),
    });
    await expect(run(good, { grads: upload(gpu, usage.uniform) })).rejects.toMatchObject({ argument: 'grads' });
    const gone = upload(gpu, all);
    gone.destroy();
    await expect(run(gone)).rejects.toMatchObject({ code: 'device-error' });
    const again = await run(good, { grads: new Float32Array(acts.data.length) });
    expect(again.costs.data).toEqual(expected.costs.data);
  });

  test('other devices refuse them and say which device takes them', async () => {
    const { gpu } = await open();
    const data = upload(gpu, all);
    for (const device of ['reference'] as const) {
      const loss = new RNNTLoss({ device });
      await expect(loss.forward({ data, shape }, labels, actLens, labelLens)).rejects.toThrow(
        'acts is a GPUBuffer, which only the webgpu device can read',
      );
      await expect(loss.forward(acts, labels, actLens, labelLens, { grads: data })).rejects.toThrow(
        `grads is a GPUBuffer, which the ${device} device cannot write to`,
      );
      await expect(loss.gpuDevice()).rejects.toMatchObject({ code: 'not-supported' });
    }
  });

  test('log-probabilities in GPU memory are taken as they are', async () => {
    const { gpu } = await open();
    const loss = new RNNTLoss({ ...options, normalized: true });
    const logProbs = acts.data.map((x) => -Math.abs(x) - 3);
    const onHost = await loss.forward({ data: logProbs, shape }, labels, actLens, labelLens);
    const data = upload(gpu, all, logProbs);
    const onGpu = await loss.forward({ data, shape }, labels, actLens, labelLens, { grads: false });
    expect(onGpu.costs.data).toEqual(onHost.costs.data);
  });
});
