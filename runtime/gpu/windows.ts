/**
 * Windows onto large buffers: an utterance whose tensor no binding holds is worked on some tasks of a kernel's grid at a time,
 * with only the part of the tensor bound that those tasks touch.
 *
 * `withWindows` makes every index into such a buffer relative to the window's first element, a new scalar. Which part
 * tasks touch is found by following the kernel's index expressions with intervals, at the time of the call.
 */
import * as k from '../../compiler/kernel/build.js';
import type { KExpr, Kernel, KernelProgram, KStmt } from '../../compiler/kernel/kernel.js';

/** Closed interval of integers. */
export interface Interval {
  readonly low: number;
  readonly high: number;
}

/** Scalar that holds the index of the first element that is bound of a buffer. */
export const windowStart = (buffer: string): string => `from_${buffer}`;

/** Buffers that can get a window: tensors of the caller's. Fields between kernels are far smaller, and skewed. */
export const canHaveWindow = ({ role, shape }: KernelProgram['buffers'][number]): boolean =>
  role !== 'scratch' && shape.length > 2;

/** The program with indices relative to windows. */
export function withWindows(program: KernelProgram): KernelProgram {
  const names = new Set(program.buffers.filter(canHaveWindow).map(({ name }) => name));
  const shift = (buffer: string, index: KExpr): KExpr =>
    names.has(buffer) ? k.sub(index, k.scalar(windowStart(buffer), 'index')) : index;
  const expr = (e: KExpr): KExpr => {
    switch (e.op) {
      case 'const':
      case 'var':
      case 'scalar':
        return e;
      case 'load':
        return { ...e, index: shift(e.buffer, expr(e.index)), ...(e.mask && { mask: expr(e.mask) }) };
      case 'cast':
        return { ...e, arg: expr(e.arg) };
      default:
        return { ...e, args: e.args.map(expr) } as KExpr;
    }
  };
  const stmt = (s: KStmt): KStmt => {
    switch (s.kind) {
      case 'comment':
        return s;
      case 'let':
        return { ...s, value: expr(s.value) };
      case 'store':
        return { ...s, index: shift(s.buffer, expr(s.index)), value: expr(s.value) };
      case 'prefetch':
        return { ...s, index: shift(s.buffer, expr(s.index)) };
      case 'loop':
        return {
          ...s,
          from: expr(s.from),
          to: expr(s.to),
          body: s.body.map(stmt),
          reduce: s.reduce.map((each) => ({ ...each, value: expr(each.value) })),
        };
      case 'if':
        // biome-ignore lint/suspicious/noThenProperty: the arm of a branch; no kernel is ever awaited
        return { ...s, condition: expr(s.condition), then: s.then.map(stmt), otherwise: s.otherwise.map(stmt) };
    }
  };
  return {
    ...program,
    scalars: [
      ...program.scalars,
      ...[...names].map((name) => ({ name: windowStart(name), type: 'index' as const, role: 'size' as const })),
    ],
    phases: program.phases.map((phase) => phase.map((kernel) => ({ ...kernel, body: kernel.body.map(stmt) }))),
  };
}

export interface TouchContext {
  readonly scalars: Readonly<Record<string, number>>;
  /** The utterance's part of each i32 input. */
  readonly ints: Readonly<Record<string, ArrayLike<number>>>;
}

const anything: Interval = { low: Number.NEGATIVE_INFINITY, high: Number.POSITIVE_INFINITY };
const hull = (a: Interval, b: Interval): Interval => ({ low: Math.min(a.low, b.low), high: Math.max(a.high, b.high) });
const point = (value: number): Interval => ({ low: value, high: value });

/** 0 * Infinity is 0 here: the bound of a product with an extent of zero. */
const times = (a: number, b: number): number => (a === 0 || b === 0 ? 0 : a * b);

/**
 * The elements of each of `buffers` that tasks [begin, end) of a kernel can touch: a superset, exact where each variable
 * occurs once in an index. Of a program *without* windows.
 * @param extents of the kernel's grid
 */
