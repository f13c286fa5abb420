/** Where two losses must be the same they are: values and gradients in float64, on random lattices of every degenerate kind. */
import { describe, expect, test } from 'vitest';
import { logSoftmax, logSum } from './enumerate.js';
import { gradientsOf, row, type Sample, type Shapes, type Spec, sampleOf, specOf, type Tensor } from './samples.js';

const seeds = Array.from({ length: 100 }, (_, seed) => seed + 1);
const onNodes: Shapes = { real: { acts: ['T', 'U+1', 'V'] } };
const rnnt = await specOf('rnnt');

const close = (actual: ArrayLike<number>, expected: ArrayLike<number>, what: string): void => {
  expect(actual.length, what).toBe(expected.length);
  for (let i = 0; i < expected.length; i++) {
    const [a, e] = [actual[i] as number, expected[i] as number];
    if (a !== e)
      expect(Math.abs(a - e) / Math.max(1, Math.abs(e)), `${what} [${i}]: ${a}, not ${e}`).toBeLessThan(1e-11);
  }
};

/** The sample as another spec takes it. */
const withInputs = (sample: Sample, inputs: Record<string, Tensor>, sizes: Record<string, number> = {}): Sample => ({
  ...sample,
  sizes: { ...sample.sizes, ...sizes },
  inputs,
});
const withParams = (sample: Sample, params: Record<string, number>): Sample => ({
  ...sample,
  params: { ...sample.params, ...params },
});
const ints = (values: readonly number[]): Tensor => ({ data: Int32Array.from(values), shape: [values.length] });
const zeros = (count: number): Tensor => ints(Array.from({ length: count }, () => 0));

/** One spec against another, each on its own form of every sample. */
function same(
  spec: Spec,
  other: Spec,
  toSpec: (sample: Sample) => Sample,
  options: { toOther?: (sample: Sample) => Sample; only?: (sample: Sample) => boolean } = {},
): void {
  const { toOther = (sample) => sample, only = () => true } = options;
  let finite = 0;
  for (const seed of seeds) {
    const sample = sampleOf(onNodes, seed);
    if (!only(sample)) continue;
    const actual = gradientsOf(spec, toSpec(sample));
    const expected = gradientsOf(other, toOther(sample));
    close([actual.loss], [expected.loss], `seed ${seed} loss`);
    close(actual.gradients.acts!, expected.gradients.acts!, `seed ${seed} gradient`);
    if (Number.isFinite(expected.loss)) finite++;
  }
  expect(finite).toBeGreaterThan(20);
}

/** At a weight that is only very small a detour is still a path, so it need not agree where there is no other. */
const aPath = (sample: Sample): boolean => Number.isFinite(gradientsOf(rnnt, sample).loss);

const fastEmit = { fastemitLambda: 0.3, clamp: 0.2 };

