/** Kernels that write rows, in blocks: see blocks.ts. */
import { collect, freeIndices, readsIn } from '../graph/free.js';
import type { Expr, IndexRef, ReadExpr, ReduceExpr } from '../graph/graph.js';
import * as k from '../kernel/build.js';
import { Affine } from './affine.js';
import {
  inBlocks,
  isDiagonal,
  LONG,
  Local,
  overLines,
  overPatch,
  overRows,
  ROWS,
  type Rows,
  STAGED,
  slotOf,
  slotsOf,
  whole,
} from './blocks.js';
import { contains, type Point, pickedFrom, rowValues, takeApart, withRowSums } from './elements.js';
import type { Equation } from './equations.js';
import type { BlockedOutput, Scene, Target } from './kernels.js';
import { wholeElement } from './long.js';
import { type Ahead, inNextLine, lanePrecision, mayBeLong, type ProgramContext } from './lower.js';
import type { Ranges } from './ranges.js';
import type { Block, Value } from './writer.js';

/** Long rows are worked on in parts of about so many elements: reading and writing are then well mixed. */
const PART = 1024;
/** Elements in a cache line; parts of a row begin at multiples of it. */
const LINE = 16;

/** How an output's rows are written in blocks; undefined if they are not of that kind. */
export function blockedWriting(equation: Equation, context: ProgramContext, ranges: Ranges): BlockedOutput | undefined {
  const rank = equation.axes.length;
  const axis = rank - 2;
  const width = equation.domain[rank - 1];
  if (!context.blocks || axis < 0 || !width || Object.keys(width.terms).length > 0) return undefined;
  const V = width.constant;
  const [row, element] = equation.axes.slice(-2) as [IndexRef, IndexRef];
  if (V < 1) return undefined;
  if (axis === 0) return singleRow(equation, V, context);
  if (collect(equation.body, (expr): expr is ReduceExpr => expr.op === 'reduce').length > 0) return undefined;

  const { sum, dense: elements, points } = takeApart(equation.body, element, row, context.builder);
  // Elements of stored values are worked on in float64, and those few that are singled out are put right in float32.
  if (elements && lanePrecision([equation.body], element, context) !== 'f32') return undefined;
  const rewritten = elements && withRowSums(elements, row, element, context.builder);
  const dense = rewritten?.expr;
  const sums = new Set(rewritten?.sums);
  const roots = [...(dense ? [dense] : []), ...points.map(({ value }) => value)];
  // On long paths what is singled out is a small difference, which a correction in float32 would blur.
  const outer = equation.domain.slice(0, -1);
  const wholes = new Map(
    (elements && mayBeLong(outer, context) ? points : []).map((point) => [
      point,
      wholeElement(point, sum, equation, context),
    ]),
  );
  const valuesOf = (expressions: readonly Expr[]): Expr[] => [
    ...new Set(expressions.flatMap((root) => rowValues(root, row, element))),
  ];
  const long = V >= LONG;
  // Values of the rows go along the diagonals of a tile where what they are made of is stored so, and read there.
  const alongDiagonals = ({ source, indices }: ReadExpr): boolean =>
    isDiagonal(context.layouts.get(source)) && indices.every((at, i) => ranges.follows(at, equation.axes[i]!));
  const tiled =
    axis === 1 && !long && valuesOf([...roots, ...wholes.values()]).some((expr) => readsIn(expr).some(alongDiagonals));
  const staged = Math.min(ROWS, Math.floor(STAGED / V));
  const partWidth = Math.ceil(V / Math.ceil(V / PART) / LINE) * LINE;

  const write = (scene: Scene, block: Block, at: readonly Value[], output: Target, lines?: Rows): void => {
    const { writer, lower } = scene;
    for (const root of [...roots, ...wholes.values()]) lower.prepare(root);
    const exact = wholes.size > 0 ? lower.pathsAre(true, outer) : undefined;
    const local = (name: string): Local => new Local(scene, context, name, 'f32', slotsOf(tiled));
    /** Of each point its whole element or, on other paths, what is to be added. */
    const amounts = new Map([...wholes.keys()].map((point) => [point, local('amount')]));
    const corrections = exact ? [] : points.map(({ value }) => value);
    const perRow = valuesOf([...(dense ? [dense] : []), ...corrections]);
    /** What the rows' values are kept in: one number, or two for a value that goes into sums with elements. */
    const kept = new Map<Expr, Local[]>();
    const stage = new Local(scene, context, equation.name, 'f32', long ? partWidth : staged * V);
    const give = (within: Block, slot: Affine, wanted: readonly Expr[]): void => {
      for (const expr of valuesOf(wanted)) {
        const [first, second] = kept.get(expr)!.map((local) => local.load(within, writer.index(slot), local.value));
        if (second) lower.givenSplit(expr, { high: first!, low: second }, within);
        else lower.given(expr, first!, within);
      }
    };
    const keep = (expr: Expr, within: Block, slot: Affine): void => {
      const value = lower.real(expr, within);
      const split = sums.has(expr) && value.type === 'f64' ? lower.split(value) : undefined;
      const parts = split ? [split.high, split.low] : [value];
      if (!kept.has(expr))
        kept.set(
          expr,
          parts.map((part) => local(part.name)),
        );
      for (const [i, part] of parts.entries()) kept.get(expr)![i]!.store(within, writer.index(slot), part);
    };
    /** What is to be done about points in a row, given all it takes. */
    const correctAt = (within: Block, slot: Affine, span: Span, whole: boolean): void => {
      give(within, slot, corrections);
      for (const point of points) {
        const amount = amounts.get(point)?.load(within, writer.index(slot), 'amount');
        correct(scene, within, point, stage, span, amount, whole);
      }
    };
    /** The whole element of a point. What it takes of a row that is all zeros is not read. */
    const elementOf = (point: Point, within: Block): Value => {
      const all = wholes.get(point)!;
      const picks = pickedFrom({ ...equation, axes: equation.axes.slice(0, -1), body: all }, context.graph);
      const zero = picks.length > 0 && zeroRow(scene, dense, element, within);
      const occupied = zero ? writer.combine((x) => k.not(x), [zero], 'occupied') : undefined;
      for (const pick of picks) lower.given(pick, lower.read(pick, within, occupied), within);
      return lower.real(all, within);
    };
    /** Writes what differs between long paths, where points have their whole elements, and others. */
    const eitherWay = (within: Block, write: (body: Block, whole: boolean) => void): void => {
      if (!exact) write(within, false);
      else
        writer.branch(
          within,
          exact,
          (body) => write(body, true),
          (body) => write(body, false),
        );
    };

    inBlocks(scene, block, whole(scene, lower.size(equation.domain[axis]!)), ROWS, (body, rows) => {
      const overAll = (block: Block, whole: boolean): void =>
        overPatch(scene, block, { rows, lines }, [equation], axis, context.lattice, (within, slot) => {
          for (const expr of perRow) keep(expr, within, slot);
          for (const [point, amount] of amounts)
            amount.store(
              within,
              writer.index(slot),
              whole ? elementOf(point, within) : lower.real(point.value, within),
            );
        });
      if (perRow.length + amounts.size > 0) eitherWay(body, overAll);
      overLines(scene, body, lines, [equation], axis - 1, (lineBody, line) => {
        const place = lines ? [...at, writer.index(lines.first.plus(line))] : at;
        const slotIn = (number: Affine): Affine => slotOf(tiled, number, line);
        const startOf = (first: Affine): Value =>
          output.address([...place, writer.index(first), writer.constant(k.index(0))]);
        if (long)
          overRows(scene, lineBody, rows, [equation], axis, undefined, (within, number) => {
            if (dense) give(within, slotIn(number), [dense]);
            const start = startOf(rows.first.plus(number));
            fetchEdges(scene, within, equation, start, writer.constant(k.index(V)));
            inParts(scene, within, V, partWidth, (part, span) => {
              writeDense(scene, part, equation, dense, stage, span);
              eitherWay(part, (body, whole) => correctAt(body, slotIn(number), span, whole));
              const run = {
                start: writer.combine((x, y) => k.add(x, y), [start, writer.index(span.first)], 'at'),
                count: span.count,
              };
              writeOut(scene, part, equation, sum, stage, run, output);
            });
          });
        else
          inBlocks(scene, lineBody, rows, staged, (part, few, before) => {
            const start = startOf(few.first);
            const count = writer.combine((n) => k.mul(n, k.index(V)), [few.count], 'elements');
            fetchEdges(scene, part, equation, start, count);
            const spanOf = (number: Affine): Span => ({
              at: number.times(V),
              first: Affine.zero,
              last: Affine.constant(V - 1),
              count: writer.constant(k.index(V)),
            });
            overRows(scene, part, few, [equation], axis, undefined, (within, number) => {
              give(within, slotIn(before.plus(number)), dense ? [dense] : []);
              writeDense(scene, within, equation, dense, stage, spanOf(number), lines && inNextLine(line, number));
            });
            if (points.length > 0)
              eitherWay(part, (body, whole) =>
                overRows(scene, body, few, [equation], axis, undefined, (within, number) =>
                  correctAt(within, slotIn(before.plus(number)), spanOf(number), whole),
                ),
              );
            writeOut(scene, part, equation, sum, stage, { start, count }, output);
          });
      });
    });
  };
  return { tiled, write };
}

