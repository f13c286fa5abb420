/** Measuring errors in units in the last place, and programs that apply one primitive to arrays. */
import type { KExpr, KernelProgram, KStmt } from '../../compiler/kernel/kernel.js';
import { type PrimitiveName, primitives } from '../../dsl/primitives.js';
import * as k from '../kernel/helpers.js';
import { type BufferArray, compileNative, type Native } from './run.js';

export type Precision = 'f32' | 'f64';
const formats = { f32: { digits: 23, least: -126 }, f64: { digits: 52, least: -1022 } } as const;

const real = new Float64Array(1);
const words = new Uint32Array(real.buffer);

/** Distance of neighbouring numbers of the format around `x`; that of the least normal number below it. */
export function ulpOf(precision: Precision, x: number): number {
  real[0] = x;
  const exponent = ((words[1]! >>> 20) & 0x7ff) - 1023;
  const { digits, least } = formats[precision];
  return 2 ** (Math.max(exponent, least) - digits);
}

/** Least positive normal number. */
export const leastNormal = { f32: 2 ** -126, f64: 2 ** -1022 } as const;

/**
 * Error in ulp of the exact result; Infinity where one is NaN or infinite and the other is not. 0 is accepted for results
 * below the normal range. `scale`: a magnitude whose ulp counts if it is larger than the result's.
 */
export function ulpError(precision: Precision, got: number, exact: number, scale = 0): number {
  if (Object.is(got, exact) || got === exact) return 0;
  const rounded = precision === 'f32' ? Math.fround(exact) : exact;
  if (got === rounded)
    return precision === 'f32' && Number.isFinite(got) ? Math.abs(got - exact) / ulpOf(precision, exact) : 0;
  if (got === 0 && Math.abs(exact) <= leastNormal[precision]) return 0;
  if (!Number.isFinite(got) || !Number.isFinite(rounded)) return Number.POSITIVE_INFINITY;
  return Math.abs(got - exact) / ulpOf(precision, Math.max(Math.abs(exact), scale));
}

const names = Object.keys(primitives) as PrimitiveName[];

/** Kernels `<name>_lanes`, one row of n, and `<name>_scalar`, n cells: out(i) = name(a(i), b(i)). */
export function primitiveProgram(precision: Precision): KernelProgram {
  const { v, size, i } = k;
  const apply = (name: PrimitiveName): KExpr => {
    const args = [k.load('a', precision, v('i')), k.load('b', precision, v('i'))];
    return k.prim(precision, name, ...args.slice(0, primitives[name].arity));
  };
  const body = (name: PrimitiveName): KStmt => k.store('out', v('i'), apply(name));
  return k.program(
    k.sizes('n'),
    [
      k.buffer('input', 'a', precision, size('n')),
      k.buffer('input', 'b', precision, size('n')),
      k.buffer('output', 'out', precision, size('n')),
    ],
    names.flatMap((name) => [
      k.kernel(`${name}_lanes`, { one: i(1) }, [k.lanes('i', k.to(size('n')), [body(name)], { precision })]),
      k.kernel(`${name}_scalar`, { i: size('n') }, [body(name)]),
    ]),
  );
}

export class PrimitiveRunner {
  readonly precision: Precision;
  readonly #native: Native;
  constructor(precision: Precision, ...rest: [vectorBits: 128 | 256 | 512, jit?: Parameters<typeof compileNative>[2]]) {
    this.precision = precision;
    this.#native = compileNative(primitiveProgram(precision), ...rest);
  }
  /** The primitive of all samples, rounded to the precision first; `scalar` uses the scalar code. */
  apply(name: PrimitiveName, a: BufferArray, b: BufferArray = a, scalar = false): BufferArray {
    const out = this.precision === 'f32' ? new Float32Array(a.length) : new Float64Array(a.length);
    const buffers = new Map<string, BufferArray>([
      ['a', a],
      ['b', b],
      ['out', out],
    ]);
    const run = this.#native.bind(buffers, new Map([['n', a.length]]));
    if (scalar) run(`${name}_scalar`, 0, a.length);
    else run(`${name}_lanes`, 0, 1);
    return out;
  }
}

/** Deterministic numbers in [0, 1). */
export function randomNumbers(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let x = Math.imul(state ^ (state >>> 15), state | 1);
    x ^= x + Math.imul(x ^ (x >>> 7), x | 61);
    return ((x ^ (x >>> 14)) >>> 0) / 2 ** 32;
  };
}
