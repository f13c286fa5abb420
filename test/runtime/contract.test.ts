/** The outer contract of the loss module, on every device. */
import { loadLoss, RNNTLoss, type RNNTLossOptions, rnntLoss, TrellisError } from 'trellis-jit';
import { describe, expect, test } from 'vitest';
import { goodCall } from './bad-inputs.js';
import { present } from './devices.js';

describe.each(present)('$device', ({ device, tolerance }) => {
  const make = (options: RNNTLossOptions = {}): RNNTLoss => new RNNTLoss({ device, ...options });

  /** Costs and gradient of the good call without any reduction. */
  function plain(options: RNNTLossOptions = {}) {
    const { acts, labels, actLens, labelLens } = goodCall();
    return make({ reduction: 'none', ...options }).forwardSync(acts, labels, actLens, labelLens);
  }

  const scaled = (data: ArrayLike<number>, factor: (b: number) => number): number[] =>
    Array.from(data, (value, i) => value * factor(i < 60 ? 0 : 1));
  const near = (actual: ArrayLike<number>, expected: ArrayLike<number>): void => {
    expect(actual.length).toBe(expected.length);
    for (let i = 0; i < expected.length; i++) {
      expect(Math.abs((actual[i] ?? 0) - (expected[i] ?? 0)), `element ${i}`).toBeLessThan(tolerance);
    }
  };

  describe('results', () => {
    test('shapes, types and names', async () => {
      const { acts, labels, actLens, labelLens } = goodCall();
      const result = await make().forward(acts, labels, actLens, labelLens);
      expect(result.loss.shape).toEqual([]);
      expect(result.loss.data).toBeInstanceOf(Float64Array);
      expect(result.costs.shape).toEqual([2]);
      expect(result.grads?.shape).toEqual([2, 4, 3, 5]);
      expect(result.grads?.data).toBeInstanceOf(device === 'reference' ? Float64Array : Float32Array);
      expect(result.gradients.acts).toBe(result.grads);
      expect(result.device).toBe(device);
      expect(result.shapeClass).toBe('V=5 gradients');
      expect(result.milliseconds).toBeGreaterThan(0);
    });

    test('two runs agree in every bit, and so do forward and forwardSync', async () => {
      const { acts, labels, actLens, labelLens } = goodCall();
      const loss = make({ fastemitLambda: 0.01 });
      const a = await loss.forward(acts, labels, actLens, labelLens);
      const b = await loss.forward(acts, labels, actLens, labelLens);
      const c = loss.forwardSync(acts, labels, actLens, labelLens);
      expect(b.costs.data).toEqual(a.costs.data);
      expect(b.grads?.data).toEqual(a.grads?.data);
      expect(c.grads?.data).toEqual(a.grads?.data);
    });

    test('grads: false scores only', async () => {
      const { acts, labels, actLens, labelLens } = goodCall();
      const full = plain();
      const result = make({ reduction: 'none' }).forwardSync(acts, labels, actLens, labelLens, { grads: false });
      expect(result.grads).toBeNull();
      expect(result.gradients).toEqual({});
      expect(result.shapeClass).toBe('V=5 score');
      near(result.costs.data, full.costs.data);
    });

    test('an output array takes the gradient', async () => {
      const { acts, labels, actLens, labelLens } = goodCall();
      const output = new Float32Array(120).fill(Number.NaN);
      const result = await make({ reduction: 'none' }).forward(acts, labels, actLens, labelLens, { grads: output });
      expect(result.grads?.data).toBe(output);
      expect(output).toEqual(Float32Array.from(plain().grads?.data ?? []));
    });

    test('in place, the gradient replaces the logits', async () => {
      const { acts, labels, actLens, labelLens } = goodCall();
      const result = await make({ reduction: 'none' }).forward(acts, labels, actLens, labelLens, { grads: 'in-place' });
      expect(result.grads?.data).toBe(acts.data);
      expect(acts.data).toEqual(Float32Array.from(plain().grads?.data ?? []));
    });

    test('an output array that is the input itself is in place', async () => {
      const { acts, labels, actLens, labelLens } = goodCall();
      await make({ reduction: 'none' }).forward(acts, labels, actLens, labelLens, { grads: acts.data });
      expect(acts.data).toEqual(Float32Array.from(plain().grads?.data ?? []));
    });

    test('inputs stay as they are otherwise', async () => {
      const { acts, labels, actLens, labelLens } = goodCall();
      await make().forward(acts, labels, actLens, labelLens);
      expect({ acts, labels, actLens, labelLens }).toEqual(goodCall());
    });
  });

  describe('forms of tensors', () => {
    const { acts, labels, actLens, labelLens } = goodCall();
    const expected = plain().costs.data;
    const nested = (data: ArrayLike<number>, shape: readonly number[]): unknown => {
      const [extent = 0, ...rest] = shape;
      if (rest.length === 0) return Array.from(data);
      const size = data.length / extent;
      return Array.from({ length: extent }, (_, i) => nested(Array.from(data).slice(i * size, (i + 1) * size), rest));
    };
    const forms: Record<string, unknown[]> = {
      'nested arrays': [
        nested(acts.data, acts.shape),
        [
          [1, 2],
          [3, 4],
        ],
        [4, 3],
        [2, 1],
      ],
      'float64 data': [{ data: Float64Array.from(acts.data), shape: acts.shape }, labels, actLens, labelLens],
      'a flat array with a shape': [
        { data: Array.from(acts.data), shape: acts.shape },
        { data: [1, 2, 3, 4], shape: [2, 2] },
        actLens,
        labelLens,
      ],
      int64: [
        acts,
        { data: BigInt64Array.of(1n, 2n, 3n, 4n), shape: [2, 2] },
        BigInt64Array.of(4n, 3n),
        { data: BigInt64Array.of(2n, 1n), shape: [2] },
      ],
      'small ints': [
        acts,
        { data: Uint8Array.of(1, 2, 3, 4), shape: [2, 2] },
        Int16Array.of(4, 3),
        Uint32Array.of(2, 1),
      ],
      'rows of typed arrays': [acts, [Int32Array.of(1, 2), Int32Array.of(3, 4)], [4, 3], [2, 1]],
      'floats that are integers in ordinary arrays': [
        acts,
        [
          [1.0, 2.0],
          [3.0, 4.0],
        ],
        [4.0, 3.0],
        [2.0, 1.0],
      ],
      'bigints in ordinary arrays': [
        acts,
        [
          [1n, 2n],
          [3n, 4n],
        ],
        [4n, 3n],
        [2n, 1n],
      ],
    };
    test.each(Object.entries(forms))('%s', async (_, [a, l, t, u]) => {
      const result = await make({ reduction: 'none' }).forward(a as never, l as never, t as never, u as never);
      near(result.costs.data, expected);
    });

    test('a view into a larger buffer', async () => {
      const memory = new Float32Array(200).fill(9);
      memory.set(acts.data, 7);
      const view = { data: memory.subarray(7, 127), shape: acts.shape };
      near((await make({ reduction: 'none' }).forward(view, labels, actLens, labelLens)).costs.data, expected);
    });

    test('one object with all tensors, and full lengths where they are left out', async () => {
      const loss = make({ reduction: 'none' });
      near((await loss.forward({ labels, acts, labelLens, actLens })).costs.data, expected);
      const full = await loss.forward(acts, labels, [4, 4], [2, 2]);
      near((await loss.forward({ acts, labels }, { grads: false })).costs.data, full.costs.data);
    });

    test('no labels at all: U = 0', async () => {
      const one = { data: acts.data.subarray(0, 40), shape: [2, 4, 1, 5] };
      const result = await make().forward(one, { data: new Int32Array(0), shape: [2, 0] }, [4, 2], [0, 0]);
      expect(result.costs.data.every((cost) => cost > 0 && cost < 20)).toBe(true);
      near((await make().forward(one, [[], []], [4, 2], [0, 0])).costs.data, result.costs.data);
    });
  });

  describe('reductions', () => {
    const { costs, grads } = plain();
    const [a = 0, b = 0] = costs.data;
    const cases: [NonNullable<RNNTLossOptions['reduction']>, number, (b: number) => number][] = [
      ['sum', a + b, () => 1],
      ['mean', (a / 2 + b / 1) / 2, (sample) => (sample === 0 ? 1 / 4 : 1 / 2)],
      ['mean_batch', (a + b) / 2, () => 1 / 2],
      ['mean_volume', (a + b) / 3, () => 1 / 3],
    ];
    test.each(cases)('%s: the loss, and its factor on the gradient', (reduction, loss, factor) => {
      const result = plain({ reduction });
      near(result.loss.data, [loss]);
      near(result.costs.data, costs.data);
      near(result.grads?.data ?? [], scaled(grads?.data ?? [], factor));
    });

    test('none: the loss is the costs', () => {
      const result = plain({ reduction: 'none' });
      expect(result.loss).toBe(result.costs);
    });

    test('mean is the default', () => {
      const { acts, labels, actLens, labelLens } = goodCall();
      near(make().forwardSync(acts, labels, actLens, labelLens).loss.data, [(a / 2 + b) / 2]);
    });

    test.each(['mean', 'mean_volume'] as const)('%s of a batch without labels divides by 1', (reduction) => {
      const acts = { data: goodCall().acts.data.subarray(0, 40), shape: [2, 4, 1, 5] };
      const result = make({ reduction }).forwardSync(acts, [[], []], [4, 4], [0, 0]);
      const total = (result.costs.data[0] ?? 0) + (result.costs.data[1] ?? 0);
      near(result.loss.data, [reduction === 'mean' ? total / 2 : total]);
    });

    test('the factor comes after the clamp', () => {
      const clamped = plain({ clamp: 0.05 }).grads?.data ?? [];
      expect(Math.max(...clamped)).toBeCloseTo(0.05, 7);
      near(
        plain({ clamp: 0.05, reduction: 'mean' }).grads?.data ?? [],
        scaled(clamped, (n) => (n === 0 ? 1 / 4 : 1 / 2)),
      );
    });
  });

  describe('parameters', () => {
    test('a negative blank counts from the end', () => {
      const { acts, actLens, labelLens } = goodCall();
      const labels = [
        [1, 2],
        [3, 0],
      ];
      const last = make({ blank: 4 }).forwardSync(acts, labels, actLens, labelLens);
      const minusOne = make({ blank: -1 }).forwardSync(acts, labels, actLens, labelLens);
      expect(minusOne.costs.data).toEqual(last.costs.data);
      expect(minusOne.grads?.data).toEqual(last.grads?.data);
    });

    test('FastEmit scales the costs', () => {
      const costs = plain().costs.data;
      near(
        plain({ fastemitLambda: 0.5 }).costs.data,
        scaled(costs, () => 1.5),
      );
    });

    test.each([-1, 0, Number.NEGATIVE_INFINITY, Number.POSITIVE_INFINITY])('clamp %s is off', (clamp) => {
      expect(plain({ clamp }).grads?.data).toEqual(plain().grads?.data);
    });

    test('parameters of one call', () => {
      const { acts, labels, actLens, labelLens } = goodCall();
      const loss = make({ reduction: 'none' });
      const once = loss.forwardSync(acts, labels, actLens, labelLens, { params: { fastemitLambda: 0.5 } });
      near(once.costs.data, plain({ fastemitLambda: 0.5 }).costs.data);
      near(loss.forwardSync(acts, labels, actLens, labelLens).costs.data, plain().costs.data);
      expect(loss.cache.misses).toBe(1);
    });
  });

  describe('padding', () => {
    test('whatever lies in it changes nothing, and its gradient is zero', () => {
      const { acts, actLens } = goodCall();
      const labelLens = [1, 0];
      const clean = make({ reduction: 'none' }).forwardSync(
        acts,
        [
          [1, 0],
          [0, 0],
        ],
        actLens,
        labelLens,
      );
      const spoilt = Float32Array.from(acts.data);
      const inside = (b: number, t: number, u: number): boolean =>
        t < (actLens.data[b] ?? 0) && u <= (labelLens[b] ?? 0);
      for (let i = 0; i < 120; i++) {
        const cell = Math.floor(i / 5);
        if (!inside(Math.floor(cell / 12), Math.floor(cell / 3) % 4, cell % 3))
          spoilt[i] = i % 2 ? Number.NaN : Infinity;
      }
      const labels = [
        [1, -1],
        [Number.NaN, 99.5],
      ];
      const result = make({ reduction: 'none' }).forwardSync({ ...acts, data: spoilt }, labels, actLens, labelLens);
      expect(result.costs.data).toEqual(clean.costs.data);
      expect(result.grads?.data).toEqual(clean.grads?.data);
      for (let i = 0; i < 120; i++) {
        const cell = Math.floor(i / 5);
        const value = result.grads?.data[i];
        if (!inside(Math.floor(cell / 12), Math.floor(cell / 3) % 4, cell % 3)) expect(value).toBe(0);
      }
    });

    test('NaN in one sample stays there', () => {
      const { acts, labels, actLens, labelLens } = goodCall();
      const expected = plain();
      acts.data[0] = Number.NaN;
      const result = make({ reduction: 'none' }).forwardSync(acts, labels, actLens, labelLens);
      expect(result.costs.data[0]).toBeNaN();
      expect(result.costs.data[1]).toBe(expected.costs.data[1]);
      expect(result.grads?.data.slice(60)).toEqual(expected.grads?.data.slice(60));
      expect(result.grads?.data.slice(0, 60).some(Number.isNaN)).toBe(true);
    });
  });

  describe('samples without a path', () => {
    /** Sample 1 has no frames, and so no path. */
    function hopeless(options: RNNTLossOptions, call = {}) {
      const { acts, labels, labelLens } = goodCall();
      return make(options).forwardSync(acts, labels, [4, 0], labelLens, call);
    }

    test("'inf', the default: infinite cost, zero gradient, the neighbour unharmed", () => {
      const result = hopeless({ reduction: 'none' });
      expect(result.costs.data[1]).toBe(Number.POSITIVE_INFINITY);
      expect(result.costs.data[0]).toBe(plain().costs.data[0]);
      expect(result.grads?.data.slice(60).every((value) => value === 0)).toBe(true);
      expect(hopeless({ reduction: 'mean' }).loss.data[0]).toBe(Number.POSITIVE_INFINITY);
    });

    test("'zero': cost 0, counted as a sample", () => {
      const result = hopeless({ reduction: 'mean_batch', infeasible: 'zero' });
      expect(result.costs.data[1]).toBe(0);
      near(result.loss.data, [(plain().costs.data[0] ?? 0) / 2]);
    });

    test("'error': the sample and its lengths, before an output array is touched", () => {
      const grads = new Float32Array(120).fill(7);
      const message =
        "sample[1] has no possible path: actLens[1] = 0, labelLens[1] = 1; allowed: samples with at least one path of non-zero probability; infeasible: 'inf' or 'zero' accepts them";
      expect(() => hopeless({ infeasible: 'error' })).toThrow(message);
      expect(() => hopeless({ infeasible: 'error' }, { grads })).toThrow(message);
      expect(grads.every((value) => value === 7)).toBe(true);
    });

    test("'error' names the others too", () => {
      const { acts, labels, labelLens } = goodCall();
      expect(() => make({ infeasible: 'error' }).forwardSync(acts, labels, [0, 0], labelLens)).toThrow(
        'sample[0] has no possible path: actLens[0] = 0, labelLens[0] = 2 (also sample 1)',
      );
    });
  });

  describe('aborting', () => {
    test('a signal aborted before rejects before any work', async () => {
      const { acts, labels, actLens, labelLens } = goodCall();
      const loss = make();
      const reason = new Error('not today');
      const call = { signal: AbortSignal.abort(reason) };
      await expect(loss.forward(acts, labels, actLens, labelLens, call)).rejects.toBe(reason);
      expect(() => loss.forwardSync(acts, labels, actLens, labelLens, call)).toThrow(reason);
      expect(loss.cache.misses).toBe(0);
    });

    test('in the middle: rejects with the reason, and the loss stays usable', async () => {
      const { acts, labels, actLens, labelLens } = goodCall();
      const loss = await make().ready();
      const controller = new AbortController();
      const running = loss.forward(acts, labels, actLens, labelLens, { signal: controller.signal });
      setImmediate(() => controller.abort('enough'));
      await expect(running).rejects.toBe('enough');
      const after = await loss.forward(acts, labels, actLens, labelLens);
      expect(after.costs.data).toEqual(plain().costs.data);
    });
  });

  describe('the event loop and concurrency', () => {
    // On the cpu device threads do the work; its own tests watch the event loop.
    if (device === 'reference')
      test('others have a turn between utterances', async () => {
        const { acts, labels, actLens, labelLens } = goodCall();
        const loss = await make().ready();
        let turns = 0;
        let done = false;
        const count = (): void => {
          turns++;
          if (!done) setImmediate(count);
        };
        setImmediate(count);
        await loss.forward(acts, labels, actLens, labelLens);
        done = true;
        expect(turns).toBeGreaterThanOrEqual(2);
      });

    test('calls of one loss at the same time', async () => {
      const { acts, labels, actLens, labelLens } = goodCall();
      const loss = make({ reduction: 'none' });
      const results = await Promise.all(
        [0, 0.5, 1].map((fastemitLambda) =>
          loss.forward(acts, labels, actLens, labelLens, { params: { fastemitLambda } }),
        ),
      );
      results.forEach((result, n) => {
        near(
          result.costs.data,
          scaled(plain().costs.data, () => 1 + n * 0.5),
        );
      });
      expect(loss.cache).toMatchObject({ misses: 1, hits: 2 });
    });
  });

  describe('the function rnntLoss', () => {
    const { acts, labels, actLens, labelLens } = goodCall();
    test('equals the class', async () => {
      const options = { device, reduction: 'sum', clamp: 0.1 } as const;
      const result = await rnntLoss(acts, labels, actLens, labelLens, options);
      expect(result.loss.data).toEqual(plain(options).loss.data);
      expect(result.grads?.data).toEqual(plain(options).grads?.data);
    });

    test('takes call options among the others', async () => {
      const result = await rnntLoss(acts, labels, actLens, labelLens, { device, grads: false });
      expect(result.grads).toBeNull();
    });

    test('refuses a negative clamp', async () => {
      await expect(rnntLoss(acts, labels, actLens, labelLens, { device, clamp: -1 })).rejects.toThrow(
        'clamp is -1; allowed: 0 (off) or a positive number; only the class RNNTLoss takes a negative one as off',
      );
    });
  });

  describe('log-probabilities', () => {
    const { acts, labels, actLens, labelLens } = goodCall();
    const logProbs = Float64Array.from(acts.data);
    for (let row = 0; row < 120; row += 5) {
      const values = logProbs.subarray(row, row + 5);
      const logZ = Math.log(values.reduce((sum, value) => sum + Math.exp(value), 0));
      for (let v = 0; v < 5; v++) values[v] = (values[v] ?? 0) - logZ;
    }
    const normalised = { data: logProbs, shape: acts.shape };

    test.each([0, 0.3])('same costs, and the same gradient through the log-softmax (FastEmit %s)', (fastemitLambda) => {
      const logits = plain({ fastemitLambda });
      const options = { normalized: true, reduction: 'none', fastemitLambda } as const;
      const result = make(options).forwardSync(normalised, labels, actLens, labelLens);
      near(result.costs.data, logits.costs.data);
      const through = Float64Array.from(result.grads?.data ?? []);
      for (let row = 0; row < 120; row += 5) {
        const total = through.slice(row, row + 5).reduce((sum, value) => sum + value, 0);
        for (let v = 0; v < 5; v++)
          through[row + v] = (through[row + v] ?? 0) - Math.exp(logProbs[row + v] ?? 0) * total;
      }
      near(through, logits.grads?.data ?? []);
    });

    if (device === 'reference')
      test('the gradient is that of finite differences', () => {
        const loss = make({ normalized: true, reduction: 'sum' });
        const at = (i: number, step: number): number => {
          const data = Float64Array.from(logProbs, (value, n) => (n === i ? value + step : value));
          return (
            loss.forwardSync({ ...normalised, data }, labels, actLens, labelLens, { grads: false }).loss.data[0] ?? 0
          );
        };
        const { grads } = loss.forwardSync(normalised, labels, actLens, labelLens);
        for (let i = 0; i < 60; i++) {
          expect(Math.abs((at(i, 1e-5) - at(i, -1e-5)) / 2e-5 - (grads?.data[i] ?? 0))).toBeLessThan(1e-8);
        }
      });
  });

  describe('what is not ready', () => {
    test('a signature is read before it is shown', async () => {
      const loss = make();
      expect(() => loss.signature).toThrow(TrellisError);
      await loss.ready();
      expect(loss.signature.inputs.map(({ name }) => name)).toEqual(['acts', 'labels']);
      expect((await loadLoss('monotonic', { device })).signature.name).toBe('monotonic');
    });

    test('forwardSync works first thing', () => {
      expect(plain().costs.data).toHaveLength(2);
    });
  });
});
