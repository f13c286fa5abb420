/** The webgpu device to measure: tensors in GPU memory, the floor by copying them, kernels by time stamps. */
import { loadDevice, registerDevice } from '../../device.js';
import '../../devices.js';
import type { GpuDevice } from '../../gpu/device.js';
import type { KernelTime } from '../../gpu/session.js';
import type { MeasureJob } from './report.js';
import { CapturingLoss, type Results, type Subject, timeRun } from './subject.js';
import { drawInts, logits, type RealInput, realInputs } from './tensors.js';

/** Many in one submission, so that handing it in does not count. */
const COPIES = 8;

export async function openGpu(job: MeasureJob): Promise<Subject> {
  const { openGpuDevice } = await import('../../gpu/device.js');
  const latest: { times: readonly KernelTime[] } = { times: [] };
  const opened = await openGpuDevice({
    profile: (times) => {
      latest.times = times;
    },
  });
  registerDevice('webgpu', { load: async () => opened });
  const device = (await loadDevice('webgpu', () => {})) as GpuDevice;
  const capturing = await CapturingLoss.open(device, job);
  const { loss } = capturing;
  const { signature } = loss;
  const ints = drawInts(signature, job.sizes, job.params, job.seed);
  const gpu = await device.gpu.device();
  const next = logits(job.seed);
  const inputs: (RealInput & { readonly data: GPUBuffer })[] = [];
  for (const input of realInputs(signature, job.sizes)) {
    const data = await device.gpu.allocate(input.count * 4, input.name);
    fill(gpu, data, input.count, next);
    inputs.push({ ...input, data });
  }
  await capturing.build(job);
  const bundle = {
    ...ints.inputs,
    ...ints.lengths,
    ...Object.fromEntries(inputs.map(({ name, data, shape }) => [name, { data, shape: [...shape] }])),
  };
  await loss.forward<GPUBuffer>(bundle, { grads: true });
  const full = capturing.latest;
  await loss.forward<GPUBuffer>(bundle, { grads: false });
  const score = capturing.latest;
  const gradients = full.batch.out.gpuGradients ?? {};
  const largest = inputs.reduce((one, other) => (other.count > one.count ? other : one));
  const target = gradients[largest.name] ?? (await device.gpu.allocate(largest.count * 4, 'a copy'));
  const bytes = 4 * largest.count;
  const elements = (gradient: boolean) =>
    inputs.reduce((sum, input) => sum + (input.gradient || !gradient ? input.count : 0), 0);
  return {
    signature,
    inputs,
    lossAndGradient: () => timeRun(full),
    loss: () => timeRun(score),
    floor: async () => {
      const encoder = gpu.createCommandEncoder();
      for (let n = 0; n < COPIES; n++) encoder.copyBufferToBuffer(largest.data, 0, target, 0, bytes);
      const commands = encoder.finish();
      await gpu.queue.onSubmittedWorkDone();
      const start = performance.now();
      gpu.queue.submit([commands]);
      await gpu.queue.onSubmittedWorkDone();
      // A copy reads and writes; half of it counts for each.
      const perElement = (performance.now() - start) / COPIES / 2 / largest.count;
      return { read: perElement * elements(false), write: perElement * elements(true) };
    },
    threaded: false,
    phased: false,
    profile: async () => {
      await timeRun(full);
      // One kernel may be dispatched in several windows.
      const sums = new Map<string, number>();
      for (const { kernel, milliseconds } of latest.times) sums.set(kernel, (sums.get(kernel) ?? 0) + milliseconds);
      return [...sums].map(([kernel, milliseconds]) => ({ milliseconds, kernels: [{ kernel, milliseconds }] }));
    },
    addedBytes: null,
    results: async (): Promise<Results> => {
      throw new Error('tensors in GPU memory are not written to files: measure on the cpu device');
    },
  };
}

/** In pieces, so that the host holds little. */
function fill(gpu: GPUDevice, buffer: GPUBuffer, count: number, next: (piece: Float32Array) => void): void {
  const piece = new Float32Array(Math.min(count, 2 ** 20));
  for (let from = 0; from < count; from += piece.length) {
    const length = Math.min(piece.length, count - from);
    next(piece);
    gpu.queue.writeBuffer(buffer, from * 4, piece, 0, length);
  }
}
