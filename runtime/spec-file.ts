/** A spec file on a registered device, as a loss object opens it. */
import { storeFor } from './cache-store.js';
import { startCompiler } from './compiler/service.js';
import { type DeviceOptions, loadDevice, loadDeviceSync, notReady } from './device.js';
import { type OpenSpec, SpecKernels } from './kernels.js';

/** One line on stderr: for what a user should know but no program has to handle. */
const toStderr = (line: string): void => {
  process.stderr.write(`${line}\n`);
};

/**
 * The kernels of a spec file; nothing is loaded or read yet.
 * @param file absolute path of the spec
 * @param device a registered name, or 'auto'
 */
export function kernelsOfFile(
  file: string,
  device: string,
  { cacheDir }: { readonly cacheDir: string | false | undefined },
): SpecKernels {
  const options: DeviceOptions = { cacheDir, notice: toStderr };
  return new SpecKernels({
    anyDevice: device === 'auto',
    open: async (): Promise<OpenSpec> => {
      // Nothing was ever compiled here, so something will be: the compiler's thread starts while the device is loaded.
      if (device !== 'reference' && storeFor(cacheDir).isEmpty) startCompiler();
      const loaded = await loadDevice(device, options.notice);
      return { device: loaded, spec: await loaded.open(file, options) };
    },
    openSync: (): OpenSpec => {
      const loaded = loadDeviceSync(device, options.notice);
      if (loaded.openSync === undefined) throw notReady(loaded.name);
      return { device: loaded, spec: loaded.openSync(file, options) };
    },
  });
}
