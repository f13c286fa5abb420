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
  // The new value first: it is looked at for NaN, which then does not hold up the chain of partial results.
  return emitPrimitive(writer, combining[reduction.op], reduction.type, lanes, [b, a]);
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

/** Rows whose lanes are combined at once: a vector of four sums takes hardly more than one sum does. */
export const ROWS = 4;

/** Lanes among which neighbours are combined first, and then pairs of neighbours; of longer vectors, halves follow. */
const GROUP = 4;

/**
 * All lanes of a vector become one scalar: neighbours, pairs of neighbours, then the upper half with the lower half. The order is
 * that of `combineRows`, so a row comes to the same bits by itself and beside others.
 */
export function combineLanes(writer: FunctionWriter, reduction: Reduction, lanes: number, value: string): string {
  const scalar = registerType[reduction.type];
  const vector = vectorOf(scalar, lanes);
  const symbol = `across.${suffix(reduction, lanes)}`;
  const called = writer.parts.define(symbol, () =>
    defineInline(writer.parts, symbol, scalar, ['x'], vector, (inner) => {
      let rest = '%x';
      for (let distance = 1; distance < Math.min(lanes, GROUP); distance *= 2) {
        const other = shuffle(inner, vector, rest, rest, lanes, (lane) => lane ^ distance);
        rest = combine(inner, reduction, lanes, rest, other);
      }
      const group = combineHalves(inner, reduction, lanes, rest);
      return inner.emit('lane', `extractelement ${vectorOf(scalar, Math.min(lanes, GROUP))} ${group}, i64 0`);
    }),
  );
  return writer.emit('total', `call ${scalar} ${called}(${vector} ${value})`);
}

/** The lanes of each of four vectors become one scalar; returns the vector of the four. */
export function combineRows(
  writer: FunctionWriter,
  reduction: Reduction,
  lanes: number,
  values: readonly string[],
): string {
  const scalar = registerType[reduction.type];
  const vector = vectorOf(scalar, lanes);
  const result = vectorOf(scalar, ROWS);
  const symbol = `abreast.${suffix(reduction, lanes)}`;
  const names = ['a', 'b', 'c', 'd'];
  const called = writer.parts.define(symbol, () =>
    defineInline(writer.parts, symbol, result, names, vector, (inner) => {
      const group = Math.min(lanes, GROUP);
      /** Combines neighbours of a and of b; in each group those of a are first. That is one shuffle for each of two neighbours. */
      const neighbours = (a: string, b: string): string => {
        const [even, odd] = [0, 1].map((which) =>
          shuffle(inner, vector, a, b, lanes, (lane) => {
            const place = lane % group;
            const ofB = place >= group / 2;
            return (ofB ? lanes : 0) + lane - place + ((2 * place) % group) + which;
          }),
        ) as [string, string];
        return combine(inner, reduction, lanes, even, odd);
      };
      const [ab, cd] = [neighbours('%a', '%b'), neighbours('%c', '%d')];
      if (lanes < GROUP) return shuffle(inner, vector, ab, cd, ROWS, (lane) => lane);
      return combineHalves(inner, reduction, lanes, neighbours(ab, cd));
    }),
  );
  return writer.emit('totals', `call ${result} ${called}(${values.map((value) => `${vector} ${value}`).join(', ')})`);
}

/** The upper half with the lower half, down to one group. */
function combineHalves(writer: FunctionWriter, reduction: Reduction, lanes: number, value: string): string {
  let rest = value;
  for (let count = lanes; count > GROUP; count /= 2) {
    const whole = vectorOf(registerType[reduction.type], count);
    const [low, high] = [0, count / 2].map((from) =>
      shuffle(writer, whole, rest, rest, count / 2, (lane) => from + lane),
    ) as [string, string];
    rest = combine(writer, reduction, count / 2, low, high);
  }
  return rest;
}

/** `count` lanes out of those of `a` and then those of `b`. */
function shuffle(
  writer: FunctionWriter,
  vector: string,
  a: string,
  b: string,
  count: number,
  from: (lane: number) => number,
): string {
  const picked = lanesOf('i32', count, (lane) => String(from(lane)));
  return writer.emit('picked', `shufflevector ${vector} ${a}, ${vector} ${b}, ${vectorOf('i32', count)} ${picked}`);
}

function suffix({ op, type, passesNaN }: Reduction, lanes: number): string {
  return `${op}${passesNaN ? '.bare' : ''}.${mangled(registerType[type], lanes)}`;
}
