/** Losses that are classes: each is its spec with its options, and what it cannot take is refused by name. */

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  AdditiveRNNTLoss,
  CTCLoss,
  HATLoss,
  InputError,
  type Loss,
  type LossOptions,
  type LossResult,
  loadLoss,
  MonotonicRNNTLoss,
  MultiblankRNNTLoss,
  PrunedRNNTLoss,
  RNNTLoss,
  TDTLoss,
  type TensorBundle,
} from 'trellis-jit';
import { afterAll, describe, expect, test } from 'vitest';
import { randomFrom } from '../specs.js';
import { present } from './devices.js';

const cacheDir = mkdtempSync(join(tmpdir(), 'trellis-named-'));
afterAll(() => rmSync(cacheDir, { recursive: true, force: true }));

const [B, T, U, V] = [2, 5, 2, 8];
const random = randomFrom(11);
const real = (...shape: number[]) => ({
  data: Float32Array.from({ length: shape.reduce((a, c) => a * c, 1) }, () => Math.fround(random() * 4 - 2)),
  shape,
});
const labels = { data: Int32Array.of(1, 2, 2, 1), shape: [B, U] };
const lengths = { actLens: [5, 4], labelLens: [2, 1] };
const acts = real(B, T, U + 1, V);

interface Named {
  readonly make: (options: object) => Loss;
  readonly options: object;
  readonly spec: string;
  readonly given: Pick<LossOptions, 'params' | 'statics'>;
  readonly tensors: TensorBundle;
}
const usual = { blank: 7, fastemitLambda: 0.2, clamp: 0.3 };
const onNodes = { acts, labels };
const am = real(B, T, V);
const lm = real(B, U + 1, V);
const cases: Readonly<Record<string, Named>> = {
  MonotonicRNNTLoss: {
    make: (options) => new MonotonicRNNTLoss(options),
    options: usual,
    spec: 'monotonic',
    given: { params: usual },
    tensors: onNodes,
  },
  'MonotonicRNNTLoss with a final blank': {
    make: (options) => new MonotonicRNNTLoss(options),
    options: { finalBlank: true, clamp: -3 },
    spec: 'monotonic-final',
    given: {},
    tensors: onNodes,
  },
  HATLoss: {
    make: (options) => new HATLoss(options),
    options: usual,
    spec: 'hat',
    given: { params: usual },
    tensors: onNodes,
  },
  MultiblankRNNTLoss: {
    make: (options) => new MultiblankRNNTLoss(options),
    options: { bigBlankDurations: [3], sigma: 0.05 },
    spec: 'multiblank',
    given: { params: { sigma: 0.05 }, statics: { bigBlankDurations: [3] } },
    tensors: onNodes,
  },
  TDTLoss: {
    make: (options) => new TDTLoss(options),
    options: { durations: [0, 1, 3], sigma: 0.1, clamp: Number.POSITIVE_INFINITY },
    spec: 'tdt',
    given: { params: { sigma: 0.1 }, statics: { durations: [0, 1, 3] } },
    tensors: onNodes,
  },
  CTCLoss: {
    make: (options) => new CTCLoss(options),
    options: { blank: 0 },
    spec: 'ctc',
    given: {},
    tensors: { acts: am, labels },
  },
  PrunedRNNTLoss: {
    make: (options) => new PrunedRNNTLoss(options),
    options: usual,
    spec: 'pruned',
    given: { params: usual },
    tensors: {
      acts: real(B, T, 2, V),
      labels,
      ranges: { data: Int32Array.of(0, 0, 1, 1, 1, 0, 0, 0, 0, 0), shape: [B, T] },
    },
  },
  AdditiveRNNTLoss: {
    make: (options) => new AdditiveRNNTLoss(options),
    options: { blank: 7, fastemitLambda: 0.2 },
    spec: 'additive',
    given: { params: { blank: 7, fastemitLambda: 0.2 } },
    tensors: { am, lm, labels },
  },
  'AdditiveRNNTLoss with scales': {
    make: (options) => new AdditiveRNNTLoss(options),
    options: { lmScale: 0.25 },
    spec: 'additive-smoothed',
    given: { params: { lmScale: 0.25 } },
    tensors: { am, lm, labels },
  },
};

