/** The spec under test, opened both ways: as the TypeScript it is, and as the graph that devices compile. */
import { compileToGraph } from '../../compiler/compile.js';
import { evaluateGraph, type GraphResult } from '../../compiler/graph/evaluate.js';
import type { Graph } from '../../compiler/graph/graph.js';
import type { LossDefinition } from '../../dsl/index.js';
import { resolveParams } from '../params.js';
import { loadDefinition } from '../reference/load.js';
import { type SpecSignature, signatureOfGraph } from '../signature.js';
import {
  chooseShared,
  type DrawnBatch,
  type DrawnUtterance,
  type DrawOptions,
  drawBatch,
  drawVarying,
  randomFrom,
  sizeNames,
  utteranceOf,
} from './draw.js';

export type Params = Readonly<Record<string, number>>;

export interface SubjectOptions {
  readonly seed: number;
  readonly cases: number;
  readonly params: Params;
  readonly sizes: Readonly<Record<string, number>>;
}

/** Loss by the TypeScript, gradients by the graph: both float64. */
export interface Exact {
  readonly loss: number;
  readonly gradients: GraphResult['gradients'];
}

export class Subject {
  readonly definition: LossDefinition;
  /** With its equations, derived where the spec states arcs. */
  readonly graph: Graph;
  /** As the author stated it. */
  readonly stated: Graph;
  readonly signature: SpecSignature;
  /** As given: what devices are passed. */
  readonly given: Params;
  /** All of them, negative indices resolved: what TypeScript and graph are passed. */
  readonly params: Params;
  readonly shared: Readonly<Record<string, number>>;
  readonly seed: number;
  readonly cases: number;
  /** The utterance that is being looked at, for a failure that does not say. */
  at: Readonly<Record<string, number>> | undefined;
  #small: DrawnUtterance[] | undefined;

  /**
   * @param file absolute path
   * @throws SpecError where the compiler refuses it, TrellisError where it does not run, InputError for parameters and sizes it does not have
   */
  constructor(
    readonly file: string,
    { seed, cases, params, sizes }: SubjectOptions,
  ) {
    const { graph, stated } = compileToGraph(file);
    this.graph = graph;
    this.stated = stated;
    this.signature = signatureOfGraph(graph);
    this.definition = loadDefinition(file);
    this.seed = seed;
    this.cases = cases;
    this.given = params;
    this.shared = chooseShared(this.signature, sizes, params);
    this.params = this.resolve(params);
  }

  get form(): 'arcs' | 'equations' {
    return this.stated.lattice === undefined ? 'equations' : 'arcs';
  }

  resolve(params: Params): Record<string, number> {
    const some = Object.fromEntries(sizeNames(this.signature).varying.map((size) => [size, 3]));
    return resolveParams(this.signature, params, { ...some, ...this.shared });
  }

  /** A generator of its own for every check, so that leaving one out changes no other. */
  random(check: number): () => number {
    return randomFrom(this.seed * 1000 + check);
  }

  /** Sizes of small utterances. */
  drawSizes(random: () => number, count: number): Record<string, number>[] {
    return Array.from({ length: count }, () => drawVarying(this.signature, random, { first: 6, others: 3 }));
  }

  draw(varying: readonly Readonly<Record<string, number>>[], options: Omit<DrawOptions, 'params'>): DrawnBatch {
    return drawBatch(this.signature, this.shared, varying, { ...options, params: this.params });
  }

  /** The small random utterances that all float64 checks share. */
  get small(): readonly DrawnUtterance[] {
    if (this.#small === undefined) {
      const random = this.random(1);
      const batch = this.draw(this.drawSizes(random, this.cases), { random });
      this.#small = batch.own.map((_, b) => utteranceOf(batch, b));
    }
    return this.#small;
  }

  /** The loss as the TypeScript computes it. */
  score(utterance: DrawnUtterance, params = this.params): number {
    this.at = utterance.sizes;
    return this.definition.evaluate({ ...this.#plain(utterance), params, gradients: false }).loss;
  }

  /** Loss and gradients, and the posteriors of arcs, as the TypeScript computes them. */
  run(utterance: DrawnUtterance, params = this.params): ReturnType<LossDefinition['evaluate']> {
    this.at = utterance.sizes;
    return this.definition.evaluate({ ...this.#plain(utterance), params });
  }

  #plain({ inputs, sizes }: DrawnUtterance) {
    return { inputs: Object.fromEntries(Object.entries(inputs).map(([name, { data }]) => [name, { data }])), sizes };
  }

  evaluate(utterance: DrawnUtterance, params = this.params): GraphResult {
    this.at = utterance.sizes;
    return evaluateGraph(this.graph, { ...utterance, params });
  }

  exact(utterance: DrawnUtterance): Exact {
    return { loss: this.score(utterance), gradients: this.evaluate(utterance).gradients };
  }
}

/** 'T=4 U=2'. */
export const printSizes = (sizes: Readonly<Record<string, number>>): string =>
  Object.entries(sizes)
    .map(([name, value]) => `${name}=${value}`)
    .join(' ');
