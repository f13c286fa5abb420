/** What a call may add to a process: its tensors, five float64 values for each node of the lattice, and 64 MiB for all else. */
import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { describe, expect, test } from 'vitest';
import { llvmMissing } from '../lanes.js';

const [B, T, U, V] = [4, 300, 60, 256];
const script = fileURLToPath(new URL('./memory-child.ts', import.meta.url));

// The kernel's own count of the peak; other systems have none that can be reset.
describe.skipIf(llvmMissing !== undefined || process.platform !== 'linux')('memory', () => {
  const nodes = B * T * (U + 1);
  const tensor = 4 * nodes * V;
  const cases: [string, number][] = [
    ['gradient', 2 * tensor],
    ['score', tensor],
  ];
  test.each(cases)('of a call at (4, 300, 60, 256): %s', async (what, tensors) => {
    const args = ['--expose-gc', '--import', 'tsx', script, ...[B, T, U, V].map(String), what];
    const { stdout } = await promisify(execFile)(process.execPath, args);
    const { added, finite } = JSON.parse(stdout) as { added: number; finite: boolean };
    expect(finite).toBe(true);
    // At least the tensors, or the measure would measure nothing.
    expect(added).toBeGreaterThan(0.95 * tensors);
    expect(added).toBeLessThan(tensors + 5 * 8 * nodes + 64 * 2 ** 20);
  });
});