describe('equal to rnnt:', () => {
  const wide = (sample: Sample): Sample =>
    withInputs(sample, { ...sample.inputs, ranges: zeros(sample.sizes.T) }, { S: sample.sizes.U + 1 });
  test('pruned with a window of all positions', async () => {
    same(await specOf('pruned'), rnnt, wide);
  });
  test('and with FastEmit and clamp', async () => {
    const toOther = (sample: Sample): Sample => withParams(sample, fastEmit);
    same(await specOf('pruned'), rnnt, (sample) => wide(toOther(sample)), { toOther });
  });
  test('restricted with a band over all frames', async () => {
    same(await specOf('restricted'), rnnt, (sample) =>
      withParams(withInputs(sample, { ...sample.inputs, alignment: zeros(sample.sizes.U) }), { left: 0, right: 1e6 }),
    );
  });
  test.each([-1e30, -Infinity])('wildcard at the weight %f', async (wildcardWeight) => {
    const spec = await specOf('wildcard');
    const only = wildcardWeight === -Infinity ? () => true : aPath;
    for (const forceFinal of [0, 1])
      same(spec, rnnt, (sample) => withParams(sample, { wildcardWeight, forceFinal }), { only });
  });
  test.each([-1e30, -Infinity])('star at the weight %f', async (skipWeight) => {
    const only = skipWeight === -Infinity ? () => true : aPath;
    same(await specOf('star'), rnnt, (sample) => withParams(sample, { skipWeight }), { only });
  });
  test('star and wildcard with FastEmit and clamp', async () => {
    const toOther = (sample: Sample): Sample => withParams(sample, fastEmit);
    same(await specOf('star'), rnnt, (sample) => withParams(sample, { ...fastEmit, skipWeight: -Infinity }), {
      toOther,
    });
    same(await specOf('wildcard'), rnnt, (sample) => withParams(sample, { ...fastEmit, wildcardWeight: -Infinity }), {
      toOther,
    });
  });
  test('its recurrences and gradient written out', async () => {
    const toOther = (sample: Sample): Sample => withParams(sample, fastEmit);
    same(await specOf('rnnt-equations'), rnnt, (sample) => sample);
    same(await specOf('rnnt-equations'), rnnt, toOther, { toOther });
  });
  test('monotonic and its equations', async () => {
    same(await specOf('../test/specs/monotonic-equations'), await specOf('monotonic'), (sample) => sample);
  });
  test('a delay penalty of nothing', async () => {
    same(await specOf('delay-penalty'), rnnt, (sample) => sample);
  });
  test('multiblank without big blanks', async () => {
    same(await specOf('multiblank', { bigBlankDurations: [] }), rnnt, (sample) => sample);
  });

  test('hat on logits that mean the same probabilities', async () => {
    const hat = await specOf('hat');
    for (const seed of seeds) {
      const sample = sampleOf(onNodes, seed);
      const blank = sample.params.blank as number;
      const { T, U } = sample.sizes;
      const rows = row(sample, 'acts');
      const data = new Float64Array((sample.inputs.acts as Tensor).data.length);
      for (let cell = 0; cell < T * (U + 1); cell++) {
        const logp = logSoftmax(rows(Math.floor(cell / (U + 1)), cell % (U + 1)));
        const others = logSum(logp.filter((_, v) => v !== blank));
        // sigmoid(z) = p_blank where z = log p_blank - log(1 - p_blank); labels keep their logits.
        const own = logp.map((value, v) => (v === blank ? value - others : value));
        // Nothing is possible in a row of log 0 alone; neither of its two kinds of symbols.
        data.set(Number.isNaN(own[blank] as number) ? own.map(() => -Infinity) : own, cell * sample.sizes.V);
      }
      const acts = { data, shape: (sample.inputs.acts as Tensor).shape };
      const rewritten = withInputs(sample, { ...sample.inputs, acts });
      close([gradientsOf(hat, rewritten).loss], [gradientsOf(rnnt, sample).loss], `seed ${seed}`);
    }
  });

  test('additive on its summed logits, the gradients as sums over frames and positions', async () => {
    const additive = await specOf('additive');
    for (const seed of seeds) {
      const sample = withParams(sampleOf({ real: { am: ['T', 'V'], lm: ['U+1', 'V'] } }, seed), {
        fastemitLambda: 0.3,
      });
      const { T, U, V } = sample.sizes;
      const [am, lm] = [row(sample, 'am'), row(sample, 'lm')];
      const data = new Float64Array(T * (U + 1) * V);
      for (let t = 0; t < T; t++)
        for (let u = 0; u <= U; u++)
          for (let v = 0; v < V; v++) data[(t * (U + 1) + u) * V + v] = (am(t)[v] as number) + (lm(u)[v] as number);
      const summed = withInputs(sample, { labels: sample.inputs.labels!, acts: { data, shape: [T, U + 1, V] } });
      const expected = gradientsOf(rnnt, summed);
      const actual = gradientsOf(additive, sample);
      close([actual.loss], [expected.loss], `seed ${seed}`);
      const [byFrame, byPosition] = [new Float64Array(T * V), new Float64Array((U + 1) * V)];
      for (const [i, g] of expected.gradients.acts!.entries()) {
        const [t, u, v] = [Math.floor(i / V / (U + 1)), Math.floor(i / V) % (U + 1), i % V];
        byFrame[t * V + v]! += g;
        byPosition[u * V + v]! += g;
      }
      close(actual.gradients.am!, byFrame, `seed ${seed} am`);
      close(actual.gradients.lm!, byPosition, `seed ${seed} lm`);
    }
  });
});