/**
 * How rows of an output of two axes are written, each in a cell of the grid: undefined where no element is singled out. What
 * sums add to single elements goes to them one after the other, instead of being compared with every element.
 */
function singleRow(equation: Equation, V: number, context: ProgramContext): BlockedOutput | undefined {
  const [row, element] = equation.axes as [IndexRef, IndexRef];
  const { sum, dense, points } = takeApart(equation.body, element, row, context.builder);
  if (points.length === 0) return undefined;
  if (dense && lanePrecision([equation.body], element, context) !== 'f32') return undefined;
  const width = V <= STAGED ? V : Math.ceil(V / Math.ceil(V / STAGED) / LINE) * LINE;

  const write: BlockedOutput['write'] = (scene, block, at, output) => {
    const { writer, lower } = scene;
    if (dense) lower.prepare(dense);
    for (const { value } of points) lower.prepare(value);
    const stage = new Local(scene, context, equation.name, 'f32', width);
    const start = output.address([...at, writer.constant(k.index(0))]);
    fetchEdges(scene, block, equation, start, writer.constant(k.index(V)));
    inParts(scene, block, V, width, (part, span) => {
      writeDense(scene, part, equation, dense, stage, span);
      for (const point of points) {
        if (point.over) correctAll(scene, context, part, point, point.over, stage, span);
        else correct(scene, part, point, stage, span);
      }
      const run = {
        start: writer.combine((x, y) => k.add(x, y), [start, writer.index(span.first)], 'at'),
        count: span.count,
      };
      writeOut(scene, part, equation, sum, stage, run, output);
    });
  };
  return { tiled: false, write };
}

