/** The devices this package has. Each is loaded when it is first asked for. */
import { registerDevice } from './device.js';
import { TrellisError } from './errors.js';
import { referenceDevice } from './reference/device.js';

registerDevice('cpu', {
  load: async () => {
    let cpu: typeof import('./cpu/device.js');
    try {
      cpu = await import('./cpu/device.js');
    } catch (error) {
      // A platform without a prebuilt native binding fails here.
      const reason = error instanceof Error ? error.message : String(error);
      throw new TrellisError('device-unavailable', `it cannot be loaded: ${reason}`, {
        argument: 'device',
        cause: error,
      });
    }
    return cpu.cpuFactory.load();
  },
});

registerDevice('reference', { load: async () => referenceDevice, loadSync: () => referenceDevice });
