/**
 * Expressions. Each is printed in place; only a masked load becomes a statement of its own, so that memory is touched only
 * where the mask is true.
 */
import type { PrimitiveName } from '../../dsl/primitives.js';
import type { CompareOp } from '../graph/graph.js';
import type { KCast, KCompare, KExpr, KIndexOp, KLoad, KLogic, KPrim, KSelect } from '../kernel/kernel.js';
import { CompilerBug } from '../source.js';
import { literal, valueType } from './types.js';
import {
  argument,
  atom,
  bufferOf,
  type KernelContext,
  type Level,
  level,
  type Scope,
  type Value,
  wrap,
} from './values.js';

/** A way to write a primitive: an operator between operands, one in front, or a function. */
type Spelling = { infix: string; level: Level } | { prefix: string } | { call: string };

export const singleSpellings: Record<PrimitiveName, Spelling> = {
  add: { infix: '+', level: level.add },
  sub: { infix: '-', level: level.add },
  mul: { call: 'mul_f32' },
  div: { call: 'div_f32' },
  neg: { prefix: '-' },
  min: { call: 'min_f32' },
  max: { call: 'max_f32' },
  abs: { call: 'abs' },
  exp: { call: 'exp_f32' },
  expm1: { call: 'expm1_f32' },
  log: { call: 'log_f32' },
  log1p: { call: 'log1p_f32' },
  sqrt: { call: 'sqrt_f32' },
  tanh: { call: 'tanh_f32' },
  sigmoid: { call: 'sigmoid_f32' },
  softplus: { call: 'softplus_f32' },
  logAddExp: { call: 'log_add_exp_f32' },
};

export const doubleSpellings: Record<PrimitiveName, Spelling> = {
  add: { call: 'add_double' },
  sub: { call: 'sub_double' },
  mul: { call: 'mul_double' },
  div: { call: 'div_double' },
  neg: { prefix: '-' },
  min: { call: 'min_double' },
  max: { call: 'max_double' },
  abs: { call: 'abs_double' },
  exp: { call: 'exp_double' },
  expm1: { call: 'expm1_double' },
  log: { call: 'log_double' },
  log1p: { call: 'log1p_double' },
  sqrt: { call: 'sqrt_double' },
  tanh: { call: 'tanh_double' },
  sigmoid: { call: 'sigmoid_double' },
  softplus: { call: 'softplus_double' },
  logAddExp: { call: 'log_add_exp_double' },
};

const indexSpellings: Record<KIndexOp['name'], Spelling> = {
  add: { infix: '+', level: level.add },
  sub: { infix: '-', level: level.add },
  mul: { infix: '*', level: level.mul },
  div: { infix: '/', level: level.mul },
  mod: { infix: '%', level: level.mul },
  min: { call: 'min' },
  max: { call: 'max' },
};

const comparisons: Record<CompareOp, string> = { eq: '==', ne: '!=', lt: '<', le: '<=', gt: '>', ge: '>=' };

/** Prints an expression; statements it needs go before, to the scope's writer. */
export function printExpr(context: KernelContext, scope: Scope, expr: KExpr): Value {
  switch (expr.op) {
    case 'const': {
      const text = literal(expr.type, expr.value);
      return { type: expr.type, text, level: text.startsWith('-') ? level.unary : level.atom, steady: true };
    }
    case 'var': {
      const value = scope.values.get(expr.name);
      if (value === undefined) throw new CompilerBug('wgsl', `'${expr.name}' is used where it is not defined`);
      if (value.type !== expr.type)
        throw new CompilerBug('wgsl', `'${expr.name}' is ${value.type} and is used as ${expr.type}`);
      return value;
    }
    case 'scalar': {
      const value = context.scalars.get(expr.name);
      if (value === undefined) throw new CompilerBug('wgsl', `launch argument '${expr.name}' is not declared`);
      return value;
    }
    case 'load':
      return printLoad(context, scope, expr, undefined);
    case 'prim':
      return printPrim(context, scope, expr);
    case 'index': {
      const args = operands(context, scope, expr.args, 'index', expr.name);
      return spell(indexSpellings[expr.name], 'index', args);
    }
    case 'compare':
      return printCompare(context, scope, expr);
    case 'logic':
      return printLogic(context, scope, expr);
    case 'select':
      return printSelect(context, scope, expr);
    case 'cast':
      return printCast(context, scope, expr);
  }
}

