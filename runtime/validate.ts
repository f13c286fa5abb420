/**
 * Checks the tensors of one call against a spec's signature, before any kernel runs, and converts them to what
 * devices take. Every refusal names the argument, the value, its index and what is allowed.
 */
import type { InputDecl, LengthDecl, SizeExpr } from '../compiler/graph/graph.js';
import { evalSize, printSize } from '../compiler/graph/size.js';
import type { Batch, Device } from './device.js';
import { describe, InputError, TrellisError } from './errors.js';
import { bitsOf, decode, dtypeNames, type HalfArray } from './half.js';
import type { SpecSignature } from './signature.js';
import { checkIntElements, intAt, printShape, type RawTensor, readTensor, toReals } from './tensor.js';

export type CheckedTensors = Pick<Batch, 'B' | 'sizes' | 'shapes' | 'inputs' | 'lengths'>;

/** Arguments by name. A length that is absent (not undefined) means that every utterance fills the padded size. */
export type Arguments = Readonly<Record<string, unknown>>;

/** What shapes tell: batch size and padded sizes. */
export interface Shapes {
  readonly B: number;
  readonly sizes: Readonly<Record<string, number>>;
  readonly raw: Readonly<Record<string, RawTensor>>;
}

/** `[B, T, U + 1, V]`: what the shape of an input means. */
const printAxes = (input: InputDecl): string => `[B, ${input.dims.map(printSize).join(', ')}]`;

/**
 * Structure, element types, ranks and extents of all inputs; solves for the sizes.
 * @throws InputError
 */
export function checkShapes(signature: SpecSignature, args: Arguments): Shapes {
  const raw: Record<string, RawTensor> = {};
  for (const input of signature.inputs) {
    const tensor = readTensor(input.name, args[input.name]);
    if (input.element === 'i32') checkIntElements(input.name, tensor);
    checkRank(input, tensor);
    raw[input.name] = tensor;
  }
  const B = checkBatch(signature, raw);
  return { B, sizes: solveSizes(signature, raw), raw };
}

function checkRank(input: InputDecl, { shape }: RawTensor): void {
  const axes = input.dims.length + 1;
  if (shape.length === axes) return;
  throw new InputError({
    code: 'rank',
    argument: input.name,
    problem: `has shape ${printShape(shape)}, ${shape.length === 1 ? '1 axis' : `${shape.length} axes`}`,
    value: shape,
    allowed: `${axes} axes ${printAxes(input)}`,
  });
}

function checkBatch(signature: SpecSignature, raw: Readonly<Record<string, RawTensor>>): number {
  let first: InputDecl | undefined;
  let B = 0;
  for (const input of signature.inputs) {
    const shape = raw[input.name]?.shape ?? [];
    const own = shape[0] ?? 0;
    if (first === undefined) {
      if (own === 0) {
        throw new InputError({
          code: 'batch',
          argument: input.name,
          problem: `has batch size 0 (shape ${printShape(shape)})`,
          value: 0,
          allowed: 'at least one sample',
        });
      }
      first = input;
      B = own;
    } else if (own !== B) {
      throw new InputError({
        code: 'batch',
        argument: input.name,
        problem: `has batch size ${own} (shape ${printShape(shape)}) where ${first.name} has ${B}`,
        value: own,
        allowed: `batch size ${B}`,
      });
    }
  }
  return B;
}

interface Known {
  readonly value: number;
  readonly input: InputDecl;
  readonly axis: number;
}

/** Sizes from extents: an axis 'U + 1' of extent 4 says U = 3. All axes that mention a size must agree. */
function solveSizes(signature: SpecSignature, raw: Readonly<Record<string, RawTensor>>): Record<string, number> {
  const known: Record<string, Known> = {};
  const later: { input: InputDecl; axis: number; dim: SizeExpr; extent: number; shape: readonly number[] }[] = [];
  for (const input of signature.inputs) {
    const shape = raw[input.name]?.shape ?? [];
    input.dims.forEach((dim, n) => {
      const axis = n + 1;
      const extent = shape[axis] ?? 0;
      checkExtent(input, shape, axis, dim, extent);
      const [term, ...others] = Object.entries(dim.terms);
      if (term === undefined || others.length > 0) {
        later.push({ input, axis, dim, extent, shape });
        return;
      }
      const [size, factor] = term;
      const value = (extent - dim.constant) / factor;
      if (!Number.isInteger(value) || value < 0) throw wrongExtent(input, shape, axis, dim, `${size} = 0, 1, 2, ...`);
      const before = known[size];
      if (before === undefined) known[size] = { value, input, axis };
      else if (before.value !== value) throw disagreement(size, before, { value, input, axis }, raw);
    });
  }
  const sizes = Object.fromEntries(Object.entries(known).map(([size, { value }]) => [size, value]));
  for (const { input, axis, dim, extent, shape } of later) {
    const missing = Object.keys(dim.terms).find((size) => sizes[size] === undefined);
    if (missing !== undefined) throw unsolved(signature.name, missing);
    const wanted = evalSize(dim, sizes);
    if (extent !== wanted) throw wrongExtent(input, shape, axis, dim, `${wanted} (${printSizes(sizes)})`);
  }
  for (const { size } of signature.lengths) if (sizes[size] === undefined) throw unsolved(signature.name, size);
  return sizes;
}

