/**
 * Tensors as callers write them, read into one form: dense row-major data and a shape.
 * Nothing here knows about losses; sizes are JavaScript numbers throughout, so more than 2^31 elements are fine.
 */
import type { HalfType } from '../compiler/kernel/half.js';
import { describe, InputError, listOf } from './errors.js';
import { dtypeNames, type Float16ArrayLike, type HalfDType, isFloat16Array } from './half.js';

export type IntArray =
  | Int8Array
  | Uint8Array
  | Uint8ClampedArray
  | Int16Array
  | Uint16Array
  | Int32Array
  | Uint32Array
  | BigInt64Array
  | BigUint64Array;
export type RealArray = Float32Array | Float64Array;
export type TypedArray = IntArray | RealArray;

/** Dense and row-major: the last axis is the fastest. A scalar has shape []. */
export interface Tensor<Data extends TypedArray | Float16ArrayLike = TypedArray> {
  readonly data: Data;
  readonly shape: readonly number[];
  /** What the bits in a Uint16Array are, where they are no integers. */
  readonly dtype?: HalfDType;
}

/**
 * Dense float32 in GPU memory, or float16 if `dtype` says so, for real inputs on the webgpu device; the buffer is of its GPUDevice
 * (`loss.gpuDevice()`).
 */
export interface GpuTensor {
  readonly data: GPUBuffer;
  readonly shape: readonly number[];
  readonly dtype?: 'float32' | HalfDType;
}

export type NestedNumbers = readonly (number | bigint | NestedNumbers)[] | RealArray | IntArray;

/** What every tensor argument accepts: `{ data, shape }`, nested ordinary arrays, or (for one axis) a typed array. */
export type TensorLike =
  | {
      readonly data: TypedArray | Float16ArrayLike | readonly (number | bigint)[];
      readonly shape: readonly number[];
      /** Needed for a Uint16Array that holds the bits of reals: 'float16' (also as NumPy's 'f2') or 'bfloat16'. */
      readonly dtype?: string;
    }
  | GpuTensor
  | NestedNumbers;

/** A tensor whose structure has been checked, but not yet its element type or its values. */
export interface RawTensor {
  readonly data: TypedArray | Float16ArrayLike | readonly unknown[];
  readonly shape: readonly number[];
  /** Where the data is in GPU memory; `data` is then empty. */
  readonly buffer?: GPUBuffer;
  /** Where the elements are of half precision. `data` is then a Uint16Array or a Float16Array, if it is on the host. */
  readonly half?: HalfType;
  /** The `dtype` the caller wrote, where that is of no use: for messages. */
  readonly dtype?: unknown;
}

/** By what it has rather than by class: Node has no global GPUBuffer. */
export const isGpuBuffer = (value: unknown): value is GPUBuffer =>
  typeof value === 'object' && value !== null && 'mapState' in value && 'usage' in value && 'destroy' in value;

const intClasses = [
  'Int8Array',
  'Uint8Array',
  'Uint8ClampedArray',
  'Int16Array',
  'Uint16Array',
  'Int32Array',
  'Uint32Array',
  'BigInt64Array',
  'BigUint64Array',
];
const realClasses = ['Float16Array', 'Float32Array', 'Float64Array'];

/** What a caller may write for a type. 'f2' is what npyjs calls it. */
const halfTypes: Readonly<Record<string, HalfType>> = { float16: 'f16', f2: 'f16', bfloat16: 'bf16' };
const allowedDtypes = listOf(Object.values(dtypeNames).map((name) => JSON.stringify(name)));

/** By tag rather than instanceof, so that arrays of another realm (a worker, a vm) are taken too. */
const classOf = (data: ArrayBufferView): string => Object.prototype.toString.call(data).slice(8, -1);
const isView = (value: unknown): value is TypedArray => ArrayBuffer.isView(value);

/** `[2, 6, 4]`, as messages show shapes. */
export const printShape = (shape: readonly number[]): string => `[${shape.join(', ')}]`;

/** Number of elements. */
export const elementsOf = (shape: readonly number[]): number => shape.reduce((product, extent) => product * extent, 1);

/** Index of each axis of the element at a flat position. */
export function unravel(position: number, shape: readonly number[]): number[] {
  const index = new Array<number>(shape.length).fill(0);
  let rest = position;
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    const extent = shape[axis] ?? 1;
    index[axis] = rest % extent;
    rest = Math.floor(rest / extent);
  }
  return index;
}

/**
 * Reads the structure of a tensor argument.
 * @throws InputError when it is no tensor, is ragged, is detached, or its data does not fill its shape.
 */
export function readTensor(argument: string, value: unknown): RawTensor {
  if (isView(value)) {
    checkTyped(argument, value);
    return { data: value, shape: [value.length], ...(isFloat16Array(value) ? { half: 'f16' } : {}) };
  }
  if (Array.isArray(value)) return flatten(argument, value);
  if (typeof value === 'object' && value !== null && 'data' in value && 'shape' in value) {
    return readDataAndShape(argument, value as { data: unknown; shape: unknown });
  }
  throw new InputError({
    code: value === undefined ? 'missing' : 'type',
    argument,
    problem: value === undefined ? 'is missing' : `is not a tensor but ${describe(value)}`,
    value,
    allowed: '{ data, shape } with a typed array, or nested arrays of numbers',
  });
}