function operands(
  context: KernelContext,
  scope: Scope,
  args: readonly KExpr[],
  type: Value['type'],
  what: string,
): Value[] {
  return args.map((arg) => {
    const value = printExpr(context, scope, arg);
    if (value.type !== type) throw new CompilerBug('wgsl', `'${what}' on ${type} has an operand of type ${value.type}`);
    return value;
  });
}

/** The primitive of a type on values that have been printed. */
export function spellPrimitive(name: PrimitiveName, type: 'f32' | 'f64', args: readonly Value[]): Value {
  return spell((type === 'f32' ? singleSpellings : doubleSpellings)[name], type, args);
}

function spell(spelling: Spelling, type: Value['type'], args: readonly Value[]): Value {
  const steady = args.every((arg) => arg.steady);
  if ('call' in spelling) return atom(type, `${spelling.call}(${args.map(argument).join(', ')})`, steady);
  if ('prefix' in spelling)
    return { type, text: `${spelling.prefix}${wrap(args[0]!, level.atom)}`, level: level.unary, steady };
  const [left, right] = args as [Value, Value];
  const tighter = (spelling.level + 1) as Level;
  const text = `${wrap(left, spelling.level)} ${spelling.infix} ${wrap(right, tighter)}`;
  return { type, text, level: spelling.level, steady };
}

function printPrim(context: KernelContext, scope: Scope, expr: KPrim): Value {
  return spellPrimitive(expr.name, expr.type, operands(context, scope, expr.args, expr.type, expr.name));
}

const isInfinite = (expr: KExpr): boolean => expr.op === 'const' && Math.abs(expr.value) === Number.POSITIVE_INFINITY;
const mirrored: Record<CompareOp, CompareOp> = { eq: 'eq', ne: 'ne', lt: 'gt', le: 'ge', gt: 'lt', ge: 'le' };

function printCompare(context: KernelContext, scope: Scope, expr: KCompare): Value {
  const [left, right] = expr.args;
  if (left.type !== 'index' && isInfinite(right) && !isInfinite(left)) {
    return compareInfinite(printExpr(context, scope, left), expr.compare, right);
  }
  if (left.type !== 'index' && isInfinite(left) && !isInfinite(right)) {
    return compareInfinite(printExpr(context, scope, right), mirrored[expr.compare], left);
  }
  const args = operands(context, scope, expr.args, left.type, expr.compare) as [Value, Value];
  const steady = args.every((arg) => arg.steady);
  if (left.type === 'f64') {
    const [a, b] = args.map(argument) as [string, string];
    const text = {
      eq: `equal_double(${a}, ${b})`,
      ne: `!equal_double(${a}, ${b})`,
      lt: `less_double(${a}, ${b})`,
      le: `less_or_equal_double(${a}, ${b})`,
      gt: `less_double(${b}, ${a})`,
      ge: `less_or_equal_double(${b}, ${a})`,
    }[expr.compare];
    return { type: 'bool', text, level: text.startsWith('!') ? level.unary : level.atom, steady };
  }
  const text = `${wrap(args[0], level.add)} ${comparisons[expr.compare]} ${wrap(args[1], level.add)}`;
  return { type: 'bool', text, level: level.compare, steady };
}

