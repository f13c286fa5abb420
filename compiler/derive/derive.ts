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
import { type ArcDecl, type Expr, GRADIENT, type Graph, type IndexRef, LOG_LIKELIHOOD } from '../graph/graph.js';
import { type Contribution, differentiate, Terms } from './adjoint.js';
import { derivativeOf, type Place, substitute } from './collect.js';
import { DeriveProblem, type Reduction } from './expand.js';
import { LatticeWriter } from './lattice.js';

export { DeriveProblem };

/** The graph of a spec that states arcs, with its equations derived. A graph without a lattice is returned as it is. */
export function deriveGraph(graph: Graph): Graph {
  return graph.lattice ? new Deriver(graph, graph.lattice).derive() : graph;
}

class Deriver extends LatticeWriter {
  private readonly terms = new Terms(this.b);

  derive(): Graph {
    const { b, lattice, expander, weights, start, end } = this;
    const { arcs } = lattice;
    const logZero = Number.NEGATIVE_INFINITY;
    const [alpha, beta] = [this.fresh('alpha'), this.fresh('beta')];
    const logSum = (parts: readonly Expr[]): Expr => parts.reduce((sum, part) => b.prim('logAddExp', sum, part));
    const after = (arc: ArcDecl, place: readonly Expr[]): Expr => this.after(beta, arc, place);

    this.field(
      alpha,
      'recurrence',
      (...place) => {
        const into = arcs.map((arc, k) => {
          const from = this.shifted(place, arc.step, -1);
          return b.prim('add', this.at(alpha, from), this.at(weights[k]!.name, from));
        });
        return b.select(this.same(place, start), b.real(0), logSum(into));
      },
      logZero,
    );
    this.field(
      beta,
      'recurrence',
      (...place) => {
        const out = logSum(arcs.map((arc, k) => b.prim('add', this.at(weights[k]!.name, place), after(arc, place))));
        return this.endIsNode ? b.select(this.same(place, end), b.real(0), out) : out;
      },
      logZero,
    );
    const logLik = this.at(beta, start);

    /** The share of all paths that a path's log-weight is. At most 1: near the number format's limits terms do not cancel. */
    const share = (path: Expr): Expr => b.prim('exp', b.prim('min', b.real(0), b.prim('sub', path, logLik)));
    const posteriorNames = arcs.map((arc, k) => {
      const name = this.fresh(`${arc.name}Posterior`);
      const through = (place: readonly Expr[]): Expr =>
        b.prim('add', b.prim('add', this.at(alpha, place), this.at(weights[k]!.name, place)), after(arc, place));
      this.field(name, 'field', (...place) => share(through(place)), 0);
      return name;
    });
    const occupancy = this.fresh('occupancy');
    this.field(occupancy, 'field', (...place) => share(b.prim('add', this.at(alpha, place), this.at(beta, place))), 0);
    const perNode = Object.fromEntries([
      ...arcs.map((arc, k) => [arc.name, posteriorNames[k]!]),
      [occupancy, occupancy],
    ]);

    const paying = new Map<string, number[]>();
    for (const [k, { weight }] of weights.entries()) {
      const key = `${weight.id} ${arcs[k]!.scale?.id}`;
      paying.set(key, [...(paying.get(key) ?? []), k]);
    }
    const roots = [...paying.values()].map((group) => {
      const [{ weight }, { name, scale }] = [weights[group[0]!]!, arcs[group[0]!]!];
      const posterior =
        group.length === arcs.length ? this.leaving(occupancy) : this.posteriorOf(group, posteriorNames);
      const counted = scale ? this.terms.mul(expander.expand(scale, new Map(), name), posterior) : posterior;
      return { value: this.possible(weight), adjoint: this.terms.neg(counted) };
    });
    const gradients = this.gradients(places(differentiate(roots, this.terms), this.axes));
    const loss = this.complete(lattice.loss, LOG_LIKELIHOOD, logLik);
    return this.graph({ loss, gradients, perNode });
  }

  /** At a node, the posterior of all arcs from it together: whoever is there leaves by one of them, but at the end. */
  private leaving(occupancy: string): Expr {
    const { b, axes, end, endIsNode, terms } = this;
    const here = this.at(occupancy, axes);
    return endIsNode ? terms.where(b.logic('not', this.same(axes, end)), here) : here;
  }

  /** At a node, the posterior of all arcs of a group together: where several pay one weight it is a field of its own. */
  private posteriorOf(group: readonly number[], names: readonly string[]): Expr {
    const { weights, terms } = this;
    const total = terms.sum(
      group.map((k) => {
        const posterior = this.at(names[k]!, this.axes);
        const { when } = weights[k]!;
        return when ? terms.where(when, posterior) : posterior;
      }),
    );
    if (group.length === 1) return total;
    const name = this.fresh(`${group.map((k) => weights[k]!.name).join('_')}Posterior`);
    this.field(name, 'field', (...place) => this.placed(total, place), 0);
    return this.at(name, this.axes);
  }

  /**
   * A weight as it is where its arc can be taken. Where an addend of it is log 0 the posterior, exp of a sum with that weight, is
   * exactly 0, and nothing flows on from it: the derivative need not ask once more whether that is so.
   */
  private possible(weight: Expr): Expr {
    const { b } = this;
    const isLogZero = (expr: Expr): boolean => expr.op === 'const' && expr.value === Number.NEGATIVE_INFINITY;
    if (weight.op === 'select') {
      const [condition, then, otherwise] = weight.args;
      if (isLogZero(then)) return this.possible(otherwise);
      if (isLogZero(otherwise)) return this.possible(then);
      return b.select(condition, this.possible(then), this.possible(otherwise));
    }
    if (weight.op === 'prim' && (weight.name === 'add' || weight.name === 'sub')) {
      const [first, second] = weight.args as [Expr, Expr];
      // Minus log 0 is no log 0.
      return b.prim(weight.name, this.possible(first), weight.name === 'add' ? this.possible(second) : second);
    }
    return weight;
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
    for (const input of this.source.inputs) {
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
    const input = this.source.inputs.find((candidate) => candidate.name === name)!;
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
}

const places = (contributions: readonly Contribution[], over: readonly IndexRef[]): Place[] =>
  contributions.map((contribution) => ({ ...contribution, over }));

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