function readDataAndShape(argument: string, value: { data: unknown; shape: unknown; dtype?: unknown }): RawTensor {
  const { data, shape, dtype } = value;
  if ((value as { fortranOrder?: unknown }).fortranOrder === true) {
    throw new InputError({
      code: 'shape',
      argument,
      problem: 'is stored column by column (Fortran order)',
      value: true,
      allowed: 'row-major data; in NumPy, save np.ascontiguousarray(array)',
    });
  }
  const extents = Array.isArray(shape) || isView(shape) ? Array.from(shape as ArrayLike<unknown>) : undefined;
  if (extents === undefined) {
    throw new InputError({
      code: 'type',
      argument: `${argument}.shape`,
      problem: `is ${describe(shape)}`,
      value: shape,
      allowed: 'an array of non-negative integers',
    });
  }
  extents.forEach((extent, axis) => {
    if (typeof extent !== 'number' || !Number.isSafeInteger(extent) || extent < 0) {
      throw new InputError({
        code: 'shape',
        argument: `${argument}.shape`,
        index: [axis],
        problem: `is ${describe(extent)}`,
        value: extent,
        allowed: 'non-negative integers',
      });
    }
  });
  if (isGpuBuffer(data)) {
    const half = gpuHalf(argument, dtype);
    // Bindings are whole words.
    const bytes = Math.ceil((elementsOf(extents as number[]) * (half === undefined ? 4 : 2)) / 4) * 4;
    const type = half === undefined ? {} : { half };
    if (data.size >= bytes) return { data: [], shape: extents as number[], buffer: data, ...type };
    throw new InputError({
      code: 'shape',
      argument: `${argument}.data`,
      problem: `is a GPUBuffer of ${data.size} bytes where shape ${printShape(extents as number[])} of ${half === undefined ? 'float32' : dtypeNames[half]} has ${bytes}`,
      value: data.size,
      allowed: `at least ${bytes} bytes`,
    });
  }
  if (isView(data)) checkTyped(argument, data);
  else if (!Array.isArray(data)) {
    throw new InputError({
      code: 'type',
      argument: `${argument}.data`,
      problem: `is ${describe(data)}`,
      value: data,
      allowed: 'a typed array, or a flat array of numbers',
    });
  }
  const numbers = extents as number[];
  const wanted = elementsOf(numbers);
  if (data.length !== wanted) {
    throw new InputError({
      code: 'shape',
      argument: `${argument}.data`,
      problem: `has ${data.length} elements where shape ${printShape(numbers)} has ${wanted}`,
      value: data.length,
      allowed: `exactly ${wanted} elements`,
    });
  }
  return { data: data as TypedArray | readonly unknown[], shape: numbers, ...halfOf(argument, data, dtype) };
}

/** What a dtype says of elements. Other words than ours are ignored (npyjs writes 'f4') where the array's class tells enough. */
function halfOf(argument: string, data: unknown, dtype: unknown): Pick<RawTensor, 'half' | 'dtype'> {
  const half = typeof dtype === 'string' && Object.hasOwn(halfTypes, dtype) ? halfTypes[dtype] : undefined;
  if (isFloat16Array(data) && half !== 'bf16') return { half: 'f16' };
  if (isView(data) && classOf(data) === 'Uint16Array') return half === undefined ? { dtype } : { half };
  if (half === undefined || dtype === 'f2') return {};
  throw new InputError({
    code: 'dtype',
    argument,
    problem: `has dtype ${describe(dtype)}, but its data is ${isView(data) ? `a ${classOf(data)}` : describe(data)}`,
    value: dtype,
    allowed: half === 'f16' ? 'a Uint16Array of the bits, or a Float16Array' : 'a Uint16Array of the bits',
  });
}

function gpuHalf(argument: string, dtype: unknown): HalfType | undefined {
  if (dtype === undefined || dtype === 'float32') return undefined;
  if (typeof dtype === 'string' && Object.hasOwn(halfTypes, dtype)) return halfTypes[dtype];
  const allowed = `"float32" (the default), ${allowedDtypes}`;
  throw new InputError({
    code: 'dtype',
    argument: `${argument}.dtype`,
    problem: `is ${describe(dtype)}`,
    value: dtype,
    allowed,
  });
}

/** @throws InputError for an array of another kind, or one whose memory was transferred away. */
export function checkTyped(argument: string, data: ArrayBufferView): void {
  const name = classOf(data);
  if (!intClasses.includes(name) && !realClasses.includes(name)) {
    throw new InputError({
      code: 'dtype',
      argument,
      problem: `is a ${name}`,
      value: name,
      allowed: 'Float32Array, Float64Array, Float16Array, or an integer typed array',
    });
  }
  try {
    // The one test for a detached buffer that every supported Node has.
    new Uint8Array(data.buffer, 0, 0);
  } catch {
    throw new InputError({
      code: 'detached',
      argument,
      problem: `is a ${name} whose buffer is detached (it was transferred to a worker or with structuredClone)`,
      value: data,
      allowed: 'an array that still owns its memory',
    });
  }
}

