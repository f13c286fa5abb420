/** Every spec, shipped and made for tests, on random ragged batches: WGSL against the spec's own TypeScript in float64. */
import { readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect } from 'vitest';
import { compileToGraph, compileToKernels } from '../../compiler/compile.js';
import type { KernelProgram } from '../../compiler/kernel/kernel.js';
import type { LossDefinition } from '../../dsl/index.js';
import {
  evaluateAsWritten,
  evaluateBatch,
  largestDifference,
  launchArguments,
  randomBatch,
  specName,
} from '../specs.js';
import { describe, test } from './lane.js';
import { type Compiled, compileGpu, openProgram, variantName, variants } from './run.js';

/**
 * Without a GPU this takes minutes, nearly all of it in building pipelines, so every way of printing has a share of the specs.
 * TRELLIS_WGSL=all tries every spec each way, with more batches; it is what to run after a change to compiler/wgsl.
 */
const all = process.env.TRELLIS_WGSL === 'all';
const seeds = all ? [1, 2, 3, 4, 5, 6] : [2, 3];

const files = ['../specs/', '../../specs/'].flatMap((folder) => {
  const path = fileURLToPath(new URL(folder, import.meta.url));
  return (
    readdirSync(path)
      // Not tdt: it reads more fields than a GPU binds one by one; the device packs them, and test/devices has its case.
      .filter((name) => name.endsWith('.ts') && name !== 'helpers.ts' && name !== 'tdt.ts')
      .map((name) => path + name)
  );
});

/** Compiles a spec's programs for a variant, and returns a function that compares them with the spec on one batch. */
async function checker(file: string) {
  const spec = compileToGraph(file);
  const { graph } = spec;
  const definition = ((await import(file)) as { default: LossDefinition }).default;
  // Probabilities that are not logarithms leave the range of float32 on long lattices.
  const largest = specName(file) === 'linear' ? 9 : 40;
  const batchOf = (seed: number) => randomBatch(graph, seed, { size: seed % 2 === 0 ? 9 : largest, scale: 3 });
  const check = async (program: KernelProgram, compiled: Compiled, seed: number) => {
    const batch = batchOf(seed);
    const expected = evaluateBatch(graph, batch, (utterance) => evaluateAsWritten(definition, graph, utterance));
    const { buffers, scalars } = launchArguments(graph, program, batch);
    for (const [name, value] of Object.entries(batch.sizes)) scalars[`${name}_max`] = value;
    await compiled.run(new Map(Object.entries(buffers)), new Map(Object.entries(scalars)));
    expect(largestDifference(buffers.loss!, expected.loss), `loss of seed ${seed}`).toBeLessThan(2e-5);
    for (const input of Object.keys(graph.gradients)) {
      const gradient = buffers[`grad_${input}`];
      if (gradient)
        expect(largestDifference(gradient, expected.gradients[input]!), `${input}, seed ${seed}`).toBeLessThan(1e-5);
    }
  };
  return { spec, batchOf, check };
}

describe.each(variants.map((variant, n) => [variantName(variant), variant, n] as const))('%s', (_, variant, n) => {
  const share = files.filter((_file, i) => all || i % variants.length === n);
  test.each(share.map((file) => [specName(file), file] as const))('%s', async (_name, file) => {
    const { spec, check } = await checker(file);
    const program = openProgram(spec, true);
    const compiled = await compileGpu(program, variant);
    for (const seed of seeds) await check(program, compiled, seed);
  });
});

const [smallest] = variants as [(typeof variants)[0]];
test.each(files.map((file) => [specName(file), file] as const))(
  '%s with sizes compiled in, and without gradients',
  async (_, file) => {
    const { spec, batchOf, check } = await checker(file);
    for (const gradients of all ? [true, false] : [false]) {
      const program = compileToKernels(spec, { sizes: batchOf(2).sizes, lattice: 'f64', gradients });
      await check(program, await compileGpu(program, smallest), 2);
    }
  },
);
