/**
 * A lattice taken at its word: the weights of its arcs in float64, and the list of all paths. Neither the derived
 * recurrences nor the dynamic programming of the reference is used.
 */
import { GraphBuilder } from '../../compiler/graph/build.js';
import { evaluateGraph, type GraphUtterance } from '../../compiler/graph/evaluate.js';
import { type Expr, type FieldDecl, GRADIENT, type Graph, LOG_LIKELIHOOD } from '../../compiler/graph/graph.js';
import { evalSize } from '../../compiler/graph/size.js';

/** The lattice of one utterance, in numbers. */
export interface LatticeNumbers {
  readonly nodes: readonly number[];
  readonly start: readonly number[];
  readonly end: readonly number[];
  readonly arcs: readonly {
    readonly name: string;
    readonly step: readonly number[];
    readonly final: boolean;
    readonly scale: number;
    /** Dense over the nodes; log 0 where the arc's condition does not hold. */
    readonly weights: Float64Array;
  }[];
}

export interface Enumeration {
  readonly paths: number;
  /** Log of the sum over all paths of exp(sum of weights). */
  readonly logLik: number;
  /** The largest sum of weights of a path; -Infinity without one. */
  readonly best: number;
  /** By arc, dense over the nodes; not scaled. */
  readonly posteriors: readonly Float64Array[];
}

/** The value of an expression without indices. */
function scalarOf(graph: Graph, expr: Expr, utterance: GraphUtterance): number {
  const { lattice: _, ...rest } = graph;
  const loss = expr.type === 'int' ? new GraphBuilder().toReal(expr) : expr;
  return evaluateGraph({ ...rest, loss, gradients: {} }, utterance).loss;
}

/** The value of the lattice's `loss` or `gradient` for a value of what stands in it. */
export function complete(graph: Graph, which: 'loss' | 'gradient', value: number, utterance: GraphUtterance): number {
  const expr = graph.lattice?.[which];
  if (expr === undefined) return value;
  const name = which === 'loss' ? LOG_LIKELIHOOD : GRADIENT;
  const inputs = [...graph.inputs.filter((input) => input.name !== name), { name, element: 'f32' as const, dims: [] }];
  return scalarOf({ ...graph, inputs }, expr, {
    ...utterance,
    inputs: { ...utterance.inputs, [name]: () => value },
  });
}

export function latticeNumbers(graph: Graph, utterance: GraphUtterance): LatticeNumbers {
  const { lattice } = graph;
  if (lattice === undefined) throw new Error(`${graph.name} states no lattice`);
  const { lattice: _, ...rest } = graph;
  // One of its own: a builder tells expressions apart by numbers that are unique within one graph.
  const builder = new GraphBuilder();
  const logZero = builder.real(Number.NEGATIVE_INFINITY);
  const fields: FieldDecl[] = lattice.arcs.map(({ weight, when }, k) => ({
    name: `weight of arc ${k}`,
    kind: 'field',
    domain: lattice.nodes,
    axes: lattice.axes,
    body: when === undefined ? weight : builder.select(when, weight, logZero),
    outside: Number.NEGATIVE_INFINITY,
    type: 'real',
  }));
  const gradients = Object.fromEntries(fields.map(({ name }) => [name, name]));
  const all = { ...rest, fields: [...rest.fields, ...fields], loss: builder.real(0), gradients };
  const { gradients: weights } = evaluateGraph(all, utterance);
  return {
    nodes: lattice.nodes.map((size) => Math.max(0, evalSize(size, utterance.sizes))),
    start: lattice.start.map((part) => scalarOf(graph, part, utterance)),
    end: lattice.end.map((part) => scalarOf(graph, part, utterance)),
    arcs: lattice.arcs.map(({ name, step, final, scale }, k) => ({
      name,
      step,
      final,
      scale: scale === undefined ? 1 : scalarOf(graph, scale, utterance),
      weights: (weights[`weight of arc ${k}`] as { data: Float64Array }).data,
    })),
  };
}

/** Paths before the search gives up. */
const mostPaths = 20_000;

/** The list of all paths; undefined where there are too many of them to list. */
export function enumeratePaths({ nodes, start, end, arcs }: LatticeNumbers): Enumeration | undefined {
  const inside = (x: readonly number[]): boolean => x.every((at, axis) => at >= 0 && at < (nodes[axis] as number));
  const isEnd = (x: readonly number[]): boolean => x.every((at, axis) => at === end[axis]);
  const flat = (x: readonly number[]): number => x.reduce((sum, at, axis) => sum * (nodes[axis] as number) + at, 0);
  const longest = nodes.reduce((product, extent) => product * extent, 1);
  const found: { weight: number; steps: readonly (readonly [arc: number, node: number])[] }[] = [];
  const taken: (readonly [arc: number, node: number])[] = [];
  let visits = 0;

  /** False: too many. */
  const walk = (x: readonly number[], weight: number): boolean => {
    if (isEnd(x)) {
      found.push({ weight, steps: [...taken] });
      return found.length <= mostPaths;
    }
    if (++visits > 20 * mostPaths || taken.length > longest) return false;
    for (const [k, { step, final, weights }] of arcs.entries()) {
      const next = x.map((at, axis) => at + (step[axis] as number));
      if (!inside(next) && !(final && isEnd(next))) continue;
      const node = flat(x);
      const own = weights[node] as number;
      if (own === Number.NEGATIVE_INFINITY) continue;
      taken.push([k, node]);
      const listed = walk(next, weight + own);
      taken.pop();
      if (!listed) return false;
    }
    return true;
  };
  if (inside(start) && !walk(start, 0)) return undefined;

  const posteriors = arcs.map(() => new Float64Array(longest));
  const high = found.reduce((best, { weight }) => Math.max(best, weight), Number.NEGATIVE_INFINITY);
  if (high === Number.NEGATIVE_INFINITY) return { paths: 0, logLik: high, best: high, posteriors };
  const total = found.reduce((sum, { weight }) => sum + Math.exp(weight - high), 0);
  for (const { weight, steps } of found) {
    for (const [k, node] of steps) {
      const posterior = posteriors[k] as Float64Array;
      posterior[node] = (posterior[node] as number) + Math.exp(weight - high) / total;
    }
  }
  return { paths: found.length, logLik: high + Math.log(total), best: high, posteriors };
}