type Row = readonly unknown[] | TypedArray;
const isRow = (value: unknown): value is Row => Array.isArray(value) || isView(value);

/** Nested arrays to flat ones; the first element of each level sets the extent that the others must have. */
function flatten(argument: string, value: readonly unknown[]): RawTensor {
  const shape: number[] = [];
  for (let level: unknown = value; isRow(level); level = level[0]) shape.push(level.length);
  const depth = shape.length;
  const flat: unknown[] = [];
  const index: number[] = [];
  const first = (): string => `${argument}${'[0]'.repeat(index.length)}`;
  const ragged = (problem: string, value: unknown, allowed: string): InputError =>
    new InputError({ code: 'ragged', argument, index: [...index], problem, value, allowed });
  const walk = (node: unknown): void => {
    const axis = index.length;
    if (axis === depth) {
      if (isRow(node)) {
        throw ragged(`is an array where ${first()} is a single value`, node, 'regular nesting');
      }
      flat.push(node);
      return;
    }
    const extent = shape[axis] ?? 0;
    if (!isRow(node)) {
      throw ragged(`is ${describe(node)} where ${first()} is an array`, node, 'regular nesting');
    }
    if (isView(node)) checkTyped(argument, node);
    if (node.length !== extent) {
      throw ragged(
        `has ${node.length} elements where ${first()} has ${extent}`,
        node.length,
        'rows of equal length; pad the short ones (what lies in the padding does not matter)',
      );
    }
    for (let i = 0; i < extent; i++) {
      index.push(i);
      walk(node[i]);
      index.pop();
    }
  };
  walk(value);
  return { data: flat, shape };
}

/**
 * Element values as reals. A `Float32Array` is taken as it is, without a copy; so is a `Float64Array` where `element` is 'f64'.
 * Everything else is converted into a new array.
 * @throws InputError for integer arrays and for elements that are not numbers.
 */
export function toReals(argument: string, raw: RawTensor, element: 'f32' | 'f64'): RealArray {
  const { data, shape } = raw;
  if (raw.buffer !== undefined) {
    throw new InputError({
      code: 'dtype',
      argument,
      problem: 'is a GPUBuffer, which only the webgpu device can read',
      value: raw.buffer,
      allowed:
        "Float32Array, Float64Array (converted) or nested arrays of numbers; or device: 'webgpu' and await loss.forward(...)",
    });
  }
  if (isView(data)) {
    const name = classOf(data);
    if (name === 'Float32Array' || (name === 'Float64Array' && element === 'f64')) return data as RealArray;
    if (name === 'Float64Array') return new Float32Array(data as Float64Array);
    const bits = name === 'Uint16Array';
    const unnamed = bits ? (raw.dtype === undefined ? ' without a dtype' : ` of dtype ${describe(raw.dtype)}`) : '';
    const named = `{ data, shape, dtype } with dtype ${allowedDtypes} for bits of half precision, `;
    throw new InputError({
      code: 'dtype',
      argument,
      problem: `is an ${name}`.replace('an Uint', 'a Uint').replace('an Big', 'a Big') + unnamed,
      value: name,
      allowed: `${bits ? named : ''}Float32Array, Float64Array (converted) or nested arrays of numbers`,
    });
  }
  const reals = element === 'f32' ? new Float32Array(data.length) : new Float64Array(data.length);
  for (let i = 0; i < data.length; i++) {
    const value = data[i];
    if (typeof value !== 'number') {
      const index = unravel(i, shape);
      throw new InputError({
        code: 'type',
        argument,
        index,
        problem: `is ${describe(value)}`,
        value,
        allowed: 'numbers',
      });
    }
    reals[i] = value;
  }
  return reals;
}

/** @throws InputError when the tensor's element type can hold no integers: floating-point typed arrays. */
export function checkIntElements(argument: string, raw: RawTensor): void {
  if (raw.buffer !== undefined) {
    throw new InputError({
      code: 'dtype',
      argument,
      problem: 'is a GPUBuffer, and integers have to be checked',
      value: raw.buffer,
      allowed: 'Int32Array, BigInt64Array, another integer typed array, or an ordinary array of integers',
    });
  }
  if (!isView(raw.data)) return;
  const name = raw.half === undefined ? classOf(raw.data) : `tensor of ${dtypeNames[raw.half]}`;
  if (intClasses.includes(name)) return;
  throw new InputError({
    code: 'dtype',
    argument,
    problem: `is a ${name}`,
    value: name,
    allowed: 'Int32Array, BigInt64Array, another integer typed array, or an ordinary array of integers',
  });
}

/** The integer at a flat position, or undefined when what lies there is none (1.5, NaN, 'x', null). */
export function intAt(raw: RawTensor, position: number): number | undefined {
  const value = raw.data[position];
  if (typeof value === 'bigint') return Number(value);
  return typeof value === 'number' && Number.isInteger(value) ? value : undefined;
}
