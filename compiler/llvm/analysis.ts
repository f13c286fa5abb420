/**
 * Questions about kernel code that must be answered before it is printed.
 */
import type { KExpr, KLoop, KReduce, KStmt, KStore } from '../kernel/kernel.js';

/** The operands of an expression. */
export function operandsOf(expr: KExpr): readonly KExpr[] {
  switch (expr.op) {
    case 'const':
    case 'var':
    case 'scalar':
      return [];
    case 'load':
      return expr.mask === undefined ? [expr.index] : [expr.index, expr.mask];
    case 'cast':
      return [expr.arg];
    default:
      return expr.args;
  }
}

/** Whether an expression differs between lanes, given the names that do. */
export function isVarying(expr: KExpr, names: ReadonlySet<string>): boolean {
  if (expr.op === 'var') return names.has(expr.name);
  return operandsOf(expr).some((operand) => isVarying(operand, names));
}

/**
 * Which reductions of a loop inside a lanes loop differ between lanes: those whose value does, and all if the loop's
 * bounds do. `names` are the varying names around the loop.
 */
export function varyingReductions(loop: KLoop, names: ReadonlySet<string>): ReadonlySet<KReduce> {
  if (isVarying(loop.from, names) || isVarying(loop.to, names)) return new Set(loop.reduce);
  const inside = new Set(names);
  addVarying(loop.body, inside);
  return new Set(loop.reduce.filter((reduce) => isVarying(reduce.value, inside)));
}

function addVarying(body: readonly KStmt[], names: Set<string>): void {
  for (const statement of body) {
    if (statement.kind === 'let' && isVarying(statement.value, names)) names.add(statement.name);
    if (statement.kind === 'loop') for (const reduce of varyingReductions(statement, names)) names.add(reduce.name);
  }
}

/**
 * How much `expr` grows when `variable` does by one: a constant, or null if it does not grow by a constant.
 * `lets` are the names defined in the loop.
 */
export function strideOf(expr: KExpr, variable: string, lets: ReadonlyMap<string, KExpr>): number | null {
  if (expr.op === 'var') {
    if (expr.name === variable) return 1;
    const named = lets.get(expr.name);
    return named === undefined ? 0 : strideOf(named, variable, lets);
  }
  const strides = operandsOf(expr).map((operand) => strideOf(operand, variable, lets));
  if (strides.every((stride) => stride === 0)) return 0;
  const [a, b] = strides;
  if (expr.op !== 'index' || a === null || b === null || a === undefined || b === undefined) return null;
  if (expr.name === 'add') return a + b;
  if (expr.name === 'sub') return a - b;
  const [x, y] = expr.args;
  if (expr.name === 'mul' && y.op === 'const') return a * y.value;
  if (expr.name === 'mul' && x.op === 'const') return b * x.value;
  return null;
}

/** A store whose full vectors can be aligned and non-temporal, and its index in terms of names from outside the loop. */
export interface StreamingStore {
  readonly store: KStore;
  readonly index: KExpr;
}

/**
 * The first streaming store of a lanes loop that is contiguous, unless alignment is ruled out: how many iterations come
 * before the first full vector depends on the address, and so would the rounding of a sum.
 */
export function streamingStore(loop: KLoop): StreamingStore | undefined {
  if (loop.reduce.some((reduce) => reduce.op === 'sum')) return undefined;
  const lets = new Map<string, KExpr>();
  for (const statement of loop.body) {
    if (statement.kind === 'let') lets.set(statement.name, statement.value);
    if (statement.kind === 'loop') for (const reduce of statement.reduce) lets.set(reduce.name, reduce.value);
    if (statement.kind !== 'store' || !statement.streaming) continue;
    if (strideOf(statement.index, loop.variable, lets) !== 1) continue;
    const index = withoutLets(statement.index, lets);
    if (index !== undefined) return { store: statement, index };
  }
  return undefined;
}

/** The expression with names of the loop replaced by what they stand for; undefined if that takes a load. */
function withoutLets(expr: KExpr, lets: ReadonlyMap<string, KExpr>): KExpr | undefined {
  if (expr.op === 'load') return undefined;
  if (expr.op === 'var') {
    const named = lets.get(expr.name);
    return named === undefined ? expr : withoutLets(named, lets);
  }
  if (expr.op === 'const' || expr.op === 'scalar') return expr;
  if (expr.op !== 'index') return undefined;
  const a = withoutLets(expr.args[0], lets);
  const b = withoutLets(expr.args[1], lets);
  return a === undefined || b === undefined ? undefined : { ...expr, args: [a, b] };
}

/** Work of one iteration, in instructions, roughly. */
export function workOf(loop: KLoop): number {
  let work = 0;
  const visit = (expr: KExpr): void => {
    work += expr.op === 'prim' && /exp|log|tanh|sigmoid|softplus/i.test(expr.name) ? 20 : 1;
    for (const operand of operandsOf(expr)) visit(operand);
  };
  const body = (statements: readonly KStmt[]): void => {
    for (const statement of statements) {
      if (statement.kind === 'let') visit(statement.value);
      else if (statement.kind === 'store') [statement.index, statement.value].forEach(visit);
      else if (statement.kind !== 'comment') work += 1000; // a loop or a branch of its own: not worth copies
    }
  };
  body(loop.body);
  for (const reduce of loop.reduce) visit(reduce.value);
  return work;
}
