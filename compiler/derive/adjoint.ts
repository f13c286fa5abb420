/**
 * Reverse-mode differentiation of an expression: what each read in it contributes to the derivative of what it reads.
 * The rules are those of the primitives on paper; a derivative that is multiplied by exactly 0 is 0, also where
 * the other factor is not finite.
 */
import type { GraphBuilder } from '../graph/build.js';
import { operands } from '../graph/build.js';
import type { Expr, ReadExpr } from '../graph/graph.js';
import { CompilerBug } from '../source.js';

/** adjoint = derivative of the objective with respect to this read. */
export interface Contribution {
  readonly read: ReadExpr;
  readonly adjoint: Expr;
}

/** Arithmetic that keeps derived equations short: signs move outward, nothing else is simplified. */
export class Terms {
  constructor(readonly b: GraphBuilder) {}

  /** What a is the negative of, if it is written as one. */
  negated(a: Expr): Expr | undefined {
    return a.op === 'prim' && a.name === 'neg' && a.type === 'real' ? a.args[0] : undefined;
  }
  neg(a: Expr): Expr {
    return this.negated(a) ?? this.b.prim('neg', a);
  }
  add(a: Expr, c: Expr): Expr {
    const [x, y] = [this.negated(a), this.negated(c)];
    if (x && y) return this.b.prim('neg', this.b.prim('add', x, y));
    if (y) return this.b.prim('sub', a, y);
    if (x) return this.b.prim('sub', c, x);
    return this.b.prim('add', a, c);
  }
  mul(a: Expr, c: Expr): Expr {
    const [x, y] = [this.negated(a), this.negated(c)];
    if (x && y) return this.mul(x, y);
    if (x) return this.neg(this.mul(x, c));
    if (y) return this.neg(this.mul(a, y));
    if (a.op === 'const' && a.value === 1) return c;
    if (c.op === 'const' && c.value === 1) return a;
    return this.b.prim('mul', a, c);
  }
  div(a: Expr, c: Expr): Expr {
    const x = this.negated(a);
    return x ? this.neg(this.div(x, c)) : this.b.prim('div', a, c);
  }
  /** a where the condition holds, else 0. */
  where(condition: Expr, a: Expr): Expr {
    const x = this.negated(a);
    if (x) return this.neg(this.where(condition, x));
    return this.b.select(condition, a, this.b.real(0));
  }
  /** What flows back: nothing where g is exactly 0, also where the factor is infinite or NaN; else their product. */
  flow(g: Expr, factor: (g: Expr) => Expr): Expr {
    const x = this.negated(g);
    if (x) return this.neg(this.flow(x, factor));
    return this.b.select(this.b.compare('eq', g, this.b.real(0)), this.b.real(0), factor(g));
  }
  sum(terms: readonly Expr[]): Expr {
    // What is added comes first, what is subtracted after it.
    const ordered = [...terms].sort(
      (a, c) => Number(this.negated(a) !== undefined) - Number(this.negated(c) !== undefined),
    );
    return ordered.length === 0 ? this.b.real(0) : ordered.reduce((sum, term) => this.add(sum, term));
  }
}

/**
 * Contributions of the reads in several expressions over the same indices, given the adjoint of each.
 * The expressions contain no reductions.
 */
export function differentiate(
  roots: readonly { readonly value: Expr; readonly adjoint: Expr }[],
  terms: Terms,
): Contribution[] {
  const { b } = terms;
  const adjoints = new Map<Expr, Expr>();
  const give = (to: Expr, adjoint: Expr): void => {
    if (to.type !== 'real' || !dependsOnReads(to)) return;
    const known = adjoints.get(to);
    adjoints.set(to, known ? terms.add(known, adjoint) : adjoint);
  };
  for (const { value, adjoint } of roots) give(value, adjoint);

  const contributions: Contribution[] = [];
  // Operands are older than what is made of them, so in order of falling id every adjoint is complete when it is used.
  for (;;) {
    let next: Expr | undefined;
    for (const expr of adjoints.keys()) if (!next || expr.id > next.id) next = expr;
    if (!next) return contributions;
    const adjoint = adjoints.get(next)!;
    adjoints.delete(next);
    if (next.op === 'read') contributions.push({ read: next, adjoint });
    else if (next.op === 'select') {
      const [condition, then, otherwise] = next.args;
      give(then, terms.where(condition, adjoint));
      give(otherwise, terms.where(b.logic('not', condition), adjoint));
    } else if (next.op === 'prim') backThrough(next, adjoint, give, terms);
    else throw new CompilerBug('derive', `no derivative of ${next.op}`);
  }
}

