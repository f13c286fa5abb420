/** Any spec, on random ragged batches: the harness that compares what runs it. */
import { basename } from 'node:path';
import { evaluateGraph } from '../compiler/graph/evaluate.js';
import type { Graph } from '../compiler/graph/graph.js';
import { evalSize } from '../compiler/graph/size.js';
import type { KernelProgram } from '../compiler/kernel/kernel.js';
import type { LossDefinition } from '../dsl/index.js';

/** A small generator of random numbers with a seed (mulberry32), so that a failure can be repeated. */
export function randomFrom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

export interface RandomBatch {
  readonly B: number;
  /** Padded sizes. */
  readonly sizes: Record<string, number>;
  /** By utterance. */
  readonly ownSizes: Record<string, number>[];
  readonly inputs: Record<string, Float32Array | Int32Array>;
  readonly shapes: Record<string, number[]>;
  readonly lengths: Record<string, Int32Array>;
  readonly params: Record<string, number>;
}

/** A batch of random sizes with NaN in the padding of real inputs. Given sizes are also those of the first utterance. */
export function randomBatch(
  graph: Graph,
  seed: number,
  limits: { size: number; scale: number; sizes?: Readonly<Record<string, number>> },
): RandomBatch {
  const random = randomFrom(seed);
  const whole = (low: number, high: number): number => low + Math.floor(random() * (high - low + 1));
  const B = whole(1, 3);
  const ragged = new Map(graph.lengths.map(({ size, argument }) => [size, argument]));
  const names = new Set(graph.inputs.flatMap((input) => input.dims.flatMap((dim) => Object.keys(dim.terms))));
  const sizes: Record<string, number> = {};
  // More where only a part of a size may be indexed, such as V - 5.
  const more = Math.max(0, ...graph.inputs.map(({ below }) => -(below?.constant ?? 0)));
  for (const name of names)
    sizes[name] = limits.sizes?.[name] ?? (ragged.has(name) ? whole(1, limits.size) : more + whole(2, limits.size));
  const ownSizes = Array.from({ length: B }, (_, b) => {
    const own: Record<string, number> = { ...sizes };
    for (const [index, name] of [...ragged.keys()].entries())
      own[name] = (b === 0 ? limits.sizes?.[name] : undefined) ?? whole(index === 0 ? 1 : 0, sizes[name]!);
    return own;
  });
  // A negative index counts from the end.
  const params = Object.fromEntries(
    graph.params.map(({ name, default: value, below }) => [
      name,
      value < 0 && below ? value + evalSize(below, sizes) : value,
    ]),
  );
  const lengths = Object.fromEntries(
    [...ragged].map(([size, argument]) => [argument, Int32Array.from(ownSizes, (own) => own[size]!)]),
  );
  const shapes: Record<string, number[]> = {};
  const inputs: Record<string, Float32Array | Int32Array> = {};
  for (const input of graph.inputs) {
    const dims = input.dims.map((dim) => evalSize(dim, sizes));
    shapes[input.name] = [B, ...dims];
    const count = dims.reduce((product, extent) => product * extent, B);
    const data = input.element === 'f32' ? new Float32Array(count) : new Int32Array(count);
    inputs[input.name] = data;
    const below = input.below ? evalSize(input.below, sizes) : 5;
    for (let at = 0; at < count; at++) {
      let rest = at;
      const indices = [...dims]
        .reverse()
        .map((extent) => {
          const index = rest % extent;
          rest = Math.floor(rest / extent);
          return index;
        })
        .reverse();
      const own = ownSizes[rest]!;
      const inside = indices.every((index, axis) => index < evalSize(input.dims[axis]!, own));
      if (input.element === 'f32') data[at] = inside ? (random() * 2 - 1) * limits.scale : Number.NaN;
      else if (inside && input.not && below > 1) {
        const drawn = whole(1, below - 1);
        data[at] = drawn <= params[input.not]! ? drawn - 1 : drawn;
      } else if (inside) data[at] = whole(0, below - 1);
    }
  }
  return { B, sizes, ownSizes, inputs, shapes, lengths, params };
}

export interface BatchResult {
  readonly loss: number[];
  /** By input name, padded. */
  readonly gradients: Record<string, ArrayLike<number>>;
}

const padTo = (
  values: ArrayLike<number>,
  own: readonly number[],
  padded: readonly number[],
  into: Float64Array,
  b: number,
): void => {
  const stride = padded.reduce((product, extent) => product * extent, 1);
  const total = own.reduce((product, extent) => product * extent, 1);
  for (let i = 0; i < total; i++) {
    let rest = i;
    let at = 0;
    let step = 1;
    for (let axis = own.length - 1; axis >= 0; axis--) {
      at += (rest % own[axis]!) * step;
      rest = Math.floor(rest / own[axis]!);
      step *= padded[axis]!;
    }
    into[b * stride + at] = values[i]!;
  }
};

