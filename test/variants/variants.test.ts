/**
 * The variants on 200 random lattices each, one-frame ones, label-less ones, impossible ones and log 0 among the logits included:
 * the loss against enumeration of all paths, the gradient against differences of the loss, and native code against float64.
 */
import { loadLoss } from 'trellis-jit';
import { describe, expect, test } from 'vitest';
import { testLlvm } from '../lanes.js';
import { randomFrom } from '../specs.js';
import { batchOf, gradientsOf, lossOf, paddedIndex, type Sample, sampleOf, specOf, type Tensor } from './samples.js';
import { variants } from './variants.js';

const seeds = Array.from({ length: 200 }, (_, seed) => seed + 1);

/** Sizes as small as they may be for the paths to be counted. */
const near = (actual: number, expected: number, limit: number, what: string): void => {
  if (actual === expected) return;
  expect(
    Math.abs(actual - expected) / Math.max(1, Math.abs(expected)),
    `${what}: ${actual}, not ${expected}`,
  ).toBeLessThan(limit);
};

describe.each(Object.entries(variants))('%s', async (name, variant) => {
  const spec = await specOf(name);
  const samples = seeds.map((seed) => sampleOf(variant, seed));
  const expected = samples.map((sample) => gradientsOf(spec, sample));

  test('the loss is that of all paths', () => {
    let impossible = 0;
    for (const [k, sample] of samples.entries()) {
      const loss = variant.loss(sample);
      if (loss === Number.POSITIVE_INFINITY) impossible++;
      near(lossOf(spec, sample), loss, 1e-12, `seed ${seeds[k]}, TypeScript`);
      near(expected[k]!.loss, loss, 1e-12, `seed ${seeds[k]}, equations`);
    }
    // Both kinds have been seen.
    expect(impossible).toBeGreaterThan(3);
    expect(impossible).toBeLessThan(0.7 * samples.length);
  });

  test('the gradient is the derivative of the loss', () => {
    for (const [k, sample] of samples.entries()) {
      const { loss, gradients } = expected[k]!;
      const random = randomFrom(1000 + seeds[k]!);
      for (const [input, gradient] of Object.entries(gradients)) {
        expect(gradient.every(Number.isFinite), `seed ${seeds[k]} ${input}`).toBe(true);
        if (loss === Number.POSITIVE_INFINITY) {
          expect(
            gradient.every((g) => g === 0),
            `seed ${seeds[k]} ${input}`,
          ).toBe(true);
          continue;
        }
        // Along random directions: an element that is wrong shows in each of them.
        for (let n = 0; n < 2; n++) {
          const direction = Float64Array.from(gradient, () => random() * 2 - 1);
          const along = (h: number): number => lossOf(spec, moved(sample, input, direction, h));
          const slope = gradient.reduce((sum, g, i) => sum + g * direction[i]!, 0);
          const h = 1e-4;
          // Four-point differences, whose error is of the order of h^4.
          const difference = (8 * (along(h) - along(-h)) - (along(2 * h) - along(-2 * h))) / (12 * h);
          expect(Math.abs(difference - slope), `seed ${seeds[k]} ${input}: ${slope}, not ${difference}`).toBeLessThan(
            1e-9,
          );
        }
      }
    }
  });

  testLlvm('native code gives the same', async () => {
    const loss = await loadLoss(name, { device: 'cpu', reduction: 'none', cacheDir: false });
    const [costs, grads] = [1e-5, 2e-6];
    // Parameters are those of a batch, so utterances of equal ones go together; the window's width too.
    for (const group of groupBy(samples.keys(), (k) =>
      JSON.stringify([
        samples[k]!.params,
        spec.graph.inputs.some(({ dims }) => dims.some(({ terms }) => 'S' in terms)) ? samples[k]!.sizes.S : 0,
      ]),
    )) {
      const members = group.map((k) => samples[k]!);
      const batch = batchOf(spec.graph, members);
      const { blank: _, ...rest } = members[0]!.params;
      const result = await loss.forward(batch, { params: { blank: members[0]!.params.blank!, ...rest } });
      for (const [b, k] of group.entries()) {
        near(result.costs.data[b]!, expected[k]!.loss, costs, `seed ${seeds[k]}`);
        for (const [input, gradient] of Object.entries(expected[k]!.gradients)) {
          const { data, shape } = result.gradients[input]!;
          const stride = shape.slice(1).reduce((product, extent) => product * extent, 1);
          const own = new Float64Array(stride);
          for (const [flat, g] of gradient.entries())
            own[paddedIndex(flat, (samples[k]!.inputs[input] as Tensor).shape, shape.slice(1))] = g;
          // Padding included, where own is zero.
          for (let i = 0; i < stride; i++) {
            const g = data[b * stride + i]!;
            expect(Math.abs(g - own[i]!) < grads, `seed ${seeds[k]} ${input}[${i}]: ${g}, not ${own[i]}`).toBe(true);
          }
        }
      }
    }
  });
});

function moved(sample: Sample, input: string, direction: Float64Array, h: number): Sample {
  const { data, shape } = sample.inputs[input] as Tensor;
  const there = Float64Array.from(data, (x, i) => x + h * direction[i]!);
  return { ...sample, inputs: { ...sample.inputs, [input]: { data: there, shape } } };
}

function groupBy(items: Iterable<number>, key: (item: number) => string): number[][] {
  const groups = new Map<string, number[]>();
  for (const item of items) groups.set(key(item), [...(groups.get(key(item)) ?? []), item]);
  return [...groups.values()];
}
