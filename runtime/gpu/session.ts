/**
 * One opened GPUDevice with all that lives and dies with it: buffers, pipelines, and the promise that tells of its loss.
 */
import type { GpuAccess } from '../device.js';
import { TrellisError } from '../errors.js';
import { type AdapterSummary, adapterName, chooseAdapter, summarize } from './adapter.js';
import { BindGroups } from './bind-groups.js';
import { BufferPool, usage } from './buffers.js';
import { PipelineCache } from './pipelines.js';

/** What kernels and launches must keep to. Bytes, but for counts. */
export interface GpuLimits {
  /** Invocations of one workgroup. */
  readonly invocations: number;
  readonly workgroupStorage: number;
  /** Size of one storage buffer binding. */
  readonly bindingBytes: number;
  readonly bufferBytes: number;
  /** Workgroups along one axis of a dispatch. */
  readonly workgroups: number;
  /** Storage buffers that one kernel can bind. */
  readonly storageBuffers: number;
}

export interface GpuOptions {
  /** Whether an adapter that computes on the CPU will do. Default true: who asks for this device gets it. */
  readonly software?: boolean;
  /** false: no subgroup operations, also where the adapter has them. Default true. */
  readonly subgroups?: boolean;
  /** false: tensors of float16 are converted on the host, also where the adapter can read them. Default true. */
  readonly float16?: boolean;
  /** Lower limits than the adapter's, for tests. */
  readonly limits?: Partial<GpuLimits>;
  /** A device of the caller's own, so that its buffers can be inputs and outputs. It is used with its limits and features as they are. */
  readonly device?: GPUDevice;
  /** Called after each call with the times of its kernels, where the adapter has time stamps. */
  readonly profile?: (times: readonly KernelTime[]) => void;
}

/** One dispatch of one kernel. */
export interface KernelTime {
  readonly kernel: string;
  readonly workgroups: number;
  readonly milliseconds: number;
}

/** Of the optional features, those that are used where they are there. */
const wantedFeatures = ['subgroups', 'timestamp-query', 'shader-f16'] as const;

/** Limits that are asked for at the adapter's best: batches and vocabularies are as large as the hardware allows. */
const wantedLimits = [
  'maxStorageBufferBindingSize',
  'maxBufferSize',
  'maxComputeInvocationsPerWorkgroup',
  'maxComputeWorkgroupSizeX',
  'maxComputeWorkgroupStorageSize',
  'maxComputeWorkgroupsPerDimension',
  'maxStorageBuffersPerShaderStage',
] as const;

function limitsOf(device: GPUDevice, lower: Partial<GpuLimits>): GpuLimits {
  const own: GpuLimits = {
    invocations: Math.min(device.limits.maxComputeInvocationsPerWorkgroup, device.limits.maxComputeWorkgroupSizeX),
    workgroupStorage: device.limits.maxComputeWorkgroupStorageSize,
    // Rounded down: buffer sizes are multiples of 16 here, and some adapters say 2^32 - 1.
    bindingBytes: Math.floor(device.limits.maxStorageBufferBindingSize / 16) * 16,
    bufferBytes: Math.floor(device.limits.maxBufferSize / 16) * 16,
    workgroups: device.limits.maxComputeWorkgroupsPerDimension,
    storageBuffers: device.limits.maxStorageBuffersPerShaderStage,
  };
  const names = Object.keys(own) as (keyof GpuLimits)[];
  return Object.fromEntries(
    names.map((name) => [name, Math.min(own[name], lower[name] ?? own[name])]),
  ) as unknown as GpuLimits;
}

const scopes = ['internal', 'out-of-memory', 'validation'] as const;

export class GpuSession {
  readonly limits: GpuLimits;
  readonly subgroups: boolean;
  /** Whether kernels can load and store float16. */
  readonly float16: boolean;
  readonly timestamps: boolean;
  readonly profile: GpuOptions['profile'];
  readonly pool: BufferPool;
  readonly pipelines: PipelineCache;
  readonly bindGroups: BindGroups;
  #lost: TrellisError | undefined;
  readonly #whenLost: Promise<void>;
  readonly #waiting: (() => void)[] = [];
  #running = 0;

