/** Which buffers a kernel touches: only those are bound. */
import { operandsOf, partsOf } from '../kernel/analysis.js';
import type { KExpr, Kernel, KStmt } from '../kernel/kernel.js';

export function buffersUsed(kernel: Kernel): Set<string> {
  const used = new Set<string>();
  const expr = (each: KExpr): void => {
    if (each.op === 'load') used.add(each.buffer);
    operandsOf(each).forEach(expr);
  };
  const visit = (statement: KStmt): void => {
    // WGSL has no prefetch.
    if (statement.kind === 'prefetch') return;
    if (statement.kind === 'store') used.add(statement.buffer);
    const { exprs, inner } = partsOf(statement);
    exprs.forEach(expr);
    inner.forEach(visit);
  };
  kernel.body.forEach(visit);
  return used;
}
