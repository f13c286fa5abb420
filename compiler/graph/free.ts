/** Walks over expressions: what they read, and which index variables they leave free. */
import { operands } from './build.js';
import type { Expr, IndexRef, ReadExpr, ReduceExpr } from './graph.js';

/** Every distinct subexpression that satisfies `wanted`, parents before children. */
export function collect<T extends Expr>(root: Expr, wanted: (expr: Expr) => expr is T): T[] {
  const seen = new Set<Expr>();
  const found: T[] = [];
  const visit = (expr: Expr): void => {
    if (seen.has(expr)) return;
    seen.add(expr);
    if (wanted(expr)) found.push(expr);
    for (const child of operands(expr)) visit(child);
  };
  visit(root);
  return found;
}

export const readsIn = (root: Expr): ReadExpr[] => collect(root, (expr): expr is ReadExpr => expr.op === 'read');
export const reductionsIn = (root: Expr): ReduceExpr[] =>
  collect(root, (expr): expr is ReduceExpr => expr.op === 'reduce');

/** Index variables that no reduction within the expression binds, in order of first appearance. */
export function freeIndices(root: Expr): IndexRef[] {
  const bound = new Set(reductionsIn(root).map((reduce) => reduce.index));
  return collect(root, (expr): expr is IndexRef => expr.op === 'index').filter((index) => !bound.has(index));
}
