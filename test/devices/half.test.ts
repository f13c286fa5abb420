/** Tensors of float16 and bfloat16, on every device: what float64 says of the rounded logits, in every form that callers have. */
import type { LossResult, Tensor } from 'trellis-jit';
import { RNNTLoss } from 'trellis-jit';
import { expect, test } from 'vitest';
import { dtypeNames } from '../../runtime/half.js';
import { loadCases } from '../cases.js';
import { Float16, float16Of, halfTypes, halfUlp, halved, numbersOf } from '../halves.js';
import { pack, randomProblems } from './batches.js';
import { lossOf, onEveryDevice, rnntOn, type TestedDevice } from './devices.js';

const cases = loadCases();
const paramsOf = (params: Readonly<Record<string, unknown>>): Record<string, number> =>
  Object.fromEntries(Object.entries(params).filter((pair): pair is [string, number] => typeof pair[1] === 'number'));

const exact = { device: 'reference', need: 'reference' } as TestedDevice;

type Half = (typeof halfTypes)[number];

/** Costs as near as those of float32, gradients within half an ulp of the type besides. */
function expectNear(
  result: { costs: LossResult['costs']; grads: { data: Uint16Array; shape: readonly number[] } | null },
  expected: LossResult,
  type: Half,
  { limits }: TestedDevice,
): void {
  expected.costs.data.forEach((cost, b) => {
    const got = result.costs.data[b]!;
    if (!Number.isFinite(cost)) expect(got).toBe(cost);
    else expect(Math.abs(got - cost)).toBeLessThanOrEqual(Math.max(limits.cost, 1e-7) * Math.max(1, Math.abs(cost)));
  });
  const grads = numbersOf(type, result.grads!.data);
  const wrong = [...grads.keys()].filter((i) => {
    const want = expected.grads!.data[i] as number;
    if (Number.isNaN(want)) return !Number.isNaN(grads[i]!);
    // The rounded number may be on the other side of a power of two, where steps are twice as large.
    const allowed = halfUlp(type, Math.abs(want) + limits.grad) + limits.grad;
    return !(Math.abs(grads[i]! - want) <= allowed);
  });
  expect(wrong.slice(0, 5).map((i) => [i, grads[i], expected.grads!.data[i]])).toEqual([]);
}

