/**
 * What every derivation from a lattice starts from: the arcs' weights as fields of a new graph, and the words to write
 * recurrences over its nodes with.
 */
import { GraphBuilder } from '../graph/build.js';
import type { ArcDecl, Expr, FieldDecl, Graph, IndexRef, LatticeDecl } from '../graph/graph.js';
import { Ranges } from '../schedule/ranges.js';
import { Terms } from './adjoint.js';
import { substitute } from './collect.js';
import { DeriveProblem, Expander, type Reduction, sizeAsExpr } from './expand.js';

/** An arc's weight over the lattice's axes. */
export interface ArcWeight {
  /** The field that holds it: log 0 where the arc does not exist. */
  readonly name: string;
  /** As the author wrote it. */
  readonly weight: Expr;
  readonly when: Expr | undefined;
}

export class LatticeWriter {
  protected readonly b = new GraphBuilder();
  protected readonly ranges: Ranges;
  protected readonly expander: Expander;
  protected readonly fields: FieldDecl[] = [];
  /** One set of axes, over which all weights are: what several arcs share is one expression. */
  protected readonly axes: readonly IndexRef[];
  protected readonly weights: readonly ArcWeight[];
  protected readonly start: readonly Expr[];
  protected readonly end: readonly Expr[];
  /** Whether the end is one of the nodes, for sizes of any value. */
  protected readonly endIsNode: boolean;
  private readonly names: Set<string>;

  constructor(
    protected readonly source: Graph,
    protected readonly lattice: LatticeDecl,
  ) {
    const { b } = this;
    this.ranges = new Ranges(source);
    this.names = new Set([...source.inputs, ...source.params].map(({ name }) => name));
    for (const { size, argument } of source.lengths) this.names.add(size).add(argument);
    this.expander = new Expander(source, b, this.ranges, (base) => this.fresh(base));

    const { nodes, arcs } = lattice;
    this.axes = lattice.axes.map((axis, k) => this.expander.index(axis.name, nodes[k]!));
    const indices = new Map<number, Expr>(lattice.axes.map((axis, k) => [axis.unique, this.axes[k]!]));
    const names = arcs.map((arc) => this.fresh(arc.name));
    this.weights = arcs.map((arc, k) => ({
      name: names[k]!,
      weight: this.expander.expand(arc.weight, indices, names[k]!),
      when: arc.when && this.expander.expand(arc.when, indices, names[k]!),
    }));
    for (const reduction of this.expander.reductions) this.fields.push(reductionField(reduction, b));
    const logZero = Number.NEGATIVE_INFINITY;
    const shared = this.sharedWeights(logZero);
    for (const { name, weight, when } of this.weights) {
      const own = shared.get(weight) ?? weight;
      const value = when ? b.select(when, own, b.real(logZero)) : own;
      this.field(name, 'field', (...place) => this.placed(value, place), logZero);
    }
    const fixed = (place: readonly Expr[]): Expr[] =>
      place.map((part) => this.expander.expand(part, new Map(), 'lattice'));
    this.start = fixed(lattice.start);
    this.end = fixed(lattice.end);
    this.endIsNode = this.isNode(this.end);
  }

  /** Weights that several arcs have: fields of their own, so that there is one value of each. */
  private sharedWeights(outside: number): Map<Expr, Expr> {
    const shared = new Map<Expr, Expr>();
    for (const { weight } of this.weights) {
      const arcs = this.weights.filter((other) => other.weight === weight);
      if (shared.has(weight) || arcs.length === 1 || weight.op === 'const') continue;
      const name = this.fresh(
        arcs.length === this.weights.length ? 'weight' : `${arcs.map((arc) => arc.name).join('_')}Weight`,
      );
      this.field(name, 'field', (...place) => this.placed(weight, place), outside);
      shared.set(weight, this.at(name, this.axes));
    }
    return shared;
  }

  protected fresh(base: string): string {
    let name = base;
    for (let n = 2; this.names.has(name); n++) name = `${base}_${n}`;
    this.names.add(name);
    return name;
  }

  /** Declares a field over the nodes. */
  protected field(
    name: string,
    kind: FieldDecl['kind'],
    cell: (...axes: IndexRef[]) => Expr,
    outside: number,
  ): FieldDecl {
    const { axes: model, nodes } = this.lattice;
    const axes = model.map((axis, k) => this.expander.index(axis.name, nodes[k]!));
    const field: FieldDecl = { name, kind, domain: nodes, axes, body: cell(...axes), outside, type: 'real' };
    this.fields.push(field);
    return field;
  }

  /** An expression over `axes`, at another place. */
  protected placed(expr: Expr, place: readonly Expr[]): Expr {
    return substitute(expr, new Map(this.axes.map((axis, n) => [axis, place[n]!])), new Terms(this.b));
  }

  protected at(field: string, place: readonly Expr[]): Expr {
    return this.b.read(field, 'real', place);
  }

  protected same(place: readonly Expr[], other: readonly Expr[]): Expr {
    const { b } = this;
    return b.logic('and', ...place.map((part, axis) => b.compare('eq', part, other[axis]!)));
  }

  protected shifted(place: readonly Expr[], step: readonly number[], sign: 1 | -1): Expr[] {
    const { b } = this;
    return place.map((part, axis) => {
      const by = sign * step[axis]!;
      return by < 0 ? b.prim('sub', part, b.int(-by)) : b.prim('add', part, b.int(by));
    });
  }

  /** Log of what follows an arc: the recurrence where it leads, log 1 where that is the end. */
  protected after(recurrence: string, arc: ArcDecl, place: readonly Expr[]): Expr {
    const target = this.shifted(place, arc.step, 1);
    const onward = this.at(recurrence, target);
    return arc.final && !this.endIsNode ? this.b.select(this.same(target, this.end), this.b.real(0), onward) : onward;
  }

  /** The graph of all that was declared. */
  protected graph(outputs: Pick<Graph, 'loss' | 'gradients' | 'perNode'>): Graph {
    const { lattice: _, ...rest } = this.source;
    return { ...rest, ...outputs, fields: this.fields, origins: this.b.origins };
  }

  private isNode(end: readonly Expr[]): boolean {
    const { b, ranges } = this;
    const beyond = end.map((part, axis) =>
      ranges.affine(part).minus(ranges.affine(sizeAsExpr(this.lattice.nodes[axis]!, b))),
    );
    if (beyond.every((form) => ranges.provable(form.times(-1).offset(-1)))) return true;
    if (beyond.some((form) => ranges.provable(form))) return false;
    throw new DeriveProblem(
      'lattice-end',
      'whether the end is one of the nodes depends on the sizes',
      'End at a node, such as [T - 1, U] of nodes [T, U + 1], or beyond the last one on some axis, such as [T, U].',
      this.lattice.end.find((part) => part.op !== 'const') ?? this.lattice.loss,
    );
  }
}

function reductionField({ name, axes, domain, reduction, index, extent, body }: Reduction, b: GraphBuilder): FieldDecl {
  return {
    name,
    kind: 'field',
    domain,
    axes,
    body: b.reduce(reduction, index, extent, body),
    outside: Number.NEGATIVE_INFINITY,
    type: 'real',
  };
}
