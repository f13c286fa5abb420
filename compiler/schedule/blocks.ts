/**
 * Rows worked on in blocks, for processors with vectors and caches. A row is what a cell of the last axis but one reads or
 * writes of a big tensor: V logits for each (t, u).
 *
 * What there is one of per row (the log of a sum, the posteriors that a gradient needs) is computed for many rows side by side,
 * where one row after the other would do it in scalars:
 *
 *   reading   row by row: the sums over the row, into local memory; then in lanes over the rows: the equations
 *   writing   in lanes over the rows: all that does not depend on the element, into local memory; then row by row: the elements,
 *             into local memory; then the few elements that equations single out (v === k ? ... : 0); then all of it, in one
 *             run of aligned vectors, to the output
 *
 * The last step is there because short rows begin anywhere in a cache line, and only whole lines can be streamed; and because a
 * correction of single elements is cheap where they are still in the nearest cache, but a comparison in every element is not.
 */
import { operands } from '../graph/build.js';
import { collect, freeIndices } from '../graph/free.js';
import type { Expr, IndexRef, PrimExpr, ReduceExpr, SelectExpr } from '../graph/graph.js';
import { sameSize } from '../graph/size.js';
import * as k from '../kernel/build.js';
import { Affine } from './affine.js';
import type { Equation } from './equations.js';
import type { OutputRows, RowGroup, Scene, Target, WriteRows } from './kernels.js';
import { lanePrecision, type ProgramContext } from './lower.js';
import type { Block, Value } from './writer.js';

/** Rows in a block. */
const ROWS = 64;
/** Elements of several short rows that are written to local memory before they go to the output. */
const STAGED = 4096;
/** Rows of at least this length are worked on one at a time, in parts of about PART elements: reading and writing are then well mixed. */
const LONG = 512;
const PART = 1024;
/** Elements in a cache line; parts of a row begin at multiples of it. */
const LINE = 16;

// ---- loops over rows ----

/** Rows first, first + 1, ... of one block; `count` is how many there are. */
interface Rows {
  readonly first: Affine;
  readonly count: Value;
  /** The largest that may be. */
  readonly atMost: number;
  /** The largest row of the axis there may be. */
  readonly last: Affine;
}

/** Calls `write` for blocks of `size` rows, which make up 0..extent or the rows of a larger block. */
function inBlocks(
  { writer }: Scene,
  block: Block,
  outer: Rows,
  size: number,
  write: (block: Block, rows: Rows, local: Affine) => void,
): void {
  if (outer.atMost <= size) {
    write(block, outer, Affine.zero);
    return;
  }
  const blocks = writer.combine((n) => k.div(k.add(n, k.index(size - 1)), k.index(size)), [outer.count], 'blocks');
  writer.loop(
    block,
    'serial',
    { name: 'block', from: writer.constant(k.index(0)), to: blocks },
    (body, variable, name) => {
      const local = writer.atom(name, variable, [Affine.zero]).times(size);
      const count = writer.combine(
        (n, before) => k.min(k.index(size), k.sub(n, before)),
        [outer.count, writer.index(local)],
        'count',
      );
      write(body, { first: outer.first.plus(local), count, atMost: size, last: outer.last }, local);
      return undefined;
    },
  );
}

/** A loop over the rows of a block. `row` is the number in the block, to which `first` is added for the axis. */
function overRows(
  scene: Scene,
  block: Block,
  rows: Rows,
  equations: readonly Equation[],
  axis: number,
  lanes: 'f32' | 'f64' | undefined,
  write: (body: Block, row: Affine) => void,
): void {
  const { writer, lower } = scene;
  const index = equations[0]!.axes[axis]!;
  writer.loop(
    block,
    lanes ? 'lanes' : 'serial',
    { name: index.name, from: writer.constant(k.index(0)), to: rows.count, ...(lanes && { precision: lanes }) },
    (body, variable, name) => {
      const row = writer.atom(name, variable, [Affine.zero], [rows.last.minus(rows.first)]);
      for (const equation of equations) lower.bindIndex(equation.axes[axis]!, rows.first.plus(row), body);
      write(body, row);
      return undefined;
    },
  );
}

