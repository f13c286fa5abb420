/** Losses of small vocabularies, whose rows share workgroups, and of larger ones: ragged batches against the reference device. */
import { type Loss, loadLoss, registerDevice } from 'trellis-jit';
import { describe, expect, test } from 'vitest';
import { openGpuDevice } from '../../runtime/gpu/device.js';
import { largestDifference, randomFrom } from '../specs.js';
import { missing } from './gpu.js';

const [T, U] = [9, 6];
/** Frames and labels of each utterance: whole ones, one frame, no labels, and some that end within a workgroup's rows. */
const lengths: readonly (readonly [frames: number, labels: number])[] = [
  [9, 6],
  [9, 0],
  [7, 5],
  [6, 2],
];
/** Of tdt, as many as it comes with. */
const durations = 5;
const specs = { rnnt: [T, U + 1], ctc: [T], tdt: [T, U + 1] } as const;

/** V, with subgroups and without. Without a GPU nearly all of the time goes into building pipelines, of which rnnt has the smallest. */
const sizes: Record<keyof typeof specs, readonly [readonly number[], readonly number[]]> = {
  rnnt: [
    [1, 2, 3, 5, 28, 31, 33, 50, 64, 100, 129, 1024],
    [1, 2, 5, 28, 33, 50, 129],
  ],
  ctc: [
    [2, 5, 28, 50, 129],
    [5, 33],
  ],
  tdt: [[28, 50], [9]],
};

/** The padding is NaN: none of it may reach a result. */
function batchOf(spec: keyof typeof specs, V: number) {
  const random = randomFrom(V);
  const symbols = spec === 'tdt' ? V + durations : V;
  const shape = [lengths.length, ...specs[spec], symbols];
  const acts = new Float32Array(shape.reduce((product, extent) => product * extent));
  const labelLens = lengths.map(([, labels]) => (V === 1 ? 0 : labels));
  const columns = spec === 'ctc' ? 1 : U + 1;
  for (let at = 0; at < acts.length; at++) {
    const row = Math.floor(at / symbols);
    const [b, t, u] = [Math.floor(row / columns / T), Math.floor(row / columns) % T, row % columns];
    const inside = t < lengths[b]![0] && u <= labelLens[b]!;
    acts[at] = inside ? 6 * random() - 3 : Number.NaN;
  }
  // The blank is the last token of tdt, and the first of the others.
  const least = spec === 'tdt' ? 0 : 1;
  const labels = Int32Array.from({ length: lengths.length * U }, () => least + Math.floor(random() * (V - 1)));
  return { acts: { data: acts, shape }, labels: { data: labels, shape: [lengths.length, U] }, labelLens };
}

describe.skipIf(missing !== undefined).each([true, false])('subgroups: %s', (subgroups) => {
  test.each(Object.keys(specs) as (keyof typeof specs)[])('%s', async (spec) => {
    const device = await openGpuDevice({ subgroups });
    registerDevice('webgpu', { load: async () => device });
    const open = (name: 'webgpu' | 'reference'): Promise<Loss> =>
      loadLoss(spec, { device: name, reduction: 'none', cacheDir: false });
    const [loss, reference] = await Promise.all([open('webgpu'), open('reference')]);
    for (const V of sizes[spec][subgroups ? 0 : 1]) {
      const { acts, labels, labelLens } = batchOf(spec, V);
      const frames = lengths.map(([own]) => own);
      const [actual, expected] = [
        await loss.forward(acts, labels, frames, labelLens),
        await reference.forward(acts, labels, frames, labelLens),
      ];
      expect(largestDifference(actual.costs.data, expected.costs.data), `costs, V = ${V}`).toBeLessThan(2e-5);
      const gradients = [actual, expected].map(({ grads }) => grads!.data as Float32Array) as [
        Float32Array,
        Float32Array,
      ];
      const worst = gradients[0].reduce((most, value, n) => {
        const difference = Math.abs(value - gradients[1][n]!);
        return difference <= most ? most : difference;
      }, 0);
      expect(worst, `gradient, V = ${V}`).toBeLessThan(1e-5);
    }
  });
});
