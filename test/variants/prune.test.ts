/** Windows for the pruned loss: they always leave a path, give the whole loss where they are wide enough, and follow peaked posteriors. */
import { InputError, loadLoss, pruneRanges } from 'trellis-jit';
import { describe, expect, test } from 'vitest';
import { testLlvm } from '../lanes.js';
import { randomFrom } from '../specs.js';
import { gradientsOf, type Sample, specOf } from './samples.js';

const seeds = Array.from({ length: 200 }, (_, seed) => seed + 1);

/** Ragged shares of no particular lattice, with NaN in the padding. */
function drawn(seed: number) {
  const random = randomFrom(seed);
  const whole = (low: number, high: number): number => low + Math.floor(random() * (high - low + 1));
  const [B, T, U] = [whole(1, 3), whole(1, 12), whole(0, 9)];
  const actLens = Int32Array.from({ length: B }, () => whole(1, T));
  const labelLens = Int32Array.from({ length: B }, () => whole(0, U));
  const shares = () => ({
    data: Float32Array.from({ length: B * T * (U + 1) }, (_, i) => {
      const [b, t, u] = [Math.floor(i / (T * (U + 1))), Math.floor(i / (U + 1)) % T, i % (U + 1)];
      return t < (actLens[b] as number) && u <= (labelLens[b] as number) ? random() : Number.NaN;
    }),
    shape: [B, T, U + 1],
  });
  const least = Math.max(...Array.from(actLens, (frames, b) => Math.ceil((labelLens[b] as number) / frames) + 1));
  return { B, T, U, actLens, labelLens, stay: shares(), emit: shares(), least, S: least + whole(0, 2) };
}

test('windows start at 0, rise by less than their width, never fall, and reach the end', () => {
  for (const seed of seeds) {
    const { B, T, actLens, labelLens, stay, emit, S } = drawn(seed);
    const { data, shape } = pruneRanges({ stay, emit }, { S, actLens, labelLens });
    expect(shape).toEqual([B, T]);
    for (let b = 0; b < B; b++) {
      const own = Array.from(data.subarray(b * T, b * T + (actLens[b] as number)));
      const what = `seed ${seed}, sample ${b}: ${own} of ${labelLens[b]} labels, S = ${S}`;
      expect(own[0], what).toBe(0);
      expect((own[own.length - 1] as number) + S, what).toBeGreaterThan(labelLens[b] as number);
      for (const [t, start] of own.entries()) {
        const rise = t === 0 ? 0 : start - (own[t - 1] as number);
        expect(rise >= 0 && rise <= S - 1, what).toBe(true);
        expect(start, what).toBeLessThanOrEqual(Math.max(0, (labelLens[b] as number) + 1 - S));
      }
    }
  }
});

test('a window goes where blanks are, less the label that would enter it from below', () => {
  // Three frames, four labels, windows of three: the first and the last are given, the one between is to be chosen.
  const stay = [
    [
      [0.9, 0, 0, 0, 0],
      [0.1, 0.1, 0.3, 0.2, 0.3],
      [0, 0, 0, 0, 1],
    ],
  ];
  const none = [
    [
      [0, 0, 0, 0, 0],
      [0, 0, 0, 0, 0],
      [0, 0, 0, 0, 0],
    ],
  ];
  const late = [
    [
      [0, 0, 0, 0, 0],
      [0, 0.6, 0, 0, 0],
      [0, 0, 0, 0, 0],
    ],
  ];
  expect(Array.from(pruneRanges({ stay, emit: none }, { S: 3 }).data)).toEqual([0, 2, 2]);
  // A label of 0.6 at position 1 speaks against the window [2, 4], and not against [1, 3].
  expect(Array.from(pruneRanges({ stay, emit: late }, { S: 3 }).data)).toEqual([0, 1, 2]);
});

