/**
 * Expressions. Each is printed in place; only a masked load becomes a statement of its own, so that memory is touched only
 * where the mask is true.
 */
import type { PrimitiveName } from '../../dsl/primitives.js';
import type { CompareOp } from '../graph/graph.js';
import { typeOfElement } from '../kernel/build.js';
import type { KCast, KCompare, KExpr, KIndexOp, KLoad, KLogic, KPrim, KSelect, KStore } from '../kernel/kernel.js';
import { CompilerBug } from '../source.js';
import { fourfold } from './library.js';
import { literal, valueType, vectorType } from './types.js';
import {
  argument,
  asFour,
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
  if ('call' in spelling) return spellCall(spelling.call, type, args);
  const { steady, four } = together(args);
  if ('prefix' in spelling)
    return { type, text: `${spelling.prefix}${wrap(args[0]!, level.atom)}`, level: level.unary, steady, four };
  const [left, right] = args as [Value, Value];
  const tighter = (spelling.level + 1) as Level;
  const text = `${wrap(left, spelling.level)} ${spelling.infix} ${wrap(right, tighter)}`;
  // Vectors and numbers mix.
  return { type, text, level: spelling.level, steady, four };
}

/** What is known of a value that is made of others. */
function together(args: readonly Value[]): { steady: boolean; four: boolean } {
  return { steady: args.every((arg) => arg.steady), four: args.some((arg) => arg.four) };
}

const builtIn: ReadonlySet<string> = new Set(['abs', 'min', 'max']);

/** A call of one of our functions or of one that WGSL has for vectors as well. */
export function spellCall(name: string, type: Value['type'], args: readonly Value[]): Value {
  const { steady, four } = together(args);
  const called = four && !builtIn.has(name) ? fourfold(name) : name;
  return atom(type, `${called}(${(four ? args.map(asFour) : args).map(argument).join(', ')})`, steady, four);
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
  const { steady, four } = together(args);
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
  const [a, b] = (four ? args.map(asFour) : args) as [Value, Value];
  const text = `${wrap(a, level.add)} ${comparisons[expr.compare]} ${wrap(b, level.add)}`;
  return { type: 'bool', text, level: level.compare, steady, four };
}

/** A comparison with +-Infinity, which stands for every magnitude from 5e29 on. The value is on the left. */
function compareInfinite(value: Value, op: CompareOp, bound: KExpr): Value {
  const above = bound.op === 'const' && bound.value > 0;
  const { steady, four = false } = value;
  const high: Value = value.type === 'f64' ? atom('f32', `${wrap(value, level.atom)}.x`, steady) : value;
  // x <= inf and x >= -inf hold for all numbers: only NaN fails to be itself.
  if (op === (above ? 'le' : 'ge')) {
    const isNan = spellCall('is_nan', 'bool', [high]);
    return { ...isNan, text: `!${isNan.text}` };
  }
  if (op === (above ? 'gt' : 'lt')) return atom('bool', 'false', steady);
  if (op === 'ne') return spellCall(above ? 'is_not_plus_infinite' : 'is_not_minus_infinite', 'bool', [high]);
  const operator = op === 'lt' || op === 'gt' ? comparisons[op] : above ? '>=' : '<=';
  const limit = atom('f32', above ? 'HUGE' : '-HUGE', true);
  const text = `${wrap(high, level.add)} ${operator} ${(four ? asFour(limit) : limit).text}`;
  return { type: 'bool', text, level: level.compare, steady, four };
}

function printLogic(context: KernelContext, scope: Scope, expr: KLogic): Value {
  const args = operands(context, scope, expr.args, 'bool', expr.logic);
  const { steady, four } = together(args);
  if (expr.logic === 'not')
    return { type: 'bool', text: `!${wrap(args[0]!, level.atom)}`, level: level.unary, steady, four };
  if (four) {
    // Not && and ||, which vectors do not have. Nothing mixes with & and |: always in parentheses.
    const text = args.map((arg) => wrap(asFour(arg), level.unary)).join(expr.logic === 'and' ? ' & ' : ' | ');
    return { type: 'bool', text, level: level.logic, steady, four };
  }
  const operator = expr.logic === 'and' ? ' && ' : ' || ';
  return { type: 'bool', text: args.map((arg) => wrap(arg, level.compare)).join(operator), level: level.logic, steady };
}

