/** Reading and writing .npy: every element type and layout that NumPy users have, and every damage a file can have. */
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { checkWritable, readNpy, writeNpy } from '../../runtime/cli/npy.js';
import { type NumpyFile, numpyBytes, temporaryFolder, writeNumpy } from './helpers.js';

const folder = temporaryFolder();
let count = 0;
const fresh = (name = 'a.npy'): string => join(folder, `${count++}-${name}`);
const read = (file: NumpyFile) => readNpy(writeNumpy(fresh(), file), '--acts');

describe('element types', () => {
  test.each([
    ['<f4', Float32Array.of(0.5, -1, Infinity)],
    ['<f8', Float64Array.of(0.1, Number.NaN, -Infinity)],
    ['|i1', Int8Array.of(-1, 0, 127)],
    ['|u1', Uint8Array.of(0, 1, 255)],
    ['<i2', Int16Array.of(-300, 0, 300)],
    ['<u2', Uint16Array.of(0, 1, 65535)],
    ['<i4', Int32Array.of(-70000, 0, 70000)],
    ['<u4', Uint32Array.of(0, 1, 2 ** 32 - 1)],
    ['<i8', BigInt64Array.of(-5n, 0n, 2n ** 40n)],
    ['<u8', BigUint64Array.of(0n, 1n, 2n ** 63n)],
  ])('%s', async (descr, data) => {
    expect(await read({ descr, shape: [3], data })).toEqual({ data, shape: [3] });
  });

  test('float16 stays as it is', async () => {
    const data = Uint16Array.of(0x3c00, 0xc000, 0x7c00); // 1, -2, inf
    expect(await read({ descr: '<f2', shape: [3], data })).toEqual({ data, shape: [3], dtype: 'float16' });
  });

  test('float16 is written as NumPy writes it', async () => {
    const file = fresh();
    const data = Uint16Array.of(0x3c00, 0xc000, 0x7c00, 0x0001);
    await writeNpy(file, data, [2, 2], 'float16');
    expect(await readNpy(file, '--acts')).toEqual({ data, shape: [2, 2], dtype: 'float16' });
    expect(readFileSync(file, 'latin1')).toMatch(/'descr': ?'<f2'/);
  });

  test.each([
    ['>f4', /Unsupported dtype: >f4; little-endian numbers are read/],
    ['|b1', /holds elements of type b1; floats or integers are needed/],
    ['<c8', /holds elements of type c8/],
  ])('%s is refused', async (descr, message) => {
    await expect(read({ descr, shape: [1], data: new Float64Array(1) })).rejects.toThrow(message);
  });
});

describe('layout', () => {
  test('format version 2, and bytes after the last element', async () => {
    const tensor = await read({ descr: '<f4', shape: [2], data: Float32Array.of(1, 2, 3), version: 2 });
    expect(tensor).toEqual({ data: Float32Array.of(1, 2), shape: [2] });
  });

  test('a scalar has the shape []', async () => {
    expect(await read({ descr: '<i4', shape: [], data: Int32Array.of(7) })).toEqual({
      data: Int32Array.of(7),
      shape: [],
    });
  });

  test('Fortran order is turned into C order', async () => {
    // [[1, 2, 3], [4, 5, 6]], column after column.
    const tensor = await read({ descr: '<f4', shape: [2, 3], data: Float32Array.of(1, 4, 2, 5, 3, 6), fortran: true });
    expect(tensor).toEqual({ data: Float32Array.of(1, 2, 3, 4, 5, 6), shape: [2, 3] });
  });

  test('Fortran order of any rank: element [i, j, ...] lies at the sum of i * stride', async () => {
    const shapes = fc.array(fc.integer({ min: 0, max: 4 }), { minLength: 1, maxLength: 4 });
    await fc.assert(
      fc.asyncProperty(shapes, async (shape) => {
        const size = shape.reduce((product, extent) => product * extent, 1);
        const stored = Int32Array.from({ length: size }, (_, i) => i);
        const { data } = await read({ descr: '<i4', shape, data: stored, fortran: true });
        const expected = Int32Array.from({ length: size }, (_, position) => {
          let [rest, stride, at] = [position, size, 0];
          for (const [axis, extent] of shape.entries()) {
            stride /= extent;
            at += Math.floor(rest / stride) * shape.slice(0, axis).reduce((product, before) => product * before, 1);
            rest %= stride;
          }
          return at;
        });
        expect(data).toEqual(expected);
      }),
      { numRuns: 50 },
    );
  });
});

describe('what cannot be read names the option, the file and the reason', () => {
  const good = numpyBytes({ descr: '<f4', shape: [4], data: new Float32Array(4) });
  test.each([
    ['nothing', Buffer.alloc(0), /^--acts: .* is not a \.npy file that can be read: it is truncated/],
    ['text', Buffer.from('hello, this is no array at all'), /is not a \.npy file that can be read: Not an \.npy file/],
    ['a zip (np.savez)', Buffer.from('PK\x03\x04 and so on and on'), /Not an \.npy file/],
    ['cut within the header', good.subarray(0, 40), /it is truncated/],
    ['cut within an element', good.subarray(0, good.length - 3), /it is truncated/],
    ['cut between elements', good.subarray(0, good.length - 8), /shape \(4\), 4 elements, but it holds 2/],
  ])('%s', async (_what, bytes, message) => {
    const path = fresh();
    writeFileSync(path, bytes);
    await expect(readNpy(path, '--acts')).rejects.toThrow(message);
    await expect(readNpy(path, '--acts')).rejects.toMatchObject({ name: 'UsageError' });
  });

  test('a missing file and a folder', async () => {
    await expect(readNpy(join(folder, 'none.npy'), '--labels')).rejects.toThrow(
      /^--labels: cannot read .*none\.npy: no such file$/,
    );
    await expect(readNpy(folder, '--labels')).rejects.toThrow(/it is a folder/);
  });
});

describe('writing', () => {
  test('what was written reads back, and has the bytes that NumPy reads', async () => {
    const path = fresh('grads.npy');
    const data = Float32Array.of(1, -Infinity, Number.NaN, 4, 5, 6);
    await writeNpy(path, data, [2, 3]);
    expect(await readNpy(path, '--acts')).toEqual({ data, shape: [2, 3] });
    const bytes = readFileSync(path);
    expect(bytes.subarray(0, 8)).toEqual(Buffer.from('\x93NUMPY\x01\x00', 'latin1'));
    const headerLength = bytes.readUInt16LE(8);
    const header = bytes.toString('latin1', 10, 10 + headerLength);
    expect(header.replaceAll(' ', '')).toBe("{'descr':'<f4','fortran_order':False,'shape':(2,3)}\n");
    expect(bytes.length).toBe(10 + headerLength + data.byteLength);
  });

  test('a failure leaves nothing behind', async () => {
    const path = join(folder, 'occupied');
    mkdirSync(join(path, 'inside'), { recursive: true });
    await expect(writeNpy(path, new Float32Array(2), [2])).rejects.toThrow();
    expect(readdirSync(folder).filter((name) => name.includes('.tmp'))).toEqual([]);
  });

  test('a folder that is missing, or a folder in the place of the file, is refused beforehand', async () => {
    await expect(checkWritable(join(folder, 'no', 'grads.npy'), '--grads')).rejects.toThrow(
      /^--grads: cannot write .*missing or not writable$/,
    );
    await expect(checkWritable(folder, '--grads')).rejects.toThrow(/it is a folder$/);
    await expect(checkWritable(join(folder, 'grads.npy'), '--grads')).resolves.toBeUndefined();
  });
});
