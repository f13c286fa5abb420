/**
 * Alignments: the best path of each utterance, followed from the start through what a device computed at every node, and
 * read as labels with their frames.
 */
import type { bestPathResults, Expr } from '../compiler/graph/graph.js';
import { operations } from '../dsl/primitives.js';
import type { Batch } from './device.js';
import { perNodeShape } from './outputs.js';
import { type SpecSignature, targetsOf } from './signature.js';
import type { RealArray, Tensor } from './tensor.js';
import { ownSizes } from './validate.js';

/** One arc of a path. */
export interface PathStep {
  /** Its name in the spec. */
  readonly arc: string;
  /** The node that it leaves, by the lattice's indices: (t, u) in most specs. */
  readonly from: readonly number[];
  /** Where it leads: a node, or the end. */
  readonly to: readonly number[];
  /** Its log-weight. */
  readonly weight: number;
  /** Which of the utterance's labels it stands for, counted from 0; -1 for none: a blank, a skipped frame. */
  readonly target: number;
}

/** One label of the transcript on the best path. */
export interface AlignedLabel {
  /** Its place in the transcript, from 0. */
  readonly target: number;
  /** The label itself. */
  readonly label: number;
  /** The frames of its arcs, the first and the last, from 0: the same where a label takes one frame or none. */
  readonly start: number;
  readonly end: number;
  /** Log-weight of its arcs together. */
  readonly weight: number;
}

export interface Alignment {
  /** Log-weight of the path, at most the log-likelihood. -Infinity where there is no path, NaN where the input has one. */
  readonly score: number;
  /** From the start to the end; empty where there is no path. */
  readonly path: readonly PathStep[];
  /** In the order of the path. */
  readonly labels: readonly AlignedLabel[];
}

export interface AlignResult {
  /** One for each utterance. */
  readonly alignments: readonly Alignment[];
  /** [B]: their scores. */
  readonly scores: Tensor<Float64Array>;
  readonly device: string;
  /** Time the device ran, without compiling and checking. */
  readonly milliseconds: number;
  /** What the kernel that ran is compiled for; see `cache.entries`. */
  readonly shapeClass: string;
}

/** @param negated minus the scores, as the device returns them */
export function alignmentsOf(
  signature: SpecSignature,
  batch: Omit<Batch, 'out'>,
  negated: Float64Array,
  results: Readonly<Record<string, RealArray>>,
): Alignment[] {
  const walker = new Walker(signature, batch, results);
  return Array.from(negated, (value, b) => {
    const score = value === 0 ? 0 : -value;
    if (!Number.isFinite(score)) return { score, path: [], labels: [] };
    const path = walker.path(b);
    return { score, path, labels: walker.labels(b, path) };
  });
}

class Walker {
  readonly #lattice: NonNullable<SpecSignature['lattice']>;
  readonly #shape: readonly number[];
  readonly #targets: ReturnType<typeof targetsOf>;

  constructor(
    private readonly signature: SpecSignature,
    private readonly batch: Omit<Batch, 'out'>,
    private readonly results: Readonly<Record<string, RealArray>>,
  ) {
    this.#lattice = signature.lattice as NonNullable<SpecSignature['lattice']>;
    this.#shape = perNodeShape(this.#lattice.nodes, batch);
    this.#targets = targetsOf(signature);
  }

  path(b: number): PathStep[] {
    const { arcs, start } = this.#lattice;
    const { batch, signature, results } = this;
    const sizes = ownSizes(signature, batch.sizes, batch.lengths, b);
    const own = perNodeShape(this.#lattice.nodes, { B: 1, sizes }).slice(1);
    const steps: PathStep[] = [];
    let from: readonly number[] = start.map((part) => numberOf(part, sizes, batch.params));
    while (from.every((at, axis) => at >= 0 && at < (own[axis] as number))) {
      const cell = from.reduce((flat, at, axis) => flat * (this.#shape[axis + 1] as number) + at, b);
      const number = (name: (typeof bestPathResults)[number]): number => results[name]?.[cell] as number;
      const arc = arcs[number('arc')];
      if (arc === undefined) break; // at the end, which is a node
      const to = from.map((at, axis) => at + (arc.step[axis] as number));
      steps.push({ arc: arc.name, from, to, weight: number('weight'), target: number('target') });
      from = to;
    }
    return steps;
  }

  labels(b: number, path: readonly PathStep[]): AlignedLabel[] {
    const ids = this.#targets && this.batch.inputs[this.#targets.input];
    const perUtterance = ids ? ids.length / this.batch.B : 0;
    const labels: AlignedLabel[] = [];
    const { arcs, timeAxis } = this.#lattice;
    for (const { arc, target, from, to, weight } of path) {
      if (target < 0) continue;
      const frame = arcs.find(({ name }) => name === arc)?.frame ?? 0;
      const [begun, reached] = [from, to].map((node) => (node[timeAxis] as number) + frame) as [number, number];
      // An arc over d frames covers the d that begin where it does; one within a frame, that frame.
      const [start, end] = [begun, Math.max(begun, reached - 1)];
      const before = labels[labels.length - 1];
      // Several arcs in a row may stand for one label: a label that lasts.
      if (before?.target === target)
        labels[labels.length - 1] = { ...before, end: Math.max(before.end, end), weight: before.weight + weight };
      else labels.push({ target, label: ids?.[b * perUtterance + target] as number, start, end, weight });
    }
    return labels;
  }
}

/** The value of an int expression of sizes and parameters. */
function numberOf(
  expr: Expr,
  sizes: Readonly<Record<string, number>>,
  params: Readonly<Record<string, number>>,
): number {
  switch (expr.op) {
    case 'const':
      return expr.value;
    case 'size':
      return sizes[expr.name] as number;
    case 'param':
      return params[expr.name] as number;
    case 'prim': {
      const [a, b = 0] = expr.args.map((arg) => numberOf(arg, sizes, params));
      return operations[expr.name].f64(a as number, b);
    }
    default:
      throw new Error(`the start of a lattice depends on ${expr.op}`);
  }
}