  private constructor(
    readonly device: GPUDevice,
    readonly name: string,
    options: GpuOptions,
  ) {
    this.limits = limitsOf(device, options.limits ?? {});
    this.subgroups = options.subgroups !== false && device.features.has('subgroups');
    this.float16 = options.float16 !== false && device.features.has('shader-f16');
    this.timestamps = device.features.has('timestamp-query');
    this.profile = options.profile;
    this.pool = new BufferPool(this);
    this.pipelines = new PipelineCache(this);
    this.bindGroups = new BindGroups(device, this.pool);
    this.#whenLost = device.lost.then(({ reason, message }) => {
      const why = reason === 'destroyed' ? 'it was destroyed' : message.trim() || 'no reason was given';
      this.#lost = new TrellisError(
        'device-lost',
        `the GPU device was lost during the call: ${why}; a new call opens it anew`,
      );
      this.pool.abandon();
    });
  }

  /** @throws TrellisError 'device-unavailable' */
  static async open(options: GpuOptions): Promise<GpuSession> {
    if (options.device !== undefined) return new GpuSession(options.device, "the caller's GPUDevice", options);
    const adapter = await chooseAdapter({ software: options.software !== false });
    const summary = summarize(adapter);
    return new GpuSession(await requestDevice(adapter, summary), adapterName(summary), options);
  }

  /** Set once the device is gone. */
  get lost(): TrellisError | undefined {
    return this.#lost;
  }

  /**
   * Runs something synchronous that makes objects or submits work.
   * @returns its result, and what the device will have said of it: `undefined`, or the error of the call
   */
  guard<Result>(what: string, action: () => Result): { result: Result; problem: Promise<TrellisError | undefined> } {
    const { device } = this;
    for (const scope of scopes) device.pushErrorScope(scope);
    let result: Result | undefined;
    let thrown: unknown;
    try {
      result = action();
    } catch (error) {
      // Dawn throws where the specification has an error scope, for one where memory cannot be mapped at creation.
      thrown = error ?? new Error('unknown');
    }
    // The scopes are popped in this very turn, so those of calls that run at the same time cannot get mixed up.
    const answers = scopes.map(() => device.popErrorScope().catch(() => null));
    if (thrown !== undefined) throw this.explain(what, thrown);
    const problem = Promise.all(answers).then((errors) => {
      const byScope = errors.flatMap((error, n) =>
        error === null ? [] : [{ scope: scopes[scopes.length - 1 - n]!, error }],
      );
      // Failing to get memory makes every later use of the object invalid as well: the cause comes first.
      const first = byScope.find(({ scope }) => scope === 'out-of-memory') ?? byScope[0];
      return first && this.#fault(what, first.scope, first.error.message);
    });
    return { result: result as Result, problem };
  }

  /** The error of a call in which something was thrown. */
  explain(what: string, error: unknown): TrellisError {
    if (this.#lost !== undefined) return this.#lost;
    if (error instanceof TrellisError) return error;
    const message = error instanceof Error ? error.message : String(error);
    const scope = /memory|allocat/i.test(message) ? 'out-of-memory' : 'internal';
    return this.#fault(what, scope, message, error);
  }

  #fault(what: string, scope: (typeof scopes)[number], message: string, cause?: unknown): TrellisError {
    const text = message.trim().split('\n')[0] || 'no reason was given';
    const options = cause === undefined ? {} : { cause };
    if (scope !== 'out-of-memory')
      return new TrellisError('device-error', `${this.name} refused ${what}: ${text}`, options);
    return new TrellisError('out-of-memory', `${this.name} has not enough memory for ${what}: ${text}`, options);
  }

  /** Waits until the loss of the device, if there was one, is known: promises of a lost device may reject before it is. */
  async settleLoss(): Promise<void> {
    if (this.#lost !== undefined) return;
    await Promise.race([this.#whenLost, new Promise((resolve) => setTimeout(resolve, 20))]);
  }

  /** Two calls at once keep the GPU busy; more would only take memory. */
  async enter(): Promise<void> {
    if (this.#running < 2) this.#running++;
    else await new Promise<void>((resolve) => this.#waiting.push(resolve));
  }

  leave(): void {
    const next = this.#waiting.shift();
    if (next === undefined) this.#running--;
    else next();
  }
}

async function requestDevice(adapter: GPUAdapter, summary: AdapterSummary): Promise<GPUDevice> {
  const requiredFeatures = wantedFeatures.filter((feature) => adapter.features.has(feature)) as GPUFeatureName[];
  const requiredLimits = Object.fromEntries(wantedLimits.map((name) => [name, adapter.limits[name]]));
  try {
    return await adapter.requestDevice({ label: 'trellis', requiredFeatures, requiredLimits });
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    throw new TrellisError('device-unavailable', `${adapterName(summary)} gives no device: ${message}`, {
      argument: 'device',
      cause: error,
    });
  }
}

/** Gives out the session in use, and opens a new one after a loss. */
export class GpuHost {
  #opening: Promise<GpuSession> | undefined;

  constructor(readonly options: GpuOptions) {}

  /** @throws TrellisError 'device-unavailable' */
  async session(): Promise<GpuSession> {
    const current = await this.#opening?.catch(() => undefined);
    if (current !== undefined && current.lost === undefined) return current;
    if (current?.lost !== undefined || this.#opening === undefined) this.#opening = this.#open();
    return this.#opening as Promise<GpuSession>;
  }

  #open(): Promise<GpuSession> {
    const { device, ...rest } = this.options;
    // A device of the caller's is used once: after its loss a device of our own takes over.
    const opening = GpuSession.open(this.#opening === undefined ? this.options : rest);
    opening.catch(() => {
      if (this.#opening === opening) this.#opening = undefined;
    });
    return opening;
  }
}

/** What callers get of a host's device. */
export const accessTo = (host: GpuHost): GpuAccess => ({
  device: async () => (await host.session()).device,
  allocate: async (bytes, what) => {
    const session = await host.session();
    const flags = usage.storage | usage.copySource | usage.copyTarget;
    const size = Math.max(16, bytes);
    const { result, problem } = session.guard(what, () =>
      session.device.createBuffer({ label: what, size, usage: flags }),
    );
    const said = await problem;
    if (said !== undefined) throw session.lost ?? said;
    return result;
  },
});