const printSizes = (sizes: Readonly<Record<string, number>>): string =>
  Object.entries(sizes)
    .map(([size, value]) => `${size} = ${value}`)
    .join(', ');

function unsolved(spec: string, size: string): TrellisError {
  return new TrellisError(
    'spec',
    `spec ${spec}: size ${size} cannot be read off the shape of any input; give an input an axis in ${size} alone`,
  );
}

/** Real inputs have elements; int ones may have none (no labels at all). */
function checkExtent(input: InputDecl, shape: readonly number[], axis: number, dim: SizeExpr, extent: number): void {
  if (extent > 0 || input.element === 'i32') return;
  throw wrongExtent(input, shape, axis, dim, `${printSize(dim)} at least 1`);
}

function wrongExtent(
  input: InputDecl,
  shape: readonly number[],
  axis: number,
  dim: SizeExpr,
  allowed: string,
): InputError {
  return new InputError({
    code: 'shape',
    argument: input.name,
    problem: `has shape ${printShape(shape)}: axis ${axis} is ${printSize(dim)} = ${shape[axis]}`,
    value: shape[axis],
    allowed,
  });
}

/** Two axes that say different things of one size: the classic is U against U + 1. */
function disagreement(size: string, a: Known, b: Known, raw: Readonly<Record<string, RawTensor>>): InputError {
  const shapeOf = (known: Known): readonly number[] => raw[known.input.name]?.shape ?? [];
  const dimOf = (known: Known): SizeExpr => known.input.dims[known.axis - 1] as SizeExpr;
  const says = (known: Known): string => {
    const extent = shapeOf(known)[known.axis];
    const equation = printSize(dimOf(known)) === size ? '' : `${printSize(dimOf(known))} = ${extent}, so `;
    return `axis ${known.axis} of ${known.input.name} ${printShape(shapeOf(known))} says ${equation}${size} = ${known.value}`;
  };
  const wanted = [...shapeOf(b)];
  wanted[b.axis] = evalSize(dimOf(b), { [size]: a.value });
  const sameExtent = shapeOf(a)[a.axis] === shapeOf(b)[b.axis];
  const confused = sameExtent
    ? `. The two axes are equally long, but one is ${printSize(dimOf(a))} and the other ${printSize(dimOf(b))}` +
      (a.input.element === 'f32' && dimOf(a).constant - dimOf(b).constant === 1
        ? `: a sequence of ${size} has ${size} + 1 positions, one before each element and one after the last`
        : '')
    : '';
  return new InputError({
    code: 'shape',
    argument: b.input.name,
    problem: `has shape ${printShape(shapeOf(b))}, which does not fit ${a.input.name}: ${says(a)}, but ${says(b)}${confused}`,
    value: shapeOf(b)[b.axis],
    allowed: `${b.input.name} of shape ${printShape(wanted)}`,
  });
}

/**
 * Lengths [B] in 0..padded size.
 * @throws InputError
 */
export function checkLengths(signature: SpecSignature, args: Arguments, shapes: Shapes): Record<string, Int32Array> {
  const lengths: Record<string, Int32Array> = {};
  for (const decl of signature.lengths) {
    const max = shapes.sizes[decl.size] ?? 0;
    lengths[decl.argument] =
      decl.argument in args
        ? readLengths(signature, decl, args[decl.argument], shapes, max)
        : new Int32Array(shapes.B).fill(max);
  }
  return lengths;
}

function readLengths(
  signature: SpecSignature,
  decl: LengthDecl,
  value: unknown,
  { B, raw }: Shapes,
  max: number,
): Int32Array {
  const { argument, size } = decl;
  const tensor = readTensor(argument, value);
  checkIntElements(argument, tensor);
  if (tensor.shape.length !== 1) {
    throw new InputError({
      code: 'rank',
      argument,
      problem: `has shape ${printShape(tensor.shape)}, ${tensor.shape.length} axes`,
      value: tensor.shape,
      allowed: '1 axis [B]',
    });
  }
  if (tensor.shape[0] !== B) {
    const [first] = signature.inputs;
    throw new InputError({
      code: 'batch',
      argument,
      problem: `has ${tensor.shape[0]} entries where ${first?.name ?? 'the input'} has batch size ${B}`,
      value: tensor.shape[0],
      allowed: `${B} entries, one for each sample`,
    });
  }
  const holder = signature.inputs.find((input) => input.dims.some((dim) => dim.terms[size] !== undefined));
  const shape =
    holder === undefined ? '' : ` (${size} of ${holder.name}, shape ${printShape(raw[holder.name]?.shape ?? [])})`;
  const lengths = new Int32Array(B);
  for (let b = 0; b < B; b++) {
    const length = intAt(tensor, b);
    if (length === undefined || length < 0 || length > max) {
      const given = tensor.data[b];
      throw new InputError({
        code: 'range',
        argument,
        index: [b],
        problem: `is ${describe(given)}`,
        value: given,
        allowed: `integers from 0 to ${max}${shape}`,
      });
    }
    lengths[b] = length;
  }
  return lengths;
}