test('tdt with the one duration 1 is monotonic-final', async () => {
  // TDT has one logit more, of its only duration, which is certain.
  const longer = (sample: Sample): Sample => {
    const { data, shape } = sample.inputs.acts as Tensor;
    const V = sample.sizes.V;
    const rows = Array.from({ length: data.length / V }, (_, n) => [...data.subarray(n * V, (n + 1) * V), 0.7]);
    const acts = { data: Float64Array.from(rows.flat()), shape: [...shape.slice(0, 2), V + 1] };
    return withInputs(sample, { ...sample.inputs, acts }, { V: V + 1 });
  };
  const [tdt, final] = [await specOf('tdt', { durations: [1] }), await specOf('monotonic-final')];
  for (const seed of seeds) {
    const sample = sampleOf(onNodes, seed);
    const expected = gradientsOf(final, sample);
    const actual = gradientsOf(tdt, longer(sample));
    close([actual.loss], [expected.loss], `seed ${seed}`);
    const { V } = sample.sizes;
    const tokens = actual.gradients.acts!.filter((_, i) => i % (V + 1) < V);
    close(tokens, expected.gradients.acts!, `seed ${seed}`);
  }
});

test('ctc by its arcs is ctc by equations for its two kinds of states', async () => {
  const [ctc, states] = [await specOf('ctc'), await specOf('../test/specs/ctc-states')];
  let repeats = 0;
  let hopeless = 0;
  for (const seed of [...seeds, ...seeds.map((seed) => seed + seeds.length)]) {
    const sample = sampleOf({ real: { acts: ['T', 'V'] } }, seed);
    const [actual, expected] = [gradientsOf(ctc, sample), gradientsOf(states, sample)];
    close([actual.loss], [expected.loss], `seed ${seed}`);
    close(actual.gradients.acts!, expected.gradients.acts!, `seed ${seed} gradient`);
    const labels = Array.from(sample.inputs.labels!.data);
    if (labels.some((label, u) => label === labels[u - 1])) repeats++;
    if (!Number.isFinite(expected.loss)) hopeless++;
  }
  expect(repeats).toBeGreaterThan(10);
  expect(hopeless).toBeGreaterThan(10);
});

test('ctc is the forward algorithm over 2U + 1 states, on longer utterances', async () => {
  const ctc = await specOf('ctc');
  let repeats = 0;
  for (const seed of seeds) {
    const small = sampleOf({ real: { acts: ['T', 'V'] } }, seed, 4);
    const T = 1 + ((seed * 7) % 23);
    const labels = Array.from({ length: seed % 9 }, (_, u) => {
      const symbol = (seed * (u + 3) * (u + 1)) % 3;
      return symbol >= (small.params.blank as number) ? symbol + 1 : symbol;
    });
    if (labels.some((label, u) => label === labels[u - 1])) repeats++;
    const data = Float64Array.from({ length: T * 4 }, (_, i) => 3 * Math.sin(seed + i * i));
    const sample: Sample = {
      sizes: { T, U: labels.length, V: 4 },
      params: small.params,
      inputs: { labels: ints(labels), acts: { data, shape: [T, 4] } },
    };
    close([gradientsOf(ctc, sample).loss], [ctcLoss(sample)], `seed ${seed}`);
  }
  expect(repeats).toBeGreaterThan(20);
});

/** In probabilities, each frame's scaled to sum to 1. */
function ctcLoss(sample: Sample): number {
  const blank = sample.params.blank as number;
  const states = [blank, ...Array.from(sample.inputs.labels!.data).flatMap((label) => [label, blank])];
  let state = states.map(() => 0);
  let logLik = 0;
  for (let t = 0; t < sample.sizes.T; t++) {
    const logp = logSoftmax(row(sample, 'acts')(t));
    const before = state;
    state = states.map((symbol, s) => {
      const jumps = symbol !== blank && symbol !== states[s - 2];
      // Before the first frame all of it is in front of states 0 and 1.
      const from = t === 0 ? (s < 2 ? 1 : 0) : before[s]! + (before[s - 1] ?? 0) + (jumps ? (before[s - 2] ?? 0) : 0);
      return from * Math.exp(logp[symbol] as number);
    });
    const total = state.reduce((sum, p) => sum + p, 0);
    logLik += Math.log(total);
    state = state.map((p) => p / total);
  }
  return -(logLik + Math.log(state[states.length - 1]! + (states.length > 1 ? state[states.length - 2]! : 0)));
}
