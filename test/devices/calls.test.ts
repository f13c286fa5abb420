/** Calls on every device: where results go, that they repeat in every bit, what runs at once, aborting, forms of tensors. */
import { type LossResult, type RNNTLoss, TrellisError } from 'trellis-jit';
import { describe, expect, test } from 'vitest';
import { type Batch, expectSameBits, randomBatch, type Tensors } from './batches.js';
import { onEveryDevice, rnntOn } from './devices.js';

const forward = (loss: RNNTLoss, { acts, labels, actLens, labelLens }: Tensors, call = {}): Promise<LossResult> =>
  loss.forward(acts, labels, actLens, labelLens, call);

const copied = (tensors: Tensors): Tensors => ({
  ...tensors,
  acts: { ...tensors.acts, data: Float32Array.from(tensors.acts.data) },
});

onEveryDevice((tested) => {
  const slow = tested.device === 'reference';
  /** Enough elements for four threads on the cpu, and ragged. */
  const large = randomBatch({
    spec: 'rnnt',
    seed: 2,
    B: 6,
    ...(slow ? { T: 12, U: 9 } : { T: 60, U: 30 }),
    V: 33,
    kind: 'mild',
  });
  const small = randomBatch({ spec: 'rnnt', seed: 9, B: 3, T: 7, U: 4, V: 9, kind: 'masked' });
  const optionsOf = ({ params }: Batch) => ({ ...params, fastemitLambda: 0.1 });

  describe.each([
    ['small', small],
    ['large', large],
  ])('a %s batch', (_, batch) => {
    const { tensors } = batch;

    test('two runs, and two losses, agree in every bit', async () => {
      const loss = await rnntOn(tested, optionsOf(batch));
      const first = await forward(loss, tensors);
      expectSameBits(await forward(loss, tensors), first);
      expectSameBits(await forward(await rnntOn(tested, optionsOf(batch)), tensors), first);
    });

    test('the number of threads changes no bit', async () => {
      const one = await forward(await rnntOn(tested, { ...optionsOf(batch), threads: 1 }), tensors);
      for (const threads of [2, 3, 4, 7]) {
        expectSameBits(await forward(await rnntOn(tested, { ...optionsOf(batch), threads }), tensors), one);
      }
    });

    test('score only: the same costs in every bit', async () => {
      const loss = await rnntOn(tested, optionsOf(batch));
      const full = await forward(loss, tensors);
      const scored = await forward(loss, tensors, { grads: false });
      expectSameBits(scored, { ...full, grads: null });
    });

    test('an output array and in place: the same gradient in every bit, rounded to float32', async () => {
      const loss = await rnntOn(tested, optionsOf(batch));
      const full = await forward(loss, tensors);
      const expected = { ...full, grads: { ...full.grads!, data: Float32Array.from(full.grads!.data) } };
      const output = new Float32Array(tensors.acts.data.length).fill(Number.NaN);
      const written = await forward(loss, tensors, { grads: output });
      expect(written.grads?.data).toBe(output);
      expectSameBits(written, expected);
      const own = copied(tensors);
      const replaced = await forward(loss, own, { grads: 'in-place' });
      expect(replaced.grads?.data).toBe(own.acts.data);
      expectSameBits(replaced, expected);
    });

    test('forwardSync agrees with forward in every bit, or says that the device has none', async () => {
      const loss = await rnntOn(tested, optionsOf(batch));
      const expected = await forward(loss, tensors);
      const { acts, labels, actLens, labelLens } = tensors;
      let result: LossResult;
      try {
        result = loss.forwardSync(acts, labels, actLens, labelLens);
      } catch (error) {
        expect(tested.device).toBe('webgpu');
        expect(error).toBeInstanceOf(TrellisError);
        expect(error).toMatchObject({ code: 'not-supported' });
        return;
      }
      expectSameBits(result, expected);
    });
  });

  test('calls at once, of different batches, give what each gives alone', async () => {
    const loss = await rnntOn(tested);
    const batches = [1, 2, 3, 4, 5, 6, 7, 8].map((seed) =>
      randomBatch({ spec: 'rnnt', seed, B: 2, T: 5 * seed, U: seed, V: seed % 2 ? 9 : 33, kind: 'mild' }),
    );
    const run = ({ tensors, params }: Batch): Promise<LossResult> => forward(loss, tensors, { params });
    const alone: LossResult[] = [];
    for (const batch of batches) alone.push(await run(batch));
    const together = await Promise.all([...batches, ...batches].map(run));
    together.forEach((result, i) => {
      expectSameBits(result, alone[i % batches.length]!);
    });
  });

  describe('a long call', () => {
    const { T, U, V } = slow ? { T: 40, U: 15, V: 32 } : { T: 200, U: 49, V: 128 };
    const utterances = (B: number): Tensors => {
      const data = new Float32Array(B * T * (U + 1) * V);
      for (let i = 0; i < data.length; i++) data[i] = ((i * 7919) % 1009) / 100;
      return {
        acts: { data, shape: [B, T, U + 1, V] },
        labels: { data: new Int32Array(B * U).fill(3), shape: [B, U] },
        actLens: new Int32Array(B).fill(T),
        labelLens: new Int32Array(B).fill(U),
      };
    };
    /** As many utterances as keep one thread of this machine busy for more than 100 ms. */
    const findLong = async () => {
      const loss = await rnntOn(tested, { threads: 1 });
      for (let B = 16; ; B *= 2) {
        const tensors = utterances(B);
        const full = await forward(loss, tensors);
        if (full.milliseconds > 120) return { loss, tensors, full };
      }
    };
    let found: ReturnType<typeof findLong> | undefined;
    const long = (): ReturnType<typeof findLong> => {
      found ??= findLong();
      return found;
    };

    /**
     * Asks again while the answer is false, 20 times at most. On a machine that is busy with something else this thread may get
     * no turn before a call is over: such a call tells nothing of the device. One that really blocks, or does not heed a
     * signal, fails every time.
     */
    const sometimes = async (attempt: () => Promise<boolean>): Promise<boolean> => {
      for (let n = 0; n < 20; n++) if (await attempt()) return true;
      return false;
    };

    test('lets timers fire while it runs', async () => {
      const { loss, tensors } = await long();
      const grads = new Float32Array(tensors.acts.data.length);
      const seen: string[] = [];
      const fires = await sometimes(async () => {
        const fired: number[] = [];
        const timer = setInterval(() => fired.push(performance.now()), 5);
        const start = performance.now();
        await forward(loss, tensors, { grads });
        const end = performance.now();
        clearInterval(timer);
        const during = fired.filter((at) => at > start && at < end);
        const longest = Math.max(...[...during, end].map((at, i) => at - (during[i - 1] ?? start)));
        seen.push(`${during.length} times in ${end - start} ms, ${longest} ms without`);
        return during.length >= 4 && longest < (end - start) / 2;
      });
      expect(fires, seen.join('\n')).toBe(true);
    });

    test('stops when it is aborted, with the reason, and the loss works afterwards', async () => {
      const { loss, tensors, full } = await long();
      const grads = new Float32Array(tensors.acts.data.length);
      const untouched = (): number => grads.reduce((count, g) => count + (Number.isNaN(g) ? 1 : 0), 0);
      const stopped = await sometimes(async () => {
        grads.fill(Number.NaN);
        const controller = new AbortController();
        const reason = new Error('another utterance came in');
        const running = forward(loss, tensors, { grads, signal: controller.signal });
        const timer = setTimeout(() => controller.abort(reason), full.milliseconds / 6);
        const outcome: unknown = await running.then(
          () => 'it ran to its end',
          (error: unknown) => error,
        );
        clearTimeout(timer);
        // Whenever the signal came first the call says so, were all of its work done by then.
        expect(outcome).toBe(controller.signal.aborted ? reason : 'it ran to its end');
        return untouched() > 0;
      });
      // Work was left undone, and nobody does it after the call is over.
      expect(stopped).toBe(true);
      const left = untouched();
      await new Promise((resolve) => setTimeout(resolve, 50));
      expect(untouched()).toBe(left);
      expectSameBits(await forward(loss, tensors), full);
    });
  });

  describe('forms of tensors: the same bits', () => {
    // Masked logits hold -Infinity, and every label is below 9, so every kind of integer holds it.
    const { tensors, problems } = small;
    const { acts, actLens, labelLens } = tensors;
    const [B = 0, U = 0] = tensors.labels.shape;
    // Padding of -1 is no uint8, so labels are padded with 0 here.
    const labels = Int32Array.from({ length: B * U }, (_, i) => problems[Math.floor(i / U)]!.labels[i % U] ?? 0);
    const shape = [B, U];
    const plain = async (): Promise<[RNNTLoss, LossResult]> => {
      const loss = await rnntOn(tested, optionsOf(small));
      return [loss, await forward(loss, tensors)];
    };

    const kinds = [Int8Array, Uint8Array, Uint8ClampedArray, Int16Array, Uint16Array, Int32Array, Uint32Array] as const;
    test.each(kinds.map((kind) => [kind.name, kind] as const))('%s', async (_, Kind) => {
      const [loss, expected] = await plain();
      expectSameBits(
        await loss.forward(acts, { data: Kind.from(labels), shape }, Kind.from(actLens), Kind.from(labelLens)),
        expected,
      );
    });

    test.each([
      ['BigInt64Array', BigInt64Array],
      ['BigUint64Array', BigUint64Array],
    ] as const)('%s', async (_, Kind) => {
      const [loss, expected] = await plain();
      const big = (values: Int32Array): InstanceType<typeof Kind> => Kind.from(Array.from(values, BigInt));
      expectSameBits(
        await loss.forward(acts, { data: big(labels), shape }, big(actLens), { data: big(labelLens), shape: [B] }),
        expected,
      );
    });

    test('float64 logits, nested arrays, one object', async () => {
      const [loss, expected] = await plain();
      const rows = <Row>(values: ArrayLike<Row>, extents: readonly number[]): unknown => {
        const [extent = 0, ...rest] = extents;
        if (rest.length === 0) return Array.from(values);
        const size = values.length / extent;
        return Array.from({ length: extent }, (_, i) => rows(Array.from(values).slice(i * size, (i + 1) * size), rest));
      };
      const double = { data: Float64Array.from(acts.data), shape: acts.shape };
      expectSameBits(await loss.forward(double, { data: labels, shape }, actLens, labelLens), expected);
      const nested = rows(acts.data, acts.shape) as number[][][][];
      expectSameBits(
        await loss.forward(nested, rows(labels, shape) as number[][], [...actLens], [...labelLens]),
        expected,
      );
      expectSameBits(
        await loss.forward({ labelLens, acts: double, actLens, labels: { data: labels, shape } }),
        expected,
      );
    });

    test('views into the middle of larger buffers, which stay as they are around the gradient', async () => {
      const [loss, expected] = await plain();
      const count = acts.data.length;
      // Odd offsets, so that no vector of it is aligned.
      const inputs = new Float32Array(count + 64).fill(Number.NaN);
      inputs.set(acts.data, 13);
      const outputs = new Float32Array(count + 64).fill(7);
      const ints = new Int32Array(labels.length + 2 * B + 9).fill(-5);
      ints.set(labels, 3);
      ints.set(actLens, labels.length + 3);
      ints.set(labelLens, labels.length + B + 3);
      const output = outputs.subarray(5, 5 + count);
      const result = await loss.forward(
        { data: inputs.subarray(13, 13 + count), shape: acts.shape },
        { data: ints.subarray(3, 3 + labels.length), shape },
        ints.subarray(labels.length + 3, labels.length + B + 3),
        ints.subarray(labels.length + B + 3, labels.length + 2 * B + 3),
        { grads: output },
      );
      const rounded = { ...expected.grads!, data: Float32Array.from(expected.grads!.data) };
      expectSameBits(result, { ...expected, grads: rounded });
      expect(outputs.subarray(0, 5).every((x) => x === 7)).toBe(true);
      expect(outputs.subarray(5 + count).every((x) => x === 7)).toBe(true);
    });
  });
});