const whole = (scene: Scene, extent: Affine): Rows => ({
  first: Affine.zero,
  count: scene.writer.index(extent),
  atMost: extent.isConstant ? extent.constant : Number.POSITIVE_INFINITY,
  last: extent.offset(-1),
});

/** Names that a local must not have. */
const takenNames = ({ graph, layouts }: ProgramContext): ReadonlySet<string> =>
  new Set([
    ...graph.inputs.map(({ name }) => name),
    ...graph.lengths.map(({ argument }) => argument),
    ...layouts.keys(),
    ...Object.keys(graph.gradients).map((name) => `grad_${name}`),
    ...Object.keys(graph.perNode ?? {}).map((name) => `node_${name}`),
    'gradScale',
    'loss',
  ]);

/** Local memory with one value per row, or `width` of them. */
class Local {
  readonly name: string;
  /** What its values are called. */
  readonly value: string;

  constructor(
    private readonly scene: Scene,
    context: ProgramContext,
    base: string,
    readonly element: 'f32' | 'f64',
    rows: number,
  ) {
    this.value = base;
    this.name = scene.writer.local(`${base}_rows`, element, rows, takenNames(context));
  }

  store(block: Block, at: Value, value: Value): void {
    const { writer } = this.scene;
    writer.store(
      block,
      this.name,
      at,
      writer.combine((x) => k.cast(this.element, x), [value], value.name),
    );
  }

  /** A value of `block`, whatever its index depends on: what is stored there changes. */
  load(block: Block, at: Value, name: string): Value {
    const { writer } = this.scene;
    const value = writer.combine((x) => k.load(this.name, this.element, x), [at], name, block);
    writer.bind(value);
    return value;
  }
}

// ---- reading ----