const dataOf = ({ gradients }: LossResult) =>
  Object.fromEntries(Object.entries(gradients).map(([name, { data }]) => [name, data]));

describe.each(present)('$device', ({ device, tolerance }) => {
  // A class and its spec, or two classes over one spec, share compiled code.
  const common = { device, reduction: 'none', cacheDir } as const;

  test.each(Object.entries(cases))('%s', async (_, { make, options, spec, given, tensors }) => {
    const loss = make({ ...options, ...common });
    const actual = await loss.forward({ ...tensors, ...lengths });
    expect(loss.signature.name).toBe(spec);
    const expected = await (await loadLoss(spec, { ...given, ...common })).forward({ ...tensors, ...lengths });
    expect(actual.costs.data).toEqual(expected.costs.data);
    expect(dataOf(actual)).toEqual(dataOf(expected));
    expect(Array.from(actual.costs.data).every(Number.isFinite)).toBe(true);
    // In order, and synchronously.
    const ordered = [...Object.values(tensors), lengths.actLens, lengths.labelLens];
    expect(loss.forwardSync(...ordered).costs.data).toEqual(expected.costs.data);
  });

  describe('TDT and the RNN-T on its tokens', () => {
    const durations = [0, 1, 2];
    const tensors = { ...onNodes, ...lengths };
    const options = { durations, sigma: 0.05, ...common };
    const plain = async () => {
      const { data, shape } = acts;
      const tokens = V - durations.length;
      const rows = Array.from({ length: data.length / V }, (_, n) => [...data.subarray(n * V, n * V + tokens)]);
      const cut = { data: Float32Array.from(rows.flat()), shape: [...shape.slice(0, 3), tokens] };
      return new RNNTLoss({ blank: -1, ...common }).forward({ ...tensors, acts: cut });
    };

    test('omega 1 is RNN-T, with zero gradient for the durations', async () => {
      const expected = await plain();
      const actual = await new TDTLoss({ ...options, omega: 1 }).forward(tensors, { params: { sigma: 1, clamp: 0 } });
      for (const [b, cost] of expected.costs.data.entries())
        expect(Math.abs(actual.costs.data[b]! - cost)).toBeLessThan(tolerance * 10);
      const tokens = V - durations.length;
      for (const [i, g] of actual.grads!.data.entries()) {
        const [n, v] = [Math.floor(i / V), i % V];
        if (v >= tokens) expect(g).toBe(0);
        else expect(Math.abs(g - expected.grads!.data[n * tokens + v]!)).toBeLessThan(tolerance);
      }
    });

    test('draws once for a call, the same ones for a seed, as often as omega says', async () => {
      const [tdt, rnnt] = [await new TDTLoss(options).forward(tensors), await plain()];
      const drawn = (seed: number, omega: number): boolean[] => {
        const loss = new TDTLoss({ ...options, omega, seed });
        return Array.from({ length: 40 }, () => {
          const cost = loss.forwardSync(tensors, { grads: false }).costs.data[0]!;
          const isTdt = Math.abs(cost - tdt.costs.data[0]!) < 1e-4;
          expect(isTdt || Math.abs(cost - rnnt.costs.data[0]!) < 1e-4).toBe(true);
          return !isTdt;
        });
      };
      await new TDTLoss({ ...options, omega: 0.5 }).ready();
      const first = drawn(1, 0.25);
      expect(drawn(1, 0.25)).toEqual(first);
      expect(drawn(2, 0.25)).not.toEqual(first);
      const often = first.filter(Boolean).length;
      // 40 draws at 0.25: beyond 2 or 20 once in ten thousand, and a seed has the same ones always.
      expect(often).toBeGreaterThan(2);
      expect(often).toBeLessThan(20);
      expect(drawn(1, 0).some(Boolean)).toBe(false);
    });

    test('or gives the expectation', async () => {
      const omega = 0.3;
      const [tdt, both] = [new TDTLoss(options), new TDTLoss({ ...options, omega, sampling: 'expectation' })];
      const [a, c] = [await new TDTLoss({ ...options, omega: 1 }).forward(tensors), await tdt.forward(tensors)];
      const mixed = await both.forward(tensors);
      const close = (actual: ArrayLike<number>, of: (result: LossResult) => ArrayLike<number>): void => {
        for (let i = 0; i < actual.length; i++)
          expect(Math.abs(actual[i]! - (omega * of(a)[i]! + (1 - omega) * of(c)[i]!))).toBeLessThan(1e-6);
      };
      close(mixed.costs.data, ({ costs }) => costs.data);
      close(mixed.loss.data, ({ costs }) => costs.data);
      close(mixed.grads!.data, ({ grads }) => grads!.data);
      expect(mixed.gradients.acts).toBe(mixed.grads);
      expect(both.forwardSync(tensors).costs.data).toEqual(mixed.costs.data);
      const summed = new TDTLoss({ ...options, omega, sampling: 'expectation', reduction: 'sum' });
      const scored = await summed.forward(tensors, { grads: false });
      expect(scored.grads).toBeNull();
      expect(Math.abs(scored.loss.data[0]! - mixed.costs.data.reduce((sum, cost) => sum + cost, 0))).toBeLessThan(1e-5);
      // One of the two has no path: no cost is finite then, and nothing is learnt.
      const even = new TDTLoss({ ...common, durations: [0, 2, 4], omega, sampling: 'expectation' });
      const odd = await even.forward({ ...tensors, actLens: [5, 4] });
      expect(odd.costs.data[0]).toBe(Number.POSITIVE_INFINITY);
      expect(Number.isFinite(odd.costs.data[1])).toBe(true);
      const half = odd.grads!.data.length / 2;
      expect(odd.grads!.data.subarray(0, half).every((g) => g === 0)).toBe(true);
      expect(odd.grads!.data.subarray(half).some((g) => g !== 0)).toBe(true);
    });

    test('which leaves arrays and posteriors out', async () => {
      const both = new TDTLoss({ ...options, omega: 0.3, sampling: 'expectation' });
      await expect(both.forward(tensors, { grads: 'in-place' })).rejects.toThrow(
        "grads cannot be had of two losses with sampling: 'expectation'; allowed: true or false",
      );
      await expect(both.forward(tensors, { posteriors: true })).rejects.toThrow(
        'posteriors cannot be had of two losses',
      );
      const half = { data: new Uint16Array(acts.data.length), shape: acts.shape, dtype: 'float16' };
      await expect(both.forward({ ...tensors, acts: half })).rejects.toThrow('acts is of half precision');
      expect((await both.forward({ ...tensors, acts: half }, { grads: false })).grads).toBeNull();
      const { posteriors } = await new TDTLoss({ ...options, omega: 0 }).forward(tensors, { posteriors: true });
      expect(Object.keys(posteriors!)).toContain('emit0');
    });
  });

  test('degenerate lattices: one frame, no labels, no path', async () => {
    const one = { data: new Float32Array(V), shape: [1, 1, 1, V] };
    const none = { data: new Int32Array(0), shape: [1, 0] };
    const logV = (classes: number): number => Math.log(classes);
    const cost = async (loss: Loss, tensors: TensorBundle): Promise<number> =>
      (await loss.forward(tensors, { grads: false })).costs.data[0]!;
    const close = (actual: number, expected: number): void => expect(Math.abs(actual - expected)).toBeLessThan(1e-5);
    close(await cost(new HATLoss(common), { acts: one, labels: none }), logV(2));
    close(await cost(new MonotonicRNNTLoss(common), { acts: one, labels: none }), logV(V));
    // A blank of five tokens, and of three durations the one of one frame.
    close(await cost(new TDTLoss({ ...common, durations: [0, 1, 2] }), { acts: one, labels: none }), logV(5) + logV(3));
    close(
      await cost(new CTCLoss(common), { acts: { data: new Float32Array(V), shape: [1, 1, V] }, labels: none }),
      logV(V),
    );
    const am = { data: new Float32Array(V), shape: [1, 1, V] };
    const twice = { data: new Float32Array(2 * V), shape: [1, 2, V] };
    close(await cost(new AdditiveRNNTLoss(common), { am, lm: am, labels: none }), logV(V));
    close(
      await cost(new AdditiveRNNTLoss({ ...common, lmScale: 0.5, amScale: 0.2 }), { am, lm: am, labels: none }),
      logV(V),
    );
    // Two equal labels need a blank between them.
    expect(await cost(new CTCLoss(common), { acts: twice, labels: [[1, 1]] })).toBe(Number.POSITIVE_INFINITY);
    close(await cost(new CTCLoss(common), { acts: twice, labels: [[1, 2]] }), 2 * logV(V));
  });
});

