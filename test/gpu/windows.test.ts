/** Utterances larger than a binding, for every spec there is: cut along a kernel's grid, they give what they give whole. */
import { readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { compileToGraph, compileToKernels } from '../../compiler/compile.js';
import type { LossDefinition } from '../../dsl/index.js';
import type { TrellisError } from '../../runtime/errors.js';
import { bytesOf, product, shapeOf } from '../../runtime/gpu/call.js';
import { gpuProgram } from '../../runtime/gpu/device.js';
import { GpuExecutor } from '../../runtime/gpu/executor.js';
import { GpuHost, type KernelTime } from '../../runtime/gpu/session.js';
import { invocations } from '../../runtime/gpu/sized.js';
import { canHaveWindow, touchedBy } from '../../runtime/gpu/windows.js';
import {
  evaluateAsWritten,
  evaluateBatch,
  largestDifference,
  launchArguments,
  randomBatch,
  specName,
} from '../specs.js';
import { missing } from './gpu.js';

const target = { subgroups: false, workgroupSize: 64, maxWorkgroupStorage: 16_384 };

const files = ['../specs/', '../../specs/'].flatMap((folder) => {
  const path = fileURLToPath(new URL(folder, import.meta.url));
  return readdirSync(path)
    .filter((name) => name.endsWith('.ts') && name !== 'helpers.ts')
    .map((name) => path + name);
});

/** Specs that were cut, over all tests. */
let cutSpecs = 0;

describe.skipIf(missing !== undefined)('in windows', () => {
  test.each(files.map((file) => [specName(file), file] as const))('%s', async (_, file) => {
    const source = compileToGraph(file);
    const { graph } = source;
    const definition = ((await import(file)) as { default: LossDefinition }).default;
    for (const seed of [1, 2, 3]) {
      const batch = randomBatch(graph, seed, { size: 9, scale: 3 });
      const program = compileToKernels(source, { sizes: batch.sizes, lattice: 'f64', gradients: true });
      const { buffers, scalars } = launchArguments(graph, program, batch);
      const sizes = program.buffers.map((decl) => {
        const perSample = product(shapeOf(decl, { ...scalars, B: 1 })) * bytesOf(decl);
        return { decl, bytes: perSample };
      });
      // As small as the fields between kernels allow, and half of the largest tensor: then that one has to be cut.
      const fields = Math.max(16, ...sizes.filter(({ decl }) => !canHaveWindow(decl)).map(({ bytes }) => bytes));
      const tensors = Math.max(...sizes.filter(({ decl }) => canHaveWindow(decl)).map(({ bytes }) => bytes));
      const bindingBytes = Math.ceil(Math.max(fields, tensors / 2) / 16) * 16;
      let times: readonly KernelTime[] = [];
      const host = new GpuHost({ limits: { bindingBytes }, profile: (each) => (times = each) });
      try {
        await new GpuExecutor(gpuProgram(program, target), host).run({ buffers, scalars });
      } catch (error) {
        // What one task touches may be all of a tensor.
        expect(error).toMatchObject({ code: 'not-supported' } satisfies Partial<TrellisError>);
        continue;
      }
      if (times.length > program.phases.flat().length * batch.B) cutSpecs++;
      const expected = evaluateBatch(graph, batch, (utterance) => evaluateAsWritten(definition, graph, utterance));
      expect(largestDifference(buffers.loss!, expected.loss), `seed ${seed}`).toBeLessThan(1e-5);
      for (const name of Object.keys(graph.gradients)) {
        expect(
          largestDifference(buffers[`grad_${name}`]!, expected.gradients[name]!),
          `seed ${seed} ${name}`,
        ).toBeLessThan(1e-5);
      }
    }
  });

  test('some were cut indeed', () => {
    expect(cutSpecs).toBeGreaterThanOrEqual(5);
  });
});

describe('what tasks touch', () => {
  const rnnt = files.find((file) => specName(file) === 'rnnt')!;
  const program = compileToKernels(compileToGraph(rnnt), { sizes: { V: 10 }, lattice: 'f64', gradients: true });
  const [T, U, V] = [6, 3, 10];
  const context = {
    scalars: { B: 1, T_max: T, U_max: U, blank: 0 },
    ints: { actLens: [T], labelLens: [U], labels: [1, 9, 4] },
  };
  const kernels = program.phases.flat();

  test('is their own frames, for rows and for gradients', () => {
    for (const [name, buffer] of [
      ['logZ_stay_emit', 'acts'],
      ['grad_acts', 'acts'],
      ['grad_acts', 'grad_acts'],
    ] as const) {
      const kernel = kernels.find((each) => each.name === name)!;
      const frame = (U + 1) * V;
      for (const [begin, end] of [
        [0, 1],
        [2, 5],
        [5, 6],
      ] as const) {
        const touched = touchedBy(kernel, [1, T], begin, end, new Set([buffer]), context);
        // A gather by an absent int, -1, which its mask keeps from happening, may widen an input's window by one.
        const low = begin * frame - (name === 'grad_acts' ? 0 : 1);
        expect(touched.get(buffer), `${name} ${buffer}`).toEqual({ low, high: end * frame - 1 });
      }
    }
  });

  test('is nothing of a buffer that is not theirs', () => {
    const kernel = kernels.find(({ name }) => name === 'loss')!;
    expect(touchedBy(kernel, [1], 0, 1, new Set(['acts', 'grad_acts']), context).size).toBe(0);
  });

  test('workgroups are as large as rows have use for', () => {
    const sizeFor = (vocabulary: number, name: string): number => {
      const sized = compileToKernels(compileToGraph(rnnt), {
        sizes: { V: vocabulary },
        lattice: 'f64',
        gradients: true,
      });
      return invocations(sized.phases.flat().find((each) => each.name === name)!, 256);
    };
    expect([2, 128, 129, 512, 1024, 100_000].map((V) => sizeFor(V, 'grad_acts'))).toEqual([32, 32, 64, 128, 256, 256]);
    // Diagonals are as long as the labels, which are not known before the call.
    expect(sizeFor(2, 'alpha')).toBe(256);
  });
});
