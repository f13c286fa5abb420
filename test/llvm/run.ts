/** Compiles programs through the LLVM backend and runs their kernels in this process. */
import koffi from 'koffi';
import type { KernelProgram } from '../../compiler/kernel/kernel.js';
import type { LlvmTarget } from '../../compiler/llvm/index.js';
import { printLlvm } from '../../compiler/llvm/index.js';
import { LlvmJit, type LoadedObject } from '../../runtime/cpu/jit.js';

export type BufferArray = Float32Array | Float64Array | Int32Array | Uint16Array;
export const widths = [128, 256, 512] as const;

let shared: LlvmJit | undefined;
export function hostJit(): LlvmJit {
  shared ??= new LlvmJit();
  return shared;
}

/** Code by text, so that a program run on many arrays is compiled once. */
const cache = new WeakMap<LlvmJit, Map<string, LoadedObject>>();
function loaded(jit: LlvmJit, text: string, name: string): LoadedObject {
  const known = cache.get(jit) ?? new Map<string, LoadedObject>();
  cache.set(jit, known);
  const code = known.get(text) ?? jit.load(jit.compile(text, { name }).object);
  known.set(text, code);
  return code;
}

/** Runs a range of tasks of one kernel; without a range, all of `tasks`. */
export type RunKernel = (name: string, begin: number, end: number) => void;

export interface Native {
  bind(buffers: ReadonlyMap<string, BufferArray>, scalars?: ReadonlyMap<string, number>): RunKernel;
}

export function compileNative(
  program: KernelProgram,
  vectorBits: LlvmTarget['vectorBits'],
  jit: LlvmJit = hostJit(),
  halves: LlvmTarget['halves'] = undefined,
): Native {
  const code = loaded(
    jit,
    printLlvm(program, { vectorBits, scalef: jit.target.scalef, ...(halves && { halves }) }),
    program.name,
  );
  const names = program.phases.flat().map((kernel) => kernel.name);
  const functions = new Map(names.map((name) => [name, code.func(name, 'void', ['void *', 'int64_t', 'int64_t'])]));
  return {
    bind(buffers, scalars = new Map()) {
      const slots = new DataView(new ArrayBuffer(8 * (program.buffers.length + program.scalars.length)));
      program.buffers.forEach((decl, number) => {
        const array = buffers.get(decl.name);
        if (array === undefined) throw new Error(`no array for buffer ${decl.name}`);
        slots.setBigUint64(8 * number, koffi.address(array), true);
      });
      program.scalars.forEach((decl, number) => {
        const value = scalars.get(decl.name);
        if (value === undefined) throw new Error(`no value for scalar ${decl.name}`);
        const at = 8 * (program.buffers.length + number);
        if (decl.type === 'index') slots.setBigInt64(at, BigInt(value), true);
        else slots.setFloat64(at, value, true);
      });
      const bytes = new Uint8Array(slots.buffer);
      return (name, begin, end) => {
        functions.get(name)!(bytes, begin, end);
      };
    },
  };
}

/** An array whose first element is `offset` elements behind a 64-byte boundary, with room for `length` elements. */
export function alignedFloats(length: number, offset = 0): Float32Array {
  const storage = new Uint8Array(4 * (length + offset) + 64);
  const gap = Number((64n - (koffi.address(storage) % 64n)) % 64n);
  return new Float32Array(storage.buffer, storage.byteOffset + gap + 4 * offset, length);
}
