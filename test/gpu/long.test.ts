/** Paths of 1024 steps and more: each element of the gradient relative to itself, just below that length and from it on. */
import { type Loss, loadLoss, RNNTLoss } from 'trellis-jit';
import { describe, expect, test } from 'vitest';
import { dynamicProgram } from '../oracle.js';
import { largestDifference, randomFrom } from '../specs.js';
import { missing } from './gpu.js';

/** The least normal number of float32. */
const LEAST = 2 ** -126;
const [T, U, V] = [1000, 24, 6];
/** Steps of each utterance's paths: 1024, 1023, 1024 and few. */
const lengths: readonly (readonly [frames: number, labels: number])[] = [
  [1000, 24],
  [999, 24],
  [1000, 24],
  [30, 7],
];

/** Logits of all utterances but one, `peaked`, have one scale. The padding is NaN: none of it may reach a result. */
function batchOf(spec: 'rnnt' | 'ctc' | 'monotonic', peaked: number) {
  const random = randomFrom(5);
  const shape = spec === 'ctc' ? [lengths.length, T, V] : [lengths.length, T, U + 1, V];
  const columns = spec === 'ctc' ? 1 : U + 1;
  const data = new Float32Array(shape.reduce((product, extent) => product * extent)).fill(Number.NaN);
  for (const [b, [frames, labels]] of lengths.entries())
    for (let t = 0; t < frames; t++)
      for (let u = 0; u < (spec === 'ctc' ? 1 : labels + 1); u++)
        for (let v = 0; v < V; v++)
          data[((b * T + t) * columns + u) * V + v] = (b === peaked ? 8 : 3) * (2 * random() - 1);
  const labels = Int32Array.from({ length: lengths.length * U }, () => 1 + Math.floor(random() * (V - 1)));
  const own = lengths.map(([frames]) => frames);
  const targets = lengths.map(([, count]) => count);
  return [{ data, shape }, { data: labels, shape: [lengths.length, U] }, own, targets] as const;
}

describe.skipIf(missing !== undefined)('long paths', () => {
  test.each([0, 0.5])('elements of long paths are right by themselves, with lambda %f', async (fastemitLambda) => {
    const loss = new RNNTLoss({ device: 'webgpu', reduction: 'none', cacheDir: false, fastemitLambda });
    const batch = batchOf('rnnt', 2);
    const { costs, grads } = await loss.forward(...batch);
    const [acts, labels] = batch;
    for (const [b, [frames, count]] of lengths.entries()) {
      const own = new Float32Array(frames * (count + 1) * V);
      const got = new Float64Array(own.length);
      for (let t = 0; t < frames; t++) {
        const [from, size] = [(b * T + t) * (U + 1) * V, (count + 1) * V];
        own.set(acts.data.subarray(from, from + size), t * size);
        got.set(grads!.data.subarray(from, from + size), t * size);
      }
      const exact = dynamicProgram({
        topology: 'rnnt',
        T: frames,
        U: count,
        V,
        acts: own,
        labels: labels.data.subarray(b * U, b * U + count),
        blank: 0,
        lambda: fastemitLambda,
      });
      const long = frames + count >= 1024;
      expect(Math.abs(costs.data[b]! / exact.loss - 1)).toBeLessThan(long ? 1e-11 : 1e-6);
      let [worst, small] = [0, 0];
      for (let row = 0; row < own.length; row += V) {
        const largest = Math.max(...exact.grads.subarray(row, row + V).map(Math.abs));
        for (let v = 0; v < V; v++) {
          const size = Math.abs(exact.grads[row + v]!);
          const error = Math.abs(got[row + v]! - exact.grads[row + v]!);
          if (size >= LEAST && size < 1e-34) small++;
          if (size >= LEAST && size > 1e-6 * largest) worst = Math.max(worst, error / size);
          if (!long) expect(error).toBeLessThan(1e-5);
        }
      }
      if (!long) continue;
      // Some of which an arc's posterior is beyond float32's range.
      expect(small).toBeGreaterThan(10);
      expect(worst, `utterance ${b}`).toBeLessThan(2e-5);
    }
  });

  test.each(['rnnt', 'ctc', 'monotonic'] as const)(
    '%s agrees with the reference: a NaN, masks, a clamp',
    async (spec) => {
      const open = (device: 'webgpu' | 'reference'): Promise<Loss> =>
        loadLoss(spec, { device, reduction: 'none', cacheDir: false });
      const [loss, reference] = await Promise.all([open('webgpu'), open('reference')]);
      const [acts, labels, frames, targets] = batchOf(spec, 1);
      const perUtterance = acts.data.length / lengths.length;
      // A symbol of every row of the first utterance, and one logit of the third.
      for (let at = 3; at < perUtterance; at += V) acts.data[at] = Number.NEGATIVE_INFINITY;
      acts.data[2 * perUtterance + 12 * (perUtterance / T)] = Number.NaN;
      const params = spec === 'ctc' ? {} : { clamp: 0.01 };
      const got = await loss.forward(acts, labels, frames, targets, { params });
      const expected = await reference.forward(acts, labels, frames, targets, { params });
      expect(largestDifference(got.costs.data, expected.costs.data)).toBeLessThan(1e-3);
      // Where a NaN spreads to is not the same everywhere: its neighbours are.
      for (const b of [0, 1, 3]) {
        const [ours, theirs] = [got, expected].map(({ grads }) =>
          (grads!.data as Float32Array).subarray(b * perUtterance, (b + 1) * perUtterance),
        ) as [Float32Array, Float32Array];
        expect(largestDifference(ours, theirs), `utterance ${b}`).toBeLessThan(1e-5);
      }
    },
  );
});
