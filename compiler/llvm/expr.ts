/**
 * Expressions: scalar instructions for what is the same in all lanes, vector instructions for what is not.
 */

import type { CompareOp } from '../graph/graph.js';
import type { KCast, KCompare, KExpr, KIndexOp, KLogic, KPrim, KSelect } from '../kernel/kernel.js';
import { CompilerBug } from '../source.js';
import { emitPrimitive } from './math.js';
import { emitLoad } from './memory.js';
import { literal, mangled, registerType, vectorOf } from './types.js';
import {
  type Affine,
  asVector,
  type KernelContext,
  lanesOf,
  type Scope,
  uniform,
  type Value,
  varying,
} from './values.js';

export function emitExpr(context: KernelContext, scope: Scope, expr: KExpr): Value {
  switch (expr.op) {
    case 'const':
      return uniform(expr.type, literal(expr.type, expr.value));
    case 'var': {
      const value = scope.values.get(expr.name);
      if (value === undefined) throw new CompilerBug('llvm', `'${expr.name}' is used where it is not defined`);
      if (value.type !== expr.type) {
        throw new CompilerBug('llvm', `'${expr.name}' is ${value.type} and is used as ${expr.type}`);
      }
      return value;
    }
    case 'scalar': {
      const value = context.scalars.get(expr.name);
      if (value === undefined) throw new CompilerBug('llvm', `launch argument '${expr.name}' is not declared`);
      return value;
    }
    case 'load': {
      const index = emitExpr(context, scope, expr.index);
      const mask = expr.mask === undefined ? undefined : emitExpr(context, scope, expr.mask);
      return emitLoad(context, scope, expr, index, mask);
    }
    case 'prim':
      return emitPrim(context, scope, expr);
    case 'index':
      return emitIndexOp(context, scope, expr);
    case 'compare':
      return emitCompare(context, scope, expr);
    case 'logic':
      return emitLogic(context, scope, expr);
    case 'select':
      return emitSelect(context, scope, expr);
    case 'cast':
      return emitCast(context, scope, expr);
  }
}

/** Prints an operation on operands of any shape: scalar if all are uniform. `print` gets the lanes and the operands. */
function lift(
  context: KernelContext,
  scope: Scope,
  type: Value['type'],
  operands: readonly Value[],
  print: (lanes: number, texts: string[]) => string,
): Value {
  if (operands.every((operand) => operand.shape === 'uniform')) {
    return uniform(
      type,
      print(
        0,
        operands.map((operand) => operand.text),
      ),
    );
  }
  const texts = operands.map((operand) => asVector(context, scope, operand));
  return varying(type, print(scope.lanes, texts));
}

function emitPrim(context: KernelContext, scope: Scope, expr: KPrim): Value {
  const operands = expr.args.map((arg) => emitExpr(context, scope, arg));
  requireType(operands, expr.type, expr.name);
  // The first of two is looked at for NaN: of one that is the same for all lanes that is done once.
  if ((expr.name === 'min' || expr.name === 'max') && operands[1]!.shape === 'uniform') operands.reverse();
  return lift(context, scope, expr.type, operands, (lanes, texts) =>
    emitPrimitive(context.writer, expr.name, expr.type, lanes, texts),
  );
}

const indexInstructions = { add: 'add nsw', sub: 'sub nsw', mul: 'mul nsw', div: 'udiv', mod: 'urem' } as const;

function emitIndexOp(context: KernelContext, scope: Scope, expr: KIndexOp): Value {
  const a = emitExpr(context, scope, expr.args[0]);
  const b = emitExpr(context, scope, expr.args[1]);
  requireType([a, b], 'index', expr.name);
  const { name } = expr;
  const { writer } = context;
  const kept = affineResult(context, expr, a, b);
  if (kept !== undefined) return kept;
  if (name === 'mod' && a.shape === 'affine' && a.stride === 1 && b.shape === 'uniform')
    return affineRemainder(context, scope, a.text, b.text);
  return lift(context, scope, 'index', [a, b], (lanes, [x, y]) => {
    const type = vectorOf('i64', lanes);
    if (name === 'min' || name === 'max') {
      const symbol = writer.parts.declare(`llvm.s${name}.${mangled('i64', lanes)}`, type, [type, type]);
      return writer.emit(name, `call ${type} ${symbol}(${type} ${x}, ${type} ${y})`);
    }
    return writer.emit(name, `${indexInstructions[name]} ${type} ${x}, ${y}`);
  });
}

