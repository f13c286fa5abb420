/**
 * What the WGSL backend takes and gives, and how kernel types and literals are spelled.
 *
 * WGSL has no float64: a kernel's `f64` is a `Double`, a vec2<f32> whose two parts stand for their sum (see double.ts).
 * WGSL may assume that infinities do not exist: inside a kernel +-1e30 stands for +-Infinity (see single.ts).
 */
import type { KExpr, KernelType } from '../kernel/kernel.js';
import { CompilerBug } from '../source.js';

/** What the printed modules may count on. */
export interface WgslTarget {
  /** Whether the device has the feature 'subgroups'. */
  readonly subgroups: boolean;
  /** Invocations of a workgroup: a power of two, at most the device's maxComputeInvocationsPerWorkgroup and ...SizeX. */
  readonly workgroupSize: number;
  /** maxComputeWorkgroupStorageSize of the device, in bytes. */
  readonly maxWorkgroupStorage: number;
  /**
   * Whether an invocation does four neighbours at once where sizes that are compiled in allow it, with memory bound as
   * array<vec4<f32>>; what is bound is the same, down to the byte. Default true.
   */
  readonly vectors?: boolean;
  /** Whether a workgroup does one task of a kernel's grid, even where tasks are short rows. Default false. */
  readonly wholeTasks?: boolean;
  /** maxStorageBuffersPerShaderStage of the device; what WebGPU guarantees, 8, if not given. Decides which kernels may share a module. */
  readonly storageBuffers?: number;
}

/** Storage buffers that every WebGPU adapter lets a kernel bind. */
export const guaranteedStorageBuffers = 8;

/** One kernel, or several of a phase side by side: a module with the entry point `main`, for one dispatch. */
export interface WgslKernel {
  /** Of several, their names joined by `+`. */
  readonly name: string;
  /** A stand-alone WGSL module. */
  readonly code: string;
  /** Invocations of one workgroup, at most the target's. */
  readonly workgroupSize: number;
  /** Of group 0. Binding 0 is the uniform buffer with the launch's scalars and is not listed. A buffer is bound once. */
  readonly bindings: readonly {
    readonly binding: number;
    readonly buffer: string;
    readonly access: 'read' | 'read_write';
  }[];
  /**
   * Extents over scalars; their product is the number of tasks. One workgroup runs one task: workgroup (x, y, z) of a
   * dispatch of X * Y * Z does task taskBase + x + X * (y + Y * z), and nothing if there is no such task. Where rows are short, one
   * of these tasks may be several neighbours along the innermost axis of the kernel's own grid; see abreast.ts.
   */
  readonly grid: readonly KExpr[];
}

/** A scalar's place in the uniform buffer. `f32x2`: a float64 as two float32, see `splitDouble`. */
export interface UniformField {
  readonly name: string;
  readonly type: 'i32' | 'f32x2';
  /** In bytes. */
  readonly offset: number;
}

export interface WgslProgram {
  /** Phases run one after the other, the kernels of one in any order. */
  readonly phases: readonly (readonly WgslKernel[])[];
  /** The program's scalars. Bytes of the buffer that belong to no field must be 0. */
  readonly uniform: readonly UniformField[];
  /** Where the i32 `taskBase` lies in the uniform buffer, in bytes: number of the task of workgroup (0, 0, 0). */
  readonly taskBase: number;
  readonly uniformBytes: number;
}

/** Stands for +Infinity inside kernels, as a float32. */
export const infinite = Math.fround(1e30);
/** Magnitudes from here on count as infinite. */
export const huge = Math.fround(5e29);

/** The type of a value in a function. */
export const valueType: Record<KernelType, string> = { f32: 'f32', f64: 'Double', index: 'i32', bool: 'bool' };

/** The type of four neighbours' values. */
export function vectorType(type: KernelType): string {
  if (type === 'f64') throw new CompilerBug('wgsl', 'f64 comes one at a time');
  return `vec4<${valueType[type]}>`;
}

/**
 * The two float32 parts that stand for a float64 on the GPU, high + low. About 48 bits of precision and float32's range:
 * magnitudes from 5e29 on count as infinite. NaN gives [NaN, 0].
 */
export function splitDouble(value: number): [high: number, low: number] {
  if (Math.abs(value) >= huge) return [value > 0 ? infinite : -infinite, 0];
  const high = Math.fround(value);
  return [high, Number.isNaN(value) ? 0 : Math.fround(value - high)];
}

/** What the two parts stand for: the inverse of `splitDouble`, with infinities where kernels mean them. */
export function joinDouble(high: number, low: number): number {
  if (Math.abs(high) >= huge) return high > 0 ? Number.POSITIVE_INFINITY : Number.NEGATIVE_INFINITY;
  return high + low;
}

/** A literal of a kernel type, with constants of single.ts for infinities. */
export function literal(type: KernelType, value: number): string {
  switch (type) {
    case 'bool':
      return value !== 0 ? 'true' : 'false';
    case 'index':
      if (!Number.isInteger(value) || Math.abs(value) >= 2 ** 31)
        throw new CompilerBug('wgsl', `index constant ${value} does not fit an i32`);
      return String(value);
    case 'f32':
      return singleLiteral(value);
    case 'f64': {
      if (!Number.isFinite(value)) return `Double(${singleLiteral(value)}, 0.0)`;
      const [high, low] = splitDouble(value);
      return `Double(${singleLiteral(high)}, ${singleLiteral(low)})`;
    }
  }
}

/** The shortest decimal that is this float32. */
export function singleLiteral(value: number): string {
  if (Number.isNaN(value)) throw new CompilerBug('wgsl', 'NaN has no literal');
  if (Math.abs(value) >= huge) return value > 0 ? 'INFINITE' : '-INFINITE';
  const single = Math.fround(value);
  if (Number.isInteger(single) && Math.abs(single) < 1e6) return `${Object.is(single, -0) ? '-0' : single}.0`;
  for (let digits = 1; digits <= 9; digits++) {
    const text = String(Number(single.toPrecision(digits)));
    if (Math.fround(Number(text)) === single) return /[.e]/.test(text) ? text : `${text}.0`;
  }
  return String(single);
}
