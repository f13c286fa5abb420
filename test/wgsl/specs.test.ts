/** Every spec, shipped and made for tests, on random ragged batches: WGSL against the spec's own TypeScript in float64. */
import { readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { compileToGraph, compileToKernels } from '../../compiler/compile.js';
import type { LossDefinition } from '../../dsl/index.js';
import { evaluateBatch, largestDifference, launchArguments, randomBatch, specName } from '../specs.js';
import { compileGpu, fixedSizes, variantName, variants } from './run.js';

const files = ['../specs/', '../../specs/'].flatMap((folder) => {
  const path = fileURLToPath(new URL(folder, import.meta.url));
  return readdirSync(path)
    .filter((name) => name.endsWith('.ts') && name !== 'helpers.ts')
    .map((name) => path + name);
});

describe.each(variants.map((variant) => [variantName(variant), variant] as const))('%s', (_, variant) => {
  test.each(files.map((file) => [specName(file), file] as const))('%s', async (name, file) => {
    const spec = compileToGraph(file);
    const { graph } = spec;
    const definition = ((await import(file)) as { default: LossDefinition }).default;
    // Probabilities that are not logarithms leave the range of float32 on long lattices.
    const sizes = name === 'linear' ? [9] : [9, 40];
    for (const seed of [1, 2, 3, 4]) {
      const batch = randomBatch(graph, seed, { size: sizes[seed % sizes.length]!, scale: 3 });
      const expected = evaluateBatch(graph, batch, (utterance) => definition.evaluate(utterance));
      for (const gradients of seed === 1 ? [true, false] : [true]) {
        const program = compileToKernels(spec, { sizes: fixedSizes(graph, batch.sizes), lattice: 'f64', gradients });
        const compiled = await compileGpu(program, variant);
        const { buffers, scalars } = launchArguments(graph, program, batch);
        await compiled.run(new Map(Object.entries(buffers)), new Map(Object.entries(scalars)));
        expect(largestDifference(buffers.loss!, expected.loss), `seed ${seed}`).toBeLessThan(2e-5);
        if (!gradients) continue;
        for (const input of Object.keys(graph.gradients))
          expect(largestDifference(buffers[`grad_${input}`]!, expected.gradients[input]!), `seed ${seed} ${input}`).toBeLessThan(1e-5);
      }
    }
  });
});