/** How a group's rows are read in blocks; undefined if they are not of that kind. */
export function blockedReading(
  { equations, box, lanesLast }: RowGroup,
  context: ProgramContext,
): WriteRows | undefined {
  const axis = box.length - 1;
  if (!context.blocks || lanesLast || axis < 1) return undefined;
  const reductions = equations.map(
    (equation) => outermost(equation.body, (expr) => expr.op === 'reduce') as ReduceExpr[],
  );
  const perRow = equations.every((equation, i) =>
    reductions[i]!.every((reduce) => freeIndices(reduce).includes(equation.axes[axis]!)),
  );
  const sameOuter = equations.every(({ domain }) =>
    domain.slice(0, axis).every((extent, i) => sameSize(extent, box[i]!)),
  );
  if (!perRow || !sameOuter || reductions.every((some) => some.length === 0)) return undefined;

  const reduces = [...new Set(reductions.flat())];
  // Rows that are not long are swept once for the maxima of all of them, then once for the sums: the many steps from a
  // row's elements to its maximum do not wait for the sum of the row before. A longer row would not stay in the cache.
  const apart = reduces.every(({ extent }) => Object.keys(extent.terms).length === 0 && extent.constant < LONG);

  return (scene, block) => {
    const { writer, lower } = scene;
    const local = (value: Value): Local => new Local(scene, context, value.name, value.type as 'f32' | 'f64', ROWS);
    const extent = lower.size(box[axis]!);
    inBlocks(scene, block, whole(scene, extent), ROWS, (body, rows) => {
      const results = new Map<ReduceExpr, Local[]>();
      const keep = (reduce: ReduceExpr, value: Value, within: Block, row: Affine): void => {
        const kept = local(value);
        kept.store(within, writer.index(row), value);
        results.set(reduce, [...(results.get(reduce) ?? []), kept]);
      };
      overRows(scene, body, rows, equations, axis, undefined, (within, row) => {
        for (const reduce of reduces) {
          if (reduce.reduction !== 'logSumExp') keep(reduce, lower.fold(reduce), within, row);
          else {
            const top = lower.top(reduce);
            const shift = apart ? top : lower.shiftOf(top);
            if (!apart) writer.bind(shift);
            keep(reduce, shift, within, row);
            if (!apart) keep(reduce, lower.total(reduce, shift), within, row);
          }
        }
      });
      const sums = apart ? reduces.filter(({ reduction }) => reduction === 'logSumExp') : [];
      if (sums.length > 0) {
        overRows(scene, body, rows, equations, axis, 'f32', (within, row) => {
          for (const reduce of sums) {
            const [tops] = results.get(reduce)! as [Local];
            tops.store(within, writer.index(row), lower.shiftOf(tops.load(within, writer.index(row), 'top')));
          }
        });
        overRows(scene, body, rows, equations, axis, undefined, (within, row) => {
          for (const reduce of sums) {
            const [shifts] = results.get(reduce)! as [Local];
            keep(reduce, lower.total(reduce, shifts.load(within, writer.index(row), 'shift')), within, row);
          }
        });
      }
      for (const cells of byExtent(equations, axis)) {
        const end = lower.size(cells[0]!.domain[axis]!);
        const count = writer.combine(
          (n, left) => k.min(n, left),
          [rows.count, writer.index(end.minus(rows.first))],
          'count',
        );
        const fewer = sameSize(cells[0]!.domain[axis]!, box[axis]!) ? rows : { ...rows, count, last: end.offset(-1) };
        overRows(scene, body, fewer, cells, axis, context.lattice, (within, row) => {
          for (const equation of cells) {
            for (const reduce of reductions[equations.indexOf(equation)]!) {
              const names = reduce.reduction === 'logSumExp' ? ['shift', 'total'] : [reduce.reduction];
              const [first, second] = results
                .get(reduce)!
                .map((each, i) => each.load(within, writer.index(row), names[i]!));
              lower.given(reduce, second ? lower.logOfTotal(first!, second) : lower.widen(first!), within);
            }
            const value = lower.real(equation.body, within);
            value.name = equation.name;
            writer.bind(value);
            const at = equation.axes.map((each) => lower.form(each, within));
            writer.store(within, equation.name, lower.address(equation.name, at), value);
            lower.computed(equation, value);
          }
        });
        lower.forget(cells);
      }
    });
  };
}

/** Neighbours of one extent of an axis together, in order. */
function byExtent(equations: readonly Equation[], axis: number): Equation[][] {
  const groups: Equation[][] = [];
  for (const equation of equations) {
    const last = groups.at(-1);
    if (last && sameSize(last[0]!.domain[axis]!, equation.domain[axis]!)) last.push(equation);
    else groups.push([equation]);
  }
  return groups;
}

/** The outermost subexpressions that satisfy `wanted`, in order of first appearance. */
function outermost(root: Expr, wanted: (expr: Expr) => boolean): Expr[] {
  const found = new Set<Expr>();
  const visit = (expr: Expr): void => {
    if (wanted(expr)) found.add(expr);
    else operands(expr).forEach(visit);
  };
  visit(root);
  return [...found];
}

// ---- writing ----

/** v === k ? value : 0 */
interface Point {
  readonly at: Expr;
  readonly value: Expr;
  readonly negative: boolean;
}

/** An output's equation taken apart: outside(inside - points), where `outside` is the same for all rows. */
interface Taken {
  /** What differs between the elements of a row, with its points. */
  readonly sum: Expr;
  /** The same without its points; undefined where nothing is left. */
  readonly dense: Expr | undefined;
  readonly points: readonly Point[];
}

function takeApart(body: Expr, element: IndexRef, row: IndexRef, context: ProgramContext): Taken {
  const varies = (expr: Expr): boolean => freeIndices(expr).includes(element);
  const sums = collect(body, (expr): expr is PrimExpr => isSum(expr) && varies(expr));
  for (const sum of sums) {
    const { dense, points } = withoutPoints(sum, element, context);
    if (points.length === 0) continue;
    const outside = operandsWithout(body, sum);
    if (outside.some((expr) => expr === element || expr === row)) continue;
    return { sum, dense, points };
  }
  return { sum: body, dense: body, points: [] };
}

