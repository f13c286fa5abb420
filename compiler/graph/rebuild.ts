/** The part of rewriting expressions that is the same for every pass: an operation on operands that have been rewritten. */
import type { GraphBuilder } from './build.js';
import type { Expr } from './graph.js';

/** What a pass decides for itself: what an index stands for, where a value is read, and over what is summed. */
type Decided = 'index' | 'read' | 'reduce';

/** The same operation in `b`, with operands as `visit` makes them. */
export function rebuild(
  b: GraphBuilder,
  expr: Exclude<Expr, { readonly op: Decided }>,
  visit: (operand: Expr) => Expr,
): Expr {
  switch (expr.op) {
    case 'const':
      return expr.type === 'real'
        ? b.real(expr.value)
        : expr.type === 'int'
          ? b.int(expr.value)
          : b.bool(expr.value === 1);
    case 'size':
      return b.size(expr.name);
    case 'param':
      return b.param(expr.name, expr.type);
    case 'prim':
      return b.prim(expr.name, ...expr.args.map(visit));
    case 'compare':
      return b.compare(expr.compare, visit(expr.args[0]), visit(expr.args[1]));
    case 'logic':
      return b.logic(expr.logic, ...expr.args.map(visit));
    case 'select':
      return b.select(visit(expr.args[0]), visit(expr.args[1]), visit(expr.args[2]));
    case 'toReal':
      return b.toReal(visit(expr.args[0]));
  }
}

/**
 * An expression with others in the place of some that it has: of index variables, mostly. `tidy` gets each operation that was
 * made anew, with what it was.
 */
export function substitute(
  b: GraphBuilder,
  root: Expr,
  replacements: ReadonlyMap<Expr, Expr>,
  tidy: (made: Expr, from: Expr) => Expr = (made) => made,
): Expr {
  const memo = new Map<Expr, Expr>();
  const visit = (expr: Expr): Expr => {
    const known = replacements.get(expr) ?? memo.get(expr);
    if (known) return known;
    const made = tidy(replace(expr), expr);
    memo.set(expr, made);
    return made;
  };
  const replace = (expr: Expr): Expr => {
    switch (expr.op) {
      case 'index':
        return expr;
      case 'read':
        return b.read(expr.source, expr.type, expr.indices.map(visit));
      case 'reduce':
        return b.reduce(expr.reduction, expr.index, expr.extent, visit(expr.body));
      default:
        return rebuild(b, expr, visit);
    }
  };
  return visit(root);
}