/** A comparison with +-Infinity, which stands for every magnitude from 5e29 on. The value is on the left. */
function compareInfinite(value: Value, op: CompareOp, bound: KExpr): Value {
  const above = bound.op === 'const' && bound.value > 0;
  const high = value.type === 'f64' ? `${wrap(value, level.atom)}.x` : wrap(value, level.add);
  const limit = above ? 'HUGE' : '-HUGE';
  const known = (text: string): Value => ({ type: 'bool', text, level: level.compare, steady: value.steady });
  // x <= inf and x >= -inf hold for all numbers: only NaN fails to be itself.
  if (op === (above ? 'le' : 'ge')) return atom('bool', `!is_nan(${high})`, value.steady);
  if (op === (above ? 'gt' : 'lt')) return atom('bool', 'false', value.steady);
  if (op === 'ne')
    return atom('bool', `${above ? 'is_not_plus_infinite' : 'is_not_minus_infinite'}(${high})`, value.steady);
  if (op === 'lt' || op === 'gt') return known(`${high} ${comparisons[op]} ${limit}`);
  return known(`${high} ${above ? '>=' : '<='} ${limit}`);
}

function printLogic(context: KernelContext, scope: Scope, expr: KLogic): Value {
  const args = operands(context, scope, expr.args, 'bool', expr.logic);
  const steady = args.every((arg) => arg.steady);
  if (expr.logic === 'not') return { type: 'bool', text: `!${wrap(args[0]!, level.atom)}`, level: level.unary, steady };
  const operator = expr.logic === 'and' ? ' && ' : ' || ';
  return { type: 'bool', text: args.map((arg) => wrap(arg, level.compare)).join(operator), level: level.logic, steady };
}

function printSelect(context: KernelContext, scope: Scope, expr: KSelect): Value {
  const [condition, then, otherwise] = expr.args.map((arg) => printExpr(context, scope, arg)) as [Value, Value, Value];
  if (condition.type !== 'bool' || then.type !== expr.type || otherwise.type !== expr.type)
    throw new CompilerBug('wgsl', `select of ${condition.type}, ${then.type}, ${otherwise.type} as ${expr.type}`);
  const steady = condition.steady && then.steady && otherwise.steady;
  return atom(expr.type, `select(${[otherwise, then, condition].map(argument).join(', ')})`, steady);
}

function printCast(context: KernelContext, scope: Scope, expr: KCast): Value {
  const value = printExpr(context, scope, expr.arg);
  const { steady } = value;
  if (value.type === expr.type) return value;
  if (value.type === 'bool') throw new CompilerBug('wgsl', 'a bool is cast to a real');
  if (value.type === 'index') {
    const cast = expr.type === 'f64' ? 'double_of_index' : 'f32';
    return atom(expr.type, `${cast}(${argument(value)})`, steady);
  }
  if (expr.type === 'f64') return atom('f64', `Double(${argument(value)}, 0.0)`, steady);
  return atom('f32', `${wrap(value, level.atom)}.x`, steady);
}

/** A load; with a mask, a variable of its own, called `name` if given. */
export function printLoad(context: KernelContext, scope: Scope, load: KLoad, name: string | undefined): Value {
  const buffer = bufferOf(context, load.buffer);
  const { element, role } = buffer.decl;
  const expected = element === 'i32' ? 'index' : element;
  if (load.type !== expected)
    throw new CompilerBug('wgsl', `load of ${load.type} from '${load.buffer}', whose elements are ${element}`);
  const index = printExpr(context, scope, load.index);
  const cell = `${buffer.text}[${index.text}]`;
  // Scratch holds what kernels stored, in their own form; memory that others see holds infinities.
  const outside = role !== 'scratch';
  const text =
    outside && element === 'f32' ? `finite(${cell})` : outside && element === 'f64' ? `load_double(${cell})` : cell;
  const stored = buffer.access === 'read_write';
  if (load.mask === undefined) return atom(load.type, text, index.steady && !stored);
  const mask = printExpr(context, scope, load.mask);
  const variable = name ?? context.names.fresh(load.buffer);
  const { writer } = scope;
  writer.line(`var ${variable}: ${valueType[load.type]} = ${literal(load.type, load.other ?? 0)};`);
  writer.open(`if (${mask.text})`);
  writer.line(`${variable} = ${text};`);
  writer.close();
  return atom(load.type, variable, index.steady && mask.steady && !stored);
}
