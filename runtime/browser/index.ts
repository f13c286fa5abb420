/**
 * trellis-jit in browsers: losses compiled ahead by `trellis build`, run through navigator.gpu. Nothing of Node and nothing
 * of the compiler is imported from here.
 */
import '../webgpu-names.js';
import type { DeviceSpec, Runner, ShapeClass } from '../device.js';
import { describe, InputError } from '../errors.js';
import { type AdapterSummary, adapterName, chooseAdapter, summarize } from '../gpu/adapter.js';
import { GpuRunner } from '../gpu/runner.js';
import { accessTo, GpuHost, type GpuOptions, type KernelTime } from '../gpu/session.js';
import { noForwardSync, SpecKernels } from '../kernels.js';
import { Loss } from '../loss.js';
import { checkOptionNames, checkParamsObject, checkSettings, type LossOptions } from '../options.js';
import type { SpecSignature } from '../signature.js';
import { checkModule, type LossModule, programFor, programsFor } from './module.js';

export type { CacheEntry, CacheStats } from '../cache.js';
export { type ErrorCode, InputError, TrellisError } from '../errors.js';
export type { AdapterSummary } from '../gpu/adapter.js';
export type { KernelTime } from '../gpu/session.js';
export type { Float16ArrayLike, HalfArray, HalfDType } from '../half.js';
export type { Gradient, GradientData, Loss, LossArgument, LossResult, TensorBundle } from '../loss.js';
export type { CallOptions, Infeasible } from '../options.js';
export type { Reduction } from '../reduction.js';
export type { SpecSignature } from '../signature.js';
export type { GpuTensor, NestedNumbers, RealArray, Tensor, TensorLike, TypedArray } from '../tensor.js';
export type { LossModule } from './module.js';

export interface BrowserLossOptions extends Pick<LossOptions, 'reduction' | 'infeasible' | 'params'> {
  /** A GPUDevice of the page's own to run on, with its features and limits as they are. Default: one device that all losses of the page share. */
  readonly gpuDevice?: GPUDevice;
  /** false: refuse an adapter that computes on the CPU. Default true. */
  readonly software?: boolean;
  /** Called after each call with the GPU times of its kernels, where the adapter has time stamps. */
  readonly profile?: (times: readonly KernelTime[]) => void;
}

const optionNames = ['reduction', 'infeasible', 'params', 'gpuDevice', 'software', 'profile'] as const;

/** What losses without options about the GPU run on. */
let sharedHost: GpuHost | undefined;
const hostsOfDevices = new WeakMap<GPUDevice, GpuHost>();

function hostFor({ gpuDevice, software, profile }: Readonly<Record<string, unknown>>): GpuHost {
  const refuse = (argument: string, value: unknown, allowed: string): InputError =>
    new InputError({ code: 'type', argument, problem: `is ${describe(value)}`, value, allowed });
  const isDevice = typeof gpuDevice === 'object' && gpuDevice !== null && 'createBuffer' in gpuDevice;
  if (gpuDevice !== undefined && !isDevice) throw refuse('gpuDevice', gpuDevice, 'a GPUDevice');
  if (software !== undefined && typeof software !== 'boolean') throw refuse('software', software, 'true or false');
  if (profile !== undefined && typeof profile !== 'function') throw refuse('profile', profile, 'a function');
  if (software === undefined && profile === undefined) {
    if (gpuDevice === undefined) {
      sharedHost ??= new GpuHost({});
      return sharedHost;
    }
    const device = gpuDevice as GPUDevice;
    const known = hostsOfDevices.get(device) ?? new GpuHost({ device });
    hostsOfDevices.set(device, known);
    return known;
  }
  return new GpuHost({
    ...(gpuDevice === undefined ? {} : { device: gpuDevice as GPUDevice }),
    ...(software === undefined ? {} : { software }),
    ...(profile === undefined ? {} : { profile: profile as NonNullable<GpuOptions['profile']> }),
  });
}

/** A loss of a module, which only has to be sent to the GPU. */
class ModuleSpec implements DeviceSpec {
  readonly signature: SpecSignature;

  constructor(
    private readonly module: LossModule,
    private readonly host: GpuHost,
  ) {
    this.signature = module.signature;
  }

  async prepare(shapeClass: ShapeClass): Promise<Runner> {
    programsFor(this.module, shapeClass);
    const runner = new GpuRunner(this.signature, (target) => programFor(this.module, shapeClass, target), this.host);
    await runner.prepare();
    return runner;
  }
}

/**
 * A loss from a module that `trellis build` has written. Its `forward` is that of the Node package: the same arguments, checks,
 * reductions and errors.
 * @param module an export of the written file, e.g. `rnnt`
 * @throws InputError for what is no module, or an unknown option or parameter; TrellisError 'device-unavailable' where the browser
 *   has no WebGPU or no adapter
 */
export async function createLoss(module: LossModule, options?: BrowserLossOptions): Promise<Loss> {
  checkModule(module);
  const checked = checkOptionNames('options', options, optionNames);
  const { reduction, infeasible } = checked;
  const settings = checkSettings({
    ...(reduction === undefined ? {} : { reduction }),
    ...(infeasible === undefined ? {} : { infeasible }),
  });
  const params = checkParamsObject(checked.params);
  const host = hostFor(checked);
  const kernels = new SpecKernels({
    open: async () => {
      await host.session();
      return { device: { name: 'webgpu', reals: 'f32', gpu: accessTo(host) }, spec: new ModuleSpec(module, host) };
    },
    openSync: () => {
      throw noForwardSync('webgpu');
    },
  });
  return Loss.over(kernels, settings, params).ready();
}

/** What is known of the adapter that losses run on, with a name for people. @throws TrellisError 'device-unavailable' */
export async function adapterInfo(): Promise<AdapterSummary & { readonly name: string }> {
  const summary = summarize(await chooseAdapter({ software: true }));
  return { ...summary, name: adapterName(summary) };
}
