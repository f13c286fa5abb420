/** The additive loss where it is meant to be used: logits that nobody could store, and long utterances. */
import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { loadLoss } from 'trellis-jit';
import { describe, expect, test } from 'vitest';
import { testLlvm } from '../lanes.js';
import { randomFrom } from '../specs.js';
import { batchOf, gradientsOf, type Sample, sampleOf, specOf } from './samples.js';

describe('additive', () => {
  testLlvm('at (8, 400, 100, 4096), whose logits would be 5.3 GB, takes less than 600 MB', async () => {
    const script = fileURLToPath(new URL('./additive-child.ts', import.meta.url));
    const { stdout } = await promisify(execFile)(process.execPath, ['--import', 'tsx', script]);
    const { megabytes, costs, sums } = JSON.parse(stdout) as { megabytes: number; costs: number[]; sums: number[] };
    expect(megabytes).toBeLessThan(600);
    expect(costs).toHaveLength(8);
    for (const cost of costs) expect(cost).toBeGreaterThan(0);
    for (const cost of costs) expect(Number.isFinite(cost)).toBe(true);
    for (const sum of sums) expect(Math.abs(sum)).toBeLessThan(0.5);
  });

  testLlvm('keeps its precision over hundreds of nodes', async () => {
    const spec = await specOf('additive');
    const { params } = sampleOf({ real: {} }, 2);
    const random = randomFrom(3);
    const [T, U, V] = [150, 40, 20];
    const real = (rows: number) => ({
      data: Float64Array.from({ length: rows * V }, () => Math.fround(random() * 6 - 3)),
      shape: [rows, V],
    });
    const labels = { data: Int32Array.from({ length: U }, (_, u) => 1 + ((u * 7) % (V - 1))), shape: [U] };
    const sample: Sample = { sizes: { T, U, V }, params, inputs: { am: real(T), lm: real(U + 1), labels } };
    const expected = gradientsOf(spec, sample);
    const loss = await loadLoss('additive', { device: 'cpu', reduction: 'none', cacheDir: false });
    const { costs, gradients } = await loss.forward(batchOf(spec.graph, [sample]), { params: { ...params } });
    expect(Math.abs(costs.data[0]! / expected.loss - 1)).toBeLessThan(1e-6);
    for (const input of ['am', 'lm']) {
      const actual = gradients[input]!.data;
      // Sums of up to T elements of the size of 1 at most, relative to the largest.
      const largest = expected.gradients[input]!.reduce((most, g) => Math.max(most, Math.abs(g)), 1);
      for (const [i, g] of expected.gradients[input]!.entries())
        expect(Math.abs(actual[i]! - g) / largest, `${input}[${i}]`).toBeLessThan(2e-6);
    }
  });

  test('never multiplies its inputs out', async () => {
    const { compileToGraph, compileToKernels } = await import('../../compiler/index.js');
    const file = fileURLToPath(new URL('../../specs/additive.ts', import.meta.url));
    const program = compileToKernels(compileToGraph(file), { sizes: { V: 64 }, lattice: 'f64', gradients: true });
    const scratch = program.buffers.filter(({ role }) => role === 'scratch');
    // Nodes only: logZ, emit, alpha, beta, and what flows back to a node.
    expect(scratch.map(({ name }) => name).sort()).toEqual(
      ['alpha', 'beta', 'd_logZ', 'emit', 'emitPosterior', 'logZ', 'stayPosterior'].sort(),
    );
    for (const { shape } of scratch) expect(shape).toHaveLength(3);
  });
});
