/**
 * The types of the language. Inputs and fields are functions of their indices, so the type checker of any strict
 * project finds a read of the wrong rank, an unknown parameter, and a gradient of the wrong shape.
 */

/** Fields and inputs have one to four indices. */
export type Rank = 1 | 2 | 3 | 4;

/** How many indices a call takes. */
export type Indices<R extends Rank> = {
  1: [i: number];
  2: [i: number, j: number];
  3: [i: number, j: number, k: number];
  4: [i: number, j: number, k: number, l: number];
}[R];

/** A field: one real value for each cell of its domain, read like a function. Outside of its domain it reads as its `outside` value. */
export interface Field<R extends Rank> {
  (...indices: Indices<R>): number;
  readonly kind: 'field' | 'recurrence';
  readonly rank: R;
}
export type Field1 = Field<1>;
export type Field2 = Field<2>;
export type Field3 = Field<3>;
export type Field4 = Field<4>;

/** An input tensor, one utterance's part of it. Outside a real one reads as log 0 and an int one as -1, which is never a valid index. */
export interface Input<R extends Rank> {
  (...indices: Indices<R>): number;
  readonly kind: 'input';
  readonly rank: R;
}

/** Log-softmax has at least one index before the one it runs over. */
export type SoftmaxRank = 2 | 3 | 4;

/** What `logSoftmax` makes: read like a field, but never stored, so it cannot be a gradient. */
export interface LogProbabilities<R extends SoftmaxRank> {
  (...indices: Indices<R>): number;
  readonly kind: 'logSoftmax';
  readonly rank: R;
}

export type DimTexts = readonly [string] | readonly [string, string] | readonly [string, string, string] | FourTexts;
type FourTexts = readonly [string, string, string, string];

/** Declaration of an input: made by `f32(...)` or `i32(...)`. */
export interface InputSpec<
  D extends DimTexts = DimTexts,
  E extends 'f32' | 'i32' = 'f32' | 'i32',
  N extends string = string,
> {
  /** 'f32': real values, may have a gradient. 'i32': ints, may be used as indices. */
  readonly element: E;
  /** Affine texts over size names, without the batch. */
  readonly dims: D;
  /** For 'i32': a parameter whose value must not occur in the data. */
  readonly not?: N;
}

export interface IntOptions<N extends string = string> {
  /** Name of a parameter whose value never occurs in this input (a label is never the blank). Refused by the loss module, before any kernel. */
  readonly not: N;
}

export type InputSpecs = Readonly<Record<string, InputSpec>>;
export type ParamSpecs = Readonly<Record<string, number>>;
export type StaticSpecs = Readonly<Record<string, number | readonly number[]>>;
export type LengthSpecs = Readonly<Record<string, string>>;

/** Everything about a loss but its equations. */
export interface LossHeader<
  I extends InputSpecs = InputSpecs,
  P extends ParamSpecs = ParamSpecs,
  S extends StaticSpecs = StaticSpecs,
  L extends LengthSpecs = LengthSpecs,
> {
  readonly name: string;
  /** One line, for lists. */
  readonly doc?: string;
  /** In the order of forward()'s arguments. */
  readonly inputs: I;
  /** Sizes that differ between utterances, and the argument that carries each. Default: T by 'actLens' and U by 'labelLens', where they occur. */
  readonly lengths?: L;
  /** Run-time scalars with their defaults. Changing one never recompiles. */
  readonly params?: P & Readonly<Record<ForbiddenBy<I>, number>>;
  /** Compile-time numbers and arrays of numbers; kernels are specialised for them. */
  readonly statics?: S;
}

/** The parameters that inputs name in `not`. A plain `string` says nothing and so asks for nothing. */
type ForbiddenBy<I extends InputSpecs> = {
  [K in keyof I]: I[K] extends InputSpec<DimTexts, 'i32', infer N> ? Literal<N> : never;
}[keyof I];
type Literal<N extends string> = string extends N ? never : N;

type Trim<T extends string> = T extends ` ${infer R}` ? Trim<R> : T extends `${infer R} ` ? Trim<R> : T;

/** Size names in a dimension text: 'U' of '2*U+1'. */
export type SizesIn<T extends string> = T extends `${infer A}+${infer B}`
  ? SizesIn<A> | SizesIn<B>
  : T extends `${infer A}-${infer B}`
    ? SizesIn<A> | SizesIn<B>
    : T extends `${infer A}*${infer B}`
      ? SizesIn<A> | SizesIn<B>
      : Trim<T> extends `${number}` | ''
        ? never
        : Trim<T>;

/** At least as many numbers as the default has, so that `durations[0]` is a number also where indexing is checked. */
type StaticValue<A> = A extends readonly unknown[]
  ? readonly [...{ -readonly [K in keyof A]: number }, ...number[]]
  : number;

/** What the body of a loss receives: inputs as functions; sizes, parameters and statics as numbers (or arrays of numbers). */
export type Scope<I extends InputSpecs, P extends ParamSpecs, S extends StaticSpecs, L extends LengthSpecs> = {
  readonly [K in keyof I]: Input<I[K]['dims']['length']>;
} & { readonly [K in SizesIn<I[keyof I]['dims'][number]> | (keyof L & string)]: number } & {
  readonly [K in keyof P]: number;
} & { readonly [K in keyof S]: StaticValue<S[K]> };

/** What the body of a loss returns. */
export interface Equations<I extends InputSpecs = InputSpecs> {
  /** The loss of one utterance. +Infinity says that there is no path, and makes all gradients zero. */
  readonly loss: number;
  /** By name of a real input: a field over that input's dims. */
  readonly gradients: { readonly [K in RealInputs<I>]?: Field<I[K]['dims']['length']> };
}
type RealInputs<I extends InputSpecs> = { [K in keyof I]: I[K]['element'] extends 'f32' ? K : never }[keyof I];

