/** Random utterances for the variants, some of every degenerate kind, and what runs them. */
import { fileURLToPath } from 'node:url';
import { compileToGraph } from '../../compiler/compile.js';
import { deriveGraph } from '../../compiler/derive/derive.js';
import { readSpec } from '../../compiler/frontend/index.js';
import { evaluateGraph } from '../../compiler/graph/evaluate.js';
import type { Graph } from '../../compiler/graph/graph.js';
import { evalSize } from '../../compiler/graph/size.js';
import type { LossDefinition } from '../../dsl/index.js';
import { randomFrom } from '../specs.js';

export interface Tensor {
  readonly data: Float64Array | Int32Array;
  readonly shape: readonly number[];
}
export interface Sample {
  readonly sizes: { readonly T: number; readonly U: number; readonly V: number } & Record<string, number>;
  readonly inputs: Readonly<Record<string, Tensor>>;
  readonly params: Readonly<Record<string, number>>;
}

/** Shapes of real inputs, and further int inputs, for the sizes of an utterance. */
export interface Shapes {
  /** Where only some classes are labels: how many classes there are, and of those the first `labels`. */
  readonly classes?: { readonly V: number; readonly labels: number; readonly blank: number };
  readonly real: Readonly<Record<string, readonly string[]>>;
  readonly ints?: (sizes: Sample['sizes'], random: () => number) => Readonly<Record<string, readonly number[]>>;
  readonly params?: (random: () => number, sizes: Sample['sizes']) => Readonly<Record<string, number>>;
}

const shapeOf = (dims: readonly string[], sizes: Sample['sizes']): number[] =>
  dims.map((dim) => (dim === 'U+1' ? sizes.U + 1 : (sizes[dim] as number)));

/**
 * The utterance of a seed. One in five has one frame, one in five no label, one in five more labels than frames, one in five logits
 * that are log 0. Reals are float32 numbers. The blank is the first class and the last by turns.
 */
export function sampleOf(shapes: Shapes, seed: number, plainV = 5): Sample {
  const { classes } = shapes;
  const V = classes?.V ?? plainV;
  const random = randomFrom(seed);
  const whole = (low: number, high: number): number => low + Math.floor(random() * (high - low + 1));
  const kind = seed % 5;
  const T = kind === 0 ? 1 : kind === 2 ? whole(1, 2) : whole(1, 5);
  const U = kind === 1 ? 0 : kind === 2 ? whole(T, 3) : whole(0, 3);
  const windowed = Object.values(shapes.real).some((dims) => dims.includes('S'));
  const sizes = { T, U, V, ...(windowed ? { S: whole(1, U + 1) } : {}) };
  const blank = classes?.blank ?? (seed % 2 === 0 ? 0 : V - 1);
  const labels = Int32Array.from({ length: U }, () =>
    classes ? whole(0, classes.labels - 1) : (blank + whole(1, V - 1)) % V,
  );
  if (U > 1 && seed % 3 === 0) labels[1] = labels[0] as number;
  const inputs: Record<string, Tensor> = { labels: { data: labels, shape: [U] } };
  for (const [name, dims] of Object.entries(shapes.real)) {
    const shape = shapeOf(dims, sizes);
    const count = shape.reduce((product, extent) => product * extent, 1);
    const data = Float64Array.from({ length: count }, () =>
      kind === 3 && random() < 0.15 ? Number.NEGATIVE_INFINITY : Math.fround(random() * 6 - 3),
    );
    inputs[name] = { data, shape };
  }
  for (const [name, values] of Object.entries(shapes.ints?.(sizes, random) ?? {}))
    inputs[name] = { data: Int32Array.from(values), shape: [values.length] };
  return { sizes, inputs, params: { blank, ...shapes.params?.(random, sizes) } };
}

/** Element of a tensor by its indices. */
export function at(sample: Sample, name: string): (...indices: number[]) => number {
  const { data, shape } = sample.inputs[name] as Tensor;
  return (...indices) =>
    data[indices.reduce((flat, index, axis) => flat * (shape[axis] as number) + index, 0)] as number;
}

