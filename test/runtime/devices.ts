/** The devices that the contract is tested on, and what of them this machine lacks. */
import { registerDevice } from 'trellis-jit';
import { cpuFactory } from '../../runtime/cpu/device.js';
import { findLibLlvm } from '../../runtime/cpu/libllvm.js';

export interface TestedDevice {
  readonly device: 'reference' | 'cpu';
  /** Of costs, and of gradients, against float64. */
  readonly tolerance: number;
  /** Why its tests are skipped here. */
  readonly missing: string | undefined;
}

const llvm = findLibLlvm();
const missing = 'missing' in llvm ? llvm.missing : undefined;
if (missing === undefined) {
  // Loaded already, so that forwardSync needs no ready().
  registerDevice('cpu', cpuFactory);
} else if (process.env.TRELLIS_REQUIRE?.includes('llvm')) {
  throw new Error(`this lane needs libLLVM: ${missing}`);
} else {
  process.stderr.write(`the cpu device is not tested here: ${missing}\n`);
}

export const testedDevices: readonly TestedDevice[] = [
  { device: 'reference', tolerance: 1e-12, missing: undefined },
  { device: 'cpu', tolerance: 5e-6, missing },
];
export const present: readonly TestedDevice[] = testedDevices.filter((tested) => tested.missing === undefined);
