/** Literals of kernel IR, as short as tests need them: no folding, no checks. */

import type { CompareOp, LogicOp } from '../../compiler/graph/graph.js';
import type {
  BufferDecl,
  ElementType,
  KExpr,
  Kernel,
  KernelProgram,
  KernelType,
  KIndexOp,
  KLoad,
  KLoop,
  KPrim,
  KReduce,
  KStmt,
  ScalarDecl,
} from '../../compiler/kernel/kernel.js';
import type { PrimitiveName } from '../../dsl/primitives.js';

export const i = (value: number): KExpr => ({ op: 'const', type: 'index', value });
export const f32 = (value: number): KExpr => ({ op: 'const', type: 'f32', value });
export const f64 = (value: number): KExpr => ({ op: 'const', type: 'f64', value });
export const yes: KExpr = { op: 'const', type: 'bool', value: 1 };
export const v = (name: string, type: KernelType = 'index'): KExpr => ({ op: 'var', type, name });
export const size = (name: string): KExpr => ({ op: 'scalar', type: 'index', name });
export const param = (name: string): KExpr => ({ op: 'scalar', type: 'f64', name });

const indexOp =
  (name: KIndexOp['name']) =>
  (a: KExpr, b: KExpr): KExpr => ({ op: 'index', type: 'index', name, args: [a, b] });
export const add = indexOp('add');
export const sub = indexOp('sub');
export const mul = indexOp('mul');
export const div = indexOp('div');
export const mod = indexOp('mod');
export const min = indexOp('min');
export const max = indexOp('max');

export const prim = (type: KPrim['type'], name: PrimitiveName, ...args: KExpr[]): KExpr => ({
  op: 'prim',
  type,
  name,
  args,
});
export const compare = (op: CompareOp, a: KExpr, b: KExpr): KExpr => ({
  op: 'compare',
  type: 'bool',
  compare: op,
  args: [a, b],
});
export const logic = (op: LogicOp, ...args: KExpr[]): KExpr => ({ op: 'logic', type: 'bool', logic: op, args });
export const select = (c: KExpr, a: KExpr, b: KExpr): KExpr => ({ op: 'select', type: a.type, args: [c, a, b] });
export const cast = (type: 'f32' | 'f64', arg: KExpr): KExpr => ({ op: 'cast', type, arg });
export const load = (buffer: string, type: KLoad['type'], index: KExpr, mask?: KExpr, other?: number): KExpr => ({
  op: 'load',
  type,
  buffer,
  index,
  ...(mask && { mask }),
  ...(other !== undefined && { other }),
});

export const let_ = (name: string, value: KExpr): KStmt => ({ kind: 'let', name, value });
export const store = (buffer: string, index: KExpr, value: KExpr): KStmt => ({ kind: 'store', buffer, index, value });
export const when = (condition: KExpr, then: KStmt[], otherwise: KStmt[] = []): KStmt => ({
  kind: 'if',
  condition,
  then,
  otherwise,
});
export const comment = (text: string): KStmt => ({ kind: 'comment', text });
export const sum = (name: string, type: KReduce['type'], value: KExpr): KReduce => ({ name, op: 'sum', type, value });

type Range = readonly [from: KExpr, to: KExpr];
const loop = (
  mode: KLoop['mode'],
  variable: string,
  [from, to]: Range,
  body: KStmt[],
  more: Partial<KLoop> = {},
): KStmt => ({
  kind: 'loop',
  mode,
  variable,
  from,
  to,
  body,
  reduce: [],
  ...more,
});
export const lanes = (variable: string, range: Range, body: KStmt[], more: Partial<KLoop> = {}): KStmt =>
  loop('lanes', variable, range, body, { precision: 'f64', ...more });
export const steps = (variable: string, range: Range, body: KStmt[], more: Partial<KLoop> = {}): KStmt =>
  loop('steps', variable, range, body, more);
export const serial = (variable: string, range: Range, body: KStmt[], more: Partial<KLoop> = {}): KStmt =>
  loop('serial', variable, range, body, more);
export const to = (end: KExpr): Range => [i(0), end];

export const buffer = (
  role: BufferDecl['role'],
  name: string,
  element: ElementType,
  ...shape: KExpr[]
): BufferDecl => ({
  name,
  element,
  role,
  shape,
  layout: `${name}${shape.map((_, axis) => `[${'btuv'[axis]}]`).join('')}`,
});
export const sizes = (...names: string[]): ScalarDecl[] => names.map((name) => ({ name, type: 'index', role: 'size' }));
export const kernel = (name: string, grid: Record<string, KExpr>, body: KStmt[], doc: string[] = []): Kernel => ({
  name,
  doc,
  grid: Object.entries(grid).map(([variable, extent]) => ({ variable, extent })),
  body,
});
export const program = (scalars: ScalarDecl[], buffers: BufferDecl[], ...phases: Kernel[][]): KernelProgram => ({
  name: 'example',
  buffers,
  scalars,
  phases,
});
