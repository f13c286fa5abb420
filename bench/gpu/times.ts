/** One shape of call with its tensors in GPU memory: the time of the call, and of each kernel. */
import { compileToGraph, compileToKernels } from '../../compiler/compile.js';
import { bytesOf, product, shapeOf } from '../../runtime/gpu/call.js';
import type { GpuDevice } from '../../runtime/gpu/device.js';
import { packBuffers } from '../../runtime/gpu/packing.js';
import type { KernelTime } from '../../runtime/gpu/session.js';
import { printSized } from '../../runtime/gpu/sized.js';
import { findSpec, loadLoss } from '../../runtime/index.js';

export interface KernelRow {
  readonly kernel: string;
  /** Median over the rounds of what its dispatches of one call take together. 0 without time stamps. */
  readonly milliseconds: number;
  readonly dispatches: number;
  /** What it binds, each buffer counted once: the least that it has to move, if it touches all of it. */
  readonly bytes: number;
}

export interface ShapeRow {
  readonly shape: readonly number[];
  readonly call: number;
  readonly kernelsTotal: number;
  readonly kernels: readonly KernelRow[];
}

const median = (numbers: readonly number[]): number => [...numbers].sort((a, b) => a - b)[numbers.length >> 1] ?? 0;

/** RNN-T loss and gradient, logits and gradient in GPU memory. */
export async function timeShape(
  device: GpuDevice,
  [B, T, U, V]: readonly [number, number, number, number],
  rounds: number,
  latest: () => readonly KernelTime[],
): Promise<ShapeRow> {
  const gpu = await device.gpu.device();
  const shape = [B, T, U + 1, V];
  const count = product(shape);
  const data = await device.gpu.allocate(count * 4, 'acts');
  const grads = await device.gpu.allocate(count * 4, 'gradient');
  fill(gpu, data, count);
  const labels = { data: Int32Array.from({ length: B * U }, (_, i) => 1 + (i % (V - 1))), shape: [B, U] };
  const [actLens, labelLens] = [new Int32Array(B).fill(T), new Int32Array(B).fill(U)];
  const loss = await loadLoss('rnnt', { device: 'webgpu', reduction: 'none' });
  const calls: number[] = [];
  const byKernel = new Map<string, { times: number[]; dispatches: number }>();
  for (let round = -2; round < rounds; round++) {
    const result = await loss.forward<GPUBuffer>({ data, shape }, labels, actLens, labelLens, { grads });
    if (round < 0) continue; // pipelines are built, memory is touched
    calls.push(result.milliseconds);
    const sums = new Map<string, { milliseconds: number; dispatches: number }>();
    for (const { kernel, milliseconds } of latest()) {
      const sum = sums.get(kernel) ?? { milliseconds: 0, dispatches: 0 };
      sums.set(kernel, { milliseconds: sum.milliseconds + milliseconds, dispatches: sum.dispatches + 1 });
    }
    for (const [kernel, { milliseconds, dispatches }] of sums) {
      const all = byKernel.get(kernel) ?? { times: [], dispatches };
      all.times.push(milliseconds);
      byKernel.set(kernel, all);
    }
  }
  data.destroy();
  grads.destroy();
  const bytes = boundBytes({ B, T_max: T, U_max: U }, V, gpu.limits.maxStorageBuffersPerShaderStage);
  const kernels = [...byKernel].map(([kernel, { times, dispatches }]) => ({
    kernel,
    milliseconds: median(times),
    dispatches,
    bytes: bytes.get(kernel) ?? 0,
  }));
  const kernelsTotal = kernels.reduce((sum, { milliseconds }) => sum + milliseconds, 0);
  return { shape: [B, T, U, V], call: median(calls), kernelsTotal, kernels };
}

/** Logits in [-2, 2), the same every time, written in pieces. */
function fill(gpu: GPUDevice, buffer: GPUBuffer, count: number): void {
  const piece = new Float32Array(Math.min(count, 2 ** 20));
  let state = 1;
  for (let from = 0; from < count; from += piece.length) {
    const length = Math.min(piece.length, count - from);
    for (let i = 0; i < length; i++) {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      piece[i] = state / 2 ** 30 - 2;
    }
    gpu.queue.writeBuffer(buffer, from * 4, piece, 0, length);
  }
}

/** Bytes of the buffers that each dispatch binds. @param storageBuffers as the device allows, which decides what shares a dispatch */
function boundBytes(scalars: Readonly<Record<string, number>>, V: number, storageBuffers: number): Map<string, number> {
  const source = compileToGraph(findSpec('rnnt'));
  const kernels = compileToKernels(source, { sizes: { V }, gradients: true, lattice: 'f64' });
  const program = packBuffers(
    kernels,
    source.graph.lengths.map(({ argument }) => argument),
  );
  const sizes = new Map(program.buffers.map((decl) => [decl.name, product(shapeOf(decl, scalars)) * bytesOf(decl)]));
  const target = { subgroups: false, workgroupSize: 256, maxWorkgroupStorage: 16384, storageBuffers };
  return new Map(
    printSized(program, target)
      .phases.flat()
      .map(({ name, bindings }) => [name, bindings.reduce((sum, { buffer }) => sum + (sizes.get(buffer) ?? 0), 0)]),
  );
}
