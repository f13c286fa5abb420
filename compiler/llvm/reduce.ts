/**
 * Running reductions: neutral elements, combining two partial results, and combining the lanes of a vector.
 * The order is fixed by the code alone, so two runs give the same bits.
 */
import type { KReduce } from '../kernel/kernel.js';
import { Arithmetic } from './arithmetic.js';
import { defineInline, emitPrimitive } from './math.js';
import { literal, mangled, registerType, vectorOf } from './types.js';
import { lanesOf } from './values.js';
import type { FunctionWriter } from './writer.js';

type Reduction = Pick<KReduce, 'op' | 'type' | 'passesNaN'>;

const neutral = { sum: 0, max: Number.NEGATIVE_INFINITY, min: Number.POSITIVE_INFINITY } as const;
const combining = { sum: 'add', max: 'max', min: 'min' } as const;

/** The neutral element, in every lane. */
export function neutralOf(writer: FunctionWriter, reduction: Reduction, lanes: number): string {
  return writer.splat(registerType[reduction.type], lanes, literal(reduction.type, neutral[reduction.op]));
}

/**
 * What leaves every partial result as it is, in every lane. For sums that is -0, because of 0 + -0. It also keeps LLVM from making a slow
 * shuffle of a choice between values and 0 whose mask is constant.
 */
export function idleOf(writer: FunctionWriter, reduction: Reduction, lanes: number): string {
  const value = reduction.op === 'sum' ? -0 : neutral[reduction.op];
  return writer.splat(registerType[reduction.type], lanes, literal(reduction.type, value));
}

/** Two partial results become one. NaN in either gives NaN, unless the reduction passes over it: then `b` may be NaN, `a` is none. */
export function combine(writer: FunctionWriter, reduction: Reduction, lanes: number, a: string, b: string): string {
  if (reduction.passesNaN) {
    // One instruction on x86, and on others no more than what has to look for NaN.
    const m = new Arithmetic(writer, reduction.type === 'f32' ? 'f32' : 'f64', lanes);
    return m.select(m.compare(reduction.op === 'max' ? 'ogt' : 'olt', b, a), b, a, reduction.op);
  }
  return emitPrimitive(writer, combining[reduction.op], reduction.type, lanes, [a, b]);
}

/** Several partial results become one, neighbours first. */
export function combineAll(
  writer: FunctionWriter,
  reduction: Reduction,
  lanes: number,
  values: readonly string[],
): string {
  if (values.length === 1) return values[0]!;
  const half = Math.ceil(values.length / 2);
  const left = combineAll(writer, reduction, lanes, values.slice(0, half));
  return combine(writer, reduction, lanes, left, combineAll(writer, reduction, lanes, values.slice(half)));
}

/** All lanes of a vector become one scalar: the upper half with the lower half, down to one lane. */
export function combineLanes(writer: FunctionWriter, reduction: Reduction, lanes: number, value: string): string {
  const scalar = registerType[reduction.type];
  const vector = vectorOf(scalar, lanes);
  const symbol = `across.${reduction.op}${reduction.passesNaN ? '.bare' : ''}.${mangled(scalar, lanes)}`;
  const called = writer.parts.define(symbol, () =>
    defineInline(writer.parts, symbol, scalar, ['x'], vector, (inner) => {
      let rest = '%x';
      for (let count = lanes; count > 2; count /= 2) {
        const whole = vectorOf(scalar, count);
        const part = (from: number) => {
          const picked = lanesOf('i32', count / 2, (lane) => String(from + lane));
          const mask = vectorOf('i32', count / 2);
          return inner.emit('half', `shufflevector ${whole} ${rest}, ${whole} poison, ${mask} ${picked}`);
        };
        const [low, high] = [part(0), part(count / 2)];
        rest = combine(inner, reduction, count / 2, low, high);
      }
      const [low, high] = [0, 1].map((lane) =>
        inner.emit('lane', `extractelement ${vectorOf(scalar, 2)} ${rest}, i64 ${lane}`),
      ) as [string, string];
      return combine(inner, reduction, 0, low, high);
    }),
  );
  return writer.emit('total', `call ${scalar} ${called}(${vector} ${value})`);
}
