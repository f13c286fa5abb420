/** The devices this package has. What each needs (libLLVM, WebGPU, a spec's TypeScript) is loaded when it is first used. */
import { existsSync, readdirSync } from 'node:fs';
import { cpuFactory } from './cpu/device.js';
import { type Device, registerDevice } from './device.js';
import { noForwardSync } from './kernels.js';
import { referenceDevice } from './reference/device.js';

registerDevice('cpu', cpuFactory);
let forAuto: Promise<Device | undefined> | undefined;
registerDevice('webgpu', {
  load: async () => (await import('./gpu/device.js')).gpuFactory.load(),
  loadSync: () => {
    throw noForwardSync('webgpu');
  },
  loadForAuto: () => {
    forAuto ??= mayHaveGpu() ? realGpu() : Promise.resolve(undefined);
    return forAuto;
  },
});
registerDevice('reference', { load: async () => referenceDevice, loadSync: () => referenceDevice });

/**
 * False where there is certainly no GPU, so that WebGPU need not be loaded to find that out. On Linux every driver of one has
 * a device node: those of the kernel's own, NVIDIA's, and that of Windows below WSL.
 */
export function mayHaveGpu(): boolean {
  if (process.platform !== 'linux') return true;
  const namesIn = (folder: string): string[] => {
    try {
      return readdirSync(folder);
    } catch {
      return []; // there is none
    }
  };
  if (existsSync('/dev/dxg') || namesIn('/dev/dri').some((name) => name.startsWith('renderD'))) return true;
  return namesIn('/dev').some((name) => /^nvidia\d+$/.test(name));
}

/** A GPU that is none in name only. Whatever keeps it from being used, the CPU can do the work. */
async function realGpu(): Promise<Device | undefined> {
  const { realGpuFactory } = await import('./gpu/device.js');
  return realGpuFactory.load().catch(() => undefined);
}
