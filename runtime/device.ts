/**
 * What the loss module asks of a device, and the list of devices there are.
 *
 * The loss module checks and converts arguments, resolves parameters, chooses the reduction's factors and
 * decides what an impossible sample costs. A device only turns a checked `Batch` into costs and gradients.
 */
import type { HalfStorage, HalfType } from '../compiler/kernel/half.js';
import { describe, didYouMean, InputError, listOf, TrellisError } from './errors.js';
import type { SpecSignature } from './signature.js';
import type { RealArray } from './tensor.js';

/**
 * What one built kernel serves. Sizes that all utterances share are compiled in; lengths, the padded sizes
 * of what varies, the batch size and parameters are not, so they never make a new class.
 */
export interface ShapeClass {
  /** Sizes compiled in, e.g. { V: 1024 }. */
  readonly sizes: Readonly<Record<string, number>>;
  /** False: score only. */
  readonly gradients: boolean;
  /**
   * Results over the nodes of the lattice: 'posteriors' beside the loss, or in the place of the loss the 'best-path', whose score is
   * then minus the loss. Absent: none.
   */
  readonly perNode?: 'posteriors' | 'best-path';
  /** Inputs and gradients that are bits of half precision. Only of types that the device has among its `halves`. */
  readonly storage: HalfStorage;
  /** For people and as a cache key: 'V=1024 gradients', 'V=1024 acts:float16 score', 'V=1024 score posteriors', 'V=1024 best-path'. */
  readonly key: string;
}

/** One checked call. Inputs are never written to, unless an output is the same array. */
export interface Batch {
  /** Batch size, at least 1. */
  readonly B: number;
  /** Every size as the padded tensors hold it: T and U are the largest that fit ('T_max', 'U_max' to kernels), V is V. */
  readonly sizes: Readonly<Record<string, number>>;
  /** Padded shapes of the inputs, batch first. */
  readonly shapes: Readonly<Record<string, readonly number[]>>;
  /**
   * Dense, row-major. Real inputs: Float32Array, or on a device whose `reals` is 'f64' possibly Float64Array; they may be views into
   * larger buffers (mind byteOffset), and their padding may hold anything, NaN included. Int inputs: fresh Int32Array
   * with valid values, 0 in the padding. Inputs that the shape class has among its `storage`: bits in a Uint16Array.
   */
  readonly inputs: Readonly<Record<string, RealArray | Int32Array | Uint16Array>>;
  /** Real inputs that are in GPU memory, which are not among `inputs`. Only devices that have `gpu` get any. */
  readonly gpuInputs?: Readonly<Record<string, GPUBuffer>>;
  /** That of the shape class. */
  readonly storage: HalfStorage;
  /** By argument name ('actLens'); [B]. */
  readonly lengths: Readonly<Record<string, Int32Array>>;
  /** Every parameter of the spec; int ones are within their range (a negative index has been resolved). */
  readonly params: Readonly<Record<string, number>>;
  /** [B]. The finished gradient of sample b, after the spec's own clamp, is multiplied by gradScale[b] as it is written. */
  readonly gradScale: Float64Array;
  readonly out: {
    /** [B]. +Infinity where there is no path, NaN where the input has one. */
    readonly loss: Float64Array;
    /**
     * By input name, in the input's padded shape; absent for score only. Every element is to be written, padding with 0. One may be the very
     * array of its input (in place): then a cell of the input must have been read before it is written, within its sample. Those among
     * `storage.gradients` are Uint16Arrays, to be rounded to the nearest, halves to even.
     */
    readonly gradients?: Readonly<Record<string, RealArray | Uint16Array>>;
    /** Results over the nodes, [B, ...nodes] as padded sizes make them, by name; every element is to be written, padding with 0. */
    readonly perNode?: Readonly<Record<string, RealArray>>;
    /** Gradients to be written to GPU memory, which are not among `gradients`. One may be the very buffer of its input. */
    readonly gpuGradients?: Readonly<Record<string, GPUBuffer>>;
  };
  /** Upper limit of threads; undefined: all cores. */
  readonly threads: number | undefined;
  /** Rejects with signal.reason soon after it is aborted. Once `run` has rejected, the device no longer touches the batch's arrays. */
  readonly signal: AbortSignal | undefined;
}

/** How long one phase of a program took, and each of its kernels by itself. */
export interface PhaseTime {
  readonly milliseconds: number;
  readonly kernels: readonly { readonly kernel: string; readonly milliseconds: number }[];
}

/** A built kernel for one shape class. Several runs may be in flight at once; two runs of equal batches are bit-identical. */
export interface Runner {
  /** 'disk': the compiler did not run. 'compiled': it did. */
  readonly source: 'compiled' | 'disk';
  /** Without blocking the event loop for longer than one piece of work. */
  run(batch: Batch): Promise<void>;
  /** Absent where a device cannot wait for its result (a GPU). */
  runSync?(batch: Batch): void;
  /** For benchmarks: the same results, made phase by phase. Absent where a device tells times by other means or not at all. */
  profile?(batch: Batch): readonly PhaseTime[];
}

/** A spec as one device has read it. */
export interface DeviceSpec {
  readonly signature: SpecSignature;
  /** Builds, or loads from disk, the kernel for a shape class. The caller keeps what it gets and never asks for the same class twice at once. */
  prepare(shapeClass: ShapeClass): Promise<Runner>;
  prepareSync?(shapeClass: ShapeClass): Runner;
}

