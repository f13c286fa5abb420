/** Which buffers a kernel touches: only those are bound. */
import { operandsOf } from '../kernel/analysis.js';
import type { KExpr, Kernel, KStmt } from '../kernel/kernel.js';

export function buffersUsed(kernel: Kernel): Set<string> {
  const used = new Set<string>();
  const expr = (each: KExpr): void => {
    if (each.op === 'load') used.add(each.buffer);
    operandsOf(each).forEach(expr);
  };
  const visit = (statement: KStmt): void => {
    switch (statement.kind) {
      case 'let':
        expr(statement.value);
        break;
      case 'store':
        used.add(statement.buffer);
        expr(statement.index);
        expr(statement.value);
        break;
      case 'loop':
        expr(statement.from);
        expr(statement.to);
        statement.body.forEach(visit);
        for (const reduce of statement.reduce) expr(reduce.value);
        break;
      case 'if':
        expr(statement.condition);
        [...statement.then, ...statement.otherwise].forEach(visit);
        break;
      case 'comment':
      case 'prefetch':
        break;
    }
  };
  kernel.body.forEach(visit);
  return used;
}