/** The lines at both ends of a run belong to neighbours as well and cannot be streamed: they are fetched while the rest is computed. */
function fetchEdges({ writer }: Scene, block: Block, { name }: Equation, start: Value, count: Value): void {
  const end = writer.combine((first, n) => k.add(first, k.sub(n, k.index(1))), [start, count], 'end');
  for (const edge of [start, end]) writer.prefetch(block, name, edge, true);
}

/** Neighbouring elements of a row: `count` of them from `first` on, of which none is behind `last`, kept from `at` on. */
interface Span {
  readonly first: Affine;
  readonly last: Affine;
  readonly count: Value;
  readonly at: Affine;
}

/** A row of V elements in parts of `width`, the last of which may be shorter. */
function inParts(
  { writer }: Scene,
  block: Block,
  V: number,
  width: number,
  write: (block: Block, span: Span) => void,
): void {
  const at = Affine.zero;
  if (V <= width) {
    write(block, { at, first: Affine.zero, last: Affine.constant(V - 1), count: writer.constant(k.index(V)) });
    return;
  }
  const parts = writer.constant(k.index(Math.ceil(V / width)));
  writer.loop(
    block,
    'serial',
    { name: 'part', from: writer.constant(k.index(0)), to: parts },
    (body, variable, name) => {
      const first = writer.atom(name, variable, [Affine.zero]).times(width);
      const left = writer.index(first.times(-1).offset(V));
      const count = writer.combine((n) => k.min(k.index(width), n), [left], 'count');
      write(body, { at, first, last: Affine.constant(V - 1), count });
      return undefined;
    },
  );
}

/** The elements of one row, without its points. Where a choice is the same for the whole row, it is made once. */
function writeDense(
  scene: Scene,
  block: Block,
  equation: Equation,
  value: Expr | undefined,
  stage: Local,
  span: Span,
  ahead?: Ahead,
): void {
  const { writer, lower } = scene;
  const element = equation.axes.at(-1)!;
  if (value?.op === 'select' && isOfRow(value.args[0], element)) {
    const [condition, then, otherwise] = value.args;
    writer.branch(
      block,
      rowCondition(scene, condition, block),
      (body) => writeDense(scene, body, equation, then, stage, span, ahead),
      (body) => writeDense(scene, body, equation, otherwise, stage, span, ahead),
    );
    return;
  }
  writer.loop(
    block,
    'lanes',
    { name: element.name, from: writer.constant(k.index(0)), to: span.count, precision: 'f32' },
    (body, variable, name) => {
      const form = writer.atom(name, variable, [Affine.zero], [span.last.minus(span.first)]);
      lower.bindIndex(element, span.first.plus(form), body);
      if (value && ahead) lower.prefetchRow(value, element, ahead, body);
      const result = value ? lower.real(value, body) : writer.constant(k.real('f32', 0));
      stage.store(body, writer.index(span.at.plus(form)), result);
      return undefined;
    },
  );
}

const isOfRow = (expr: Expr, element: IndexRef): boolean => !freeIndices(expr).includes(element);

