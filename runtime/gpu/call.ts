/** One call as the parts of the executor hand it to each other, and what the caller gave for its buffers. */
import type { BufferDecl, KExpr } from '../../compiler/kernel/kernel.js';
import { evaluateExtent } from '../cpu/extents.js';
import { InputError, TrellisError } from '../errors.js';
import { usage } from './buffers.js';
import type { GpuProgram } from './program.js';
import type { GpuSession, KernelTime } from './session.js';
import type { Problems } from './transfer.js';

/** Uint16Array: the bits of float16. */
export type HostArray = Float32Array | Float64Array | Int32Array | Uint16Array;

/** One call of a program. */
export interface GpuCall {
  /**
   * An array or GPUBuffer for every input and output, by name, batch first. A GPUBuffer is of the session's device, dense, float32 or float16,
   * with usage STORAGE, or COPY_SRC for an input and COPY_DST for an output. An output may be the very array or buffer of an input.
   */
  readonly buffers: Readonly<Record<string, HostArray | GPUBuffer>>;
  /** A value for every scalar, by name; 'B' is the batch size. */
  readonly scalars: Readonly<Record<string, number>>;
  readonly signal?: AbortSignal | undefined;
}

/** What a call has in hand while it runs. */
export interface CallState {
  readonly session: GpuSession;
  readonly program: GpuProgram;
  readonly call: GpuCall;
  readonly problems: Problems;
  /** Of its dispatches, where they are wanted. */
  readonly times: KernelTime[];
  /** False once the caller has gone: nothing of its is touched any more. */
  readonly wanted: () => boolean;
}

/** What the caller gave for a buffer. `direct`: it can be bound as it is. */
export type Operand = { readonly array: HostArray } | { readonly buffer: GPUBuffer; readonly direct: boolean };

export const isGpuBuffer = (value: HostArray | GPUBuffer): value is GPUBuffer => !ArrayBuffer.isView(value);
export const bytesOf = ({ element }: Pick<BufferDecl, 'element'>): number =>
  element === 'f64' ? 8 : element === 'f16' ? 2 : 4;
/** Copies and bindings are of whole words. */
export const wholeWords = (bytes: number): number => Math.ceil(bytes / 4) * 4;
export const shapeOf = (decl: BufferDecl, scalars: GpuCall['scalars']): number[] =>
  decl.shape.map((extent: KExpr) => evaluateExtent(extent, scalars));
export const product = (extents: readonly number[]): number =>
  extents.reduce((all, extent) => all * Math.max(0, extent), 1);

/** The error for a tensor that the device cannot bind, whole or in part. */
export function tooLarge(session: GpuSession, what: string, bytes: number, limit: number): TrellisError {
  const mebibytes = (value: number): string => `${(value / 2 ** 20).toFixed(1)} MiB`;
  return new TrellisError(
    'not-supported',
    `${what} takes ${mebibytes(bytes)}, but ${session.name} binds at most ${mebibytes(limit)}; use device 'cpu', or shorter utterances`,
  );
}

/** The array or buffer that the caller gave, checked. @throws Error for one that is missing: the loss module's mistake */
export function operandOf({ program, call, session }: CallState, decl: BufferDecl): Operand {
  const given = call.buffers[decl.name];
  if (given === undefined) throw new Error(`buffer '${decl.name}' of '${program.name}' is missing`);
  const elements = product(shapeOf(decl, call.scalars));
  if (!isGpuBuffer(given)) {
    if (given.length < elements) {
      throw new RangeError(`buffer '${decl.name}' has ${given.length} elements, but its shape needs ${elements}`);
    }
    return { array: given };
  }
  const refuse = (problem: string, allowed: string): InputError =>
    // A gradient is what the caller gave as `grads`.
    new InputError({
      code: 'type',
      argument: decl.role === 'input' ? decl.name : 'grads',
      problem,
      value: given,
      allowed,
    });
  if (decl.element === 'f64') throw refuse('is a GPUBuffer', 'a typed array');
  const bytes = wholeWords(elements * bytesOf(decl));
  if (given.size < bytes) {
    const type = decl.element === 'f16' ? 'float16' : 'float32';
    throw refuse(`is a GPUBuffer of ${given.size} bytes`, `at least ${bytes} bytes (${elements} ${type})`);
  }
  const copy = decl.role === 'input' ? usage.copySource : usage.copyTarget;
  if ((given.usage & (usage.storage | copy)) === 0) {
    const name = decl.role === 'input' ? 'COPY_SRC' : 'COPY_DST';
    throw refuse(`is a GPUBuffer of usage 0x${given.usage.toString(16)}`, `a GPUBuffer with usage STORAGE or ${name}`);
  }
  const shared = Object.entries(call.buffers).some(([name, other]) => name !== decl.name && other === given);
  const direct = (given.usage & usage.storage) !== 0 && bytes <= session.limits.bindingBytes;
  if ((!direct || shared) && (given.usage & copy) === 0) {
    throw refuse(
      'is a GPUBuffer that has to be copied, without the usage for it',
      'a GPUBuffer with COPY_SRC and COPY_DST',
    );
  }
  return { buffer: given, direct: direct && !(shared && decl.role === 'input') };
}