test('options that do not exist, or cannot have their value, are refused by name', () => {
  const refusal = (make: () => unknown): string => {
    try {
      make();
    } catch (error) {
      expect(error).toBeInstanceOf(InputError);
      return (error as Error).message;
    }
    return 'accepted';
  };
  const wrong = (options: object) => options as never;
  expect(refusal(() => new CTCLoss(wrong({ clamp: 1 })))).toContain('clamp is not an option');
  expect(refusal(() => new HATLoss(wrong({ fastemitlambda: 1 })))).toContain('did you mean "fastemitLambda"?');
  expect(refusal(() => new HATLoss({ fastemitLambda: -1 }))).toContain(
    'fastemitLambda is -1; allowed: a finite number, at least 0',
  );
  expect(refusal(() => new HATLoss({ blank: 0.5 }))).toContain('blank is 0.5; allowed: an integer');
  expect(refusal(() => new MonotonicRNNTLoss(wrong({ finalBlank: 1 })))).toContain('finalBlank is 1');
  expect(refusal(() => new MultiblankRNNTLoss({ bigBlankDurations: [2, 1] }))).toContain(
    'allowed: an array of different integers, each at least 2',
  );
  expect(refusal(() => new TDTLoss({ durations: [0, 1, 1] }))).toContain('durations is an array');
  expect(refusal(() => new TDTLoss({ durations: [0] }))).toContain('one of them at least 1');
  expect(refusal(() => new TDTLoss({ omega: 1.5 }))).toContain('omega is 1.5; allowed: a number from 0 to 1');
  expect(refusal(() => new TDTLoss({ seed: -1 }))).toContain('seed is -1');
  expect(refusal(() => new TDTLoss(wrong({ sampling: 'item' })))).toContain("allowed: 'batch' or 'expectation'");
  expect(refusal(() => new AdditiveRNNTLoss({ lmScale: Number.NaN }))).toContain('lmScale is NaN');
  expect(refusal(() => new PrunedRNNTLoss(wrong({ reduction: 'men' })))).toContain('did you mean "mean"?');
});

describe('statics of loadLoss', () => {
  test.each(present)('that a spec cannot have are refused: $device', async ({ device }) => {
    const load = (spec: string, statics: unknown) =>
      loadLoss(spec, { device, cacheDir: false, statics } as LossOptions);
    await expect(load('tdt', { duration: [1] })).rejects.toThrow('statics.duration is no static of the spec');
    await expect(load('rnnt', { durations: [1] })).rejects.toThrow('is no static of the spec; allowed: none');
    await expect(load('tdt', { durations: 3 })).rejects.toThrow('statics.durations is 3');
    await expect(load('tdt', { durations: ['1'] })).rejects.toThrow('statics.durations is');
    await expect(load('tdt', [1])).rejects.toThrow('statics is');
    await expect(load('tdt', { duration: [1] })).rejects.toBeInstanceOf(InputError);
  });
});
