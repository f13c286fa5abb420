/** Programs with packed buffers: few enough bindings for every GPU, valid, and with the same bits. */
import { readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { compileToGraph, compileToKernels } from '../../compiler/compile.js';
import * as k from '../../compiler/kernel/build.js';
import { interpretProgram } from '../../compiler/kernel/interpret.js';
import type { Kernel, KernelProgram } from '../../compiler/kernel/kernel.js';
import { verifyProgram } from '../../compiler/kernel/verify.js';
import { printWgsl } from '../../compiler/wgsl/index.js';
import { interleave, packBuffers, packedName } from '../../runtime/gpu/packing.js';
import { launchArguments, randomBatch, specName } from '../specs.js';

/** What WebGPU guarantees; and the losses that need more than that, which docs/gpu.md names. Chromium's software GPU binds 10. */
const guaranteed = 8;
const needs: Readonly<Record<string, number>> = {
  additive: 9,
  'additive-smoothed': 13,
  constrained: 9,
  ctc: 9,
  monotonic: 9,
  'ctc-states': 9,
  pruned: 10,
  restricted: 9,
  wildcard: 9,
};

const files = ['../specs/', '../../specs/'].flatMap((folder) => {
  const path = fileURLToPath(new URL(folder, import.meta.url));
  return readdirSync(path)
    .filter((name) => name.endsWith('.ts') && name !== 'helpers.ts')
    .map((name) => path + name);
});

describe.each(files.map((file) => [specName(file), file] as const))('%s', (spec, file) => {
  const source = compileToGraph(file);
  const { graph } = source;
  const lengths = graph.lengths.map(({ argument }) => argument);

  test('gives the same bits, within the buffers that GPUs can bind', () => {
    for (const seed of [1, 2, 3]) {
      const batch = randomBatch(graph, seed, { size: 6, scale: 3 });
      const plain = compileToKernels(source, { sizes: batch.sizes, lattice: 'f64', gradients: true });
      const packed = packBuffers(plain, lengths);
      verifyProgram(packed);
      const { phases } = printWgsl(packed, { subgroups: false, workgroupSize: 64, maxWorkgroupStorage: 16_384 });
      for (const { name, bindings } of phases.flat()) {
        expect(bindings.length, name).toBeLessThanOrEqual(needs[spec] ?? guaranteed);
      }
      const run = (program: KernelProgram) => {
        const { buffers, scalars } = launchArguments(graph, plain, batch);
        const all = new Map(Object.entries(buffers));
        if (lengths.length > 1) all.set(packedName(lengths), interleave(lengths.map((name) => batch.lengths[name]!)));
        interpretProgram(program, { buffers: all, scalars: new Map(Object.entries(scalars)), seed });
        return buffers;
      };
      const [expected, actual] = [run(plain), run(packed)];
      expect(actual.loss, `seed ${seed}`).toEqual(expected.loss);
      for (const name of Object.keys(graph.gradients)) {
        expect(actual[`grad_${name}`], `seed ${seed} ${name}`).toEqual(expected[`grad_${name}`]);
      }
    }
  });
});

test('lengths lie side by side', () => {
  expect([...interleave([Int32Array.of(1, 2, 3), Int32Array.of(7, 8, 9)])]).toEqual([1, 7, 2, 8, 3, 9]);
});

test('fields of different kernels stay apart, and so does a field that two kernels write', () => {
  const B = k.scalar('B', 'index');
  const field = (name: string) =>
    ({ name, element: 'f64', role: 'scratch', shape: [B, k.index(4)], layout: name }) as const;
  const kernel = (name: string, ...stored: string[]): Kernel => ({
    name,
    doc: [],
    grid: [{ variable: 'b', extent: B }],
    body: stored.map((buffer) => ({
      kind: 'store',
      buffer,
      index: k.mul(k.variable('b', 'index'), k.index(4)),
      value: k.real('f64', 1),
    })),
  });
  const program: KernelProgram = {
    name: 'three',
    buffers: ['p', 'q', 'r', 's'].map(field),
    scalars: [{ name: 'B', type: 'index', role: 'size' }],
    phases: [[kernel('first', 'p', 'q', 's'), kernel('second', 'r', 's')]],
  };
  const packed = packBuffers(program, []);
  expect(packed.buffers.map(({ name }) => name)).toEqual(['p_q', 'r', 's']);
  expect(packed.phases[0]![0]!.body[0]).toMatchObject({ kind: 'let', name: 'q_start' });
});
