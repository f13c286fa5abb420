/**
 * The memory floor: how long this machine takes, now and with these threads, to read a tensor and to write one.
 * A loss with its gradient reads acts twice and writes the gradient once; no code is faster than that. The two loops are kernel
 * programs like any other, compiled and run the same way, so the comparison is fair to both sides.
 */

import * as k from '../../compiler/kernel/build.js';
import type { BufferDecl, Kernel, KernelProgram } from '../../compiler/kernel/kernel.js';
import { printLlvm } from '../../compiler/llvm/index.js';
import { CpuExecutor } from './executor.js';
import type { LlvmJit } from './jit.js';

/** Elements per grid cell: small enough to balance threads, large enough to stream. */
const CELL = 16_384;

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

export interface Floor {
  /** Milliseconds to read the tensor once. */
  readonly read: number;
  /** Milliseconds to write it once, past the caches. */
  readonly write: number;
  /** Reading twice and writing once. */
  readonly lossAndGradient: number;
}

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

  /** One measurement, over the whole cells of the two tensors (the rest, under 64 KiB, is left out of both). */
  measure(source: Float32Array, target: Float32Array, threads?: number): Floor {
    const count = Math.floor(Math.min(source.length, target.length) / CELL);
    const options = { scalars: { cells: count }, ...(threads !== undefined && { threads }) };
    const timed = (run: () => void): number => {
      const start = performance.now();
      run();
      return performance.now() - start;
    };
    const scale = count === 0 ? 0 : source.length / (count * CELL);
    const tops = new Float32Array(count);
    const read = scale * timed(() => this.#read.run({ ...options, buffers: { source, tops } }));
    const write = scale * timed(() => this.#write.run({ ...options, buffers: { target } }));
    return { read, write, lossAndGradient: 2 * read + write };
  }
}