/** Runs one utterance after the other with whatever evaluates one. */
export function evaluateBatch(
  graph: Graph,
  batch: RandomBatch,
  evaluate: (utterance: Parameters<LossDefinition['evaluate']>[0]) => {
    loss: number;
    gradients: Record<string, ArrayLike<number>>;
  },
): BatchResult {
  const loss: number[] = [];
  const gradients: Record<string, Float64Array> = {};
  for (const name of Object.keys(graph.gradients)) gradients[name] = new Float64Array(batch.inputs[name]!.length);
  for (let b = 0; b < batch.B; b++) {
    const inputs = Object.fromEntries(
      graph.inputs.map(({ name }) => {
        const shape = batch.shapes[name]!.slice(1);
        const strides = shape.map((_, axis) => shape.slice(axis + 1).reduce((product, extent) => product * extent, 1));
        return [
          name,
          { data: batch.inputs[name]!, offset: b * shape.reduce((product, extent) => product * extent, 1), strides },
        ];
      }),
    );
    const result = evaluate({ inputs, sizes: batch.ownSizes[b]!, params: batch.params });
    loss.push(result.loss);
    for (const input of graph.inputs) {
      if (!(input.name in gradients)) continue;
      const own = input.dims.map((dim) => evalSize(dim, batch.ownSizes[b]!));
      padTo(result.gradients[input.name]!, own, batch.shapes[input.name]!.slice(1), gradients[input.name]!, b);
    }
  }
  return { loss, gradients };
}

/**
 * What the spec's own TypeScript says of an utterance. In arcs form that is the loss alone, and the gradients are those of
 * the derived graph, which tests of derivation hold against central differences.
 */
export function evaluateAsWritten(
  definition: LossDefinition,
  graph: Graph,
  utterance: Parameters<LossDefinition['evaluate']>[0],
) {
  const { loss, gradients } = definition.evaluate(utterance);
  return { loss, gradients: definition.form === 'arcs' ? evaluateAsGraph(graph, utterance).gradients : gradients };
}

/** The graph's own meaning of an utterance that the reference is given. */
export function evaluateAsGraph(graph: Graph, utterance: Parameters<LossDefinition['evaluate']>[0]) {
  const inputs = Object.fromEntries(
    Object.entries(utterance.inputs).map(([name, { data, offset = 0, strides = [] }]) => [
      name,
      (indices: readonly number[]) => data[indices.reduce((at, index, axis) => at + index * strides[axis]!, offset)]!,
    ]),
  );
  const { loss, gradients } = evaluateGraph(graph, { inputs, sizes: utterance.sizes, params: utterance.params ?? {} });
  return { loss, gradients: Object.fromEntries(Object.entries(gradients).map(([name, { data }]) => [name, data])) };
}

/** Buffers and scalars of a compiled program for a batch; outputs are filled with a mark that must disappear. */
export function launchArguments(graph: Graph, program: KernelProgram, batch: RandomBatch) {
  const buffers: Record<string, Float32Array | Float64Array | Int32Array> = {
    ...batch.inputs,
    ...batch.lengths,
    gradScale: new Float64Array(batch.B).fill(1),
    loss: new Float64Array(batch.B).fill(12345),
  };
  for (const name of Object.keys(graph.gradients))
    buffers[`grad_${name}`] = new Float32Array(batch.inputs[name]!.length).fill(12345);
  const scalars: Record<string, number> = { B: batch.B, ...batch.params };
  for (const { size } of graph.lengths) scalars[`${size}_max`] = batch.sizes[size]!;
  const used = new Set(program.buffers.map((buffer) => buffer.name));
  return { buffers: Object.fromEntries(Object.entries(buffers).filter(([name]) => used.has(name))), scalars };
}

export const specName = (file: string): string => basename(file).replace(/\.ts$/, '');

/** The largest difference relative to max(1, |expected|); equal infinities and NaN with NaN count as 0. */
export function largestDifference(actual: ArrayLike<number>, expected: ArrayLike<number>): number {
  let largest = 0;
  for (let i = 0; i < expected.length; i++) {
    const [a, e] = [actual[i]!, expected[i]!];
    if (Object.is(a, e) || (Number.isNaN(a) && Number.isNaN(e))) continue;
    const difference = Math.abs(a - e) / Math.max(1, Math.abs(e));
    largest = Math.max(largest, Number.isNaN(difference) ? Number.POSITIVE_INFINITY : difference);
  }
  return largest;
}