const isSum = (expr: Expr): expr is PrimExpr => expr.op === 'prim' && (expr.name === 'add' || expr.name === 'sub');

/** Everything in an expression that is not only in `part`. */
function operandsWithout(root: Expr, part: Expr): Expr[] {
  const seen = new Set<Expr>();
  const visit = (expr: Expr): void => {
    if (expr === part || seen.has(expr)) return;
    seen.add(expr);
    operands(expr).forEach(visit);
  };
  visit(root);
  return [...seen];
}

const contains = (root: Expr, part: Expr): boolean => collect(root, (expr): expr is Expr => expr === part).length > 0;

/** A sum without its terms of the form v === k ? x : 0, and those terms. */
function withoutPoints(
  sum: Expr,
  element: IndexRef,
  { builder }: ProgramContext,
): { dense: Expr | undefined; points: Point[] } {
  const points: Point[] = [];
  const visit = (expr: Expr, negative: boolean): Expr | undefined => {
    if (expr.op === 'prim' && (expr.name === 'add' || expr.name === 'sub')) {
      const [left, right] = expr.args as [Expr, Expr];
      const a = visit(left, negative);
      const b = visit(right, expr.name === 'sub' ? !negative : negative);
      if (a === left && b === right) return expr;
      if (a && b) return builder.prim(expr.name, a, b);
      return a ?? (b && expr.name === 'sub' ? builder.prim('neg', b) : b);
    }
    if (expr.op === 'prim' && expr.name === 'neg') {
      const [argument] = expr.args as [Expr];
      const rest = visit(argument, !negative);
      return rest === argument ? expr : rest && builder.prim('neg', rest);
    }
    const point = pointOf(expr, element);
    if (!point) return expr;
    points.push({ ...point, negative });
    return undefined;
  };
  return { dense: visit(sum, false), points };
}

function pointOf(expr: Expr, element: IndexRef): { at: Expr; value: Expr } | undefined {
  if (expr.op !== 'select') return undefined;
  const [condition, value, otherwise] = (expr as SelectExpr).args;
  if (condition.op !== 'compare' || condition.compare !== 'eq' || otherwise.op !== 'const' || otherwise.value !== 0)
    return undefined;
  const [left, right] = condition.args;
  const at = left === element ? right : right === element ? left : undefined;
  if (!at || [at, value].some((each) => freeIndices(each).includes(element))) return undefined;
  return { at, value };
}

