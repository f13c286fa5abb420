/**
 * Questions about kernel code that every backend asks before it prints.
 */
import type { KExpr, KLoop, KReduce, KStmt } from './kernel.js';

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

/** The expressions of a statement itself, and the statements inside of it. */
export function partsOf(statement: KStmt): { readonly exprs: readonly KExpr[]; readonly inner: readonly KStmt[] } {
  switch (statement.kind) {
    case 'let':
      return { exprs: [statement.value], inner: [] };
    case 'store':
      return { exprs: [statement.index, statement.value], inner: [] };
    case 'prefetch':
      return { exprs: [statement.index], inner: [] };
    case 'if':
      return { exprs: [statement.condition], inner: [...statement.then, ...statement.otherwise] };
    case 'loop':
      return {
        exprs: [statement.from, statement.to, ...statement.reduce.map(({ value }) => value)],
        inner: statement.body,
      };
    case 'comment':
      return { exprs: [], inner: [] };
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
