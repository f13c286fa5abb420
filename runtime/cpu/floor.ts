/**
 * The memory floor: how long this machine takes, now and with these threads, to read a tensor and to write one.
 * A loss with its gradient reads acts twice and writes the gradient once; no code is faster than that. The two loops are kernel
 * programs like any other, compiled and run the same way, so the comparison is fair to both sides.
 */

import * as k from '../../compiler/kernel/build.js';
import type { BufferDecl, Kernel, KernelProgram } from '../../compiler/kernel/kernel.js';
import { printLlvm } from '../../compiler/llvm/index.js';
import { type CpuCall, CpuExecutor } from './executor.js';
import type { LlvmJit } from './jit.js';

/** Elements per grid cell: small enough to balance threads, large enough to stream. A smaller tensor is not measured. */
export const CELL = 16_384;

const cells = k.scalar('cells', 'index');
const grid = [{ variable: 'cell', extent: cells }];
const at = k.add(k.mul(k.variable('cell', 'index'), k.index(CELL)), k.variable('v', 'index'));
const lanes = {
  kind: 'loop',
  mode: 'lanes',
  variable: 'v',
  from: k.index(0),
  to: k.index(CELL),
  precision: 'f32',
} as const;

const readKernel: Kernel = {
  name: 'read',
  doc: ['the maximum of every cell'],
  grid,
  body: [
    { ...lanes, body: [], reduce: [{ name: 'top', op: 'max', type: 'f32', value: k.load('source', 'f32', at) }] },
    { kind: 'store', buffer: 'tops', index: k.variable('cell', 'index'), value: k.variable('top', 'f32') },
  ],
};
const writeKernel: Kernel = {
  name: 'write',
  doc: ['streams zeros'],
  grid,
  body: [
    {
      ...lanes,
      body: [{ kind: 'store', buffer: 'target', index: at, value: k.real('f32', 0), streaming: true }],
      reduce: [],
    },
  ],
};

const tensor = (name: string, role: BufferDecl['role']): BufferDecl => ({
  name,
  element: 'f32',
  role,
  shape: [cells, k.index(CELL)],
  layout: `${name}[cell][v]`,
});
const scalars = [{ name: 'cells', type: 'index', role: 'size' }] as const;
const program = (name: string, kernel: Kernel, buffers: readonly BufferDecl[]): KernelProgram => ({
  name,
  buffers,
  scalars,
  phases: [[kernel]],
});

/** Runs the two loops over tensors of the caller's; timings are of single runs, for the caller to take medians of. */
export class FloorProbe {
  readonly #read: CpuExecutor;
  readonly #write: CpuExecutor;

  constructor(jit: LlvmJit) {
    const build = (one: KernelProgram): CpuExecutor =>
      new CpuExecutor(one, printLlvm(one, { vectorBits: jit.target.vectorBits }), jit);
    const tops: BufferDecl = { name: 'tops', element: 'f32', role: 'output', shape: [cells], layout: 'tops[cell]' };
    this.#read = build(program('floor_read', readKernel, [tensor('source', 'input'), tops]));
    this.#write = build(program('floor_write', writeKernel, [tensor('target', 'output')]));
  }

  /** Milliseconds to read a tensor once: 0 for one of less than a cell (64 KiB), which is not measured. */
  read(source: Float32Array, threads?: number): number {
    const tops = new Float32Array(Math.floor(source.length / CELL));
    return this.#time(this.#read, source, { source, tops }, threads);
  }

  /** Milliseconds to write a tensor once, with zeros; 0 likewise. */
  write(target: Float32Array, threads?: number): number {
    return this.#time(this.#write, target, { target }, threads);
  }

  /** Runs over the whole cells of the tensor; the time for the rest, under 64 KiB, is added in proportion. */
  #time(executor: CpuExecutor, tensor: Float32Array, buffers: CpuCall['buffers'], threads?: number): number {
    const cells = Math.floor(tensor.length / CELL);
    if (cells === 0) return 0;
    const call = { buffers, scalars: { cells }, work: tensor.length, ...(threads !== undefined && { threads }) };
    const start = performance.now();
    executor.run(call);
    return ((performance.now() - start) * tensor.length) / (cells * CELL);
  }
}