/** How an output's rows are written in blocks; undefined if they are not of that kind. */
export function blockedWriting(equation: Equation, context: ProgramContext): OutputRows | undefined {
  const rank = equation.axes.length;
  const axis = rank - 2;
  const width = equation.domain[rank - 1];
  if (!context.blocks || axis < 1 || !width || Object.keys(width.terms).length > 0) return undefined;
  const V = width.constant;
  const [row, element] = equation.axes.slice(-2) as [IndexRef, IndexRef];
  if (V < 1) return undefined;
  if (collect(equation.body, (expr): expr is ReduceExpr => expr.op === 'reduce').length > 0) return undefined;

  const { sum, dense: elements, points } = takeApart(equation.body, element, row, context);
  // Elements of stored values are worked on in float64, and those few that are singled out are put right in float32.
  if (elements && lanePrecision([equation.body], element, context) !== 'f32') return undefined;
  const rewritten = elements && withRowSums(elements, row, element, context);
  const dense = rewritten?.expr;
  const sums = new Set(rewritten?.sums);
  const roots = [...(dense ? [dense] : []), ...points.map(({ value }) => value)];
  const perRow = [...new Set(roots.flatMap((root) => rowValues(root, row, element)))];
  const long = V >= LONG;
  const staged = Math.min(ROWS, Math.floor(STAGED / V));
  const partWidth = Math.ceil(V / Math.ceil(V / PART) / LINE) * LINE;

  return (scene, block, at, output) => {
    const { writer, lower } = scene;
    for (const root of roots) lower.prepare(root);
    /** What the rows' values are kept in: one number, or two for a value that goes into sums with elements. */
    const kept = new Map<Expr, Local[]>();
    const stage = new Local(scene, context, equation.name, 'f32', long ? partWidth : staged * V);
    const give = (within: Block, number: Affine, wanted: readonly Expr[]): void => {
      for (const expr of new Set(wanted.flatMap((root) => rowValues(root, row, element)))) {
        const [first, second] = kept.get(expr)!.map((local) => local.load(within, writer.index(number), local.value));
        if (second) lower.givenSplit(expr, { high: first!, low: second }, within);
        else lower.given(expr, first!, within);
      }
    };
    const keep = (expr: Expr, within: Block, number: Affine): void => {
      const value = lower.real(expr, within);
      const split = sums.has(expr) && value.type === 'f64' ? lower.split(value) : undefined;
      kept.set(
        expr,
        (split ? [split.high, split.low] : [value]).map((part) => {
          const local = new Local(scene, context, part.name, 'f32', ROWS);
          local.store(within, writer.index(number), part);
          return local;
        }),
      );
    };

    inBlocks(scene, block, whole(scene, lower.size(equation.domain[axis]!)), ROWS, (body, rows) => {
      if (perRow.length > 0)
        overRows(scene, body, rows, [equation], axis, context.lattice, (within, number) => {
          for (const expr of perRow) keep(expr, within, number);
        });
      const startOf = (row: Affine): Value => output.address([...at, writer.index(row), writer.constant(k.index(0))]);
      const values = points.map(({ value }) => value);
      if (long)
        overRows(scene, body, rows, [equation], axis, undefined, (within, number) => {
          give(within, number, roots);
          const start = startOf(rows.first.plus(number));
          fetchEdges(scene, within, equation, start, writer.constant(k.index(V)));
          inParts(scene, within, V, partWidth, (part, span) => {
            writeDense(scene, part, equation, dense, stage, span);
            for (const point of points) correct(scene, part, point, stage, span);
            const run = {
              start: writer.combine((x, y) => k.add(x, y), [start, writer.index(span.first)], 'at'),
              count: span.count,
            };
            emit(scene, part, equation, sum, stage, run, output);
          });
        });
      else
        inBlocks(scene, body, rows, staged, (part, few, before) => {
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
            give(within, before.plus(number), dense ? [dense] : []);
            writeDense(scene, within, equation, dense, stage, spanOf(number));
          });
          if (points.length > 0)
            overRows(scene, part, few, [equation], axis, undefined, (within, number) => {
              give(within, before.plus(number), values);
              for (const point of points) correct(scene, within, point, stage, spanOf(number));
            });
          emit(scene, part, equation, sum, stage, { start, count }, output);
        });
    });
  };
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

/**
 * An expression of an element with all that its sums add for the whole row in one term. That term is kept in two
 * parts, as sums of float32 elements with float64 values are made of them.
 */
