/** The webgpu device: a spec is compiled to WGSL and run through WebGPU. */
import { compileToKernels } from '../../compiler/compile.js';
import type { KernelProgram } from '../../compiler/kernel/kernel.js';
import { reportStage } from '../../compiler/trace.js';
import type { WgslTarget } from '../../compiler/wgsl/index.js';
import { storeFor } from '../cache-store.js';
import { bestPathOf, goOn } from '../compiler/compile.js';
import type { WantedSpec } from '../compiler/protocol.js';
import type { Device, DeviceSpec, GpuAccess, Runner, ShapeClass } from '../device.js';
import { TrellisError } from '../errors.js';
import { type KnownSpec, openSpec, wantedSpec } from '../known-specs.js';
import type { SpecSignature } from '../signature.js';
import { isSoftware } from './adapter.js';
import type { PoolStats } from './buffers.js';
import { packBuffers } from './packing.js';
import type { GpuProgram } from './program.js';
import { GpuRunner } from './runner.js';
import { accessTo, GpuHost, type GpuOptions } from './session.js';
import { printLaunches, printSized } from './sized.js';
import { withWindows } from './windows.js';

/** A `Device` with a view of what it runs on. */
export interface GpuDevice extends Device {
  readonly gpu: GpuAccess;
  /** As `gpu.device()`. */
  gpuDevice(): Promise<GPUDevice>;
  /** Buffers in GPU memory now. @throws TrellisError */
  memory(): Promise<PoolStats>;
}

/**
 * Opens a GPU.
 * @throws TrellisError 'device-unavailable' where there is none, saying what to install
 */
export async function openGpuDevice(options: GpuOptions = {}): Promise<GpuDevice> {
  const host = new GpuHost(options);
  const { float16 } = await host.session();
  return {
    name: 'webgpu',
    reals: 'f32',
    halves: float16 ? ['f16'] : [],
    open: async (file, options) => {
      const wanted = wantedSpec(file, options);
      return new GpuSpec(wanted, await openSpec(wanted, storeFor(options.cacheDir)), host);
    },
    gpu: accessTo(host),
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

/** For the automatic choice: throws where the only adapter computes on the CPU. A real GPU is then device 'webgpu' as well. */
export const realGpuFactory = {
  load: async (): Promise<GpuDevice> => {
    const before = await shared?.catch(() => undefined);
    if (before === undefined) {
      const opened = await openGpuDevice({ software: false });
      shared ??= Promise.resolve(opened);
      return shared;
    }
    if (!isSoftware((await before.gpuDevice()).adapterInfo)) return before;
    throw new TrellisError('device-unavailable', 'the only GPU adapter computes on the CPU', { argument: 'device' });
  },
};

class GpuSpec implements DeviceSpec {
  readonly signature: SpecSignature;

  constructor(
    private readonly wanted: WantedSpec,
    private readonly known: KnownSpec,
    private readonly host: GpuHost,
  ) {
    this.signature = known.signature;
  }

  async prepare({ sizes, gradients, perNode, storage }: ShapeClass): Promise<Runner> {
    const lengths = this.signature.lengths.map(({ argument }) => argument);
    const options = { sizes, gradients, perNode: perNode !== undefined, storage, lattice: 'f64' } as const;
    const { value: kernels } = goOn(this.wanted, this.known.equations, (source) =>
      compileToKernels(perNode === 'best-path' ? bestPathOf(source) : source, options),
    );
    const program = packBuffers(kernels, lengths);
    const runner = new GpuRunner(this.signature, (target) => gpuProgram(program, target), this.host);
    await runner.prepare();
    return runner;
  }
}

/** A program with its text for a target. */
export function gpuProgram(program: KernelProgram, target: WgslTarget): GpuProgram {
  let windowed: ReturnType<NonNullable<GpuProgram['windowed']>> | undefined;
  const start = performance.now();
  const text = printSized(program, target);
  const milliseconds = performance.now() - start;
  reportStage(program.name, { name: 'wgsl', milliseconds, text: () => printLaunches(text) });
  return {
    name: program.name,
    buffers: program.buffers,
    scalars: program.scalars,
    text,
    windowed: () => {
      windowed ??= { original: program, text: printSized(withWindows(program), target, false) };
      return windowed;
    },
  };
}
