/**
 * How kernel types, literals and names are spelled in LLVM IR.
 */

import type { ElementType, KernelType } from '../kernel/kernel.js';
import { CompilerBug } from '../source.js';

/** Instructions for conversions of 16-bit reals. */
export interface HalfInstructions {
  /** Between float16 and float32: F16C, any ARM64. */
  readonly float16: boolean;
  /** From float32 to bfloat16: AVX512-BF16. It may take subnormal numbers for 0. The other way needs none. */
  readonly bfloat16: boolean;
}

/** What the printed module is for. */
export interface LlvmTarget {
  /** Width of the vector registers to fill: 128 (SSE, NEON), 256 (AVX2) or 512 (AVX-512). */
  readonly vectorBits: 128 | 256 | 512;
  /** Which conversions of 16-bit reals the machine has instructions for; default: none, all by integer arithmetic. */
  readonly halves?: HalfInstructions;
  /** Whether it has AVX-512's `vscalefps` and `vscalefpd`; default: no. */
  readonly scalef?: boolean;
  /** Printed as `target triple` if given; whoever compiles the text usually sets it. */
  readonly triple?: string;
  /** Printed as `target datalayout` if given. */
  readonly dataLayout?: string;
}

/** Registers hold kernel types; memory also holds i32. */
export const registerType: Record<KernelType, string> = { f32: 'float', f64: 'double', index: 'i64', bool: 'i1' };
/** 16-bit reals are integers until they are in registers; see half.ts. */
export const memoryType: Record<ElementType, string> = {
  f32: 'float',
  f64: 'double',
  i32: 'i32',
  f16: 'i16',
  bf16: 'i16',
};
export const elementBytes: Record<ElementType, number> = { f32: 4, f64: 8, i32: 4, f16: 2, bf16: 2 };

/** `lanes` 0 is a scalar: 'float', '<16 x float>'. */
export function vectorOf(scalar: string, lanes: number): string {
  return lanes === 0 ? scalar : `<${lanes} x ${scalar}>`;
}

/** The part of an intrinsic's name that says the type: 'f32', 'v16f32', 'i64', 'v8i64'. */
export function mangled(scalar: string, lanes: number): string {
  const short = scalar === 'float' ? 'f32' : scalar === 'double' ? 'f64' : scalar;
  return lanes === 0 ? short : `v${lanes}${short}`;
}

/**
 * A floating-point literal. Decimal where that is exact (LLVM refuses decimals that are not), otherwise the bits of the
 * value as a double, which is also how `float` literals are written. The caller has rounded `value` to f32 if it is one.
 */
export function realLiteral(value: number): string {
  if (Number.isFinite(value) && !Object.is(value, -0) && Math.abs(value) < 1e6 && Number.isInteger(value * 16)) {
    return Number.isInteger(value) ? `${value}.0` : String(value);
  }
  const view = new DataView(new ArrayBuffer(8));
  view.setFloat64(0, value);
  return `0x${view.getBigUint64(0).toString(16).toUpperCase().padStart(16, '0')}`;
}

/** A literal of a kernel type. */
export function literal(type: KernelType, value: number): string {
  switch (type) {
    case 'f32':
      return realLiteral(Math.fround(value));
    case 'f64':
      return realLiteral(value);
    case 'bool':
      return value !== 0 ? 'true' : 'false';
    case 'index':
      if (!Number.isSafeInteger(value)) throw new CompilerBug('llvm', `index constant ${value} is not a safe integer`);
      return String(value);
  }
}

/** `name` as an identifier after % or @, quoted and escaped where LLVM needs it. */
export function identifier(name: string): string {
  if (/^[A-Za-z$._-][A-Za-z0-9$._-]*$/.test(name)) return name;
  const bytes = new TextEncoder().encode(name);
  const escaped = [...bytes].map((byte) => {
    const plain = byte >= 0x20 && byte < 0x7f && byte !== 0x22 && byte !== 0x5c;
    return plain ? String.fromCharCode(byte) : `\\${byte.toString(16).toUpperCase().padStart(2, '0')}`;
  });
  return `"${escaped.join('')}"`;
}

/** Text that is safe behind ';': one line, no control characters. */
export function commentText(text: string): string[] {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is being removed
  return text.split(/\r\n|\r|\n/).map((line) => line.replace(/[\u0000-\u001f\u007f]/g, ' ').trimEnd());
}
