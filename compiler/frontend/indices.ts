/** Sizes and indices: which expressions may be used where, and what their use says about ints. */
import type { ts } from 'ts-morph';
import type { Expr, IndexRef, SizeExpr } from '../graph/graph.js';
import { addSize, printSize, scaleSize, sizeConst, sizeSymbol } from '../graph/size.js';
import type { Argument, Context } from './context.js';
import { numeric } from './operators.js';
import { describe, hasKind, scalar, type Value } from './values.js';
import { primitiveOf } from './vocabulary.js';

/** constant + sum of coefficient * atom, where atoms are indices, sizes, parameters, int reads and quotients of such. */
export interface Linear {
  readonly constant: number;
  readonly terms: ReadonlyMap<Expr, number>;
}

/** Thrown inside `linear` only: the part that is not affine. */
class NotLinear extends Error {
  constructor(readonly part: Expr) {
    super('not affine');
  }
}

function combine(a: Linear, b: Linear, factor: number): Linear {
  const terms = new Map(a.terms);
  for (const [atom, k] of b.terms) {
    const sum = (terms.get(atom) ?? 0) + k * factor;
    if (sum === 0) terms.delete(atom);
    else terms.set(atom, sum);
  }
  return { constant: a.constant + b.constant * factor, terms };
}

const constantOf = (value: number): Linear => ({ constant: value, terms: new Map() });

function walk(expr: Expr): Linear {
  switch (expr.op) {
    case 'const':
      if (!Number.isInteger(expr.value)) throw new NotLinear(expr);
      return constantOf(expr.value);
    case 'size':
    case 'index':
    case 'param':
      return { constant: 0, terms: new Map([[expr, 1]]) };
    case 'read':
      if (expr.type !== 'int') throw new NotLinear(expr);
      return { constant: 0, terms: new Map([[expr, 1]]) };
    case 'toReal':
      return walk(expr.args[0]);
    case 'prim': {
      const [a, b] = expr.args;
      if (expr.name === 'floorDiv') return { constant: 0, terms: new Map([[expr, 1]]) };
      if (expr.name === 'neg') return combine(constantOf(0), walk(a!), -1);
      if (expr.name === 'add' || expr.name === 'sub') return combine(walk(a!), walk(b!), expr.name === 'add' ? 1 : -1);
      if (expr.name !== 'mul') throw new NotLinear(expr);
      const [left, right] = [walk(a!), walk(b!)];
      if (left.terms.size > 0 && right.terms.size > 0) throw new NotLinear(expr);
      return left.terms.size > 0
        ? combine(constantOf(0), left, right.constant)
        : combine(constantOf(0), right, left.constant);
    }
    default:
      throw new NotLinear(expr);
  }
}

/** The affine form, or the smallest part that has none. */
export function linear(expr: Expr): Linear | { readonly part: Expr } {
  try {
    return walk(expr);
  } catch (error) {
    if (error instanceof NotLinear) return { part: error.part };
    throw error;
  }
}

/** Real-typed parameters that would make a real expression an affine int one, if they were ints. */
export function wouldBeInt(context: Context, expr: Expr): string[] | undefined {
  const form = linear(expr);
  if ('part' in form) return undefined;
  const params = [...form.terms.keys()].flatMap((atom) =>
    atom.op === 'param' && atom.type === 'real' ? [atom.name] : [],
  );
  return params.every((name) => Number.isInteger(context.paramDefaults.get(name))) ? params : undefined;
}

/** floorDiv(a, divisor): of an int by a constant. */
export function floorDivision(context: Context, args: readonly Argument[], node: ts.Node): Value {
  const [whole, part] = args as [Argument, Argument];
  const divisor = part.value;
  if (typeof divisor !== 'number' || !Number.isInteger(divisor) || divisor < 1) {
    const what = typeof divisor === 'number' ? String(divisor) : describe(divisor);
    context.fail(
      part.node,
      'floor-div-divisor',
      `floorDiv divides by a constant of at least 1, and this is ${what}`,
      'Write floorDiv(i, 2), with a number or a static that is 1, 2, 3, ...',
    );
  }
  const dividend = numeric(context, whole.value, whole.node);
  const isInt = typeof dividend === 'number' ? Number.isInteger(dividend) : dividend.type === 'int';
  if (!isInt) {
    const params = typeof dividend === 'number' ? undefined : wouldBeInt(context, dividend);
    if (params && params.length > 0) context.demandInts(params);
    const place = typeof dividend === 'number' ? whole.node : context.placeWithin(dividend, whole.node);
    context.fail(
      place,
      'floor-div-operand',
      `floorDiv divides an integer, but ${place.getText()} is a real number`,
      'Divide what is made of index variables, sizes, integer constants, int parameters and i32 inputs; reals divide by /.',
    );
  }
  if (typeof dividend === 'number') return primitiveOf('floorDiv', dividend, divisor);
  const { builder } = context;
  return scalar(context.note(builder.prim('floorDiv', dividend, builder.int(divisor)), node));
}