function withRowSums(
  root: Expr,
  row: IndexRef,
  element: IndexRef,
  { builder }: ProgramContext,
): { expr: Expr; sums: Expr[] } {
  const sums = new Set<Expr>();
  const has = (expr: Expr, index: IndexRef): boolean => freeIndices(expr).includes(index);
  const add = (terms: readonly Term[]): Expr => {
    const first = terms.find(({ negative }) => !negative);
    const rest = terms.filter((term) => term !== first);
    return rest.reduce<Expr | undefined>(
      (total, { expr, negative }) =>
        total ? builder.prim(negative ? 'sub' : 'add', total, expr) : builder.prim('neg', expr),
      first?.expr,
    )!;
  };
  const visit = (expr: Expr): Expr => {
    if (!has(expr, element)) return expr;
    if (isSum(expr)) {
      const terms = termsOf(expr, (part) => has(part, element));
      const rest = terms.filter((term) => !has(term.expr, element));
      if (rest.some((term) => has(term.expr, row))) {
        const total = add(rest);
        sums.add(total);
        const own = terms.filter((term) => has(term.expr, element));
        return builder.prim('add', add(own.map((term) => ({ ...term, expr: visit(term.expr) }))), total);
      }
    }
    switch (expr.op) {
      case 'prim':
        return builder.prim(expr.name, ...expr.args.map(visit));
      case 'select':
        return builder.select(visit(expr.args[0]), visit(expr.args[1]), visit(expr.args[2]));
      case 'compare':
        return builder.compare(expr.compare, visit(expr.args[0]), visit(expr.args[1]));
      case 'logic':
        return builder.logic(expr.logic, ...expr.args.map(visit));
      default:
        return expr;
    }
  };
  return { expr: visit(root), sums: [...sums] };
}

interface Term {
  readonly expr: Expr;
  readonly negative: boolean;
}

/** The terms of a sum, and of the sums in it that satisfy `inside`. */
function termsOf(root: Expr, inside: (expr: Expr) => boolean): Term[] {
  const terms: Term[] = [];
  const visit = (expr: Expr, negative: boolean): void => {
    if (expr.op === 'prim' && inside(expr) && ['add', 'sub', 'neg'].includes(expr.name)) {
      visit(expr.args[0]!, expr.name === 'neg' ? !negative : negative);
      if (expr.name !== 'neg') visit(expr.args[1]!, expr.name === 'sub' ? !negative : negative);
    } else terms.push({ expr, negative });
  };
  visit(root, false);
  return terms;
}

/** The largest parts of an expression that are reals of the row: not the same for all rows, and for all elements of one. */
function rowValues(root: Expr, row: IndexRef, element: IndexRef): Expr[] {
  return outermost(root, (expr) => {
    if (expr.type !== 'real' || expr.op === 'const') return false;
    const free = freeIndices(expr);
    return free.includes(row) && !free.includes(element);
  });
}

/** The elements of one row, without its points. Where a choice is the same for the whole row, it is made once. */
function writeDense(
  scene: Scene,
  block: Block,
  equation: Equation,
  value: Expr | undefined,
  stage: Local,
  span: Span,
): void {
  const { writer, lower } = scene;
  const element = equation.axes.at(-1)!;
  if (value?.op === 'select' && !freeIndices(value.args[0]).includes(element)) {
    const [condition, then, otherwise] = value.args;
    writer.branch(
      block,
      rowCondition(scene, condition, block),
      (body) => writeDense(scene, body, equation, then, stage, span),
      (body) => writeDense(scene, body, equation, otherwise, stage, span),
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
      const result = value ? lower.real(value, body) : writer.constant(k.real('f32', 0));
      stage.store(body, writer.index(span.at.plus(form)), result);
      return undefined;
    },
  );
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

/** stage[k] -= value, if k is one of the span's elements. */
function correct(
  { writer, lower }: Scene,
  block: Block,
  { at, value, negative }: Point,
  stage: Local,
  { first, last, count, at: start }: Span,
): void {
  const place = lower.form(at, block);
  const inside = [place.minus(first), last.minus(place)].map((form) => writer.nonNegative(form));
  const before = first.isConstant
    ? []
    : [writer.combine((x, n) => k.compare('lt', x, n), [writer.index(place.minus(first)), count], 'inside')];
  writer.branch(block, writer.all([...inside, ...before]), (body) => {
    const index = writer.index(start.plus(place).minus(first));
    const amount = writer.combine((x) => k.cast('f32', x), [lower.real(value, body)], 'amount');
    const old = stage.load(body, index, 'old');
    const sum = writer.combine((x, y) => k.prim(negative ? 'sub' : 'add', x, y), [old, amount], 'sum');
    stage.store(body, index, sum);
  });
}

/** The staged elements to the output, and what the equation does with the sum on the way. */
function emit(
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
