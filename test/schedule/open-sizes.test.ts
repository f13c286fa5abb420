/** Kernels that are not told a size that the batch shares serve every value of it, with the same bits. */
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { compileToGraph, compileToKernels } from '../../compiler/compile.js';
import { interpretProgram } from '../../compiler/kernel/interpret.js';
import type { KernelProgram } from '../../compiler/kernel/kernel.js';
import { printProgram } from '../../compiler/kernel/print.js';
import { launchArguments, randomBatch } from '../specs.js';

const specs = ['../../specs/rnnt.ts', '../../specs/monotonic.ts', '../specs/additive.ts', '../specs/linear.ts'];

describe.each(specs)('%s', (file) => {
  const source = compileToGraph(fileURLToPath(new URL(file, import.meta.url)));
  const { graph } = source;
  const varying = new Set(graph.lengths.map(({ size }) => size));
  const shared = [
    ...new Set(graph.inputs.flatMap(({ dims }) => dims.flatMap(({ terms }) => Object.keys(terms)))),
  ].filter((size) => !varying.has(size));
  const open = compileToKernels(source, { sizes: {}, openSizes: shared, lattice: 'f64', gradients: true });

  test('has a launch scalar for each, and none of their values in its text', () => {
    expect(shared.length).toBeGreaterThan(0);
    for (const size of shared) {
      expect(open.scalars).toContainEqual({ name: `${size}_max`, type: 'index', role: 'size' });
    }
    const told = { sizes: Object.fromEntries(shared.map((size) => [size, 7919])), openSizes: shared };
    const text = printProgram(compileToKernels(source, { ...told, lattice: 'f64', gradients: true }));
    expect(text).toBe(printProgram(open));
  });

  test('computes what the kernels compiled for a value compute', () => {
    for (const seed of [1, 2, 3, 4]) {
      const batch = randomBatch(graph, seed, { size: 6, scale: 3 });
      const run = (program: KernelProgram) => {
        const { buffers, scalars } = launchArguments(graph, program, batch);
        const all = { ...scalars, ...Object.fromEntries(shared.map((size) => [`${size}_max`, batch.sizes[size]!])) };
        interpretProgram(program, {
          buffers: new Map(Object.entries(buffers)),
          scalars: new Map(Object.entries(all)),
          seed,
        });
        return buffers;
      };
      const closed = run(compileToKernels(source, { sizes: batch.sizes, lattice: 'f64', gradients: true }));
      const served = run(open);
      expect(served.loss, `seed ${seed}`).toEqual(closed.loss);
      for (const name of Object.keys(graph.gradients)) {
        expect(served[`grad_${name}`], `seed ${seed} ${name}`).toEqual(closed[`grad_${name}`]);
      }
    }
  });
});