describe('with the pruned loss', () => {
  /** acts over all positions, and the pick of them that windows make. */
  const sampleFor = (
    seed: number,
    T: number,
    U: number,
    V: number,
    logit: (t: number, u: number, v: number) => number,
  ): Sample => {
    const random = randomFrom(seed);
    const labels = Int32Array.from({ length: U }, () => 1 + Math.floor(random() * (V - 1)));
    const data = Float64Array.from({ length: T * (U + 1) * V }, (_, i) =>
      logit(Math.floor(i / V / (U + 1)), Math.floor(i / V) % (U + 1), i % V),
    );
    return {
      sizes: { T, U, V },
      params: { blank: 0 },
      inputs: { acts: { data, shape: [T, U + 1, V] }, labels: { data: labels, shape: [U] } },
    };
  };
  const windowed = (sample: Sample, ranges: Int32Array, S: number): Sample => {
    const { T, U, V } = sample.sizes;
    const all = sample.inputs.acts!.data;
    const data = Float64Array.from({ length: T * S * V }, (_, i) => {
      const [t, s, v] = [Math.floor(i / V / S), Math.floor(i / V) % S, i % V];
      const u = (ranges[t] as number) + s;
      return u <= U ? (all[(t * (U + 1) + u) * V + v] as number) : 0;
    });
    const inputs = { ...sample.inputs, acts: { data, shape: [T, S, V] }, ranges: { data: ranges, shape: [T] } };
    return { ...sample, sizes: { ...sample.sizes, S }, inputs };
  };
  const posteriorsOf = async (sample: Sample) => {
    const rnnt = await loadLoss('rnnt', { device: 'reference' });
    const { T, U, V } = sample.sizes;
    const acts = { data: sample.inputs.acts!.data as Float64Array, shape: [1, T, U + 1, V] };
    const labels = { data: sample.inputs.labels!.data as Int32Array, shape: [1, U] };
    const { posteriors } = await rnnt.forward({ acts, labels }, { posteriors: true, grads: false });
    return posteriors as unknown as Parameters<typeof pruneRanges>[0];
  };

  test('a width of U + 1 gives the whole loss', async () => {
    const [pruned, rnnt] = [await specOf('pruned'), await specOf('rnnt')];
    for (const seed of seeds.slice(0, 20)) {
      const random = randomFrom(seed);
      const [T, U, V] = [1 + (seed % 5), seed % 4, 4];
      const sample = sampleFor(seed, T, U, V, () => random() * 6 - 3);
      const ranges = pruneRanges(await posteriorsOf(sample), { S: U + 1 + (seed % 2) }).data;
      expect(Array.from(ranges).every((start) => start === 0)).toBe(true);
      const actual = gradientsOf(pruned, windowed(sample, ranges, U + 1 + (seed % 2))).loss;
      expect(Math.abs(actual - gradientsOf(rnnt, sample).loss)).toBeLessThan(1e-10);
    }
  });

  test('a peaked posterior keeps its path, and nearly all of the loss', async () => {
    const [pruned, rnnt] = [await specOf('pruned'), await specOf('rnnt')];
    for (const seed of seeds.slice(0, 20)) {
      const random = randomFrom(seed);
      const [T, U, V] = [8, 6, 5];
      // Label u is emitted at a frame of its own, and everything else is unlikely.
      const frames = Array.from({ length: U }, () => Math.floor(random() * T)).sort((a, c) => a - c);
      const plain = sampleFor(seed, T, U, V, () => 0);
      const labels = plain.inputs.labels!.data;
      const onPath = (t: number, u: number): boolean =>
        (u === 0 || (frames[u - 1] as number) <= t) && (u === U || (frames[u] as number) >= t);
      const symbol = (t: number, u: number): number => (u < U && frames[u] === t ? (labels[u] as number) : 0);
      const sample = sampleFor(seed, T, U, V, (t, u, v) => (onPath(t, u) && symbol(t, u) === v ? 12 : 0));
      const most = Math.max(...Array.from({ length: T }, (_, t) => frames.filter((frame) => frame === t).length)) + 1;
      const S = Math.max(2, most);
      const ranges = pruneRanges(await posteriorsOf(sample), { S }).data;
      for (let t = 0; t < T; t++)
        for (let u = 0; u <= U; u++)
          if (onPath(t, u))
            expect(u >= ranges[t]! && u < ranges[t]! + S, `seed ${seed}: ${frames}, ${ranges}`).toBe(true);
      const [actual, whole] = [gradientsOf(pruned, windowed(sample, ranges, S)).loss, gradientsOf(rnnt, sample).loss];
      expect(Math.abs(actual - whole)).toBeLessThan(1e-2);
      expect(actual).toBeGreaterThanOrEqual(whole - 1e-12);
    }
  });

  testLlvm('from the additive loss, on the cpu', async () => {
    const [B, T, U, V, S] = [2, 9, 5, 6, 4];
    const random = randomFrom(1);
    const real = (rows: number) => ({
      data: Float32Array.from({ length: B * rows * V }, () => random()),
      shape: [B, rows, V],
    });
    const labels = {
      data: Int32Array.from({ length: B * U }, () => 1 + Math.floor(random() * (V - 1))),
      shape: [B, U],
    };
    const lengths = { actLens: [9, 7], labelLens: [5, 3] };
    const additive = await loadLoss('additive', { device: 'cpu', cacheDir: false });
    const { posteriors } = await additive.forward(
      { am: real(T), lm: real(U + 1), labels, ...lengths },
      { posteriors: true },
    );
    const { stay, emit } = posteriors!;
    const ranges = pruneRanges({ stay: stay!, emit: emit! }, { S, ...lengths });
    const pruned = await loadLoss('pruned', { device: 'cpu', reduction: 'none', cacheDir: false });
    const acts = { data: Float32Array.from({ length: B * T * S * V }, () => random()), shape: [B, T, S, V] };
    const { costs } = await pruned.forward({ acts, labels, ranges, ...lengths });
    expect(Array.from(costs.data).every((cost) => Number.isFinite(cost))).toBe(true);
  });
});