/** One number for each index of a node. */
export type Coordinates = {
  1: readonly [number];
  2: readonly [number, number];
  3: readonly [number, number, number];
  4: readonly [number, number, number, number];
};

/** What `arc` takes; `S` is its step. */
export interface ArcOptions<S extends Coordinates[Rank] = Coordinates[Rank]> {
  /** Default: arc0, arc1, ... in the order of the list. Unique within the lattice. */
  readonly name?: string;
  /** From node x to x + step: one integer for each index of a node. */
  readonly step: S;
  /** The log-weight of the arc that leaves a node. Not asked where the arc does not exist. */
  readonly weight: (...node: Indices<S['length']>) => number;
  /** At which nodes the arc exists. Default: at all. */
  readonly when?: ((...node: Indices<S['length']>) => boolean) | undefined;
  /** How many times the arc's posterior counts in the gradient. Default 1. */
  readonly scale?: number;
  /** Whether the arc may enter an end that is not a node. Default false. */
  readonly final?: boolean;
}

/** Declaration of an arc: made by `arc(...)`. */
export interface Arc<R extends Rank = Rank> {
  readonly kind: 'arc';
  /** Undefined: by its place in the list. */
  readonly name: string | undefined;
  readonly rank: R;
  readonly step: readonly number[];
  readonly weight: (...node: Indices<R>) => number;
  readonly when: ((...node: Indices<R>) => boolean) | undefined;
  readonly scale: number;
  readonly final: boolean;
}

type SameRank<N extends Coordinates[Rank]> = Coordinates[N['length']];

/** What `lattice` takes; `N` are the extents of the nodes. Places are integers, affine in sizes. */
export interface LatticeOptions<N extends Coordinates[Rank] = Coordinates[Rank]> {
  /** Node (i, j, ...) has 0 <= i < nodes[0], and so on. */
  readonly nodes: N;
  /** The node where paths begin. Where it is none, there is no path. */
  readonly start: SameRank<N>;
  /** Where they end: a node, or a place outside of the nodes that only final arcs enter. */
  readonly end: SameRank<N>;
  readonly arcs: readonly Arc<N['length']>[];
  /** The loss in terms of the log-likelihood. Default: its negative. +Infinity must follow from -Infinity. */
  readonly loss?: (logLik: number) => number;
  /** What becomes of each element of each gradient: a clamp, say. Default: nothing. */
  readonly gradient?: (g: number) => number;
}

/** A loss in arcs form: made by `lattice(...)`. */
export interface Lattice {
  readonly kind: 'lattice';
  readonly nodes: readonly number[];
  readonly start: readonly number[];
  readonly end: readonly number[];
  readonly arcs: readonly LatticeArc[];
  readonly loss: (logLik: number) => number;
  readonly gradient?: (g: number) => number;
}

/** An arc in its lattice: it has a name, and takes any number of indices. */
export interface LatticeArc {
  readonly name: string;
  readonly step: readonly number[];
  readonly weight: (...node: number[]) => number;
  readonly when: ((...node: number[]) => boolean) | undefined;
  readonly scale: number;
  readonly final: boolean;
}

/** One utterance's part of a tensor: element (i, j, ...) lies at data[offset + i * strides[0] + j * strides[1] + ...]. */
export interface TensorView {
  readonly data: ArrayLike<number>;
  /** Default 0. */
  readonly offset?: number;
  /** In elements. Default: dense, last index fastest. */
  readonly strides?: readonly number[];
}

/** One utterance for the reference. */
export interface Utterance {
  readonly inputs: Readonly<Record<string, TensorView>>;
  /** A value for every size in the inputs' dims: T, U, V, ... */
  readonly sizes: Readonly<Record<string, number>>;
  /** Those left out have the spec's defaults. */
  readonly params?: Readonly<Record<string, number>>;
  readonly statics?: StaticSpecs;
  /** False: the loss alone. Default true. */
  readonly gradients?: boolean;
}

/** One field after a run, for looking inside. */
export interface FieldView {
  readonly name: string;
  readonly kind: 'field' | 'recurrence';
  readonly domain: readonly number[];
  /** Value of a cell; computed now if the outputs did not need it. */
  at(...indices: number[]): number;
}

export interface ReferenceResult {
  readonly loss: number;
  /**
   * Dense, by input name, in the shape of the input's dims for this utterance. Empty in arcs form: plain numbers cannot be
   * differentiated, so the gradients of such a loss come from the compiler, which derives their equations.
   */
  readonly gradients: Readonly<Record<string, Float64Array>>;
  /** In arcs form, unless gradients are off: by arc name, its posterior at each node it leaves, dense over the nodes; zero where there is no path. */
  readonly posteriors?: Readonly<Record<string, Float64Array>>;
  /**
   * All fields of the body in the order they were declared. Names are those of the spec's variables. In arcs form there
   * are further ones: the weights under the arcs' names, beta and alpha.
   */
  readonly fields: readonly FieldView[];
  /** The field of that name. @throws Error listing the names there are. */
  field(name: string): FieldView;
}

/** A loss: what a spec exports by default. It runs itself, so it may come from another copy of this module. */
export interface LossDefinition {
  readonly name: string;
  readonly doc: string;
  readonly inputs: InputSpecs;
  readonly lengths: LengthSpecs;
  readonly params: ParamSpecs;
  readonly statics: StaticSpecs;
  /** Whether the body returns a loss and its gradients, or a lattice. Known by running the body once, every size 1 and all inputs 0, when first asked. */
  readonly form: 'equations' | 'arcs';
  /** Runs the spec as plain TypeScript in float64. */
  evaluate(utterance: Utterance): ReferenceResult;
}
