/**
 * Where WebGPU comes from, and which adapter is taken: `navigator.gpu` in browsers, the npm package `webgpu` (Dawn) in
 * Node. From here on both are one code path.
 */
import { TrellisError } from '../errors.js';

/** What is known of one adapter, for choosing it and for people. */
export interface AdapterSummary {
  readonly vendor: string;
  readonly architecture: string;
  readonly device: string;
  readonly description: string;
  /** It computes on the CPU: lavapipe, SwiftShader, WARP. */
  readonly software: boolean;
  readonly features: readonly string[];
  readonly limits: Readonly<Record<string, number>>;
  /** Invocations in a subgroup; 0 where the adapter does not say. */
  readonly subgroupSizes: readonly [smallest: number, largest: number];
}

/**
 * Holds what `create()` returned for the life of the process. Without a strong reference it is collected while adapters
 * and devices of it are still in use, and the process crashes or exits silently.
 */
let provider: Promise<GPU> | undefined;

/**
 * The entry point of WebGPU.
 * @throws TrellisError 'device-unavailable' where there is none, saying what is missing
 */
export function findGpu(): Promise<GPU> {
  provider ??= loadProvider().catch((error: unknown) => {
    provider = undefined;
    throw error;
  });
  return provider;
}

const isNode = (): boolean => typeof process === 'object' && typeof process.versions?.node === 'string';

async function loadProvider(): Promise<GPU> {
  const { navigator } = globalThis as { navigator?: { gpu?: GPU } };
  if (navigator?.gpu !== undefined) return navigator.gpu;
  if (!isNode()) {
    throw unavailable(
      'this browser has no WebGPU (navigator.gpu is missing); it needs a secure context (https or localhost) and a current browser',
    );
  }
  try {
    // Not a literal, so that bundlers of browser code do not look for the package.
    const name = 'webgpu';
    const { create } = (await import(/* @vite-ignore */ /* webpackIgnore: true */ name)) as typeof import('webgpu');
    // Time stamps are rounded to 0.1 ms by default, to keep web pages from spying; Node has no such need.
    return create(['disable-dawn-features=timestamp_quantization']);
  } catch (error) {
    throw unavailable(`the npm package webgpu cannot be loaded: ${messageOf(error)}`, error);
  }
}

const softwareNames = /llvmpipe|lavapipe|swiftshader|basic render|\bwarp\b|software/i;

/**
 * True for adapters that compute on the CPU. `isFallbackAdapter` alone is not enough: browsers and drivers differ in
 * setting it.
 */
export function isSoftware(info: Partial<GPUAdapterInfo> & { isFallbackAdapter?: boolean }): boolean {
  if (info.isFallbackAdapter === true) return true;
  return [info.vendor, info.architecture, info.device, info.description].some((text) => softwareNames.test(text ?? ''));
}

export function summarize(adapter: GPUAdapter): AdapterSummary {
  const { info } = adapter;
  const limits: Record<string, number> = {};
  for (const name in adapter.limits) {
    const value = adapter.limits[name as keyof GPUSupportedLimits] as unknown;
    if (typeof value === 'number') limits[name] = value;
  }
  return {
    vendor: info.vendor,
    architecture: info.architecture,
    device: info.device,
    description: info.description,
    software: isSoftware(info),
    features: [...adapter.features].sort(),
    limits,
    subgroupSizes: [info.subgroupMinSize ?? 0, info.subgroupMaxSize ?? 0],
  };
}

/** `NVIDIA H200 (nvidia)`: an adapter in a few words. */
export function adapterName({ vendor, architecture, device, description }: AdapterSummary): string {
  const name = [description, device, architecture].find((text) => text !== '') ?? 'an unnamed adapter';
  return vendor === '' || name.toLowerCase().includes(vendor.toLowerCase()) ? name : `${name} (${vendor})`;
}

/**
 * The adapter to compute on: the fastest there is.
 * @param options software: whether one that computes on the CPU will do. The automatic choice of a device says false.
 * @throws TrellisError 'device-unavailable' where there is none, saying what to install
 */
export async function chooseAdapter(options: { readonly software: boolean }): Promise<GPUAdapter> {
  const gpu = await findGpu();
  const adapter = await requestAdapter(gpu, { powerPreference: 'high-performance' });
  if (adapter === null) throw unavailable(`no GPU adapter was found; ${installHint()}`);
  if (!options.software && isSoftware(adapter.info)) {
    throw unavailable(
      `the only GPU adapter is ${adapterName(summarize(adapter))}, which computes on the CPU; device: 'webgpu' takes it`,
    );
  }
  return adapter;
}

/** Every adapter that can be found out about; WebGPU shows one per kind of request. */
export async function listAdapters(): Promise<AdapterSummary[]> {
  const gpu = await findGpu();
  const requests: GPURequestAdapterOptions[] = [
    { powerPreference: 'high-performance' },
    { powerPreference: 'low-power' },
    { forceFallbackAdapter: true },
  ];
  const found = new Map<string, AdapterSummary>();
  for (const request of requests) {
    const adapter = await requestAdapter(gpu, request);
    if (adapter === null) continue;
    const summary = summarize(adapter);
    found.set([summary.vendor, summary.architecture, summary.device, summary.description].join('\n'), summary);
  }
  return [...found.values()];
}

/** Dawn throws where browsers answer null. */
async function requestAdapter(gpu: GPU, request: GPURequestAdapterOptions): Promise<GPUAdapter | null> {
  try {
    return await gpu.requestAdapter(request);
  } catch (error) {
    if (/no .*(adapter|backend)/i.test(messageOf(error))) return null;
    throw unavailable(`no GPU adapter can be requested: ${messageOf(error)}`, error);
  }
}

/** What to install so that an adapter is found, in one line. */
export function installHint(): string {
  if (!isNode()) return 'see whether the browser lists one (chrome://gpu, about:support)';
  if (process.platform === 'linux') {
    return "install the GPU's Vulkan driver (mesa-vulkan-drivers, or NVIDIA's own with its Vulkan library); for software rendering run scripts/setup-vulkan.sh or install mesa-vulkan-drivers 24 or newer";
  }
  if (process.platform === 'darwin') return 'macOS brings Metal with it; is this a virtual machine without a GPU?';
  return 'install the driver of the GPU (Direct3D 12 or Vulkan)';
}

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));

const unavailable = (message: string, cause?: unknown): TrellisError =>
  new TrellisError('device-unavailable', message, {
    argument: 'device',
    ...(cause === undefined ? {} : { cause }),
  });