/** Sums and differences with, and products by a constant of, an affine index: scalar instructions on lane 0. */
function affineResult(context: KernelContext, expr: KIndexOp, a: Value, b: Value): Value | undefined {
  if (a.shape === 'varying' || b.shape === 'varying') return undefined;
  if (a.shape === 'uniform' && b.shape === 'uniform') return undefined;
  const { name } = expr;
  let stride: number;
  if (name === 'add') stride = strideOf(a) + strideOf(b);
  else if (name === 'sub') stride = strideOf(a) - strideOf(b);
  else if (name === 'mul' && expr.args[1].op === 'const') stride = strideOf(a) * expr.args[1].value;
  else if (name === 'mul' && expr.args[0].op === 'const') stride = strideOf(b) * expr.args[0].value;
  else return undefined;
  const text = context.writer.emit(name, `${indexInstructions[name]} i64 ${a.text}, ${b.text}`);
  if (stride === 0) return uniform('index', text);
  return { shape: 'affine', type: 'index', text, stride } satisfies Affine;
}

/**
 * first, first + 1, ... modulo a number: one division for lane 0, after which the others are at most as many multiples too
 * high as there are lanes less one. Taking off half as many, then a quarter, down to one, leaves the remainder.
 */
function affineRemainder(context: KernelContext, scope: Scope, first: string, modulus: string): Value {
  const { writer } = context;
  const { lanes } = scope;
  const type = vectorOf('i64', lanes);
  const start = writer.emit('mod', `urem i64 ${first}, ${modulus}`);
  const steps = lanesOf('i64', lanes, String);
  let rest = writer.emit('lanes', `add ${type} ${writer.splat('i64', lanes, start)}, ${steps}`);
  for (let times = lanes / 2; times >= 1; times /= 2) {
    const much = writer.splat('i64', lanes, writer.emit('multiple', `mul nsw i64 ${modulus}, ${times}`));
    const less = writer.emit('less', `sub ${type} ${rest}, ${much}`);
    // As unsigned numbers: a negative difference is a large one.
    const symbol = writer.parts.declare(`llvm.umin.${mangled('i64', lanes)}`, type, [type, type]);
    rest = writer.emit('mod', `call ${type} ${symbol}(${type} ${rest}, ${type} ${less})`);
  }
  return varying('index', rest);
}

function strideOf(value: Value): number {
  return value.shape === 'affine' ? value.stride : 0;
}

const realComparisons = { eq: 'oeq', ne: 'une', lt: 'olt', le: 'ole', gt: 'ogt', ge: 'oge' } as const;
const indexComparisons = { eq: 'eq', ne: 'ne', lt: 'slt', le: 'sle', gt: 'sgt', ge: 'sge' } as const;

function emitCompare(context: KernelContext, scope: Scope, expr: KCompare): Value {
  const operands = expr.args.map((arg) => emitExpr(context, scope, arg));
  const type = operands[0]!.type;
  requireType(operands, type, expr.compare);
  const narrow = affineComparison(context, scope, expr.compare, operands as [Value, Value]);
  if (narrow !== undefined) return narrow;
  return lift(context, scope, 'bool', operands, (lanes, [a, b]) => {
    const spelled =
      type === 'index' || type === 'bool'
        ? `icmp ${indexComparisons[expr.compare]}`
        : `fcmp ${realComparisons[expr.compare]}`;
    return context.writer.emit(expr.compare, `${spelled} ${vectorOf(registerType[type], lanes)} ${a}, ${b}`);
  });
}

/**
 * Comparison of indices whose difference grows by one (or falls by one) from lane to lane: the lane's number against one
 * scalar, in 32 bits, where the general way takes vectors of 64 bits.
 */