/** The sizes of sample b: its own lengths, and what all samples share. */
export function ownSizes(
  signature: SpecSignature,
  sizes: Readonly<Record<string, number>>,
  lengths: Batch['lengths'],
  b: number,
): Record<string, number> {
  const own: Record<string, number> = { ...sizes };
  for (const { size, argument } of signature.lengths) own[size] = lengths[argument]?.[b] ?? 0;
  return own;
}

/**
 * Element types and values of the inputs, once shapes, lengths and parameters are known. Int inputs are copied, and
 * only what lies within an utterance is looked at: padding becomes 0, whatever it was.
 * @param device whose `reals`, `halves` and `gpu` say what real inputs may be; those in GPU memory are left out of the result
 * @throws InputError
 */
export function convertInputs(
  signature: SpecSignature,
  shapes: Shapes,
  lengths: Batch['lengths'],
  params: Readonly<Record<string, number>>,
  device: Pick<Device, 'name' | 'reals' | 'halves' | 'gpu'>,
): Record<string, Batch['inputs'][string]> {
  const inputs: Record<string, Batch['inputs'][string]> = {};
  for (const input of signature.inputs) {
    const raw = shapes.raw[input.name] as RawTensor;
    if (device.gpu !== undefined && raw.buffer !== undefined) {
      if (raw.half !== undefined && !device.halves?.includes(raw.half)) throw unreadable(input.name, raw, device.name);
      continue;
    }
    inputs[input.name] =
      input.element === 'f32'
        ? realsOf(input.name, raw, device)
        : readInts(signature, input, raw, shapes, lengths, params);
  }
  return inputs;
}

function realsOf(
  name: string,
  raw: RawTensor,
  { reals, halves }: Pick<Device, 'reals' | 'halves'>,
): Batch['inputs'][string] {
  if (raw.half === undefined || raw.buffer !== undefined) return toReals(name, raw, reals);
  const bits = bitsOf(raw.data as HalfArray);
  return halves?.includes(raw.half) ? bits : decode(raw.half, bits, reals);
}

/** What is on the GPU is not converted on the host. */
function unreadable(argument: string, { buffer, half }: RawTensor, device: string): InputError {
  const type = dtypeNames[half ?? 'f16'];
  return new InputError({
    code: 'dtype',
    argument,
    problem: `is a GPUBuffer of ${type}, which the kernels of this ${device} device cannot read`,
    value: buffer,
    allowed: `a GPUBuffer of float32, or the ${type} in a Uint16Array`,
  });
}

function readInts(
  signature: SpecSignature,
  input: InputDecl,
  raw: RawTensor,
  { B, sizes }: Shapes,
  lengths: Batch['lengths'],
  params: Readonly<Record<string, number>>,
): Int32Array {
  const ints = new Int32Array(raw.data.length);
  const excluded = input.not === undefined ? undefined : params[input.not];
  const rank = input.dims.length;
  for (let b = 0; b < B; b++) {
    const own = ownSizes(signature, sizes, lengths, b);
    const extents = input.dims.map((dim) => evalSize(dim, own));
    if (extents.some((extent) => extent <= 0)) continue;
    const below = input.below === undefined ? 2 ** 31 : evalSize(input.below, own);
    const lowest = input.below === undefined ? -(2 ** 31) : 0;
    const index = new Array<number>(rank).fill(0);
    for (;;) {
      let position = b;
      for (let axis = 0; axis < rank; axis++) position = position * (raw.shape[axis + 1] ?? 0) + (index[axis] ?? 0);
      const value = intAt(raw, position);
      if (value === undefined || value < lowest || value >= below || value === excluded) {
        throw badValue(input, raw.data[position], [b, ...index], lowest, below, excluded);
      }
      ints[position] = value;
      if (!advance(index, extents)) break;
    }
  }
  return ints;
}

/** Steps a multi-index, last axis fastest; false after the last one. */
function advance(index: number[], extents: readonly number[]): boolean {
  for (let axis = extents.length - 1; axis >= 0; axis--) {
    const next = (index[axis] ?? 0) + 1;
    if (next < (extents[axis] ?? 0)) {
      index[axis] = next;
      return true;
    }
    index[axis] = 0;
  }
  return false;
}

function badValue(
  input: InputDecl,
  value: unknown,
  index: number[],
  lowest: number,
  below: number,
  excluded: number | undefined,
): InputError {
  const isExcluded = excluded !== undefined && Number(value) === excluded;
  const except = excluded === undefined ? '' : ` except ${excluded} (${input.not})`;
  const range =
    input.below === undefined
      ? `integers from ${lowest} to ${below - 1}`
      : `integers from 0 to ${below - 1} (${printSize(input.below)} is ${below})`;
  return new InputError({
    code: 'range',
    argument: input.name,
    index,
    problem: isExcluded ? `is ${describe(value)}, the value of ${input.not}` : `is ${describe(value)}`,
    value,
    allowed: `${range}${except}`,
  });
}