/** An extent: affine in sizes, nothing else. */
export function asSize(context: Context, { value, node }: Argument, code: string, what: string): SizeExpr {
  const hint = 'Write a size expression: a size such as T, or an affine combination such as U + 1 or 2 * U + 1.';
  if (typeof value === 'number') {
    if (Number.isInteger(value) && value >= 0) return sizeConst(value);
    context.fail(node, code, `${what} is ${value}, which is not a whole number of cells`, hint);
  }
  if (!hasKind(value, 'scalar')) context.fail(node, code, `${what} is ${describe(value)}, not a size`, hint);
  const form = linear(value.expr);
  if ('part' in form) {
    const place = context.placeWithin(form.part, node);
    context.fail(place, code, `${what} is not affine in sizes: ${place.getText()}`, hint);
  }
  let size = sizeConst(form.constant);
  for (const [atom, k] of form.terms) {
    if (atom.op !== 'size') {
      const place = context.placeWithin(atom, node);
      context.fail(place, code, `${what} depends on ${place.getText()}, which is not a size`, hint);
    }
    size = addSize(size, scaleSize(sizeSymbol(atom.name), k));
  }
  return size;
}

/** What an index is read into, for messages and for what it teaches about ints. */
export interface Axis {
  readonly source: string;
  readonly position: number;
  readonly dim: SizeExpr;
}

/** An index expression: affine, with at most one gather. */
export function asIndex(context: Context, { value, node }: Argument, axis: Axis): Expr {
  const what = `index ${axis.position + 1} of ${axis.source}`;
  const expr = typeof value === 'number' ? value : numeric(context, value, node, what);
  if (typeof expr === 'number') {
    if (Number.isInteger(expr)) return context.note(context.builder.int(expr), node);
    context.fail(node, 'real-index', `${what} is ${expr}, which is not an integer`, 'Indices are integers.');
  }
  if (expr.type === 'real') {
    const params = wouldBeInt(context, expr);
    if (params && params.length > 0) context.demandInts(params);
    const place = context.placeWithin(expr, node);
    const text = place.getText();
    if (expr.op === 'param') {
      const value = context.paramDefaults.get(expr.name);
      context.fail(
        place,
        'real-index',
        `${what} is the parameter ${expr.name}, whose default ${value} is not an integer`,
        `Give ${expr.name} an integer default to use it as an index.`,
      );
    }
    context.fail(
      place,
      'real-index',
      `${what} must be an integer, but ${text} is a real number`,
      'Index with index variables, sizes, integer constants, int parameters or i32 inputs.',
    );
  }
  const form = linear(expr);
  const gather = context.exampleGather === undefined ? '' : ` (${context.exampleGather} + 1)`;
  const allowed = `An index may be affine in index variables, sizes and int parameters (2 * t + 1), or one i32 read plus such${gather}.`;
  if ('part' in form) {
    const place = context.placeWithin(form.part, node);
    context.fail(place, 'non-affine-index', `${what} is not affine: ${place.getText()}`, allowed);
  }
  const gathers = [...form.terms].filter(([atom]) => atom.op === 'read');
  if (gathers.length > 1 || gathers.some(([, k]) => Math.abs(k) !== 1)) {
    const place = context.placeWithin(expr, node);
    context.fail(
      place,
      'non-affine-index',
      gathers.length > 1
        ? `${what} adds up ${gathers.length} gathers: ${place.getText()}`
        : `${what} scales a gather: ${place.getText()}`,
      allowed,
    );
  }
  if (expr.op === 'param') context.learnLimit(expr.name, axis.dim, true);
  if (expr.op === 'read') context.learnLimit(expr.source, axis.dim, true);
  checkReductionExtent(context, form, axis, node);
  return expr;
}

/**
 * logSumExp(U, (v) => acts(t, u, v)) where the last dimension is V reads some cells only, or cells that do not
 * exist, and neither is what the author meant. Extents that share a size (U beside U + 1) are ranges of one kind.
 */
function checkReductionExtent(context: Context, form: Linear, axis: Axis, node: ts.Node): void {
  const [only, ...others] = form.terms;
  if (!only || others.length > 0 || only[0].op !== 'index') return;
  const range = context.rangeOf(only[0]);
  const sizes = Object.keys(range.extent.terms);
  const dims = Object.keys(axis.dim.terms);
  if (!range.reduction || sizes.length === 0 || dims.length === 0 || sizes.some((name) => dims.includes(name))) return;
  context.fail(
    context.placeWithin(only[0], node),
    'reduction-extent',
    `${only[0].name} runs over ${printSize(range.extent)}, but index ${axis.position + 1} of ${axis.source} is ${printSize(axis.dim)} long`,
    `Reduce over ${printSize(axis.dim)}, or check the order of the indices.`,
  );
}

/** A comparison of an int with an index says that the int is meant for the same range. */
export function learnFromCompare(context: Context, a: Expr, b: Expr): void {
  for (const [one, other] of [
    [a, b],
    [b, a],
  ] as const) {
    if (other.op !== 'index') continue;
    const { extent } = context.rangeOf(other as IndexRef);
    if (one.op === 'param') context.learnLimit(one.name, extent, false);
    if (one.op === 'read') context.learnLimit(one.source, extent, false);
  }
}