/** The last index of a tensor as rows. */
export function row(sample: Sample, name: string): (...indices: number[]) => number[] {
  const { data, shape } = sample.inputs[name] as Tensor;
  const V = shape[shape.length - 1] as number;
  return (...indices) => {
    const first = indices.reduce((flat, index, axis) => flat * (shape[axis] as number) + index, 0);
    return Array.from(data.subarray(first * V, (first + 1) * V));
  };
}

export interface Spec {
  readonly definition: LossDefinition;
  readonly graph: Graph;
}

/** A spec of specs/, as TypeScript and as derived equations, for the statics given. */
export async function specOf(name: string, statics?: Record<string, readonly number[]>): Promise<Spec> {
  const url = new URL(`../../specs/${name}.ts`, import.meta.url);
  const file = fileURLToPath(url);
  const { default: definition } = (await import(/* @vite-ignore */ url.href)) as { default: LossDefinition };
  const graph = statics ? deriveGraph(readSpec(file, { statics }).graph) : compileToGraph(file).graph;
  return { definition, graph };
}

/** The loss as the spec's own TypeScript computes it, in float64. */
export function lossOf({ definition, graph }: Spec, { inputs, sizes, params }: Sample): number {
  return definition.evaluate({ inputs, sizes, params, statics: graph.statics, gradients: false }).loss;
}

/** Loss and gradients, in float64, from the equations as derived. */
export function gradientsOf(
  { graph }: Spec,
  sample: Sample,
): { loss: number; gradients: Record<string, Float64Array> } {
  const inputs = Object.fromEntries(
    graph.inputs.map(({ name }) => [name, (indices: readonly number[]) => at(sample, name)(...indices)]),
  );
  const defaults = Object.fromEntries(graph.params.map((param) => [param.name, param.default]));
  const params = { ...defaults, ...sample.params };
  const { loss, gradients } = evaluateGraph(graph, { inputs, sizes: sample.sizes, params });
  return {
    loss,
    gradients: Object.fromEntries(Object.entries(gradients).map(([name, { data }]) => [name, Float64Array.from(data)])),
  };
}

/** What forward() of the public API takes: several utterances, padded with NaN, and with zeros for ints. */
export function batchOf(
  graph: Graph,
  samples: readonly Sample[],
): Record<string, { data: Float32Array | Int32Array; shape: number[] }> {
  const largest: Record<string, number> = {};
  for (const { sizes } of samples)
    for (const [name, size] of Object.entries(sizes)) largest[name] = Math.max(largest[name] ?? 0, size);
  const batch: Record<string, { data: Float32Array | Int32Array; shape: number[] }> = {};
  for (const input of graph.inputs) {
    const padded = input.dims.map((dim) => evalSize(dim, largest));
    const stride = padded.reduce((product, extent) => product * extent, 1);
    const data =
      input.element === 'f32'
        ? new Float32Array(samples.length * stride).fill(Number.NaN)
        : new Int32Array(samples.length * stride);
    for (const [b, sample] of samples.entries()) {
      const { data: own, shape } = sample.inputs[input.name] as Tensor;
      for (const [flat, value] of own.entries()) data[b * stride + paddedIndex(flat, shape, padded)] = value;
    }
    batch[input.name] = { data, shape: [samples.length, ...padded] };
  }
  for (const { size, argument } of graph.lengths) {
    const data = Int32Array.from(samples, ({ sizes }) => sizes[size] as number);
    batch[argument] = { data, shape: [samples.length] };
  }
  return batch;
}

/** Where an element of an utterance's own tensor lies in the padded one. */
export function paddedIndex(flat: number, own: readonly number[], padded: readonly number[]): number {
  let [rest, index, stride] = [flat, 0, 1];
  for (let axis = own.length - 1; axis >= 0; axis--) {
    const extent = own[axis] as number;
    index += (rest % extent) * stride;
    rest = Math.floor(rest / extent);
    stride *= padded[axis] as number;
  }
  return index;
}
