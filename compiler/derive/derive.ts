/**
 * From arcs to equations: a lattice's forward and backward recurrences, the posteriors of its arcs, and the gradient of
 * its loss with respect to every real input, as ordinary fields of the graph that the rest of the compiler treats
 * like hand-written ones.
 *
 *   alpha(x)       log of the sum over paths from the start to x
 *   beta(x)        log of the sum over paths from x to the end
 *   logLik         beta(start)
 *   posterior_k(x) exp(alpha(x) + weight_k(x) + beta(x + step_k) - logLik)
 *
 * The derivative of -logLik with respect to weight_k(x) is -posterior_k(x), taken scale_k times (some losses
 * count an arc more than once; the result is then the gradient of no scalar). From there it is the chain rule, in reverse.
 */
import { GraphBuilder } from '../graph/build.js';
import {
  type ArcDecl,
  type Expr,
  type FieldDecl,
  GRADIENT,
  type Graph,
  type IndexRef,
  type LatticeDecl,
  LOG_LIKELIHOOD,
} from '../graph/graph.js';
import { Ranges } from '../schedule/ranges.js';
import { type Contribution, differentiate, Terms } from './adjoint.js';
import { derivativeOf, type Place, substitute } from './collect.js';
import { DeriveProblem, Expander, type Reduction, sizeAsExpr } from './expand.js';

export { DeriveProblem };

/** The graph of a spec that states arcs, with its equations derived. A graph without a lattice is returned as it is. */
export function deriveGraph(graph: Graph): Graph {
  return graph.lattice ? new Deriver(graph, graph.lattice).derive() : graph;
}

class Deriver {
  private readonly b = new GraphBuilder();
  private readonly terms = new Terms(this.b);
  private readonly ranges: Ranges;
  private readonly expander: Expander;
  private readonly fields: FieldDecl[] = [];
  private readonly names: Set<string>;

  constructor(
    private readonly graph: Graph,
    private readonly lattice: LatticeDecl,
  ) {
    this.ranges = new Ranges(graph);
    this.names = new Set([...graph.inputs, ...graph.params].map(({ name }) => name));
    for (const { size, argument } of graph.lengths) this.names.add(size).add(argument);
    this.expander = new Expander(graph, this.b, this.ranges, (base) => this.fresh(base));
  }

  private fresh(base: string): string {
    let name = base;
    for (let n = 2; this.names.has(name); n++) name = `${base}_${n}`;
    this.names.add(name);
    return name;
  }

