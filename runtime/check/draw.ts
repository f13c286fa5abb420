/** Random ragged batches for any spec, from its signature alone. */
import { evalSize } from '../../compiler/graph/size.js';
import { didYouMean, InputError, listOf } from '../errors.js';
import type { SpecSignature } from '../signature.js';
import { ownSizes } from '../validate.js';

/** A generator of numbers in [0, 1) that a seed repeats (mulberry32). */
export function randomFrom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

type Sizes = Readonly<Record<string, number>>;

/** A padded batch, as a caller would pass it. */
export interface DrawnBatch {
  readonly signature: SpecSignature;
  readonly B: number;
  /** Padded. */
  readonly sizes: Sizes;
  /** By utterance. */
  readonly own: readonly Sizes[];
  readonly inputs: Readonly<Record<string, { readonly data: Float32Array | Int32Array; readonly shape: number[] }>>;
  readonly lengths: Readonly<Record<string, Int32Array>>;
}

/** One utterance, dense, in float64: what the definition and the graph are asked about. */
export interface DrawnUtterance {
  readonly sizes: Sizes;
  readonly inputs: Readonly<Record<string, { readonly data: Float64Array | Int32Array; readonly shape: number[] }>>;
}

export interface DrawOptions {
  readonly random: () => number;
  /** Resolved parameters: which value an int input must avoid. */
  readonly params: Readonly<Record<string, number>>;
  /** Standard deviation, roughly, of real inputs. Default 2. */
  readonly scale?: number;
  /** Share of the real values that are -Infinity, log 0. Default 0. */
  readonly masked?: number;
  /** What fills the padding of real inputs. Default 0. */
  readonly padding?: number;
}

/** Sizes in the inputs that no length argument varies, and sizes that one does, in the order of the lengths. */
export function sizeNames({ inputs, lengths }: SpecSignature): { shared: string[]; varying: string[] } {
  const varying = lengths.map(({ size }) => size);
  const all = inputs.flatMap((input) => input.dims.flatMap((dim) => Object.keys(dim.terms)));
  return { shared: [...new Set(all)].filter((size) => !varying.includes(size)), varying };
}

/**
 * Values for the sizes that all utterances share: small, and large enough for what indexes into them.
 * @param told the author's choice, kept as it is
 * @throws InputError for a size that utterances do not share
 */
export function chooseShared(
  signature: SpecSignature,
  told: Readonly<Record<string, number>>,
  params: Readonly<Record<string, number>>,
): Record<string, number> {
  const { shared, varying } = sizeNames(signature);
  for (const [size, value] of Object.entries(told)) {
    if (shared.includes(size)) continue;
    throw new InputError({
      code: 'option',
      argument: size,
      problem: varying.includes(size)
        ? 'differs between utterances, and is drawn'
        : `is not a size of ${signature.name}${didYouMean(size, shared)}`,
      value,
      allowed: shared.length === 0 ? 'no size' : listOf(shared),
    });
  }
  const sizes: Record<string, number> = Object.fromEntries(shared.map((size) => [size, told[size] ?? 4]));
  const some = Object.fromEntries(varying.map((size) => [size, 3]));
  const enough = (below: SpecSignature['inputs'][number]['below'], wanted: number): boolean =>
    below === undefined || evalSize(below, { ...some, ...sizes }) >= wanted;
  const fits = (): boolean =>
    signature.inputs.every(({ element, below }) => element === 'f32' || enough(below, 3)) &&
    signature.params.every(({ name, below, default: value }) =>
      enough(below, Math.max(3, (params[name] ?? value) >= 0 ? (params[name] ?? value) + 1 : -(params[name] ?? value))),
    );
  // Grown together: which of them an index needs is not worth telling apart.
  for (let grown = 0; grown < 5000 && !fits(); grown++) {
    for (const size of shared) if (told[size] === undefined) sizes[size] = (sizes[size] as number) + 1;
  }
  return sizes;
}

/** Values for the sizes of one small utterance; the first (frames, as a rule) is the longest. */
export function drawVarying(
  signature: SpecSignature,
  random: () => number,
  most: { first: number; others: number },
): Record<string, number> {
  return Object.fromEntries(
    sizeNames(signature).varying.map((size, n) => [
      size,
      n === 0 ? 1 + Math.floor(random() * most.first) : Math.floor(random() * (most.others + 1)),
    ]),
  );
}

