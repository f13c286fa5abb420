/**
 * The interpreter's memory: buffers that know who wrote and who read each element.
 *
 * Conflicts are found whatever order the workers happen to run in. A *worker* is a grid cell of a
 * phase or a lane of one execution of a lanes loop. Each such group takes a fresh range of ids from one
 * rising counter: `base` stands for "several workers of this group", the workers follow. Marks of
 * earlier groups are smaller than `base` and so need no clearing.
 */
import * as k from './build.js';
import { encodeHalf, halfTable, isHalf } from './half.js';
import type { BufferDecl, LocalDecl } from './kernel.js';

/** Uint16Array: the bits of f16 or bf16. */
export type BufferArray = Float32Array | Float64Array | Int32Array | Uint16Array;

/** Who last wrote and who read each element of one buffer. -1: nobody. */
export class Watch {
  readonly writer: Int32Array;
  readonly reader: Int32Array;
  constructor(length: number) {
    this.writer = new Int32Array(length).fill(-1);
    this.reader = new Int32Array(length).fill(-1);
  }

  /** Notes a read. Returns the id of another worker of the group that wrote the element, or -1. */
  read(index: number, base: number, worker: number): number {
    const writer = this.writer[index] as number;
    if (writer > base && writer !== worker) return writer;
    const reader = this.reader[index] as number;
    if (reader !== worker) this.reader[index] = reader < base ? worker : base;
    return -1;
  }

  /** Another worker of the group that wrote the element, or -1. */
  otherWriter(index: number, base: number, worker: number): number {
    const writer = this.writer[index] as number;
    return writer > base && writer !== worker ? writer : -1;
  }

  /** Another worker of the group that read the element (`base`: more than one did), or -1. */
  otherReader(index: number, base: number, worker: number): number {
    const reader = this.reader[index] as number;
    return reader >= base && reader !== worker ? reader : -1;
  }
}

/** One buffer of a running program. */
export class Memory {
  readonly cells: Watch | undefined;
  readonly lanes: Watch | undefined;

  private constructor(
    readonly decl: BufferDecl,
    readonly data: BufferArray,
    readonly shape: readonly number[],
    /** Each grid cell has its own, although all of them run in this one. */
    readonly isLocal: boolean,
  ) {
    // Inputs are never stored to, which the verifier has checked, so nothing can go wrong there but bounds.
    if (decl.role === 'input') return;
    this.cells = new Watch(data.length);
    this.lanes = new Watch(data.length);
  }

  /**
   * The caller's array, or for scratch a new one full of NaN (i32: the least int, which is no index).
   * @throws RangeError or TypeError naming the buffer: an extent below 0, no array for an input or output, wrong element type or length.
   */
  static open(decl: BufferDecl, shape: readonly number[], given: BufferArray | undefined, isLocal = false): Memory {
    const length = shape.reduce((product, extent) => product * extent, 1);
    const extents = `[${shape.join(', ')}]`;
    if (shape.some((extent) => extent < 0)) throw new RangeError(`buffer ${decl.name}: negative extent in ${extents}`);
    const kind = arrays[decl.element];
    if (!given) {
      if (decl.role !== 'scratch')
        throw new TypeError(`buffer ${decl.name}: no array given for this ${decl.role} of shape ${extents}`);
      const unwritten = isHalf(decl.element) ? encodeHalf(decl.element, Number.NaN) : Number.NaN;
      return new Memory(decl, new kind(length).fill(decl.element === 'i32' ? -(2 ** 31) : unwritten), shape, isLocal);
    }
    if (!(given instanceof kind)) {
      throw new TypeError(
        `buffer ${decl.name}: a ${given.constructor.name} was given; ${decl.element} elements need a ${kind.name}`,
      );
    }
    if (given.length !== length) {
      throw new RangeError(`buffer ${decl.name}: ${given.length} elements were given; shape ${extents} has ${length}`);
    }
    return new Memory(decl, given, shape, isLocal);
  }

  /** A kernel's local memory. What a cell finds there was put there by itself. */
  static local(decl: LocalDecl): Memory {
    return Memory.open({ ...localBuffer(decl) }, [decl.extent], undefined, true);
  }

  /** Reads an element as the number it stands for. */
  reader(): (index: number) => number {
    const { data, decl } = this;
    if (!isHalf(decl.element)) return (index) => data[index] as number;
    const table = halfTable(decl.element);
    return (index) => table[data[index] as number] as number;
  }

  /** Stores a number, rounded to what the element can hold. */
  writer(): (index: number, value: number) => void {
    const { data, decl } = this;
    const { element } = decl;
    return (index, value) => {
      data[index] = isHalf(element) ? encodeHalf(element, value) : value;
    };
  }

  /** `name[flat index]`, with its coordinates in the buffer's shape where that has several axes. */
  place(index: number): string {
    if (this.shape.length < 2 || index < 0 || index >= this.data.length) return `${this.decl.name}[${index}]`;
    return `${this.decl.name}[${index}] = ${this.decl.name}[${unflatten(index, this.shape).join('][')}]`;
  }
}

/** Coordinates of the `flat`-th cell of a row-major box, last axis fastest. */
export function unflatten(flat: number, extents: readonly number[]): number[] {
  const coordinates: number[] = [];
  let rest = flat;
  for (const extent of [...extents].reverse()) {
    coordinates.unshift(rest % extent);
    rest = Math.floor(rest / extent);
  }
  return coordinates;
}

/** A local as a buffer of one axis. */
export const localBuffer = ({ name, element, extent }: LocalDecl): BufferDecl => ({
  name,
  element,
  role: 'scratch',
  shape: [k.index(extent)],
  layout: `${name}[${extent}]`,
});

const arrays = { f32: Float32Array, f64: Float64Array, i32: Int32Array, f16: Uint16Array, bf16: Uint16Array } as const;
