/** The devices that the contract is tested on, and what of them this machine lacks. */
import { registerDevice } from 'trellis-jit';
import { cpuFactory } from '../../runtime/cpu/device.js';
import { llvmMissing } from '../lanes.js';

export interface TestedDevice {
  readonly device: 'reference' | 'cpu';
  /** Of costs, and of gradients, against float64. */
  readonly tolerance: number;
  /** Why its tests are skipped here. */
  readonly missing: string | undefined;
}

// Loaded already, so that forwardSync needs no ready().
if (llvmMissing === undefined) registerDevice('cpu', cpuFactory);

export const testedDevices: readonly TestedDevice[] = [
  { device: 'reference', tolerance: 1e-12, missing: undefined },
  { device: 'cpu', tolerance: 5e-6, missing: llvmMissing },
];
export const present: readonly TestedDevice[] = testedDevices.filter((tested) => tested.missing === undefined);