test('degenerate lattices', () => {
  const shares = (T: number, U: number) => ({ data: new Float32Array(T * (U + 1)), shape: [1, T, U + 1] });
  const ranges = (T: number, U: number, S: number, actLens = [T]) =>
    Array.from(pruneRanges({ stay: shares(T, U), emit: shares(T, U) }, { S, actLens }).data);
  expect(ranges(3, 0, 1)).toEqual([0, 0, 0]);
  expect(ranges(1, 3, 4)).toEqual([0]);
  expect(ranges(3, 3, 2)).toEqual([0, 1, 2]);
  // No frame, no path: nothing to keep.
  expect(ranges(2, 3, 1, [0])).toEqual([3, 3]);
});

test('what cannot be used is refused', () => {
  const stay = { data: new Float32Array(2 * 3 * 5), shape: [2, 3, 5] };
  const refusal = (posteriors: unknown, options: unknown): string => {
    try {
      pruneRanges(posteriors as never, options as never);
    } catch (error) {
      expect(error).toBeInstanceOf(InputError);
      return (error as Error).message;
    }
    return 'accepted';
  };
  const both = { stay, emit: stay };
  expect(refusal(both, { S: 2 })).toContain(
    'S is 2, too narrow for sample 0: 3 windows that rise by at most 1 each do not reach its 4 labels; allowed: at least 3 for it',
  );
  expect(refusal(both, { S: 3 })).toBe('accepted');
  expect(refusal(both, { S: 1 })).toContain('at least 3 for it');
  expect(refusal(both, { S: 1, labelLens: [0, 0] })).toBe('accepted');
  expect(refusal(both, { S: 2, labelLens: [3, 4] })).toContain('too narrow for sample 1');
  expect(refusal(both, { S: 0 })).toContain('S is 0; allowed: an integer of at least 1');
  expect(refusal(both, { S: 2.5 })).toContain('S is 2.5');
  expect(refusal(both, {})).toContain('S is missing');
  expect(refusal(both, { S: 3, width: 3 })).toContain('width is not an option');
  expect(refusal({ stay }, { S: 3 })).toContain('emit is missing');
  expect(refusal(undefined, { S: 3 })).toContain('posteriors is undefined');
  expect(refusal({ stay, emit: { data: new Float32Array(24), shape: [2, 3, 4] } }, { S: 3 })).toContain(
    'emit has shape',
  );
  expect(refusal(both, { S: 3, actLens: [4, 3] })).toContain('actLens[0] is 4');
});