onEveryDevice((tested) => {
  const { device } = tested;

  // Where it is converted on the way a few will do; on GPUs every vocabulary is another kernel to build.
  const few = ['rnnt-ragged', 'rnnt-masked-logits', 'rnnt-fastemit-clamp', 'rnnt-impossible', 'tdt'];
  const here = cases.filter(({ name }) => device === 'cpu' || few.includes(name));
  test.each(here.flatMap((one) => halfTypes.map((type) => ({ name: one.name, type, one }))))(
    '$name in $type',
    async ({ one, type }) => {
      const [B, , U1] = one.shape;
      const { tensor, reals } = halved(type, one.acts, one.shape);
      const rest = [
        { data: one.labels, shape: [B, U1 - 1] },
        one.actLens,
        one.labelLens,
        { params: paramsOf(one.params) },
      ] as const;
      const expected = await (await lossOf(exact, one.spec)).forward(reals, ...rest);
      const result = await (await lossOf(tested, one.spec)).forward<Uint16Array>(tensor, ...rest);
      expect(result.grads).toMatchObject({ dtype: dtypeNames[type], shape: one.shape });
      expect(result.grads!.data).toBeInstanceOf(Uint16Array);
      expectNear(result, expected, type, tested);
    },
  );

  // Odd vocabularies put rows at any alignment; a vocabulary of the blank alone has no labels.
  test.each((device === 'cpu' ? [1, 3, 5, 8, 37] : [1, 5, 8]).flatMap((V) => halfTypes.map((type) => ({ V, type }))))(
    'ragged, with rubbish in the padding, V = $V, $type',
    async ({ V, type }) => {
      const sizes = { T: 7, U: V === 1 ? 0 : 3, V };
      const problems = randomProblems({ spec: 'rnnt', seed: V, B: 3, kind: 'masked', ...sizes });
      const { acts, labels, actLens, labelLens } = pack(problems, sizes, V);
      const { tensor, reals } = halved(type, acts.data, acts.shape);
      const call = { params: { blank: problems[0]!.blank, fastemitLambda: 0.5 } };
      const expected = await (await lossOf(exact, 'rnnt')).forward(reals, labels, actLens, labelLens, call);
      const loss = await lossOf(tested, 'rnnt');
      const result = await loss.forward<Uint16Array>(tensor, labels, actLens, labelLens, call);
      expectNear(result, expected, type, tested);

      const before = tensor.data.slice();
      const over = await loss.forward<Uint16Array>(tensor, labels, actLens, labelLens, { ...call, grads: 'in-place' });
      expect(over.grads!.data).toBe(tensor.data);
      expect(over.grads!.data).toEqual(result.grads!.data);
      expect(over.costs.data).toEqual(result.costs.data);
      tensor.data.set(before);

      const grads = new Float32Array(tensor.data.length).fill(7);
      const wide = await loss.forward(tensor, labels, actLens, labelLens, { ...call, grads });
      expect(wide.grads!.data).toBe(grads);
      expect('dtype' in wide.grads!).toBe(false);
      const error = grads.reduce((most, got, i) => Math.max(most, Math.abs(got - expected.grads!.data[i]!)), 0);
      expect(error).toBeLessThan(Math.max(tested.limits.grad, 1e-7));

      const own = new Uint16Array(tensor.data.length).fill(7);
      const given = await loss.forward<Uint16Array>(tensor, labels, actLens, labelLens, { ...call, grads: own });
      expect(given.grads!.data).toBe(own);
      expect(own).toEqual(result.grads!.data);
    },
  );

  test.each(halfTypes)('an utterance with long paths in %s', async (type) => {
    const sizes = { T: 1030, U: 2, V: 5 };
    const problems = randomProblems({ spec: 'rnnt', seed: 6, B: 1, kind: 'mild', full: true, ...sizes });
    const { acts, labels, actLens, labelLens } = pack(problems, sizes, 3);
    const { tensor, reals } = halved(type, acts.data, acts.shape);
    const call = { params: { blank: problems[0]!.blank } };
    const expected = await (await lossOf(exact, 'rnnt')).forward(reals, labels, actLens, labelLens, call);
    const loss = await lossOf(tested, 'rnnt');
    const result = await loss.forward<Uint16Array>(tensor, labels, actLens, labelLens, call);
    expectNear(result, expected, type, tested);
  });

  test('a Float16Array in gives one out, with the numbers of the bits', async () => {
    const loss = await rnntOn(tested);
    const shape = [1, 4, 3, 5];
    const { tensor } = halved(
      'f16',
      Float32Array.from({ length: 60 }, (_, i) => 3 * Math.sin(i)),
      shape,
    );
    const rest = [[[1, 2]], [4], [2]] as const;
    const expected = await loss.forward<Uint16Array>(tensor, ...rest);
    const data = float16Of(tensor.data) as unknown as Uint16Array;
    const result = (await loss.forward<Uint16Array>({ data, shape }, ...rest)) as LossResult<Uint16Array>;
    const gradient = result.grads!.data;
    expect(gradient).toBeInstanceOf(Float16);
    expect(new Uint16Array(gradient.buffer, gradient.byteOffset, gradient.length)).toEqual(expected.grads!.data);
    const over = await loss.forward<Uint16Array>({ data, shape }, ...rest, { grads: 'in-place' });
    expect(over.grads!.data).toBe(data);
    expect(new Uint16Array(data.buffer, data.byteOffset, data.length)).toEqual(expected.grads!.data);
  });

  test('the smallest gradients are subnormal, and what is too large for float16 is infinite', async () => {
    const loss = await rnntOn(tested);
    const shape = [1, 1, 1, 3];
    // Without labels the gradient is softmax minus the blank: (1 + lambda) does not touch it, so the factor comes from the logits.
    const { tensor, reals } = halved('f16', [0, -10, -16.5], shape);
    const rest = [[[]], [1], [0]] as const;
    const result = await loss.forward<Uint16Array>(tensor, ...rest);
    const [, second, third] = numbersOf('f16', result.grads!.data);
    const expected = await (await rnntOn(exact)).forward(reals, ...rest);
    expect(Math.abs(second! - (expected.grads!.data[1] as number))).toBeLessThanOrEqual(2 ** -25);
    // e^-16.5 = 6.8e-8 is one step of 2^-24 and a little; a GPU may flush it.
    expect(device === 'webgpu' ? [0, 2 ** -24] : [2 ** -24]).toContain(third);

    const params = { fastemitLambda: 1e6 };
    const emitted = halved('f16', new Float32Array(6), [1, 1, 2, 3]).tensor;
    const large = await loss.forward<Uint16Array>(emitted, [[1]], [1], [1], { params });
    expect(numbersOf('f16', large.grads!.data)[1]).toBe(Number.NEGATIVE_INFINITY);
  });

  test('a logit of NaN makes its cost NaN and leaves the others every bit', async () => {
    const loss = await rnntOn(tested);
    const shape = [2, 4, 3, 5];
    const rest = [
      [
        [1, 2],
        [3, 4],
      ],
      [4, 4],
      [2, 2],
    ] as const;
    const logits = Float32Array.from({ length: 120 }, (_, i) => 3 * Math.sin(i));
    const clean = await loss.forward<Uint16Array>(halved('bf16', logits, shape).tensor, ...rest);
    logits[7] = Number.NaN;
    const result = await loss.forward<Uint16Array>(halved('bf16', logits, shape).tensor, ...rest);
    expect(result.costs.data[0]).toBeNaN();
    expect(result.costs.data[1]).toBe(clean.costs.data[1]);
    expect(result.grads!.data.subarray(60)).toEqual(clean.grads!.data.subarray(60));
    expect(numbersOf('bf16', result.grads!.data.subarray(0, 60)).some(Number.isNaN)).toBe(true);
  });

  test('log-probabilities are looked at as what the bits mean', async () => {
    const loss = new RNNTLoss({ device, normalized: true, cacheDir: false });
    const shape = [1, 2, 2, 4];
    const rest = [[[1]], [2], [1]] as const;
    const good = halved('bf16', new Float32Array(16).fill(-2), shape).tensor;
    await expect(loss.forward(good, ...rest)).resolves.toMatchObject({ costs: { shape: [1] } });
    const logits = halved('bf16', new Float32Array(16).fill(2), shape).tensor;
    await expect(loss.forward(logits, ...rest)).rejects.toThrow('acts[0][0][0] sums to 29.56 as probabilities');
  });
});

test('kernels are kept by what they store', async () => {
  const loss = new RNNTLoss({ device: 'reference' });
  const { tensor } = halved('f16', new Float32Array(24), [1, 3, 2, 4]);
  // The reference device stores float64, so half precision is converted around it: no class of its own.
  const result = await loss.forward<Uint16Array>(tensor, [[1]], [3], [1]);
  expect(result.shapeClass).toBe('V=4 gradients');
  const typed: Tensor<Uint16Array> = result.grads!;
  expect(typed.dtype).toBe('float16');
});
