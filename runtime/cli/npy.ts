/**
 * Reads and writes `.npy` files, the format of numpy.save. npyjs knows the format; this file adds what a command
 * line owes its user: every refusal names the file, sizes are checked against the header, Fortran order is turned
 * into C order, and an output file appears whole or not at all.
 *
 * Writing goes through a temporary file, in several writes: a gradient may exceed the 2 GiB that one takes, and should not
 * be copied for it.
 */
import { open, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { dump, parse } from 'npyjs';
import type { Tensor, TypedArray } from '../tensor.js';
import { UsageError } from './usage.js';

/** One read call takes less than 2 GiB. */
const CHUNK = 1 << 30;

/**
 * The tensor in a file, in C order, with elements as the file has them; float16 as its bits, with `dtype`.
 *
 * @param option what the user typed to name this file, for error messages: '--acts'
 * @throws UsageError where the file cannot be read or does not hold such a tensor
 */
export async function readNpy(path: string, option: string): Promise<Tensor> {
  const buffer = await readWhole(path, option);
  let parsed: ReturnType<typeof parse>;
  try {
    parsed = parse(buffer, { convertFloat16: false });
  } catch (error) {
    throw new UsageError(`${option}: ${path} is not a .npy file that can be read: ${reasonOf(error as Error)}`);
  }
  const shape = parsed.shape;
  if (!shape.every((size) => Number.isSafeInteger(size) && size >= 0)) {
    throw new UsageError(`${option}: ${path} has a header with the shape (${shape.join(', ')}), which makes no sense`);
  }
  const data = asNumbers(parsed.data, parsed.dtype, path, option);
  const count = shape.reduce((product, size) => product * size, 1);
  if (data.length < count) {
    throw new UsageError(
      `${option}: ${path} is truncated: its header says shape (${shape.join(', ')}), ${count} elements, but it holds ${data.length}`,
    );
  }
  const exact = data.length === count ? data : (data.subarray(0, count) as TypedArray);
  const dtype = parsed.dtype === 'f2' ? { dtype: 'float16' as const } : {};
  return { data: parsed.fortranOrder && shape.length > 1 ? toCOrder(exact, shape) : exact, shape, ...dtype };
}

/**
 * Writes a tensor under `path`, through a temporary file beside it: the file is complete or not there.
 * @param dtype what the bits in a Uint16Array are
 */
export async function writeNpy(
  path: string,
  data: Float32Array | Float64Array | Int32Array | Uint16Array,
  shape: readonly number[],
  dtype?: 'float16',
): Promise<void> {
  // npyjs writes the header from the shape it is told, so an empty array gives the header alone.
  const header = new Uint8Array(dump(data.subarray(0, 0), [...shape], dtype === 'float16' ? { dtype: 'f2' } : {}));
  const temporary = `${path}.${process.pid}.tmp`;
  try {
    const file = await open(temporary, 'w');
    try {
      await file.writeFile(header);
      await file.writeFile(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
}

/** Refuses an output path in a folder that is not there, before any work is done for it. */
export async function checkWritable(path: string, option: string): Promise<void> {
  const { access, constants, stat } = await import('node:fs/promises');
  try {
    await access(dirname(path), constants.W_OK);
  } catch {
    throw new UsageError(`${option}: cannot write ${path}: the folder ${dirname(path)} is missing or not writable`);
  }
  const there = await stat(path).catch(() => null);
  if (there?.isDirectory()) throw new UsageError(`${option}: cannot write ${path}: it is a folder`);
}

async function readWhole(path: string, option: string): Promise<ArrayBuffer> {
  try {
    const file = await open(path, 'r');
    try {
      const { size } = await file.stat();
      const buffer = new ArrayBuffer(size);
      for (let done = 0; done < size; ) {
        const { bytesRead } = await file.read(new Uint8Array(buffer, done, Math.min(CHUNK, size - done)));
        if (bytesRead === 0) break;
        done += bytesRead;
      }
      return buffer;
    } finally {
      await file.close();
    }
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    const why =
      { ENOENT: 'no such file', EISDIR: 'it is a folder', EACCES: 'permission denied' }[code ?? ''] ?? message;
    throw new UsageError(`${option}: cannot read ${path}: ${why}`);
  }
}

function reasonOf(error: Error): string {
  // The typed-array constructors complain about alignment when the data ends within an element, and DataView about
  // bounds when the header itself is cut off.
  if (error instanceof RangeError) return 'it is truncated';
  if (error.message.startsWith('Unsupported dtype')) {
    return `${error.message}; little-endian numbers are read: float16, float32, float64, int8 to int64, uint8 to uint64`;
  }
  return error.message;
}

/** Anything that is not a plain number is refused: booleans, complex numbers, text. */
function asNumbers(data: unknown, dtype: string, path: string, option: string): TypedArray {
  if (/^([iu][1248]|f[248])$/.test(dtype)) return data as TypedArray;
  throw new UsageError(`${option}: ${path} holds elements of type ${dtype}; floats or integers are needed`);
}

/** Fortran order has the first index fastest; walks the C-ordered output and steps through the input. */
function toCOrder(data: TypedArray, shape: readonly number[]): TypedArray {
  const strides = shape.map((_, axis) => shape.slice(0, axis).reduce((product, size) => product * size, 1));
  const result = data.slice() as TypedArray;
  const index = shape.map(() => 0);
  for (let to = 0, from = 0; to < result.length; to++) {
    result[to] = data[from] as never;
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      from += strides[axis] as number;
      index[axis] = (index[axis] as number) + 1;
      if ((index[axis] as number) < (shape[axis] as number)) break;
      from -= (shape[axis] as number) * (strides[axis] as number);
      index[axis] = 0;
    }
  }
  return result;
}