  private field(
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

  derive(): Graph {
    const { b, lattice, expander } = this;
    const { nodes, arcs } = lattice;
    const logZero = Number.NEGATIVE_INFINITY;

    // Weights over one set of axes, so that what several arcs share is one expression.
    const axes = lattice.axes.map((axis, k) => expander.index(axis.name, nodes[k]!));
    const indices = new Map<number, Expr>(lattice.axes.map((axis, k) => [axis.unique, axes[k]!]));
    const weightNames = arcs.map((arc) => this.fresh(arc.name));
    const weights = arcs.map((arc, k) => {
      const weight = expander.expand(arc.weight, indices, weightNames[k]!);
      const when = arc.when && expander.expand(arc.when, indices, weightNames[k]!);
      return { weight, when, value: when ? b.select(when, weight, b.real(logZero)) : weight };
    });
    for (const reduction of expander.reductions) this.fields.push(reductionField(reduction, b));
    for (const [k, { value }] of weights.entries()) {
      const cell = (...place: IndexRef[]): Expr =>
        substitute(value, new Map(axes.map((axis, n) => [axis, place[n]!])), this.terms);
      this.field(weightNames[k]!, 'field', cell, logZero);
    }

    const [alpha, beta] = [this.fresh('alpha'), this.fresh('beta')];
    const fixed = (place: readonly Expr[]): Expr[] => place.map((part) => expander.expand(part, new Map(), 'lattice'));
    const [start, end] = [fixed(lattice.start), fixed(lattice.end)];
    const endIsNode = this.isNode(end);
    const at = (source: string, place: readonly Expr[]): Expr => b.read(source, 'real', place);
    const same = (place: readonly Expr[], other: readonly Expr[]): Expr =>
      b.logic('and', ...place.map((part, axis) => b.compare('eq', part, other[axis]!)));
    const shifted = (place: readonly Expr[], step: readonly number[], sign: 1 | -1): Expr[] =>
      place.map((part, axis) => {
        const by = sign * step[axis]!;
        return by < 0 ? b.prim('sub', part, b.int(-by)) : b.prim('add', part, b.int(by));
      });
    const logSum = (parts: readonly Expr[]): Expr => parts.reduce((sum, part) => b.prim('logAddExp', sum, part));
    /** Log of what follows an arc: beta where it leads, log 1 where that is the end. */
    const after = (arc: ArcDecl, place: readonly Expr[]): Expr => {
      const target = shifted(place, arc.step, 1);
      const onward = at(beta, target);
      return arc.final && !endIsNode ? b.select(same(target, end), b.real(0), onward) : onward;
    };

    this.field(
      alpha,
      'recurrence',
      (...place) => {
        const into = arcs.map((arc, k) => {
          const from = shifted(place, arc.step, -1);
          return b.prim('add', at(alpha, from), at(weightNames[k]!, from));
        });
        return b.select(same(place, start), b.real(0), logSum(into));
      },
      logZero,
    );
    this.field(
      beta,
      'recurrence',
      (...place) => {
        const out = logSum(arcs.map((arc, k) => b.prim('add', at(weightNames[k]!, place), after(arc, place))));
        return endIsNode ? b.select(same(place, end), b.real(0), out) : out;
      },
      logZero,
    );
    const logLik = at(beta, start);

    /** The share of all paths that a path's log-weight is. At most 1: near the number format's limits terms do not cancel. */
    const share = (path: Expr): Expr => b.prim('exp', b.prim('min', b.real(0), b.prim('sub', path, logLik)));
    const posteriorNames = arcs.map((arc, k) => {
      const name = this.fresh(`${arc.name}Posterior`);
      const through = (place: readonly Expr[]): Expr =>
        b.prim('add', b.prim('add', at(alpha, place), at(weightNames[k]!, place)), after(arc, place));
      this.field(name, 'field', (...place) => share(through(place)), 0);
      return name;
    });
    const occupancy = this.fresh('occupancy');
    this.field(occupancy, 'field', (...place) => share(b.prim('add', at(alpha, place), at(beta, place))), 0);
    const posteriors = Object.fromEntries([
      ...arcs.map((arc, k) => [arc.name, posteriorNames[k]!]),
      ['occupancy', occupancy],
    ]);

    const roots = weights.map(({ weight, when }, k) => {
      const { scale } = arcs[k]!;
      const posterior = at(posteriorNames[k]!, axes);
      const counted = scale ? this.terms.mul(expander.expand(scale, new Map(), arcs[k]!.name), posterior) : posterior;
      const adjoint = this.terms.neg(counted);
      return { value: weight, adjoint: when ? this.terms.where(when, adjoint) : adjoint };
    });
    const gradients = this.gradients(places(differentiate(roots, this.terms), axes));
    const loss = this.complete(lattice.loss, LOG_LIKELIHOOD, logLik);
    const { lattice: _, ...rest } = this.graph;
    return { ...rest, fields: this.fields, loss, gradients, posteriors, origins: b.origins };
  }

  /** Back through the reductions, those that read others first, and then to the inputs. */
  private gradients(initial: readonly Place[]): Record<string, string> {
    const { b, terms, expander, ranges } = this;
    const all = [...initial];
    const field = (base: string, over: readonly IndexRef[], value: Expr): string => {
      const name = this.fresh(base);
      const domain = over.map((index) => expander.extentOf(index));
      const axes = over.map((index, k) => expander.index(index.name, domain[k]!));
      const body = substitute(value, new Map(over.map((index, k) => [index, axes[k]!])), terms);
      this.fields.push({ name, kind: 'field', domain, axes, body, outside: 0, type: 'real' });
      return name;
    };
    const tools = { terms, expander, ranges, field };
    for (const reduction of [...expander.reductions].reverse()) {
      if (!all.some(({ read }) => read.source === reduction.name)) continue;
      const name = this.fresh(`d_${reduction.name}`);
      const names = reduction.axes.map((axis) => axis.name);
      const { axes, body } = derivativeOf(reduction.name, reduction.domain, names, all, tools);
      this.fields.push({ name, kind: 'field', domain: reduction.domain, axes, body, outside: 0, type: 'real' });
      const adjoint = b.read(name, 'real', reduction.axes);
      const roots = [{ value: reduction.body, adjoint: throughReduction(reduction, adjoint, terms) }];
      all.push(...places(differentiate(roots, terms), [...reduction.axes, reduction.index]));
    }
    const gradients: Record<string, string> = {};
    for (const input of this.graph.inputs) {
      if (input.element !== 'f32') continue;
      const { axes, body } = derivativeOf(
        input.name,
        input.dims,
        this.axisNames(input.name, input.dims.length),
        all,
        tools,
      );
      const name = this.fresh(`grad_${input.name}`);
      const finished = this.lattice.gradient ? this.complete(this.lattice.gradient, GRADIENT, body) : body;
      this.fields.push({ name, kind: 'field', domain: input.dims, axes, body: finished, outside: 0, type: 'real' });
      gradients[input.name] = name;
    }
    return gradients;
  }

  /** Names for the indices of an input: those of sizes, in lower case, where that is plain. */
  private axisNames(name: string, rank: number): string[] {
    const input = this.graph.inputs.find((candidate) => candidate.name === name)!;
    const taken = new Set<string>();
    return Array.from({ length: rank }, (_, axis) => {
      const sizes = Object.keys(input.dims[axis]!.terms);
      const wish = sizes.length === 1 ? sizes[0]!.toLowerCase() : 'i';
      let chosen = wish;
      for (let n = 2; taken.has(chosen); n++) chosen = `${wish}${n}`;
      taken.add(chosen);
      return chosen;
    });
  }

  /** Puts a derived value in the place of the name that stands for it. */
  private complete(expr: Expr, name: string, value: Expr): Expr {
    const { b } = this;
    const visit = (node: Expr): Expr => {
      if (node.op === 'read' && node.source === name) return value;
      if (node.op === 'prim') return b.prim(node.name, ...node.args.map(visit));
      if (node.op === 'compare') return b.compare(node.compare, visit(node.args[0]), visit(node.args[1]));
      if (node.op === 'logic') return b.logic(node.logic, ...node.args.map(visit));
      if (node.op === 'select') return b.select(visit(node.args[0]), visit(node.args[1]), visit(node.args[2]));
      if (node.op === 'toReal') return b.toReal(visit(node.args[0]));
      return this.expander.expand(node, new Map(), 'lattice');
    };
    return visit(expr);
  }

  /** Whether the end is one of the nodes, for sizes of any value (if there are nodes at all). */
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

const places = (contributions: readonly Contribution[], over: readonly IndexRef[]): Place[] =>
  contributions.map((contribution) => ({ ...contribution, over }));

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

/** The adjoint of a reduction's body, given that of its result. */
function throughReduction({ name, axes, reduction, body }: Reduction, adjoint: Expr, terms: Terms): Expr {
  const { b } = terms;
  const result = b.read(name, 'real', axes);
  switch (reduction) {
    case 'sum':
      return adjoint;
    case 'max':
    case 'min':
      // Where several are equal each gets all of it.
      return terms.where(b.compare('eq', body, result), adjoint);
    case 'logSumExp': {
      // Its share of the sum.
      return terms.flow(adjoint, (flowing) => terms.mul(flowing, b.prim('exp', b.prim('sub', body, result))));
    }
  }
}
