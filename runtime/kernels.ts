/** One spec on one device, opened once, with the kernels built for it: what a loss object runs on. */
import { KernelCache } from './cache.js';
import type { Device, DeviceSpec, Runner, ShapeClass } from './device.js';
import { TrellisError } from './errors.js';

export interface OpenSpec {
  readonly device: Pick<Device, 'name' | 'reals' | 'halves' | 'gpu'>;
  readonly spec: DeviceSpec;
}

/** Where a spec comes from, and the device that runs it. */
export interface SpecOpener {
  open(): Promise<OpenSpec>;
  /** @throws TrellisError 'not-supported' where it can only be opened asynchronously. */
  openSync(): OpenSpec;
  /** True where the caller left the device to us: then forwardSync may take another one than forward. */
  readonly anyDevice?: boolean;
}

/** For devices that cannot wait for their results. */
export const noForwardSync = (device: string): TrellisError =>
  new TrellisError('not-supported', `the ${device} device has no forwardSync; use await loss.forward(...)`);

export class SpecKernels {
  readonly cache = new KernelCache();
  #opening: Promise<OpenSpec> | undefined;
  #opened: OpenSpec | undefined;
  /** What forwardSync runs on, where that is another device. */
  #openedSync: OpenSpec | undefined;

  constructor(private readonly opener: SpecOpener) {}

  /** What is open already, or undefined. */
  get opened(): OpenSpec | undefined {
    return this.#opened;
  }

  /** Loads the device and reads the spec, once; what fails is forgotten, so that it may be tried again. */
  open(): Promise<OpenSpec> {
    this.#opening ??= this.#openNow().catch((error: unknown) => {
      this.#opening = undefined;
      throw error;
    });
    return this.#opening;
  }

  async #openNow(): Promise<OpenSpec> {
    const opened = await this.opener.open();
    // forwardSync may have opened it meanwhile.
    this.#opened ??= opened;
    return this.#opened;
  }

  /** @throws TrellisError 'not-supported' when the device can only be opened asynchronously. */
  openSync(): OpenSpec {
    if (this.#opened === undefined) this.#opened = this.opener.openSync();
    if (this.#opened.spec.prepareSync !== undefined || this.opener.anyDevice !== true) return this.#opened;
    this.#openedSync ??= this.opener.openSync();
    return this.#openedSync;
  }

  runner({ spec }: OpenSpec, shapeClass: ShapeClass): Promise<Runner> {
    return this.cache.get(shapeClass, () => spec.prepare(shapeClass));
  }

  runnerSync(open: OpenSpec, shapeClass: ShapeClass): Runner {
    const { device, spec } = open;
    const own = open === this.#openedSync ? { ...shapeClass, key: `${shapeClass.key} on ${device.name}` } : shapeClass;
    return this.cache.getSync(own, () => {
      if (spec.prepareSync === undefined) throw noForwardSync(device.name);
      return spec.prepareSync(shapeClass);
    });
  }
}
