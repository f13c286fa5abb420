/** A spec file on a registered device, as a loss object opens it. */
import type { Statics } from '../compiler/compile.js';
import { StaticsError } from '../compiler/source.js';
import { storeFor } from './cache-store.js';
import { startCompiler } from './compiler/service.js';
import { type DeviceOptions, loadDevice, loadDeviceSync, notReady } from './device.js';
import { InputError } from './errors.js';
import { type OpenSpec, SpecKernels } from './kernels.js';

/** One line on stderr: for what a user should know but no program has to handle. */
const toStderr = (line: string): void => {
  process.stderr.write(`${line}\n`);
};

/**
 * The kernels of a spec file; nothing is loaded or read yet.
 * @param file absolute path of the spec
 * @param device a registered name, or 'auto'
 * @param statics values for the spec's statics; opening it throws InputError for those it cannot have
 */
export function kernelsOfFile(
  file: string,
  device: string,
  { cacheDir }: { readonly cacheDir: string | false | undefined },
  statics?: Statics,
): SpecKernels {
  const options: DeviceOptions = { cacheDir, notice: toStderr, ...(statics ? { statics } : {}) };
  return new SpecKernels({
    anyDevice: device === 'auto',
    open: async (): Promise<OpenSpec> => {
      // Nothing was ever compiled here, so something will be: the compiler's thread starts while the device is loaded.
      if (device !== 'reference' && storeFor(cacheDir).isEmpty) startCompiler();
      const loaded = await loadDevice(device, options.notice);
      try {
        return { device: loaded, spec: await loaded.open(file, options) };
      } catch (error) {
        throw refusedStatics(error, options.statics);
      }
    },
    openSync: (): OpenSpec => {
      const loaded = loadDeviceSync(device, options.notice);
      if (loaded.openSync === undefined) throw notReady(loaded.name);
      try {
        return { device: loaded, spec: loaded.openSync(file, options) };
      } catch (error) {
        throw refusedStatics(error, options.statics);
      }
    },
  });
}

/** Statics that the compiler refused, as the caller's mistake; any other error as it is. */
function refusedStatics(error: unknown, statics: DeviceOptions['statics']): unknown {
  if (!(error instanceof StaticsError)) return error;
  const { given, problem, allowed } = error;
  const value = statics?.[given];
  return new InputError({ code: 'option', argument: `statics.${given}`, problem, value, allowed });
}
