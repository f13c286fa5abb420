/**
 * The best path instead of the sum over paths: the same lattice in the max semiring, as ordinary fields of a graph.
 *
 *   best(x)  log-weight of the best way from x to the end: the largest weight_k(x) + best(x + step_k)
 *   loss     -best(start): minus the score of the best path; +Infinity where there is none
 *
 * Where each node's best way goes is a result over the nodes, and whoever wants the path follows it from the start:
 *
 *   arc     number of the arc that it takes first, -1 at an end that is a node; of equals the first
 *   weight  the weight of that arc
 *   target  which element of the target sequence the arc stands for, -1 if none
 *
 * An arc stands for element i of a sequence input (`targets`) where its weight looks something up by that element: i in
 * acts(t, u, labels(i)). Of several such the first counts. Whether it does may depend on the node, by a choice in the weight.
 */
import type { ArcDecl, bestPathResults, Expr, Graph, IndexRef, LatticeDecl } from '../graph/graph.js';
import { LatticeWriter } from './lattice.js';

/**
 * The graph of a lattice's best path. The graph it is made of is the author's, as read.
 * @param targets the int input whose elements are what a path spells
 */
export function bestPathGraph(graph: Graph & { readonly lattice: LatticeDecl }, targets: string | undefined): Graph {
  return new BestPath(graph, graph.lattice).write(targets);
}

class BestPath extends LatticeWriter {
  write(targets: string | undefined): Graph {
    const { b, lattice, weights } = this;
    const { arcs } = lattice;
    const best = this.fresh('best');
    /** What a node's way is worth by each of its arcs. */
    const worth = (arc: ArcDecl, k: number, place: readonly Expr[]): Expr =>
      b.prim('add', this.at(weights[k]!.name, place), this.after(best, arc, place));
    this.field(
      best,
      'recurrence',
      (...place) => {
        const out = arcs.map((arc, k) => worth(arc, k, place)).reduce((most, one) => b.prim('max', most, one));
        return this.endIsNode ? b.select(this.same(place, this.end), b.real(0), out) : out;
      },
      Number.NEGATIVE_INFINITY,
    );
    /** What holds for the arc that the best way takes, of what holds for each. */
    const chosen = (of: readonly Expr[], place: readonly Expr[]): Expr => {
      let most = worth(arcs[0]!, 0, place);
      let pick = of[0]!;
      for (let k = 1; k < arcs.length; k++) {
        const next = worth(arcs[k]!, k, place);
        pick = b.select(b.compare('gt', next, most), of[k]!, pick);
        most = b.prim('max', most, next);
      }
      return pick;
    };
    const atEnd = (place: readonly Expr[], value: Expr, otherwise: Expr): Expr =>
      this.endIsNode ? b.select(this.same(place, this.end), value, otherwise) : otherwise;
    const spelled = weights.map(({ weight }) => b.toReal(this.elementOf(weight, targets) ?? b.int(-1)));
    const results: Record<(typeof bestPathResults)[number], (place: readonly IndexRef[]) => Expr> = {
      arc: (place) =>
        atEnd(
          place,
          b.real(-1),
          chosen(
            arcs.map((_, k) => b.real(k)),
            place,
          ),
        ),
      weight: (place) =>
        chosen(
          weights.map(({ name }) => this.at(name, place)),
          place,
        ),
      target: (place) =>
        chosen(
          spelled.map((index) => this.placed(index, place)),
          place,
        ),
    };
    const perNode = Object.fromEntries(
      Object.entries(results).map(([name, cell]) => {
        const field = this.fresh(`best_${name}`);
        this.field(field, 'field', (...place) => cell(place), 0);
        return [name, field];
      }),
    );
    return this.graph({ loss: b.prim('neg', this.at(best, this.start)), gradients: {}, perNode });
  }

  /** The index at which a weight's value looks up an element of the target sequence; undefined where it does not. */
  private elementOf(weight: Expr, targets: string | undefined): Expr | undefined {
    const { b } = this;
    const visit = (expr: Expr): Expr | undefined => {
      switch (expr.op) {
        case 'read':
          return expr.source === targets ? expr.indices[0] : first(expr.indices);
        case 'prim':
        case 'toReal':
          return first(expr.args);
        case 'select': {
          const [condition, ...arms] = expr.args;
          // An arm that is a constant (log 0, say) is no other way to spell something.
          const [then, otherwise] = arms.map((arm) => (arm.op === 'const' ? 'constant' : visit(arm)));
          if (then === 'constant') return otherwise === 'constant' ? undefined : otherwise;
          if (otherwise === 'constant' || then === otherwise) return then;
          return b.select(condition, then ?? b.int(-1), otherwise ?? b.int(-1));
        }
        default:
          return undefined;
      }
    };
    const first = (parts: readonly Expr[]): Expr | undefined => {
      for (const part of parts) {
        const found = visit(part);
        if (found) return found;
      }
      return undefined;
    };
    return visit(weight);
  }
}