export function touchedBy(
  kernel: Kernel,
  extents: readonly number[],
  begin: number,
  end: number,
  buffers: ReadonlySet<string>,
  { scalars, ints }: TouchContext,
): Map<string, Interval> {
  const touched = new Map<string, Interval>();
  const values = new Map<string, Interval>();
  for (const [axis, interval] of gridIntervals(extents, begin, end).entries()) {
    values.set(kernel.grid[axis]!.variable, interval);
  }

  const touch = (buffer: string, index: Interval): void => {
    if (!buffers.has(buffer) || index.low > index.high) return;
    const before = touched.get(buffer);
    touched.set(buffer, before === undefined ? index : hull(before, index));
  };
  /** The interval of an integer; of reals and truths only the loads within are looked at. */
  const visit = (e: KExpr): Interval => {
    switch (e.op) {
      case 'const':
        return point(e.value);
      case 'scalar':
        return e.type === 'index' ? point(scalars[e.name]!) : anything;
      case 'var':
        return values.get(e.name) ?? anything;
      case 'load': {
        if (e.mask !== undefined) visit(e.mask);
        const index = visit(e.index);
        touch(e.buffer, index);
        if (e.type !== 'index') return anything;
        const stored = valuesIn(ints[e.buffer], index);
        const other = point(e.other ?? 0);
        if (stored === undefined) return other;
        return e.mask === undefined ? stored : hull(stored, other);
      }
      case 'cast':
        visit(e.arg);
        return anything;
      case 'select': {
        visit(e.args[0]);
        return hull(visit(e.args[1]), visit(e.args[2]));
      }
      case 'index':
        return combine(e.name, visit(e.args[0]), visit(e.args[1]));
      default:
        for (const arg of e.args) visit(arg);
        return anything;
    }
  };
  const run = (body: readonly KStmt[]): void => {
    for (const s of body) {
      switch (s.kind) {
        case 'comment':
          break;
        case 'let':
          values.set(s.name, visit(s.value));
          break;
        case 'store':
          visit(s.value);
          touch(s.buffer, visit(s.index));
          break;
        case 'loop': {
          const from = visit(s.from);
          const to = visit(s.to);
          if (from.low >= to.high) break;
          values.set(s.variable, { low: from.low, high: to.high - 1 });
          run(s.body);
          for (const { value } of s.reduce) visit(value);
          break;
        }
        case 'if':
          visit(s.condition);
          run(s.then);
          run(s.otherwise);
          break;
      }
    }
  };
  run(kernel.body);
  return touched;
}

/** Least and greatest of the elements at some indices; undefined where there are none. */
function valuesIn(array: ArrayLike<number> | undefined, { low, high }: Interval): Interval | undefined {
  let values: Interval | undefined;
  const last = Math.min(high, (array?.length ?? 0) - 1);
  for (let i = Math.max(0, low); i <= last; i++) {
    const value = point(array![i]!);
    values = values === undefined ? value : hull(values, value);
  }
  return values;
}

/** Intervals of the grid's variables over a range of tasks numbered row-major. */
function gridIntervals(extents: readonly number[], begin: number, end: number): Interval[] {
  const intervals: Interval[] = [];
  let [first, last] = [begin, end - 1];
  for (let axis = extents.length - 1; axis >= 0; axis--) {
    const extent = extents[axis]!;
    const [firstRow, lastRow] = [Math.floor(first / extent), Math.floor(last / extent)];
    // Within one row the axis runs from first to last; over several rows it takes every value.
    intervals.unshift(
      firstRow === lastRow ? { low: first % extent, high: last % extent } : { low: 0, high: extent - 1 },
    );
    [first, last] = [firstRow, lastRow];
  }
  return intervals;
}

function combine(name: (KExpr & { op: 'index' })['name'], a: Interval, b: Interval): Interval {
  switch (name) {
    case 'add':
      return { low: a.low + b.low, high: a.high + b.high };
    case 'sub':
      return { low: a.low - b.high, high: a.high - b.low };
    case 'mul': {
      const products = [times(a.low, b.low), times(a.low, b.high), times(a.high, b.low), times(a.high, b.high)];
      return { low: Math.min(...products), high: Math.max(...products) };
    }
    case 'div':
      return { low: Math.floor(a.low / b.high), high: Math.floor(a.high / Math.max(1, b.low)) };
    case 'mod':
      return a.low >= 0 && a.high < b.low ? a : { low: 0, high: b.high - 1 };
    case 'min':
      return { low: Math.min(a.low, b.low), high: Math.min(a.high, b.high) };
    case 'max':
      return { low: Math.max(a.low, b.low), high: Math.max(a.high, b.high) };
  }
}
