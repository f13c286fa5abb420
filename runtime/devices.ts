/** The devices this package has. Each is loaded when it is first asked for. */
import { type Device, registerDevice } from './device.js';
import { TrellisError } from './errors.js';
import { referenceDevice } from './reference/device.js';

registerDevice('cpu', {
  load: async () => {
    const path = './cpu/device.js';
    try {
      return ((await import(path)) as { cpuDevice: Device }).cpuDevice;
    } catch (error) {
      if (error instanceof TrellisError) throw error;
      const reason = error instanceof Error ? error.message : String(error);
      throw new TrellisError('device-unavailable', `it cannot be loaded: ${reason}`, { argument: 'device', cause: error });
    }
  },
});

registerDevice('reference', { load: async () => referenceDevice, loadSync: () => referenceDevice });
