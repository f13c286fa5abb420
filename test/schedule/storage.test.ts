/** Tensors that memory holds in 16 bits: the same kernels, but for the loads and stores of those tensors. */
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { compileToGraph, compileToKernels } from '../../compiler/compile.js';
import { encodeHalf, type HalfStorage } from '../../compiler/kernel/half.js';
import { interpretProgram } from '../../compiler/kernel/interpret.js';
import { printProgram } from '../../compiler/kernel/print.js';
import { halfTypes, halved, numbersOf } from '../halves.js';
import { launchArguments, randomBatch } from '../specs.js';

const spec = compileToGraph(fileURLToPath(new URL('../../specs/rnnt.ts', import.meta.url)));
const { graph } = spec;
const planned = (sizes: Record<string, number>, storage?: HalfStorage) =>
  compileToKernels(spec, { sizes, lattice: 'f64', gradients: true, ...(storage && { storage }) });

describe.each(halfTypes)('%s', (type) => {
  test('costs are those of the numbers in float32, and the gradient is that gradient rounded once', () => {
    for (const seed of [1, 2, 3]) {
      const batch = randomBatch(graph, seed, { size: 5, scale: 4 });
      const { tensor, reals } = halved(type, batch.inputs.acts as Float32Array, batch.shapes.acts!);
      const run = (storage: HalfStorage | undefined, acts: Float32Array | Uint16Array, grads: typeof acts) => {
        const program = planned(batch.sizes, storage);
        const { buffers, scalars } = launchArguments(graph, program, batch);
        const all = new Map<string, Float32Array | Float64Array | Int32Array | Uint16Array>(Object.entries(buffers));
        all.set('acts', acts).set('grad_acts', grads);
        interpretProgram(program, { buffers: all, scalars: new Map(Object.entries(scalars)), seed });
        return { loss: all.get('loss'), grads };
      };
      const single = run(undefined, Float32Array.from(reals.data), new Float32Array(tensor.data.length));
      const both = { inputs: { acts: type }, gradients: { acts: type } };
      const half = run(both, tensor.data, new Uint16Array(tensor.data.length));
      expect(half.loss).toEqual(single.loss);
      expect(half.grads).toEqual(Uint16Array.from(single.grads, (value) => encodeHalf(type, value)));
      const mixed = run({ inputs: both.inputs }, tensor.data, new Float32Array(tensor.data.length));
      expect(mixed.grads).toEqual(single.grads);
      expect(numbersOf(type, half.grads as Uint16Array).some((value) => value !== 0)).toBe(true);
    }
  });

  test('a dump says how each tensor is stored, and nothing else differs', () => {
    const single = printProgram(planned({ V: 8 })).split('\n');
    const half = printProgram(planned({ V: 8 }, { inputs: { acts: type } })).split('\n');
    const squeezed = (line: string): string => line.replace(/ +/g, ' ');
    const changed = half.map(squeezed).filter((line, at) => line !== squeezed(single[at]!));
    expect(changed).toEqual([` input acts ${type} [B, T_max, U_max + 1, 8] acts[b][T][U + 1][8]`]);
  });
});
