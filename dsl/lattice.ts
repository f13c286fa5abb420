/** The sum over a lattice's paths in float64, by memoised cells: what `evaluate` does with a loss in arcs form. */
import { declareCells } from './fields.js';
import { logAddExp, logZero } from './math.js';
import type { Lattice } from './types.js';

/** What came of a lattice. */
export interface LatticeScore {
  readonly loss: number;
  /** By arc name, dense over the nodes. */
  posteriors(): Record<string, Float64Array>;
}

/**
 * The loss of a lattice. Declares the weights under the arcs' names, and alpha and beta, as fields of the body that runs.
 */
export function scoreLattice({ nodes, start, end, arcs, loss }: Lattice): LatticeScore {
  type Node = readonly number[];
  const inside = (x: Node): boolean => x.every((at, axis) => at >= 0 && at < (nodes[axis] as number));
  const same = (x: Node, y: Node): boolean => x.every((at, axis) => at === y[axis]);
  const plus = (x: Node, step: Node, factor = 1): number[] => x.map((at, axis) => at + factor * (step[axis] as number));

  const edges = arcs.map(({ name, step, weight, when, final }) => {
    const exists = (x: Node): boolean => {
      const to = plus(x, step);
      return (inside(to) || (final && same(to, end))) && (when === undefined || when(...x));
    };
    return { name, step, weight: declareCells('field', nodes, name, (...x) => (exists(x) ? weight(...x) : logZero)) };
  });
  /** Log of the sum over all ways from a node to the end. */
  const beta = declareCells('recurrence', nodes, 'beta', (...x) =>
    same(x, end) ? 0 : logAddExp(...edges.map(({ step, weight }) => weight(...x) + behind(plus(x, step)))),
  );
  const behind = (x: Node): number => (same(x, end) ? 0 : beta(...x));
  /** Log of the sum over all ways from the start to a node. */
  const alpha = declareCells('recurrence', nodes, 'alpha', (...x) => {
    if (same(x, start)) return 0;
    const from = edges.map(({ step, weight }) => ({ weight, node: plus(x, step, -1) }));
    return logAddExp(...from.map(({ weight, node }) => weight(...node) + alpha(...node)));
  });
  const logLik = beta(...start);

  const posteriors = (): Record<string, Float64Array> => {
    const count = nodes.reduce((product, extent) => product * Math.max(0, extent), 1);
    const dense = edges.map(({ name }) => [name, new Float64Array(count)] as const);
    for (let flat = 0; flat < count && logLik !== logZero; flat++) {
      const x = nodeAt(nodes, flat);
      for (const [k, { step, weight }] of edges.entries()) {
        const onPath = alpha(...x) + weight(...x) + behind(plus(x, step)) - logLik;
        // At most 1: at weights far below zero the four terms do not cancel exactly.
        (dense[k] as (typeof dense)[number])[1][flat] = Math.exp(Math.min(0, onPath));
      }
    }
    return Object.fromEntries(dense);
  };
  return { loss: loss(logLik), posteriors };
}

function nodeAt(nodes: readonly number[], flat: number): number[] {
  const x: number[] = [];
  let rest = flat;
  for (let axis = nodes.length - 1; axis >= 0; axis--) {
    const extent = nodes[axis] as number;
    x.unshift(rest % extent);
    rest = Math.floor(rest / extent);
  }
  return x;
}
