/** Tensors to measure with, for any spec: full lengths, ints within their ranges, and mild logits, the same for a seed. */
import { evalSize } from '../../../compiler/graph/size.js';
import { drawBatch, randomFrom, sizeNames } from '../../check/draw.js';
import { resolveParams } from '../../params.js';
import type { SpecSignature } from '../../signature.js';
import type { Tensor } from '../../tensor.js';

export type Sizes = Readonly<Record<string, number>>;

/** B, then the sizes that vary between utterances, then those that a batch shares: B, T, U, V. */
export function shapeNames(signature: SpecSignature): string[] {
  const { varying, shared } = sizeNames(signature);
  return ['B', ...varying, ...shared];
}

export interface RealInput {
  readonly name: string;
  readonly shape: readonly number[];
  readonly count: number;
  /** The spec states its gradient. */
  readonly gradient: boolean;
}

export function realInputs(signature: SpecSignature, sizes: Sizes): RealInput[] {
  return signature.inputs
    .filter(({ element }) => element === 'f32')
    .map(({ name, dims }) => {
      const shape = [sizes.B as number, ...dims.map((dim) => evalSize(dim, sizes))];
      const count = shape.reduce((product, extent) => product * extent, 1);
      return { name, shape, count, gradient: signature.gradients.includes(name) };
    });
}

/** float32. */
const ELEMENT = 4;

/**
 * The model: an input with a gradient is read twice and its gradient written once, 12 bytes for each element; others are
 * read once. The loss alone reads everything once.
 */
export function bytesMoved(inputs: readonly RealInput[]): { lossAndGradient: number; loss: number } {
  const sum = (perElement: (input: RealInput) => number) =>
    inputs.reduce((total, input) => total + perElement(input) * input.count, 0);
  return { lossAndGradient: sum(({ gradient }) => (gradient ? 3 : 1) * ELEMENT), loss: sum(() => ELEMENT) };
}

/** Real inputs and their gradients. */
export const tensorBytes = (inputs: readonly RealInput[]): number =>
  inputs.reduce((total, { count, gradient }) => total + (gradient ? 2 : 1) * ELEMENT * count, 0);

/** Int inputs and lengths: every utterance fills its padded size. */
export function drawInts(signature: SpecSignature, sizes: Sizes, params: Sizes, seed: number) {
  const { varying, shared } = sizeNames(signature);
  const pick = (names: readonly string[]) => Object.fromEntries(names.map((name) => [name, sizes[name] as number]));
  const ints = { ...signature, inputs: signature.inputs.filter(({ element }) => element === 'i32') };
  const own = Array.from({ length: sizes.B as number }, () => pick(varying));
  const { inputs, lengths } = drawBatch(ints, pick(shared), own, {
    random: randomFrom(seed),
    params: resolveParams(signature, params, sizes),
  });
  return { inputs, lengths };
}

/** Uniform logits in [-2, 2) by a linear congruential generator: fast enough for gigabytes. Successive pieces go on. */
export function logits(seed: number): (piece: Float32Array) => void {
  let state = seed >>> 0;
  return (piece) => {
    for (let i = 0; i < piece.length; i++) {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      piece[i] = state / 2 ** 30 - 2;
    }
  };
}

/** Tensors of the smallest lattice with the same compiled sizes: one utterance with lengths of one. */
export function smallCall(signature: SpecSignature, sizes: Sizes, params: Sizes): Record<string, Tensor> {
  const small = { ...sizes, B: 1, ...Object.fromEntries(signature.lengths.map(({ size }) => [size, 1])) };
  const { inputs, lengths } = drawInts(signature, small, params, 1);
  const next = logits(1);
  const reals = realInputs(signature, small).map(({ name, shape, count }) => {
    const data = new Float32Array(count);
    next(data);
    return [name, { data, shape }];
  });
  return {
    ...inputs,
    ...Object.fromEntries(Object.entries(lengths).map(([name, data]) => [name, { data, shape: [data.length] }])),
    ...Object.fromEntries(reals),
  };
}