/** Whether all elements of a row are 0, if its elements are a choice by that. */
function zeroRow(scene: Scene, dense: Expr | undefined, element: IndexRef, block: Block): Value | undefined {
  if (dense?.op !== 'select' || !isOfRow(dense.args[0], element)) return undefined;
  const [condition, then] = dense.args;
  return then.op === 'const' && then.value === 0 ? rowCondition(scene, condition, block) : undefined;
}

/** The smallest normal float32. */
const SMALLEST = 2 ** -126;

/** A condition on a row's values. A value is 0 for elements of float32 where float32 has none so small. */
function rowCondition({ writer, lower }: Scene, condition: Expr, block: Block): Value {
  if (condition.op === 'compare' && condition.compare === 'eq' && condition.args[0].type === 'real') {
    const [value, zero] = condition.args;
    if (zero.op === 'const' && zero.value === 0)
      return writer.combine(
        (x) => k.compare('lt', k.prim('abs', x), k.real(x.type as 'f32' | 'f64', SMALLEST)),
        [lower.real(value, block)],
        'isZero',
      );
  }
  return lower.bool(condition, block);
}

/** stage[k] -= value, if k is one of the span's elements; with an amount, that for the value, or for the whole element. */
function correct(
  { writer, lower }: Scene,
  block: Block,
  { at, value, negative }: Point,
  stage: Local,
  { first, last, count, at: start }: Span,
  known?: Value,
  whole = false,
): void {
  const place = lower.form(at, block);
  const inside = [place.minus(first), last.minus(place)].map((form) => writer.nonNegative(form));
  const before = first.isConstant
    ? []
    : [writer.combine((x, n) => k.compare('lt', x, n), [writer.index(place.minus(first)), count], 'inside')];
  writer.branch(block, writer.all([...inside, ...before]), (body) => {
    const index = writer.index(start.plus(place).minus(first));
    const amount = known ?? writer.combine((x) => k.cast('f32', x), [lower.real(value, body)], 'amount');
    if (known && whole) {
      stage.store(body, index, amount);
      return;
    }
    const old = stage.load(body, index, 'old');
    const sum = writer.combine((x, y) => k.prim(negative ? 'sub' : 'add', x, y), [old, amount], 'sum');
    stage.store(body, index, sum);
  });
}

/** The same for each value of an index: the amounts in lanes first, and then one after the other to their elements. */
function correctAll(
  scene: Scene,
  context: ProgramContext,
  block: Block,
  point: Point,
  { index, extent }: ReduceExpr,
  stage: Local,
  span: Span,
): void {
  const { writer, lower } = scene;
  const last = lower.size(extent).offset(-1);
  inBlocks(scene, block, whole(scene, lower.size(extent)), ROWS, (body, some) => {
    const amounts = new Local(scene, context, 'amount', 'f32', ROWS);
    const each = (lanes: 'f32' | 'f64' | undefined, write: (within: Block, at: Value) => void): void =>
      writer.loop(
        body,
        lanes ? 'lanes' : 'serial',
        { name: index.name, from: writer.constant(k.index(0)), to: some.count, ...(lanes && { precision: lanes }) },
        (within, variable, name) => {
          const number = writer.atom(name, variable, [Affine.zero], [last.minus(some.first)]);
          lower.bindIndex(index, some.first.plus(number), within);
          write(within, writer.index(number));
          return undefined;
        },
      );
    each(context.lattice, (within, at) => amounts.store(within, at, lower.real(point.value, within)));
    each(undefined, (within, at) => {
      lower.given(point.value, amounts.load(within, at, 'amount'), within);
      correct(scene, within, point, stage, span);
    });
  });
}

/** The staged elements to the output, and what the equation does with the sum on the way. */
function writeOut(
  scene: Scene,
  block: Block,
  equation: Equation,
  sum: Expr,
  stage: Local,
  run: { readonly start: Value; readonly count: Value },
  output: Target,
): void {
  const { writer, lower } = scene;
  const loop = (body: Block, value: Expr): void => {
    if (value.op === 'select' && value !== sum && !contains(value.args[0], sum)) {
      const [condition, then, otherwise] = value.args;
      writer.branch(
        body,
        lower.bool(condition, body),
        (yes) => loop(yes, then),
        (no) => loop(no, otherwise),
      );
      return;
    }
    writer.loop(
      body,
      'lanes',
      { name: 'at', from: writer.constant(k.index(0)), to: run.count, precision: 'f32' },
      (inner, variable) => {
        lower.given(sum, stage.load(inner, variable, 'staged'), inner);
        const index = writer.combine((x, y) => k.add(x, y), [run.start, variable], 'at_grad');
        output.store(inner, index, lower.real(value, inner));
        return undefined;
      },
    );
  };
  loop(block, equation.body);
}
