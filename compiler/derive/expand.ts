/**
 * Makes a lattice's weights ready to be differentiated: the author's plain fields are substituted, and every reduction
 * becomes a field of its own, so that weights and gradients share one value of it (the log of a softmax's sum, say).
 */
import type { GraphBuilder } from '../graph/build.js';
import { freeIndices } from '../graph/free.js';
import type { Expr, FieldDecl, Graph, IndexRef, ReadExpr, ReduceExpr, SizeExpr } from '../graph/graph.js';
import { rebuild } from '../graph/rebuild.js';
import type { Ranges } from '../schedule/ranges.js';
import { CompilerBug } from '../source.js';

/** A reduction over `index`, as a field over what it depends on. `body` has no reductions in it, only reads of such fields. */
export interface Reduction {
  readonly name: string;
  readonly axes: readonly IndexRef[];
  readonly domain: readonly SizeExpr[];
  readonly reduction: ReduceExpr['reduction'];
  readonly index: IndexRef;
  readonly extent: SizeExpr;
  readonly body: Expr;
}

/** A lattice that cannot be derived: the author's mistake, to be shown in the author's line. */
export class DeriveProblem extends Error {
  constructor(
    readonly code: string,
    message: string,
    readonly hint: string,
    /** The expression of the source graph it is about. */
    readonly at: Expr,
  ) {
    super(message);
  }
}

interface Context {
  /** What the source graph's index variables stand for here, by `unique`. */
  readonly indices: ReadonlyMap<number, Expr>;
  /** Names reductions found here. */
  readonly owner: string;
}

export class Expander {
  /** Inner ones before those that read them. */
  readonly reductions: Reduction[] = [];
  private readonly fields: ReadonlyMap<string, FieldDecl>;
  private readonly known = new Map<ReduceExpr, Reduction>();
  private readonly extents = new Map<number, SizeExpr>();
  private readonly sourceExtents: ReadonlyMap<IndexRef, SizeExpr>;

  constructor(
    private readonly graph: Graph,
    private readonly builder: GraphBuilder,
    private readonly ranges: Ranges,
    private readonly freshName: (base: string) => string,
  ) {
    this.fields = new Map(graph.fields.map((field) => [field.name, field]));
    this.sourceExtents = extentsOf(graph);
  }

  /** A fresh index variable over [0, extent). */
  index(name: string, extent: SizeExpr): IndexRef {
    const index = this.builder.index(name);
    this.extents.set(index.unique, extent);
    this.ranges.bind(index, extent);
    return index;
  }
  extentOf(index: IndexRef): SizeExpr {
    const extent = this.extents.get(index.unique);
    if (!extent) throw new CompilerBug('derive', `index ${index.name} has no extent`);
    return extent;
  }

  /** An expression of the source graph over the given indices, with reads of plain fields substituted. */
  expand(expr: Expr, indices: ReadonlyMap<number, Expr>, owner: string): Expr {
    return this.visit(expr, { indices, owner });
  }

  private visit(expr: Expr, context: Context): Expr {
    const made = this.node(expr, context);
    const place = this.graph.origins.get(expr.id)?.[0];
    return place ? this.builder.note(made, place) : made;
  }

  private node(expr: Expr, context: Context): Expr {
    const b = this.builder;
    const visit = (child: Expr): Expr => this.visit(child, context);
    switch (expr.op) {
      case 'index': {
        const here = context.indices.get(expr.unique);
        if (!here) throw new CompilerBug('derive', `index ${expr.name} is not bound`);
        return here;
      }
      case 'read':
        return this.read(expr, expr.indices.map(visit));
      case 'reduce':
        return this.reduce(expr, context);
      default:
        return rebuild(b, expr, visit);
    }
  }

