/** The command line and the library refuse the same inputs in the same words; here from `.npy` files and flags. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { badInputs, goodCall } from '../runtime/bad-inputs.js';
import { callTrellis, temporaryFolder, writeNumpy } from './helpers.js';

const folder = temporaryFolder();
const elements: Record<string, string> = {
  Float32Array: '<f4',
  Float64Array: '<f8',
  Int32Array: '<i4',
  BigInt64Array: '<i8',
  Uint8Array: '|u1',
};
const tensorOptions = { acts: '--acts', labels: '--labels', actLens: '--act-lens', labelLens: '--label-lens' };

interface SavedTensor {
  readonly data: ArrayBufferView;
  readonly shape: readonly number[];
}

test.each(badInputs.filter((bad) => bad.cli).map((bad, n) => ({ ...bad, n })))('$name', async (bad) => {
  const words = ['loss', 'rnnt'];
  for (const [name, tensor] of Object.entries({ ...goodCall(), ...bad.tensors } as Record<string, SavedTensor>)) {
    const descr = elements[tensor.data.constructor.name] as string;
    const path = writeNumpy(join(folder, `${bad.n}-${name}.npy`), { descr, shape: tensor.shape, data: tensor.data });
    words.push(tensorOptions[name as keyof typeof tensorOptions], path);
  }
  const options: Record<string, unknown> = { device: 'reference', ...bad.options };
  for (const [name, value] of Object.entries(options)) words.push(`--${name}=${value}`);
  const grads = join(folder, `${bad.n}-grads.npy`);
  const { code, stdout, stderr } = await callTrellis(...words, '--grads', grads, '--json');
  expect(stderr).toBe(`error: ${bad.message}\n`);
  expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
  expect(existsSync(grads)).toBe(false);
});
