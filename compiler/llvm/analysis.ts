/**
 * Questions about kernel code that must be answered before it is printed as vectors.
 */
import { operandsOf, strideOf } from '../kernel/analysis.js';
import type { KExpr, KLoop, KStmt, KStore } from '../kernel/kernel.js';

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
      else if (statement.kind === 'prefetch') visit(statement.index);
      else if (statement.kind !== 'comment') work += 1000; // a loop or a branch of its own: not worth copies
    }
  };
  body(loop.body);
  for (const reduce of loop.reduce) visit(reduce.value);
  return work;
}