  private read(expr: ReadExpr, indices: readonly Expr[]): Expr {
    const b = this.builder;
    const field = this.fields.get(expr.source);
    if (!field) return b.read(expr.source, expr.type, indices);
    if (field.kind === 'recurrence') {
      throw new DeriveProblem(
        'recurrence-in-weight',
        `an arc's weight depends on the recurrence ${field.name}, and derivatives do not pass through recurrences`,
        'Weights are expressions of inputs, plain fields and reductions. With a recurrence of your own, write the gradient as well: the form with equations.',
        expr,
      );
    }
    const bound = new Map(field.axes.map((axis, k) => [axis.unique, indices[k]!]));
    const value = this.visit(field.body, { indices: bound, owner: field.name });
    return b.select(this.inside(indices, field.domain), value, b.real(field.outside));
  }

  /** The condition that indices lie in a domain, without the parts that are provable. */
  inside(indices: readonly Expr[], domain: readonly SizeExpr[]): Expr {
    const b = this.builder;
    const conditions: Expr[] = [];
    for (const [axis, at] of indices.entries()) {
      const extent = sizeAsExpr(domain[axis]!, b);
      const form = this.ranges.affine(at);
      if (!this.ranges.provable(form)) conditions.push(b.compare('ge', at, b.int(0)));
      if (!this.ranges.provable(this.ranges.affine(extent).offset(-1).minus(form)))
        conditions.push(b.compare('lt', at, extent));
    }
    return conditions.length === 0 ? b.bool(true) : b.logic('and', ...conditions);
  }

  private reduce(expr: ReduceExpr, context: Context): Expr {
    // What it depends on, as the author wrote it: two reads at different places share one field.
    const outer = freeIndices(expr);
    let found = this.known.get(expr);
    if (!found) {
      const axes = outer.map((index) => this.index(index.name, this.sourceExtents.get(index)!));
      const index = this.index(expr.index.name, expr.extent);
      const indices = new Map<number, Expr>(outer.map((each, k) => [each.unique, axes[k]!]));
      indices.set(expr.index.unique, index);
      const body = this.visit(expr.body, { indices, owner: context.owner });
      const isWholeField = this.fields.get(context.owner)?.body === expr;
      const name = this.freshName(isWholeField ? context.owner : `${context.owner}_${expr.reduction}`);
      const domain = axes.map((axis) => this.extentOf(axis));
      found = { name, axes, domain, reduction: expr.reduction, index, extent: expr.extent, body };
      this.known.set(expr, found);
      this.reductions.push(found);
    }
    return this.builder.read(
      found.name,
      'real',
      outer.map((index) => context.indices.get(index.unique)!),
    );
  }
}

/** The extent of every index variable of a graph: axes of fields and of the lattice, and indices of reductions. */
function extentsOf(graph: Graph): Map<IndexRef, SizeExpr> {
  const extents = new Map<IndexRef, SizeExpr>();
  const seen = new Set<Expr>();
  const visit = (expr: Expr): void => {
    if (seen.has(expr)) return;
    seen.add(expr);
    if (expr.op === 'reduce') {
      extents.set(expr.index, expr.extent);
      visit(expr.body);
    } else if (expr.op === 'read') expr.indices.forEach(visit);
    else if ('args' in expr) (expr.args as readonly Expr[]).forEach(visit);
  };
  for (const field of graph.fields) {
    for (const [k, axis] of field.axes.entries()) extents.set(axis, field.domain[k]!);
    visit(field.body);
  }
  const { lattice } = graph;
  for (const [k, axis] of (lattice?.axes ?? []).entries()) extents.set(axis, lattice!.nodes[k]!);
  for (const arc of lattice?.arcs ?? []) {
    visit(arc.weight);
    if (arc.when) visit(arc.when);
  }
  return extents;
}

/** A size as an int expression. */
export function sizeAsExpr(size: SizeExpr, b: GraphBuilder): Expr {
  let sum: Expr | undefined;
  for (const [name, k] of Object.entries(size.terms)) {
    const term = k === 1 ? b.size(name) : b.prim('mul', b.int(k), b.size(name));
    sum = sum ? b.prim('add', sum, term) : term;
  }
  if (!sum) return b.int(size.constant);
  return size.constant === 0 ? sum : b.prim('add', sum, b.int(size.constant));
}
