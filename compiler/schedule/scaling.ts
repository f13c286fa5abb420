/**
 * An expression times a power of two, worked out so that less of it is lost at the lower end of float32's range: an arc's
 * posterior may be below 2^-126 where the element that it belongs to, or what a difference leaves of it, is not.
 */
import type { GraphBuilder } from '../graph/build.js';
import { collect, freeIndices } from '../graph/free.js';
import type { Expr } from '../graph/graph.js';

/** Leaves float32's smallest numbers all digits that a gradient can use, and gradients below 10^20 are not infinite. */
const BITS = 32;
/** What the expression is multiplied by. */
export const SCALE = 2 ** BITS;

/**
 * An expression times SCALE; undefined unless the factor goes all the way into exponentials that are no larger than 1, as
 * posteriors are. Anything else might become infinite by it.
 */
export function scaled(root: Expr, builder: GraphBuilder): Expr | undefined {
  const made = new Map<Expr, Expr | undefined>();
  const visit = (expr: Expr): Expr | undefined => {
    if (!made.has(expr)) made.set(expr, visitNode(expr));
    return made.get(expr);
  };
  const all = (exprs: readonly Expr[]): Expr[] | undefined => {
    const parts = exprs.map(visit);
    return parts.every((part) => part !== undefined) ? parts : undefined;
  };
  const visitNode = (expr: Expr): Expr | undefined => {
    switch (expr.op) {
      case 'const':
        return builder.real(expr.value * SCALE);
      case 'param':
        return builder.prim('mul', expr, builder.real(SCALE));
      case 'select': {
        const [condition, ...arms] = expr.args;
        const parts = all(arms);
        return parts && builder.select(ofSame(condition), parts[0]!, parts[1]!);
      }
      case 'reduce': {
        const body = expr.reduction === 'logSumExp' ? undefined : visit(expr.body);
        return body && builder.reduce(expr.reduction, expr.index, expr.extent, body);
      }
      case 'prim':
        break;
      default:
        return undefined;
    }
    switch (expr.name) {
      case 'exp':
        return isPosterior(expr)
          ? builder.prim('exp', builder.prim('add', expr.args[0]!, builder.real(BITS * Math.LN2)))
          : undefined;
      case 'neg':
      case 'abs':
      case 'add':
      case 'sub':
      case 'min':
      case 'max': {
        const parts = all(expr.args);
        return parts && builder.prim(expr.name, ...parts);
      }
      case 'mul': {
        // Of two, what is the same for more elements: a posterior, and not an element's share of it.
        const [a, b] = [...expr.args].sort((x, y) => order(x) - order(y)) as [Expr, Expr];
        const first = visit(a);
        if (first) return builder.prim('mul', first, b);
        const second = visit(b);
        return second && builder.prim('mul', a, second);
      }
      case 'div': {
        const first = visit(expr.args[0]!);
        return first && builder.prim('div', first, expr.args[1]!);
      }
      default:
        return undefined;
    }
  };
  /** A condition: whether something is 0 is asked of the same numbers as are used, which are 0 less often. */
  const ofSame = (condition: Expr): Expr => {
    if (condition.op !== 'compare') return condition;
    const [a, zero] = condition.args;
    if (a.type !== 'real' || zero.op !== 'const' || zero.value !== 0 || !hasPosterior(a)) return condition;
    const part = visit(a);
    return part ? builder.compare(condition.compare, part, zero) : condition;
  };
  return hasPosterior(root) ? visit(root) : undefined;
}

/** What has no posterior in it has no need of the factor and comes last. */
const order = (expr: Expr): number => (hasPosterior(expr) ? freeIndices(expr).length : Number.MAX_VALUE);

const isPosterior = (expr: Expr): expr is Expr => expr.op === 'prim' && expr.name === 'exp' && isBounded(expr.args[0]!);
const hasPosterior = (expr: Expr): boolean => collect(expr, isPosterior).length > 0;

/** Whether an expression is no larger than 0. */
const isBounded = (expr: Expr): boolean =>
  expr.op === 'const' ? expr.value <= 0 : expr.op === 'prim' && expr.name === 'min' && expr.args.some(isBounded);
