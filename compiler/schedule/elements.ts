/**
 * What an expression is made of, seen from a row and from one of its elements: what differs between elements, what is the same
 * for a row, and which single elements are treated apart.
 */

import { type GraphBuilder, operands } from '../graph/build.js';
import { collect, freeIndices } from '../graph/free.js';
import type { Expr, Graph, IndexRef, PrimExpr, ReadExpr, ReduceExpr, SelectExpr } from '../graph/graph.js';
import { substitute } from '../graph/rebuild.js';
import type { Equation } from './equations.js';

/** The outermost subexpressions that satisfy `wanted`, in order of first appearance. */
export function outermost(root: Expr, wanted: (expr: Expr) => boolean): Expr[] {
  const found = new Set<Expr>();
  const visit = (expr: Expr): void => {
    if (wanted(expr)) found.add(expr);
    else operands(expr).forEach(visit);
  };
  visit(root);
  return [...found];
}

/** Single elements: what an equation reads, outside of its reductions, of tensors that have more axes than it has. */
export function pickedFrom({ axes, body }: Equation, { inputs }: Graph): ReadExpr[] {
  const rank = new Map(inputs.map(({ name, dims }) => [name, dims.length]));
  const isPick = (expr: Expr): expr is ReadExpr =>
    expr.op === 'read' && expr.type === 'real' && (rank.get(expr.source) ?? 0) > axes.length;
  return outermost(body, (expr) => expr.op === 'reduce' || isPick(expr)).filter(isPick);
}

/** v === k ? value : 0; with `over`, the sum of that over an index that k and value may depend on. */
export interface Point {
  readonly at: Expr;
  readonly value: Expr;
  readonly negative: boolean;
  readonly over?: ReduceExpr;
}

/** An output's equation taken apart: outside(inside - points), where `outside` is the same for all rows. */
export interface Taken {
  /** What differs between the elements of a row, with its points. */
  readonly sum: Expr;
  /** The same without its points; undefined where nothing is left. */
  readonly dense: Expr | undefined;
  readonly points: readonly Point[];
}

export function takeApart(body: Expr, element: IndexRef, row: IndexRef, builder: GraphBuilder): Taken {
  const varies = (expr: Expr): boolean => freeIndices(expr).includes(element);
  const sums = new Set<Expr>();
  const visit = (expr: Expr): void => {
    if ((isSum(expr) || expr.op === 'reduce') && varies(expr)) sums.add(expr);
    // What is below a sum over an index is no part of an element by itself.
    if (expr.op !== 'reduce') operands(expr).forEach(visit);
  };
  visit(body);
  for (const sum of sums) {
    const { dense, points } = withoutPoints(sum, element, builder);
    if (points.length === 0) continue;
    const outside = operandsWithout(body, sum);
    if (outside.some((expr) => expr === element || expr === row)) continue;
    return { sum, dense, points };
  }
  return { sum: body, dense: body, points: [] };
}

/**
 * What an equation's `sum` is at one of its points, for a row: where it asks whether ints are equal an expression is itself, and
 * an input does not hold what its declaration says so of.
 */
export function atPoint(sum: Expr, element: IndexRef, { at }: Point, { inputs }: Graph, builder: GraphBuilder): Expr {
  const excludes = (x: Expr, y: Expr): boolean =>
    x.op === 'read' && y.op === 'param' && inputs.some(({ name, not }) => name === x.source && not === y.name);
  return substitute(builder, sum, new Map([[element, at]]), (made) => {
    if (made.op !== 'compare' || made.compare !== 'eq') return made;
    const [a, b] = made.args;
    if (a.type !== 'int') return made;
    if (a === b) return builder.bool(true);
    return excludes(a, b) || excludes(b, a) ? builder.bool(false) : made;
  });
}

/**
 * An expression of a row in which differences that are stored are read from there. Stored is, of a log of a softmax, -Infinity
 * for a logit of -Infinity and the difference for any other: the same, but for a row of nothing else, whose softmax is NaN.
 */
export function fromStored(
  root: Expr,
  row: readonly IndexRef[],
  equations: readonly Equation[],
  builder: GraphBuilder,
): Expr {
  const stored = new Map<Expr, Expr>();
  for (const { name, recurrence, axes, body } of equations) {
    if (recurrence || axes.length !== row.length) continue;
    const here = substitute(builder, body, new Map(axes.map((axis, i) => [axis, row[i]!])));
    const difference = differenceIn(here);
    if (difference) stored.set(difference, builder.read(name, 'real', row));
  }
  return substitute(builder, root, stored);
}

/** a - b, or a === -Infinity ? -Infinity : a - b. */
function differenceIn(expr: Expr): Expr | undefined {
  if (expr.op !== 'select') return isDifference(expr) ? expr : undefined;
  const [condition, infinite, difference] = expr.args;
  if (!isDifference(difference) || !isMinusInfinity(infinite)) return undefined;
  if (condition.op !== 'compare' || condition.compare !== 'eq') return undefined;
  const [a, b] = condition.args;
  return a === difference.args[0] && isMinusInfinity(b) ? difference : undefined;
}
const isDifference = (expr: Expr): expr is PrimExpr => expr.op === 'prim' && expr.name === 'sub';
const isMinusInfinity = (expr: Expr): boolean => expr.op === 'const' && expr.value === Number.NEGATIVE_INFINITY;

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

export const contains = (root: Expr, part: Expr): boolean =>
  collect(root, (expr): expr is Expr => expr === part).length > 0;

/** A sum without its terms of the form v === k ? x : 0, and those terms. */
function withoutPoints(
  sum: Expr,
  element: IndexRef,
  builder: GraphBuilder,
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
    if (expr.op === 'reduce' && expr.reduction === 'sum') {
      const { dense, points: inside } = withoutPoints(expr.body, element, builder);
      if (inside.length === 0 || inside.some(({ over }) => over)) return expr;
      points.push(...inside.map((point) => ({ ...point, negative: point.negative !== negative, over: expr })));
      return dense && builder.reduce('sum', expr.index, expr.extent, dense);
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

/**
 * An expression of an element with all that its sums add for the whole row in one term. That term is kept in two
 * parts, as sums of float32 elements with float64 values are made of them.
 */
export function withRowSums(
  root: Expr,
  row: IndexRef,
  element: IndexRef,
  builder: GraphBuilder,
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
export function rowValues(root: Expr, row: IndexRef, element: IndexRef): Expr[] {
  return outermost(root, (expr) => {
    if (expr.type !== 'real' || expr.op === 'const') return false;
    const free = freeIndices(expr);
    return free.includes(row) && !free.includes(element);
  });
}
