/** Memory that native code reads and writes: addresses of typed arrays, aligned arrays, reused scratch. */

import type { ElementType } from '../../compiler/kernel/kernel.js';
import { koffi } from './koffi.js';

/** Uint16Array: the bits of f16 or bf16. */
export type NativeArray = Float32Array | Float64Array | Int32Array | Uint16Array;

/** A cache line, and the widest vector. */
export const ALIGNMENT = 64;

const constructors = {
  f32: Float32Array,
  f64: Float64Array,
  i32: Int32Array,
  f16: Uint16Array,
  bf16: Uint16Array,
} as const;
interface ArrayOf {
  f32: Float32Array<ArrayBuffer>;
  f64: Float64Array<ArrayBuffer>;
  i32: Int32Array<ArrayBuffer>;
  f16: Uint16Array<ArrayBuffer>;
  bf16: Uint16Array<ArrayBuffer>;
}

export const bytesOf = (element: ElementType): number => constructors[element].BYTES_PER_ELEMENT;

/** Whether `array` holds elements of this type. */
export const holds = (array: NativeArray, element: ElementType): boolean => array instanceof constructors[element];

/**
 * Address of an array's first element; 0 for an empty one. Small typed arrays begin life on V8's own heap, which
 * moves them; asking for `.buffer` puts the elements outside it, where they stay as long as the array is alive. The caller
 * keeps a reference to the array while the address is in use.
 */
export function addressOf(array: NativeArray | Uint8Array | BigUint64Array): bigint {
  if (array.buffer.byteLength === 0 || array.length === 0) return 0n;
  return koffi().address(array) as bigint;
}

/** A zeroed array whose first element lies on a 64-byte boundary: vectors of it never straddle cache lines. */
export function alignedArray<E extends ElementType>(element: E, length: number): ArrayOf[E] {
  const TypedArray = constructors[element];
  if (length === 0) return new TypedArray(0) as ArrayOf[E];
  const buffer = new ArrayBuffer(length * bytesOf(element) + ALIGNMENT);
  return new TypedArray(buffer, alignedOffset(buffer), length) as ArrayOf[E];
}

/** Offset of the first 64-byte boundary in a buffer. */
export function alignedOffset(buffer: ArrayBuffer): number {
  const past = Number(addressOf(new Uint8Array(buffer)) % BigInt(ALIGNMENT));
  return past === 0 ? 0 : ALIGNMENT - past;
}

/** A block of scratch memory, from the first boundary in it. */
export interface Block {
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly address: bigint;
}

/**
 * Blocks that calls borrow and give back. Fresh pages cost more than the arithmetic on them, so the last few are kept;
 * after a while without any call they go back to the system.
 */
export class BlockPool {
  #free: Block[] = [];
  #timer: NodeJS.Timeout | null = null;

  constructor(
    /** Total bytes kept for later; a block that does not fit is dropped when it comes back. */
    private readonly most = 256 * 2 ** 20,
    /** Milliseconds after the last use when all are dropped. */
    private readonly idle = 10_000,
  ) {}

  /** Bytes kept now. */
  get kept(): number {
    return this.#free.reduce((sum, block) => sum + block.bytes.length, 0);
  }

  /** A block of at least `size` bytes, its contents unspecified. */
  take(size: number): Block {
    // The tightest fit; one that is far too large is left for a larger call.
    let best = -1;
    this.#free.forEach((block, i) => {
      const length = block.bytes.length;
      if (length < size || length > 4 * size + 2 ** 16) return;
      if (best < 0 || length < (this.#free[best]?.bytes.length ?? 0)) best = i;
    });
    const found = best < 0 ? undefined : this.#free.splice(best, 1)[0];
    if (found) return found;
    const buffer = new ArrayBuffer(size + ALIGNMENT);
    const bytes = new Uint8Array(buffer, alignedOffset(buffer), size);
    return { bytes, address: addressOf(bytes) };
  }

  /** Nothing may use the block afterwards. */
  give(block: Block): void {
    this.#free.push(block);
    while (this.#free.length > 0 && this.kept > this.most) this.#free.shift();
    if (this.#timer) this.#timer.refresh();
    else {
      this.#timer = setTimeout(() => this.clear(), this.idle);
      this.#timer.unref(); // never a reason for the process to stay
    }
  }

  clear(): void {
    this.#free = [];
    if (this.#timer) clearTimeout(this.#timer);
    this.#timer = null;
  }
}
