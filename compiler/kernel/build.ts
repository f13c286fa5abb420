/**
 * Constructors of kernel expressions, with folding of integer and boolean constants. Floating-point values are
 * never folded beyond casts of literals: NaN and infinities must behave at run time as they would on paper.
 */
import type { PrimitiveName } from '../../dsl/primitives.js';
import type { CompareOp } from '../graph/graph.js';
import { CompilerBug } from '../source.js';
import type { ElementType, KConst, KExpr, KernelType, KIndexOp } from './kernel.js';

/** The type of a loaded element. */
export const typeOfElement = (element: ElementType): 'f32' | 'f64' | 'index' =>
  element === 'i32' ? 'index' : element === 'f64' ? 'f64' : 'f32';

export const index = (value: number): KConst => ({ op: 'const', type: 'index', value });
export const real = (type: 'f32' | 'f64', value: number): KConst => ({ op: 'const', type, value });
export const boolean = (value: boolean): KConst => ({ op: 'const', type: 'bool', value: value ? 1 : 0 });
export const variable = (name: string, type: KernelType): KExpr => ({ op: 'var', type, name });
export const scalar = (name: string, type: 'index' | 'f64'): KExpr => ({ op: 'scalar', type, name });

const isConst = (expr: KExpr, value: number): boolean => expr.op === 'const' && expr.value === value;

const foldIndex: Record<KIndexOp['name'], (a: number, b: number) => number> = {
  add: (a, b) => a + b,
  sub: (a, b) => a - b,
  mul: (a, b) => a * b,
  div: (a, b) => Math.floor(a / b),
  mod: (a, b) => a % b,
  min: Math.min,
  max: Math.max,
};

function indexOp(name: KIndexOp['name'], a: KExpr, b: KExpr): KExpr {
  if (a.type !== 'index' || b.type !== 'index') throw new CompilerBug('kernels', `${name} of ${a.type} and ${b.type}`);
  if (a.op === 'const' && b.op === 'const') return index(foldIndex[name](a.value, b.value));
  if ((name === 'add' || name === 'sub') && isConst(b, 0)) return a;
  if (name === 'add' && isConst(a, 0)) return b;
  if ((name === 'mul' || name === 'div') && isConst(b, 1)) return a;
  if (name === 'mul' && isConst(a, 1)) return b;
  if (name === 'mod' && isConst(a, 0)) return index(0);
  if (name === 'mul' && (isConst(a, 0) || isConst(b, 0))) return index(0);
  if (name === 'add' && b.op === 'const' && b.value < 0) return indexOp('sub', a, index(-b.value));
  return { op: 'index', type: 'index', name, args: [a, b] };
}
export const add = (a: KExpr, b: KExpr): KExpr => indexOp('add', a, b);
export const sub = (a: KExpr, b: KExpr): KExpr => indexOp('sub', a, b);
export const mul = (a: KExpr, b: KExpr): KExpr => indexOp('mul', a, b);
export const div = (a: KExpr, b: KExpr): KExpr => indexOp('div', a, b);
export const mod = (a: KExpr, b: KExpr): KExpr => indexOp('mod', a, b);
export const min = (a: KExpr, b: KExpr): KExpr => indexOp('min', a, b);
export const max = (a: KExpr, b: KExpr): KExpr => indexOp('max', a, b);

export function prim(name: PrimitiveName, ...args: KExpr[]): KExpr {
  const type = args[0]!.type;
  if ((type !== 'f32' && type !== 'f64') || args.some((arg) => arg.type !== type))
    throw new CompilerBug('kernels', `${name} of ${args.map((arg) => arg.type).join(', ')}`);
  return { op: 'prim', type, name, args };
}

export function compare(op: CompareOp, a: KExpr, b: KExpr): KExpr {
  if (a.type !== b.type || a.type === 'bool') throw new CompilerBug('kernels', `compare ${a.type} with ${b.type}`);
  if (a.type === 'index' && a.op === 'const' && b.op === 'const') {
    const [x, y] = [a.value, b.value];
    return boolean({ eq: x === y, ne: x !== y, lt: x < y, le: x <= y, gt: x > y, ge: x >= y }[op]);
  }
  return { op: 'compare', type: 'bool', compare: op, args: [a, b] };
}

export function and(...conditions: KExpr[]): KExpr {
  if (conditions.some((c) => isConst(c, 0))) return boolean(false);
  const rest = conditions.filter((c) => !isConst(c, 1));
  if (rest.length === 0) return boolean(true);
  return rest.length === 1 ? rest[0]! : { op: 'logic', type: 'bool', logic: 'and', args: rest };
}
export function or(...conditions: KExpr[]): KExpr {
  if (conditions.some((c) => isConst(c, 1))) return boolean(true);
  const rest = conditions.filter((c) => !isConst(c, 0));
  if (rest.length === 0) return boolean(false);
  return rest.length === 1 ? rest[0]! : { op: 'logic', type: 'bool', logic: 'or', args: rest };
}
export const not = (a: KExpr): KExpr =>
  a.op === 'const' ? boolean(a.value === 0) : { op: 'logic', type: 'bool', logic: 'not', args: [a] };

export function select(condition: KExpr, then: KExpr, otherwise: KExpr): KExpr {
  if (condition.op === 'const') return condition.value ? then : otherwise;
  if (then.type !== otherwise.type) throw new CompilerBug('kernels', `select of ${then.type} and ${otherwise.type}`);
  return { op: 'select', type: then.type, args: [condition, then, otherwise] };
}

export function cast(type: 'f32' | 'f64', arg: KExpr): KExpr {
  if (arg.type === type) return arg;
  if (arg.op === 'const' && arg.type !== 'bool') return real(type, type === 'f32' ? Math.fround(arg.value) : arg.value);
  return { op: 'cast', type, arg };
}

export function load(buffer: string, element: ElementType, at: KExpr, mask?: KExpr, other?: number): KExpr {
  const type = typeOfElement(element);
  if (mask === undefined || isConst(mask, 1)) return { op: 'load', type, buffer, index: at };
  if (mask.op === 'const') return type === 'index' ? index(other ?? 0) : real(type, other ?? 0);
  return { op: 'load', type, buffer, index: at, mask, other: other ?? 0 };
}