function affineComparison(
  context: KernelContext,
  scope: Scope,
  op: CompareOp,
  [a, b]: [Value, Value],
): Value | undefined {
  if (a.shape === 'varying' || b.shape === 'varying' || a.shape === b.shape) return undefined;
  const stride = strideOf(a) - strideOf(b);
  if (Math.abs(stride) !== 1) return undefined;
  const { writer } = context;
  const { lanes } = scope;
  // a op b is: lane op (b - a) if the difference grows, lane flipped-op (a - b) if it falls.
  const [high, low] = stride === 1 ? [b, a] : [a, b];
  const spelled = indexComparisons[stride === 1 ? op : flipped[op]];
  const smin = writer.parts.declare('llvm.smin.i64', 'i64', ['i64', 'i64']);
  const smax = writer.parts.declare('llvm.smax.i64', 'i64', ['i64', 'i64']);
  const crossing = writer.emit('crossing', `sub nsw i64 ${high.text}, ${low.text}`);
  // Beyond these no lane makes a difference.
  const above = writer.emit('crossing', `call i64 ${smax}(i64 ${crossing}, i64 -1)`);
  const within = writer.emit('crossing', `call i64 ${smin}(i64 ${above}, i64 ${lanes})`);
  const narrow = writer.splat('i32', lanes, writer.emit('crossing', `trunc i64 ${within} to i32`));
  const numbers = lanesOf('i32', lanes, String);
  return varying('bool', writer.emit(op, `icmp ${spelled} ${vectorOf('i32', lanes)} ${numbers}, ${narrow}`));
}

const flipped = { eq: 'eq', ne: 'ne', lt: 'gt', le: 'ge', gt: 'lt', ge: 'le' } as const;

function emitLogic(context: KernelContext, scope: Scope, expr: KLogic): Value {
  const operands = expr.args.map((arg) => emitExpr(context, scope, arg));
  requireType(operands, 'bool', expr.logic);
  const { writer } = context;
  const [first, ...rest] = operands;
  if (first === undefined) throw new CompilerBug('llvm', `'${expr.logic}' without operands`);
  if (expr.logic === 'not') {
    return lift(context, scope, 'bool', [first], (lanes, [a]) =>
      writer.emit('not', `xor ${vectorOf('i1', lanes)} ${a}, ${writer.splat('i1', lanes, 'true')}`),
    );
  }
  return rest.reduce<Value>(
    (all, next) =>
      lift(context, scope, 'bool', [all, next], (lanes, [a, b]) =>
        writer.emit(expr.logic, `${expr.logic} ${vectorOf('i1', lanes)} ${a}, ${b}`),
      ),
    first,
  );
}

function emitSelect(context: KernelContext, scope: Scope, expr: KSelect): Value {
  const [condition, yes, no] = expr.args.map((arg) => emitExpr(context, scope, arg)) as [Value, Value, Value];
  requireType([condition], 'bool', 'select');
  requireType([yes, no], expr.type, 'select');
  return lift(context, scope, expr.type, [condition, yes, no], (lanes, [c, a, b]) => {
    const type = vectorOf(registerType[expr.type], lanes);
    return context.writer.emit('select', `select ${vectorOf('i1', lanes)} ${c}, ${type} ${a}, ${type} ${b}`);
  });
}

function emitCast(context: KernelContext, scope: Scope, expr: KCast): Value {
  const operand = emitExpr(context, scope, expr.arg);
  if (operand.type === expr.type) return operand;
  if (operand.type === 'bool') throw new CompilerBug('llvm', 'a bool is cast to a real');
  const instruction = operand.type === 'index' ? 'sitofp' : expr.type === 'f64' ? 'fpext' : 'fptrunc';
  return lift(context, scope, expr.type, [operand], (lanes, [a]) => {
    const from = vectorOf(registerType[operand.type], lanes);
    return context.writer.emit(expr.type, `${instruction} ${from} ${a} to ${vectorOf(registerType[expr.type], lanes)}`);
  });
}

function requireType(operands: readonly Value[], type: Value['type'], what: string): void {
  for (const operand of operands) {
    if (operand.type !== type)
      throw new CompilerBug('llvm', `'${what}' on ${type} has an operand of type ${operand.type}`);
  }
}