function backThrough(
  node: Expr & { op: 'prim' },
  g: Expr,
  give: (to: Expr, adjoint: Expr) => void,
  terms: Terms,
): void {
  const { b } = terms;
  const [x, y] = node.args as [Expr, Expr];
  const one = b.real(1);
  const square = (a: Expr): Expr => b.prim('mul', a, a);
  switch (node.name) {
    case 'add':
      give(x, g);
      give(y, g);
      return;
    case 'sub':
      give(x, g);
      give(y, terms.neg(g));
      return;
    case 'neg':
      give(x, terms.neg(g));
      return;
    case 'mul':
      give(
        x,
        terms.flow(g, (flowing) => terms.mul(flowing, y)),
      );
      give(
        y,
        terms.flow(g, (flowing) => terms.mul(flowing, x)),
      );
      return;
    case 'div':
      give(
        x,
        terms.flow(g, (flowing) => terms.div(flowing, y)),
      );
      give(y, terms.neg(terms.flow(g, (flowing) => terms.div(terms.mul(flowing, node), y))));
      return;
    case 'exp':
      give(
        x,
        terms.flow(g, (flowing) => terms.mul(flowing, node)),
      );
      return;
    case 'expm1':
      give(
        x,
        terms.flow(g, (flowing) => terms.mul(flowing, b.prim('exp', x))),
      );
      return;
    case 'log':
      give(
        x,
        terms.flow(g, (flowing) => terms.div(flowing, x)),
      );
      return;
    case 'log1p':
      give(
        x,
        terms.flow(g, (flowing) => terms.div(flowing, b.prim('add', one, x))),
      );
      return;
    case 'sqrt':
      give(
        x,
        terms.flow(g, (flowing) => terms.div(flowing, b.prim('mul', b.real(2), node))),
      );
      return;
    case 'tanh':
      give(x, terms.mul(g, b.prim('sub', one, square(node))));
      return;
    case 'sigmoid':
      // sigmoid(x) sigmoid(-x): 1 - sigmoid(x) would lose its small values.
      give(x, terms.mul(g, b.prim('mul', node, b.prim('sigmoid', b.prim('neg', x)))));
      return;
    case 'softplus':
      give(x, terms.mul(g, b.prim('sigmoid', x)));
      return;
    case 'abs':
      give(x, b.select(b.compare('lt', x, b.real(0)), terms.neg(g), g));
      return;
    case 'min':
    case 'max': {
      // Equal operands: the first gets all of it, as one of the subgradients.
      const first = b.compare(node.name === 'min' ? 'le' : 'ge', x, y);
      give(x, terms.where(first, g));
      give(y, terms.where(b.logic('not', first), g));
      return;
    }
    case 'logAddExp': {
      // The share of each; log 0 + log 0 has none.
      const some = b.compare('ne', node, b.real(Number.NEGATIVE_INFINITY));
      const share = (of: Expr): Expr => terms.where(some, terms.mul(g, b.prim('exp', b.prim('sub', of, node))));
      give(x, share(x));
      give(y, share(y));
      return;
    }
  }
}

const reading = new WeakMap<Expr, boolean>();
/** Whether a real read occurs where a derivative can reach it. */
function dependsOnReads(expr: Expr): boolean {
  const known = reading.get(expr);
  if (known !== undefined) return known;
  const found =
    (expr.op === 'read' && expr.type === 'real') ||
    (expr.op !== 'read' &&
      expr.type === 'real' &&
      operands(expr).some((child) => child.type === 'real' && dependsOnReads(child)));
  reading.set(expr, found);
  return found;
}
