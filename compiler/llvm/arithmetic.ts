/**
 * Floating-point instructions on one type, a scalar or a vector: what the mathematical functions are written in.
 *
 * No fast-math flags anywhere: infinities and NaN are ordinary values of the language. Polynomials use `llvm.fmuladd`,
 * which is one fused instruction where the machine has it and a product and a sum where it does not.
 */

import { mangled, realLiteral, vectorOf } from './types.js';
import { lanesOf } from './values.js';
import type { FunctionWriter } from './writer.js';

export type Precision = 'f32' | 'f64';

/** Layout of the two formats, and AVX-512's vectors of them with what its intrinsics are called by. */
export const formats = {
  f32: { real: 'float', integer: 'i32', mantissa: 23, bias: 127, wide: { lanes: 16, suffix: 'ps.512' } },
  f64: { real: 'double', integer: 'i64', mantissa: 52, bias: 1023, wide: { lanes: 8, suffix: 'pd.512' } },
} as const;

/** Ordered comparisons but for 'une' (not equal, true on NaN), 'uno' (either is NaN). */
export type Comparison = 'oeq' | 'olt' | 'ole' | 'ogt' | 'oge' | 'une' | 'uno' | 'ugt';

export class Arithmetic {
  readonly writer: FunctionWriter;
  readonly precision: Precision;
  readonly lanes: number;
  readonly real: string;
  readonly integer: string;
  readonly bool: string;

  constructor(writer: FunctionWriter, precision: Precision, lanes: number) {
    this.writer = writer;
    this.precision = precision;
    this.lanes = lanes;
    this.real = vectorOf(formats[precision].real, lanes);
    this.integer = vectorOf(formats[precision].integer, lanes);
    this.bool = vectorOf('i1', lanes);
  }

  /** A real constant in every lane, rounded to the precision. */
  constant(value: number): string {
    const text = realLiteral(this.precision === 'f32' ? Math.fround(value) : value);
    return this.writer.splat(formats[this.precision].real, this.lanes, text);
  }
  integerConstant(value: bigint): string {
    return this.writer.splat(formats[this.precision].integer, this.lanes, String(value));
  }

  add(a: string, b: string, hint = 'sum'): string {
    return this.writer.emit(hint, `fadd ${this.real} ${a}, ${b}`);
  }
  sub(a: string, b: string, hint = 'difference'): string {
    return this.writer.emit(hint, `fsub ${this.real} ${a}, ${b}`);
  }
  mul(a: string, b: string, hint = 'product'): string {
    return this.writer.emit(hint, `fmul ${this.real} ${a}, ${b}`);
  }
  div(a: string, b: string, hint = 'quotient'): string {
    return this.writer.emit(hint, `fdiv ${this.real} ${a}, ${b}`);
  }
  neg(a: string, hint = 'negative'): string {
    return this.writer.emit(hint, `fneg ${this.real} ${a}`);
  }
  /** a * b + c, fused where the machine can. */
  fma(a: string, b: string, c: string, hint = 'fma'): string {
    return this.intrinsic('fmuladd', [a, b, c], hint);
  }
  sqrt(a: string): string {
    return this.intrinsic('sqrt', [a], 'root');
  }
  abs(a: string): string {
    return this.intrinsic('fabs', [a], 'size');
  }
  copysign(size: string, sign: string): string {
    return this.intrinsic('copysign', [size, sign], 'signed');
  }
  compare(op: Comparison, a: string, b: string, hint = 'holds'): string {
    return this.writer.emit(hint, `fcmp ${op} ${this.real} ${a}, ${b}`);
  }
  select(condition: string, yes: string, no: string, hint = 'choice'): string {
    return this.writer.emit(hint, `select ${this.bool} ${condition}, ${this.real} ${yes}, ${this.real} ${no}`);
  }

  /** The bits of a real as an integer, and back. */
  bits(a: string, hint = 'bits'): string {
    return this.writer.emit(hint, `bitcast ${this.real} ${a} to ${this.integer}`);
  }
  fromBits(a: string, hint = 'real'): string {
    return this.writer.emit(hint, `bitcast ${this.integer} ${a} to ${this.real}`);
  }
  integerOp(op: 'add' | 'sub' | 'and' | 'or' | 'shl' | 'lshr', a: string, b: string, hint: string): string {
    return this.writer.emit(hint, `${op} ${this.integer} ${a}, ${b}`);
  }

  /** Whether `scalef` and `lookup` are instructions for these values. */
  get hasScalef(): boolean {
    return this.writer.parts.target.scalef === true && this.lanes === formats[this.precision].wide.lanes;
  }
  /** a * 2^floor(n), for n of any size; also 0 and Infinity for an infinite n, be `a` NaN or not. */
  scalef(a: string, n: string): string {
    const { real, lanes } = this;
    const { suffix } = formats[this.precision].wide;
    const mask = `i${lanes}`;
    const name = `llvm.x86.avx512.mask.scalef.${suffix}`;
    const spelled = this.writer.parts.declare(name, real, [real, real, real, mask, 'i32']);
    // All lanes (-1), rounded as usual (4).
    return this.writer.emit(
      'scaled',
      `call ${real} ${spelled}(${real} ${a}, ${real} ${n}, ${real} ${a}, ${mask} -1, i32 4)`,
    );
  }
  /** In each lane, the constant whose number is in the low bits of `index`, an integer. There are twice as many as lanes. */
  lookup(table: readonly number[], index: string): string {
    const { real, integer, lanes } = this;
    const { real: scalar, wide } = formats[this.precision];
    const name = `llvm.x86.avx512.vpermi2var.${wide.suffix}`;
    const spelled = this.writer.parts.declare(name, real, [real, integer, real]);
    const [low, high] = [0, lanes].map((from) => lanesOf(scalar, lanes, (lane) => realLiteral(table[from + lane]!)));
    return this.writer.emit('found', `call ${real} ${spelled}(${real} ${low}, ${integer} ${index}, ${real} ${high})`);
  }

  /** Coefficients lowest degree first, one after the other: fewest instructions. */
  horner(x: string, coefficients: readonly number[]): string {
    const [last, ...rest] = [...coefficients].reverse();
    let value = this.constant(last!);
    for (const coefficient of rest) value = this.fma(value, x, this.constant(coefficient), 'poly');
    return value;
  }

  /** Coefficients lowest degree first, in pairs of pairs: a few products more, but a short chain of dependences. */
  estrin(x: string, coefficients: readonly number[]): string {
    let terms = coefficients.map((coefficient) => this.constant(coefficient));
    let power = x;
    while (terms.length > 1) {
      const next: string[] = [];
      for (let i = 0; i < terms.length; i += 2) {
        const low = terms[i]!;
        const high = terms[i + 1];
        next.push(high === undefined ? low : this.fma(high, power, low, 'poly'));
      }
      terms = next;
      if (terms.length > 1) power = this.mul(power, power, 'power');
    }
    return terms[0]!;
  }

  /** Short chains where the steps of a recurrence wait for the result (f64), fewest instructions elsewhere. */
  polynomial(x: string, coefficients: readonly number[]): string {
    return this.precision === 'f64' ? this.estrin(x, coefficients) : this.horner(x, coefficients);
  }

  private intrinsic(name: string, args: readonly string[], hint: string): string {
    const spelled = this.writer.parts.declare(
      `llvm.${name}.${mangled(formats[this.precision].real, this.lanes)}`,
      this.real,
      args.map(() => this.real),
    );
    return this.writer.emit(
      hint,
      `call ${this.real} ${spelled}(${args.map((arg) => `${this.real} ${arg}`).join(', ')})`,
    );
  }
}
