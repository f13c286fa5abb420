/** One spec on one device, opened once, with the kernels built for it: what a loss object runs on. */
import { KernelCache } from './cache.js';
import {
  type Device,
  type DeviceOptions,
  type DeviceSpec,
  loadDevice,
  loadDeviceSync,
  notReady,
  type Runner,
  type ShapeClass,
} from './device.js';

export interface OpenSpec {
  readonly device: Device;
  readonly spec: DeviceSpec;
}

/** One line on stderr: for what a user should know but no program has to handle. */
const toStderr = (line: string): void => {
  process.stderr.write(`${line}\n`);
};

export class SpecKernels {
  readonly file: string;
  readonly cache = new KernelCache();
  readonly #device: string;
  readonly #options: DeviceOptions;
  #opening: Promise<OpenSpec> | undefined;
  #opened: OpenSpec | undefined;

  /**
   * @param file absolute path of the spec
   * @param device a registered name, or 'auto'
   */
  constructor(file: string, device: string, options: { cacheDir: string | false | undefined }) {
    this.file = file;
    this.#device = device;
    this.#options = { cacheDir: options.cacheDir, notice: toStderr };
  }

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
    const device = await loadDevice(this.#device, this.#options.notice);
    // forwardSync may have opened it meanwhile.
    this.#opened ??= { device, spec: await device.open(this.file, this.#options) };
    return this.#opened;
  }

  /** @throws TrellisError 'not-supported' when the device can only be opened asynchronously. */
  openSync(): OpenSpec {
    if (this.#opened !== undefined) return this.#opened;
    const device = loadDeviceSync(this.#device, this.#options.notice);
    if (device.openSync === undefined) throw notReady(device.name);
    this.#opened = { device, spec: device.openSync(this.file, this.#options) };
    return this.#opened;
  }

  runner({ spec }: OpenSpec, shapeClass: ShapeClass): Promise<Runner> {
    return this.cache.get(shapeClass, () => spec.prepare(shapeClass));
  }

  runnerSync({ device, spec }: OpenSpec, shapeClass: ShapeClass): Runner {
    return this.cache.getSync(shapeClass, () => {
      if (spec.prepareSync === undefined) throw notReady(device.name);
      return spec.prepareSync(shapeClass);
    });
  }
}
