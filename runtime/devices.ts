/** The devices this package has. What each needs (libLLVM, a spec's TypeScript) is loaded when it is first used. */
import { cpuFactory } from './cpu/device.js';
import { registerDevice } from './device.js';
import { referenceDevice } from './reference/device.js';

registerDevice('cpu', cpuFactory);
registerDevice('reference', { load: async () => referenceDevice, loadSync: () => referenceDevice });