/** A padded batch of utterances of these sizes. Equal draws with other padding hold the same utterances. */
export function drawBatch(
  signature: SpecSignature,
  shared: Sizes,
  varying: readonly Sizes[],
  { random, params, scale = 2, masked = 0, padding = 0 }: DrawOptions,
): DrawnBatch {
  const B = varying.length;
  const names = sizeNames(signature).varying;
  // A real input has at least one element along each axis, also where no utterance fills it.
  const sizes = {
    ...shared,
    ...Object.fromEntries(
      names.map((size, n) => [size, Math.max(n === 0 ? 1 : 0, ...varying.map((own) => own[size] ?? 0))]),
    ),
  };
  const lengths = Object.fromEntries(
    signature.lengths.map(({ size, argument }) => [argument, Int32Array.from(varying, (own) => own[size] ?? 0)]),
  );
  const own = varying.map((_, b) => ownSizes(signature, sizes, lengths, b));
  const inputs = Object.fromEntries(
    signature.inputs.map((input) => {
      const shape = [B, ...input.dims.map((dim) => Math.max(0, evalSize(dim, sizes)))];
      const count = shape.reduce((product, extent) => product * extent, 1);
      const data = input.element === 'f32' ? new Float32Array(count).fill(padding) : new Int32Array(count).fill(-7);
      for (let b = 0; b < B; b++) {
        const extents = input.dims.map((dim) => Math.max(0, evalSize(dim, own[b] as Sizes)));
        const below =
          input.below === undefined ? boundOf(input, own[b] as Sizes, names) : evalSize(input.below, own[b] as Sizes);
        const allowed = Array.from({ length: Math.max(1, below) }, (_, value) => value).filter(
          (value) => input.not === undefined || value !== params[input.not],
        );
        const draw =
          input.element === 'i32'
            ? () => allowed[Math.floor(random() * allowed.length)] ?? 0
            : () => {
                // The sum of three is near enough to a bell; both numbers are drawn always, so that `masked` changes no other draw.
                const value = (random() + random() + random() - 1.5) * 2 * scale;
                return random() < masked ? Number.NEGATIVE_INFINITY : value;
              };
        const places: number[] = [];
        eachCell(extents, (cell) => {
          let at = b;
          for (const [axis, index] of cell.entries()) at = at * (shape[axis + 1] as number) + index;
          places.push(at);
        });
        const values = places.map(draw);
        // Ints that are not symbols are places in the lattice as a rule (alignments, windows), which go forward.
        if (input.element === 'i32' && input.not === undefined && extents.length === 1) values.sort((x, y) => x - y);
        for (const [n, at] of places.entries()) data[at] = values[n] as number;
      }
      return [input.name, { data, shape }];
    }),
  );
  return { signature, B, sizes, own, inputs, lengths };
}

/** A bound for ints that index nothing: the utterance's size along other axes than theirs, as an alignment of labels counts frames. */
function boundOf({ dims }: SpecSignature['inputs'][number], own: Sizes, varying: readonly string[]): number {
  const others = varying.filter((size) => dims.every(({ terms }) => terms[size] === undefined));
  return Math.max(1, ...(others.length > 0 ? others : varying).map((size) => own[size] ?? 0));
}

/** Utterance b of a batch, without its padding. */
export function utteranceOf({ signature, own, inputs }: DrawnBatch, b: number): DrawnUtterance {
  const sizes = own[b] as Sizes;
  return {
    sizes,
    inputs: Object.fromEntries(
      signature.inputs.map((input) => {
        const { data, shape } = inputs[input.name] as DrawnBatch['inputs'][string];
        const extents = input.dims.map((dim) => Math.max(0, evalSize(dim, sizes)));
        return [input.name, { data: slice(data, shape, b, extents), shape: extents }];
      }),
    ),
  };
}

/** The part of sample b of a padded tensor that lies within these extents, dense. */
export function slice<A extends ArrayLike<number>>(
  data: A,
  shape: readonly number[],
  b: number,
  extents: readonly number[],
): Float64Array {
  const values: number[] = [];
  eachCell(extents, (cell) => {
    let at = b;
    for (const [axis, index] of cell.entries()) at = at * (shape[axis + 1] as number) + index;
    values.push(data[at] as number);
  });
  return Float64Array.from(values);
}

function eachCell(extents: readonly number[], visit: (cell: readonly number[]) => void): void {
  const count = extents.reduce((product, extent) => product * extent, 1);
  const cell = new Array<number>(extents.length).fill(0);
  for (let n = 0; n < count; n++) {
    visit(cell);
    for (let axis = extents.length - 1; axis >= 0; axis--) {
      cell[axis] = (cell[axis] as number) + 1;
      if ((cell[axis] as number) < (extents[axis] as number)) break;
      cell[axis] = 0;
    }
  }
}
