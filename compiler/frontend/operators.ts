/** Operators and primitives on values: what is known is computed, the rest becomes expressions. */
import type { ts } from 'ts-morph';
import { onInts, type PrimitiveName } from '../../dsl/primitives.js';
import { type CompareOp, comparisons, type Expr } from '../graph/graph.js';
import type { Argument, Context } from './context.js';
import { TS } from './typescript.js';
import { describe, dimsOf, hasKind, indexCount, scalar, type Value } from './values.js';
import { primitiveOf } from './vocabulary.js';

/** A number or an int/real expression; anything else is the author's mistake. */
export function numeric(context: Context, value: Value, written: ts.Node, role = 'this'): number | Expr {
  const node = TS.isParenthesizedExpression(written) ? written.expression : written;
  if (typeof value === 'number') return value;
  if (typeof value === 'boolean' || (hasKind(value, 'scalar') && value.expr.type === 'bool')) {
    context.fail(
      node,
      'boolean-as-number',
      `${role} must be a number, but ${node.getText()} is a condition`,
      `Write the two numbers out: ${node.getText()} ? 1 : 0`,
    );
  }
  if (hasKind(value, 'scalar')) return value.expr;
  if (hasKind(value, 'input') || hasKind(value, 'field') || hasKind(value, 'log-softmax')) {
    const dims = dimsOf(hasKind(value, 'log-softmax') ? value.logits : value);
    const name = value.name ?? 'name';
    const example = dims.map((_, i) => ['t', 'u', 'v', 'w'][i] ?? `i${i}`).join(', ');
    context.fail(
      node,
      'field-as-number',
      `${describe(value)} is used as a number`,
      `Read one cell of it: ${name}(${example}), ${indexCount(dims.length)}.`,
    );
  }
  context.fail(
    node,
    'not-a-number',
    `${role} must be a number, but ${node.getText()} is ${describe(value)}`,
    'Arithmetic works on numbers, parameters, sizes, indices and cells of inputs and fields.',
  );
}

const isIntLike = (value: number | Expr): boolean =>
  typeof value === 'number' ? Number.isInteger(value) : value.type === 'int';

/** As a real expression; ints are converted. */
export function asReal(context: Context, { value, node }: Argument): Expr {
  const number = numeric(context, value, node);
  if (typeof number === 'number') return context.note(context.builder.real(number), node);
  return number.type === 'int' ? context.note(context.builder.toReal(number), node) : number;
}

function asInt(context: Context, { value, node }: Argument): Expr {
  const number = numeric(context, value, node);
  return typeof number === 'number' ? context.note(context.builder.int(number), node) : number;
}

/** A primitive on any mix of known numbers and expressions. Ints stay ints where the graph has the operation on them. */
export function applyPrimitive(context: Context, name: PrimitiveName, args: readonly Argument[]): Value {
  const numbers = args.map(({ value, node }) => numeric(context, value, node));
  if (numbers.every((n) => typeof n === 'number')) {
    return primitiveOf(name, ...(numbers as [number, number?]));
  }
  const asInts = onInts.has(name) && numbers.every(isIntLike);
  const operands = args.map((arg) => (asInts ? asInt(context, arg) : asReal(context, arg)));
  return scalar(context.builder.prim(name, ...operands));
}

/** What a comparison needs from the index rules, which in turn need `numeric`. */
export interface IntRules {
  wouldBeInt(context: Context, expr: Expr): string[] | undefined;
  learnFromCompare(context: Context, a: Expr, b: Expr): void;
}

/** a === b, a < b, ... A parameter compared with an int is an int. */
export function compareValues(
  context: Context,
  rules: IntRules,
  op: CompareOp,
  left: Argument,
  right: Argument,
): Value {
  if (typeof left.value === 'boolean' || typeof right.value === 'boolean') {
    const other = typeof left.value === 'boolean' ? right : left;
    if (typeof left.value === 'boolean' && typeof right.value === 'boolean' && (op === 'eq' || op === 'ne')) {
      return (left.value === right.value) === (op === 'eq');
    }
    const inner = TS.isParenthesizedExpression(other.node) ? other.node.expression : other.node;
    const text = inner.getText();
    context.fail(
      inner,
      'boolean-as-number',
      `${text} is compared with true or false`,
      `Use the condition itself: ${text}, or !(${text}).`,
    );
  }
  const [a, b] = [numeric(context, left.value, left.node), numeric(context, right.value, right.node)];
  if (typeof a === 'number' && typeof b === 'number') return comparisons[op](a, b);
  for (const [one, other] of [
    [a, b],
    [b, a],
  ] as const) {
    if (typeof one === 'number' || typeof other === 'number' || one.type !== 'real' || other.type !== 'int') continue;
    const params = rules.wouldBeInt(context, one);
    if (params && params.length > 0) context.demandInts(params);
  }
  if (isIntLike(a) && isIntLike(b)) {
    const [x, y] = [asInt(context, left), asInt(context, right)];
    rules.learnFromCompare(context, x, y);
    return scalar(context.builder.compare(op, x, y));
  }
  return scalar(context.builder.compare(op, asReal(context, left), asReal(context, right)));
}

/** A condition: known, or an expression. */
export function condition(context: Context, { value, node }: Argument): boolean | Expr {
  if (typeof value === 'boolean') return value;
  if (hasKind(value, 'scalar') && value.expr.type === 'bool') return value.expr;
  context.fail(
    node,
    'condition-type',
    `a condition is needed here, but ${node.getText()} is ${describe(value)}`,
    'Compare it with something: x === 0, x < y. Conditions combine with &&, || and !.',
  );
}

/** condition ? then : otherwise, where the condition is known at run time only. */
export function choose(context: Context, test: Expr, then: Argument, otherwise: Argument): Value {
  const isBool = ({ value }: Argument): boolean =>
    typeof value === 'boolean' || (hasKind(value, 'scalar') && value.expr.type === 'bool');
  if (isBool(then) && isBool(otherwise)) {
    const [a, b] = [then, otherwise].map(({ value }) =>
      typeof value === 'boolean' ? context.builder.bool(value) : (value as { expr: Expr }).expr,
    ) as [Expr, Expr];
    return scalar(context.builder.select(test, a, b));
  }
  for (const { value, node } of [then, otherwise]) {
    if (typeof value === 'number' || hasKind(value, 'scalar')) continue;
    context.fail(
      node,
      'choice-type',
      `a choice made at run time is between numbers, but ${node.getText()} is ${describe(value)}`,
      'Choose between cells: condition ? a(t) : b(t).',
    );
  }
  const [a, b] = [numeric(context, then.value, then.node), numeric(context, otherwise.value, otherwise.node)];
  if (typeof a === 'number' && Object.is(a, b)) return a;
  // Two literals make a real: `v === k ? 1 : 0` is a weight far more often than it is an index.
  const ints = isIntLike(a) && isIntLike(b) && (typeof a !== 'number' || typeof b !== 'number');
  const convert = ints ? asInt : asReal;
  return scalar(context.builder.select(test, convert(context, then), convert(context, otherwise)));
}
