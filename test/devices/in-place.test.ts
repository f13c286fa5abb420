/** A gradient written over its input, also where the gradient reads other cells of the input than the one it replaces. */
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { loadLoss } from '../../runtime/index.js';
import { onEveryDevice } from './devices.js';

const spec = fileURLToPath(new URL('./specs/neighbours.ts', import.meta.url));

onEveryDevice(({ device: name }) => {
  test('a gradient that reads neighbouring frames is the same in place', async () => {
    const loss = await loadLoss(spec, { device: name });
    const shape = [2, 5, 3, 7];
    const data = Float32Array.from({ length: 210 }, (_, i) => Math.sin(i));
    const tensors = {
      labels: [
        [1, 2],
        [3, 4],
      ],
      actLens: [5, 4],
      labelLens: [2, 1],
    };
    const apart = await loss.forward({ acts: { data: data.slice(), shape }, ...tensors });
    const own = { data: data.slice(), shape };
    const over = await loss.forward({ acts: own, ...tensors }, { grads: 'in-place' });
    expect(Array.from(over.gradients.acts!.data)).toEqual(Array.from(Float32Array.from(apart.gradients.acts!.data)));
    expect(over.gradients.acts!.data).toBe(own.data);
    expect(Array.from(over.costs.data)).toEqual(Array.from(apart.costs.data));
  });
});