function printSelect(context: KernelContext, scope: Scope, expr: KSelect): Value {
  const [condition, then, otherwise] = expr.args.map((arg) => printExpr(context, scope, arg)) as [Value, Value, Value];
  if (condition.type !== 'bool' || then.type !== expr.type || otherwise.type !== expr.type)
    throw new CompilerBug('wgsl', `select of ${condition.type}, ${then.type}, ${otherwise.type} as ${expr.type}`);
  const { steady, four } = together([condition, then, otherwise]);
  // One condition may choose between vectors.
  const arms = four ? [otherwise, then].map(asFour) : [otherwise, then];
  return atom(expr.type, `select(${[...arms, condition].map(argument).join(', ')})`, steady, four);
}

function printCast(context: KernelContext, scope: Scope, expr: KCast): Value {
  const value = printExpr(context, scope, expr.arg);
  const { steady, four } = value;
  if (value.type === expr.type) return value;
  if (value.type === 'bool') throw new CompilerBug('wgsl', 'a bool is cast to a real');
  if (value.type === 'index') {
    const cast = expr.type === 'f64' ? 'double_of_index' : four ? vectorType('f32') : 'f32';
    return atom(expr.type, `${cast}(${argument(value)})`, steady, four);
  }
  if (expr.type === 'f64') return atom('f64', `Double(${argument(value)}, 0.0)`, steady);
  return atom('f32', `${wrap(value, level.atom)}.x`, steady);
}

/** The text of one element, or of four where that is how it is accessed. */
export function cellOf(
  context: KernelContext,
  scope: Scope,
  access: KLoad | KStore,
): { cell: string; index: Value; four: boolean } {
  const { text, byFour } = bufferOf(context, access.buffer);
  const four = context.vectors.accesses.has(access);
  const index = printExpr(context, four ? atFirst(scope) : scope, access.index);
  if (!byFour) return { cell: `${text}[${index.text}]`, index, four };
  const place = wrap(index, level.unary);
  return { cell: `${text}[${place} >> 2u]${four ? '' : `[${place} & 3]`}`, index, four };
}

/** The scope in which the first of four lanes is the only one: addresses are its. */
function atFirst(scope: Scope): Scope {
  const { variable, lane } = scope.firstOfFour!;
  return { ...scope, values: new Map(scope.values).set(variable, lane) };
}

/** A load; with a mask, a variable of its own, called `name` if given. */
export function printLoad(context: KernelContext, scope: Scope, load: KLoad, name: string | undefined): Value {
  const kept = scope.kept?.get(load);
  if (kept !== undefined) return kept;
  const buffer = bufferOf(context, load.buffer);
  const { element, role } = buffer.decl;
  const expected = typeOfElement(element);
  if (load.type !== expected)
    throw new CompilerBug('wgsl', `load of ${load.type} from '${load.buffer}', whose elements are ${element}`);
  const { cell, index, four } = cellOf(context, scope, load);
  const steady = index.steady && buffer.access === 'read';
  const type = four ? vectorType(load.type) : valueType[load.type];
  const inner = atom(load.type, element === 'f16' ? `${type}(${cell})` : cell, steady, four);
  // Scratch holds what kernels stored, in their own form; memory that others see holds infinities.
  const outside = role !== 'scratch' && element !== 'i32';
  const value = outside ? spellCall(load.type === 'f32' ? 'finite' : 'load_double', load.type, [inner]) : inner;
  if (load.mask === undefined) return value;
  const mask = printExpr(context, scope, load.mask);
  const variable = name ?? context.names.fresh(load.buffer);
  const { writer } = scope;
  const other = literal(load.type, load.other ?? 0);
  writer.line(`var ${variable}: ${type} = ${four ? `${type}(${other})` : other};`);
  writer.open(`if (${mask.text})`);
  writer.line(`${variable} = ${value.text};`);
  writer.close();
  return atom(load.type, variable, steady && mask.steady, four);
}
