/**
 * Tensors of more than 2^31 elements, where an index in 32 bits would come out negative. Fresh pages are free until they are
 * written: an array of 9 GB of which a few cells are written, and a few read, takes a few megabytes. A whole gradient of that
 * size is written with TRELLIS_HUGE=1 only, as it takes 9 GB of memory and a minute.
 */
import { readdirSync } from 'node:fs';
import { loadLoss, RNNTLoss } from 'trellis-jit';
import { describe, expect, test } from 'vitest';
import { compileToGraph, compileToKernels, compileToLlvm } from '../../compiler/index.js';
import { llvmMissing } from '../lanes.js';

const [B, T, U, V] = [5, 1000, 99, 4400];
const count = B * T * (U + 1) * V;

/** Zeros that no memory stands behind yet; undefined where the system promises no more than it has. */
function untouched(length: number): Float32Array | undefined {
  try {
    return new Float32Array(length);
  } catch {
    return undefined;
  }
}

/** The last utterance alone, and its logits: the others have no frame, so that nothing of theirs is read. */
const lengths = { actLens: Int32Array.of(0, 0, 0, 0, T), labelLens: Int32Array.of(0, 0, 0, 0, 1) };
const labels = { data: Int32Array.from({ length: B * U }, (_, i) => 1 + (i % (V - 1))), shape: [B, U] };
const last = (B - 1) * T * (U + 1) * V;

/** One frame written in the middle of the last utterance: (t, u) = (500, 0) and (500, 1). */
function withMarks(data: Float32Array): Float32Array {
  const row = last + 500 * (U + 1) * V;
  for (let i = 0; i < 2 * V; i++) data[row + i] = Math.sin(i) * 3;
  return data;
}

/** The same utterance, in a batch of one with only the labels it has. */
function alone(data: Float32Array) {
  const acts = new Float32Array(T * 2 * V);
  const row = (t: number): number => last + t * (U + 1) * V;
  acts.set(data.subarray(row(500), row(500) + 2 * V), 500 * 2 * V);
  return { acts: { data: acts, shape: [1, T, 2, V] }, labels: [[labels.data[(B - 1) * U]!]] };
}

describe.skipIf(llvmMissing !== undefined)('more than 2^31 elements', () => {
  test('fit what is tested here', () => expect(count).toBeGreaterThan(2 ** 31));

  const data = llvmMissing === undefined ? untouched(count) : undefined;
  test.skipIf(data === undefined)('the score of an utterance that lies beyond', async () => {
    withMarks(data!);
    const loss = new RNNTLoss({ device: 'cpu', reduction: 'none', cacheDir: false });
    const call = { acts: { data: data!, shape: [B, T, U + 1, V] }, labels, ...lengths };
    const before = process.resourceUsage().maxRSS;
    const { costs } = await loss.forward(call, { grads: false });
    const expected = await loss.forward(alone(data!), { grads: false });
    expect(costs.data.slice(0, 4)).toEqual(new Float64Array(4).fill(Number.POSITIVE_INFINITY));
    expect(costs.data[4]).toBe(expected.costs.data[0]);
    // Uniform logits would cost (T + 1) ln V - ln T; the marks move it.
    expect(Math.abs(costs.data[4]! - ((T + 1) * Math.log(V) - Math.log(T)))).toBeGreaterThan(0.1);
    // Kilobytes: nothing was copied.
    expect(process.resourceUsage().maxRSS - before).toBeLessThan(500_000);
  });

  test.runIf(process.env.TRELLIS_HUGE === '1' && data !== undefined)(
    'TRELLIS_HUGE: a full score, and a gradient of 9 GB',
    { timeout: 600_000 },
    async () => {
      const loss = new RNNTLoss({ device: 'cpu', reduction: 'none', cacheDir: false });
      // Of uniform logits every path of T blanks and U labels has V^-(T + U), and there are (T - 1 + U over U) of them.
      const acts = { data: new Float32Array(count), shape: [B, T, U + 1, V] };
      const { costs } = await loss.forward({ acts, labels }, { grads: false });
      let paths = 0;
      for (let u = 1; u <= U; u++) paths += Math.log((T - 1 + u) / u);
      for (const cost of costs.data) expect(cost / ((T + U) * Math.log(V) - paths)).toBeCloseTo(1, 6);

      const { grads } = await loss.forward({ acts: { data: data!, shape: acts.shape }, labels, ...lengths });
      const expected = await loss.forward(alone(data!));
      const [all, own] = [grads!.data, expected.grads!.data];
      let wrong = 0;
      for (let t = 0; t < T; t++)
        for (let i = 0; i < 2 * V; i++) if (all[last + t * (U + 1) * V + i] !== own[t * 2 * V + i]) wrong++;
      expect(wrong).toBe(0);
      // Zero outside of it: every 97th element, the first ones and the last.
      for (let i = 0; i < last; i += 97) if (all[i] !== 0) wrong++;
      for (let i = last + 2 * V; i < last + (U + 1) * V; i++) if (all[i] !== 0) wrong++;
      expect(all[count - 1]).toBe(0);
      expect(wrong).toBe(0);
      console.log(`peak memory ${(process.resourceUsage().maxRSS / 2 ** 20).toFixed(1)} GiB`);
    },
  );

  test('a shape of more elements than its data has is refused by name, whatever their number', async () => {
    const loss = await loadLoss('rnnt', { device: 'cpu', cacheDir: false });
    const call = (shape: number[]) => loss.forward({ acts: { data: new Float32Array(8), shape }, labels: [[1]] });
    for (const shape of [
      [1, 2 ** 20, 2, 2 ** 11],
      [1, 2 ** 30, 2, 2 ** 30],
    ])
      await expect(call(shape)).rejects.toThrow(
        /^acts\.data has 8 elements where shape \[1, \d+, 2, \d+\] has \d+; allowed: /,
      );
  });
});

describe('offsets in LLVM IR', () => {
  const specs = readdirSync('specs').filter((file) => file.endsWith('.ts'));
  test.each(specs)('%s: addresses are made of 64-bit indices only', (file) => {
    const spec = compileToGraph(`specs/${file}`);
    const varying = new Set(spec.graph.lengths.map(({ size }) => size));
    const names = spec.graph.inputs.flatMap(({ dims }) => dims.flatMap(({ terms }) => Object.keys(terms)));
    const sizes = Object.fromEntries(names.filter((name) => !varying.has(name)).map((name) => [name, 40]));
    const text = compileToLlvm(compileToKernels(spec, { sizes, lattice: 'f64', gradients: true }), { vectorBits: 512 });
    const addresses = [...text.matchAll(/getelementptr (?:inbounds )?\w+, (?:ptr|<\d+ x ptr>) [^,]+, (.*)$/gm)];
    expect(addresses.length).toBeGreaterThan(10);
    for (const [line, index] of addresses) expect(index, line).toMatch(/^(i64|<\d+ x i64>) /);
    expect(text.match(/getelementptr/g)).toHaveLength(addresses.length);
    // What is cut to 32 bits is a number of lanes: of a rest of a row, less than a vector has, or where a comparison turns, clamped.
    for (const [, name, from] of text.matchAll(/(%\S+) = trunc i64 (\S+) to i32$/gm)) {
      const isClamped = new RegExp(`${from} = call i64 @llvm\\.smin\\.i64\\(i64 [^,]+, i64 \\d+\\)`).test(text);
      expect(isClamped || /^%count[.\d]*$/.test(name!), name).toBe(true);
    }
    expect(text).not.toMatch(/trunc <\d+ x i64> .* to <\d+ x i32>/);
  });
});
