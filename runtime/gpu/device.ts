/// <reference types="@webgpu/types" preserve="true" />
/** The webgpu device: a spec is compiled to WGSL and run through WebGPU. */
import { compileToGraph, compileToKernels, type SourceSpec } from '../../compiler/compile.js';
import type { KernelProgram } from '../../compiler/kernel/kernel.js';
import { printWgsl, type WgslTarget } from '../../compiler/wgsl/index.js';
import type { Batch, Device, DeviceSpec, Runner, ShapeClass } from '../device.js';
import { type SpecSignature, signatureOfGraph } from '../signature.js';
import type { PoolStats } from './buffers.js';
import { GpuExecutor } from './executor.js';
import type { GpuProgram } from './program.js';
import { GpuHost, type GpuOptions, type GpuSession } from './session.js';
import { withWindows } from './windows.js';

/** A `Device` with a view of what it runs on. */
export interface GpuDevice extends Device {
  /** The GPUDevice in use: buffers made by it can be inputs and outputs. After a loss it is another one. @throws TrellisError */
  gpuDevice(): Promise<GPUDevice>;
  /** Buffers in GPU memory now. @throws TrellisError */
  memory(): Promise<PoolStats>;
}

/** Invocations of a workgroup at most: more would make barriers slower without adding work to most rows. */
const WORKGROUP = 256;

/**
 * Opens a GPU.
 * @throws TrellisError 'device-unavailable' where there is none, saying what to install
 */
export async function openGpuDevice(options: GpuOptions = {}): Promise<GpuDevice> {
  const host = new GpuHost(options);
  await host.session();
  return {
    name: 'webgpu',
    reals: 'f32',
    open: async (file) => new GpuSpec(compileToGraph(file), host),
    gpuDevice: async () => (await host.session()).device,
    memory: async () => (await host.session()).pool.stats,
  };
}

let shared: Promise<GpuDevice> | undefined;

/** The one GPU of this process, for device 'webgpu': whatever adapter there is. Throws as `openGpuDevice`. */
export const gpuFactory = {
  load: (): Promise<GpuDevice> => {
    shared ??= openGpuDevice().catch((error: unknown) => {
      shared = undefined;
      throw error;
    });
    return shared;
  },
};

/** For the automatic choice: throws where the only adapter computes on the CPU. */
export const realGpuFactory = { load: (): Promise<GpuDevice> => openGpuDevice({ software: false }) };

/** What text can be made for a session's device. */
function targetOf({ limits, subgroups }: GpuSession): WgslTarget {
  const workgroupSize = 2 ** Math.floor(Math.log2(Math.min(WORKGROUP, limits.invocations)));
  return { subgroups, workgroupSize, maxWorkgroupStorage: limits.workgroupStorage };
}

class GpuSpec implements DeviceSpec {
  readonly signature: SpecSignature;

  constructor(
    private readonly source: SourceSpec,
    private readonly host: GpuHost,
  ) {
    this.signature = signatureOfGraph(source.graph);
  }

  async prepare({ sizes, gradients }: ShapeClass): Promise<Runner> {
    const program = compileToKernels(this.source, { sizes, gradients, lattice: 'f64' });
    const runner = new GpuRunner(this.signature, program, this.host);
    await runner.prepare();
    return runner;
  }
}

class GpuRunner implements Runner {
  readonly source = 'compiled';
  /** By target: after a loss, another adapter may have taken over. */
  readonly #executors = new Map<string, GpuExecutor>();

  constructor(
    private readonly signature: SpecSignature,
    private readonly program: KernelProgram,
    private readonly host: GpuHost,
  ) {}

  async prepare(): Promise<void> {
    await (await this.#executor()).prepare();
  }

  async #executor(): Promise<GpuExecutor> {
    const target = targetOf(await this.host.session());
    const key = JSON.stringify(target);
    let executor = this.#executors.get(key);
    if (executor === undefined) {
      executor = new GpuExecutor(gpuProgram(this.program, target), this.host);
      this.#executors.set(key, executor);
    }
    return executor;
  }

  async run(batch: Batch): Promise<void> {
    const buffers: Record<string, Float32Array | Float64Array | Int32Array | GPUBuffer> = {
      gradScale: batch.gradScale,
      loss: batch.out.loss,
    };
    for (const { name } of this.signature.inputs) buffers[name] = batch.inputs[name]!;
    for (const { argument } of this.signature.lengths) buffers[argument] = batch.lengths[argument]!;
    for (const [name, array] of Object.entries(batch.out.gradients ?? {})) buffers[`grad_${name}`] = array;
    const scalars: Record<string, number> = { ...batch.params, B: batch.B };
    for (const { size } of this.signature.lengths) scalars[`${size}_max`] = batch.sizes[size]!;
    await (await this.#executor()).run({ buffers, scalars, signal: batch.signal });
  }
}

/** A program with its text for a target. */
export function gpuProgram(program: KernelProgram, target: WgslTarget): GpuProgram {
  let windowed: ReturnType<NonNullable<GpuProgram['windowed']>> | undefined;
  return {
    name: program.name,
    buffers: program.buffers,
    scalars: program.scalars,
    text: printWgsl(program, target),
    windowed: () => {
      windowed ??= { original: program, text: printWgsl(withWindows(program), target) };
      return windowed;
    },
  };
}