export interface DeviceOptions {
  /** Values for the spec's statics, which code is specialised for; absent: the spec's own. */
  readonly statics?: Readonly<Record<string, number | readonly number[]>>;
  /** Folder for compiled objects; false: none; undefined: the user's cache folder. */
  readonly cacheDir: string | false | undefined;
  /** One line for the user, on stderr. */
  readonly notice: (line: string) => void;
}

/** What a device that computes on a GPU gives out. */
export interface GpuAccess {
  /** The GPUDevice in use: buffers made by it can be inputs and outputs. After a loss it is another one. @throws TrellisError */
  device(): Promise<GPUDevice>;
  /** A buffer with usage STORAGE, COPY_SRC and COPY_DST, which is the caller's from then on. @throws TrellisError 'out-of-memory' */
  allocate(bytes: number, what: string): Promise<GPUBuffer>;
}

export interface Device {
  readonly name: string;
  /** What real inputs may be, and what gradients are when the caller gives no array. */
  readonly reals: 'f32' | 'f64';
  /** Types of half precision that its kernels load and store; others are converted on the host. Default: none. */
  readonly halves?: readonly HalfType[];
  /** Reads a spec file. @throws SpecError for a mistake in it, StaticsError for statics it cannot have */
  open(file: string, options: DeviceOptions): Promise<DeviceSpec>;
  openSync?(file: string, options: DeviceOptions): DeviceSpec;
  /** Only of a device that takes and returns GPUBuffers. */
  readonly gpu?: GpuAccess;
}

/** How to get a device. Both throw a TrellisError 'device-unavailable' that says what this machine lacks. */
export interface DeviceFactory {
  load(): Promise<Device>;
  /** Absent where loading cannot be synchronous. */
  loadSync?(): Device;
  /** What 'auto' takes before anything else, if it gets one. Absent: this device only comes after those, or by name. */
  loadForAuto?(): Promise<Device | undefined>;
}

const factories = new Map<string, DeviceFactory>();
const loaded = new Map<string, Device>();

/** Adds a device, or replaces the one of that name. */
export function registerDevice(name: string, factory: DeviceFactory): void {
  factories.set(name, factory);
  loaded.delete(name);
}

/** 'auto' and the registered devices. */
export const deviceNames = (): string[] => ['auto', ...factories.keys()];

/** @throws InputError for a device there is none of, listing those there are. */
export function checkDeviceName(name: unknown): asserts name is string {
  if (typeof name === 'string' && deviceNames().includes(name)) return;
  const problem = `is ${describe(name)}${typeof name === 'string' ? didYouMean(name, deviceNames()) : ''}`;
  throw new InputError({ code: 'option', argument: 'device', problem, value: name, allowed: listOf(deviceNames()) });
}

/** Without a GPU 'auto' prefers the first of these that this machine can run. */
const preference = ['cpu', 'reference'] as const;
let fallbackSaid = false;

function afterFailure(name: string, error: unknown, notice: DeviceOptions['notice']): void {
  if (!(error instanceof TrellisError && error.code === 'device-unavailable')) throw error;
  if (fallbackSaid) return;
  fallbackSaid = true; // once per process
  notice(`trellis: the ${name} device is not available (${error.message}); using the slow float64 reference device`);
}

/**
 * @throws TrellisError 'device-unavailable' when the machine lacks what the device needs ('auto' then takes the
 *   reference device, and says so in one line)
 */
export async function loadDevice(name: string, notice: DeviceOptions['notice']): Promise<Device> {
  if (name !== 'auto') {
    const known = loaded.get(name);
    if (known !== undefined) return known;
    const device = await factoryOf(name).load();
    loaded.set(name, device);
    return device;
  }
  for (const factory of factories.values()) {
    const device = await factory.loadForAuto?.();
    if (device !== undefined) return device;
  }
  for (const choice of preference.slice(0, -1)) {
    try {
      return await loadDevice(choice, notice);
    } catch (error) {
      afterFailure(choice, error, notice);
    }
  }
  return loadDevice('reference', notice);
}

/** As `loadDevice`, for `forwardSync`: 'auto' passes over GPUs, which cannot be waited for. @throws TrellisError 'not-supported' for a device that has to be loaded asynchronously first. */
export function loadDeviceSync(name: string, notice: DeviceOptions['notice']): Device {
  if (name !== 'auto') {
    const known = loaded.get(name);
    if (known !== undefined) return known;
    const { loadSync } = factoryOf(name);
    if (loadSync === undefined) throw notReady(name);
    const device = loadSync();
    loaded.set(name, device);
    return device;
  }
  for (const choice of preference.slice(0, -1)) {
    try {
      return loadDeviceSync(choice, notice);
    } catch (error) {
      afterFailure(choice, error, notice);
    }
  }
  return loadDeviceSync('reference', notice);
}

/** What to say when something cannot be done before `ready()`. */
export const notReady = (name: string): TrellisError =>
  new TrellisError(
    'not-supported',
    `the ${name} device has to be made ready first: await loss.ready() once, then call forwardSync`,
  );

function factoryOf(name: string): DeviceFactory {
  checkDeviceName(name);
  return factories.get(name) as DeviceFactory;
}
