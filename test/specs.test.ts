/**
 * Specs the compiler was not written for, and the shipped ones: each must give, on random ragged batches, what its own
 * TypeScript gives in float64, when its graph is evaluated, its kernels are interpreted strictly, and its native code runs.
 */
import { readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { compile, compileToGraph } from '../compiler/compile.js';
import { interpretProgram } from '../compiler/kernel/interpret.js';
import type { KernelProgram } from '../compiler/kernel/kernel.js';
import type { LossDefinition } from '../dsl/index.js';
import { CpuExecutor } from '../runtime/cpu/executor.js';
import { LlvmJit } from '../runtime/cpu/jit.js';
import { testLlvm } from './lanes.js';
import {
  evaluateAsGraph,
  evaluateAsWritten,
  evaluateBatch,
  largestDifference,
  launchArguments,
  randomBatch,
  specName,
} from './specs.js';

const folders = ['./specs/', '../specs/'];
const files = folders.flatMap((folder) => {
  const path = fileURLToPath(new URL(folder, import.meta.url));
  return readdirSync(path)
    .filter((name) => name.endsWith('.ts') && name !== 'helpers.ts')
    .map((name) => path + name);
});

const seeds = Array.from({ length: 12 }, (_, seed) => seed + 1);
// Most seeds have a V of their own, and so code of their own, which LLVM takes a tenth of a second for. Narrower vectors have two:
// a V that fills one vector at most, and one of several vectors and a rest.
const vectorTargets = [
  { name: 'host', options: {}, seeds: seeds.slice(0, 9) },
  { name: 'x86-64-v3', options: { cpu: 'x86-64-v3' }, seeds: [2, 3] },
  { name: 'x86-64-v2', options: { cpu: 'x86-64-v2' }, seeds: [8, 9] },
].filter(({ options }) => process.arch === 'x64' || !('cpu' in options));

describe.each(files.map((file) => [specName(file), file] as const))('%s', async (_, file) => {
  const spec = compileToGraph(file);
  const { graph } = spec;
  const definition = ((await import(file)) as { default: LossDefinition }).default;
  const expectedOf = (batch: ReturnType<typeof randomBatch>) =>
    evaluateBatch(graph, batch, (utterance) => evaluateAsWritten(definition, graph, utterance));

  test('the graph means what the TypeScript means', () => {
    for (const seed of seeds) {
      const batch = randomBatch(graph, seed, { size: 6, scale: 3 });
      const expected = expectedOf(batch);
      const actual = evaluateBatch(graph, batch, (utterance) => evaluateAsGraph(graph, utterance));
      // Both float64, but sums may be taken in another order.
      expect(largestDifference(actual.loss, expected.loss), `seed ${seed}`).toBeLessThan(1e-12);
      for (const name of Object.keys(graph.gradients))
        expect(
          largestDifference(actual.gradients[name]!, expected.gradients[name]!),
          `seed ${seed} ${name}`,
        ).toBeLessThan(1e-12);
    }
  });

  test('its kernels are free of races and give the same', () => {
    for (const seed of seeds.slice(0, 6)) {
      const batch = randomBatch(graph, seed, { size: 6, scale: 3 });
      const expected = expectedOf(batch);
      const { program } = compile(spec, {
        sizes: batch.sizes,
        lattice: 'f64',
        blocks: true,
        gradients: true,
        vectorBits: 256,
      });
      const { buffers, scalars } = launchArguments(graph, program, batch);
      interpretProgram(program, {
        buffers: new Map(Object.entries(buffers)),
        scalars: new Map(Object.entries(scalars)),
        seed,
      });
      // Rows are summed in float32: a few ulp of it, relative to values of the size of 1.
      expect(largestDifference(buffers.loss!, expected.loss), `seed ${seed}`).toBeLessThan(2e-6);
      for (const name of Object.keys(graph.gradients))
        expect(
          largestDifference(buffers[`grad_${name}`]!, expected.gradients[name]!),
          `seed ${seed} ${name}`,
        ).toBeLessThan(4e-6);
    }
  });

  testLlvm.each(vectorTargets)('native code for $name gives the same', ({ options, seeds }) => {
    const jit = new LlvmJit(options);
    const compiled = new Map<string, { program: KernelProgram; executor: CpuExecutor }>();
    /** Lengths are no part of the code, so batches that differ in nothing else share it, as they do for a user. */
    const codeFor = (sizes: Readonly<Record<string, number>>, gradients: boolean) => {
      const fixed = Object.entries(sizes).filter(([name]) => graph.lengths.every(({ size }) => size !== name));
      const key = JSON.stringify([fixed, gradients]);
      const known = compiled.get(key);
      if (known) return known;
      const { vectorBits, scalef } = jit.target;
      const { program, llvm } = compile(spec, { sizes, lattice: 'f64', blocks: true, gradients, vectorBits, scalef });
      const made = { program, executor: new CpuExecutor(program, llvm, jit) };
      compiled.set(key, made);
      return made;
    };
    for (const seed of seeds) {
      const batch = randomBatch(graph, seed, { size: seed % 3 === 0 ? 40 : 9, scale: 3 });
      const expected = expectedOf(batch);
      for (const gradients of seed % 2 === 0 ? [true, false] : [true]) {
        const { program, executor } = codeFor(batch.sizes, gradients);
        const { buffers, scalars } = launchArguments(graph, program, batch);
        executor.run({ buffers, scalars, threads: 2 });
        expect(largestDifference(buffers.loss!, expected.loss), `seed ${seed}`).toBeLessThan(4e-6);
        if (!gradients) continue;
        for (const name of Object.keys(graph.gradients))
          expect(
            largestDifference(buffers[`grad_${name}`]!, expected.gradients[name]!),
            `seed ${seed} ${name}`,
          ).toBeLessThan(1e-5);
      }
    }
  });
});
