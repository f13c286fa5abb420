/**
 * The graph: a loss as equations. Fields over index domains, each with a scalar expression for one
 * cell; inputs, run-time parameters and sizes as leaves. It describes ONE utterance: the batch is
 * implicit and appears only in kernels.
 *
 * Everything here is immutable. Expressions are interned (`GraphBuilder`), so equal ones are one
 * object, and identity can be used as a key. Where an expression came from is kept beside it, in
 * `Graph.origins`, because several lines of a spec may share one node.
 */
import type { OperationName, ReductionName } from '../../dsl/primitives.js';

/** A place in a spec file: what diagnostics point at. 1-based line and column. */
export interface Origin {
  readonly file: string;
  readonly line: number;
  readonly column: number;
  readonly length: number;
}

/** `real` values are floating point, `int` values index things, `bool` values choose. */
export type ValueType = 'real' | 'int' | 'bool';

/** An affine combination of size symbols: constant + sum of coefficient * size. 'U+1' is {constant: 1, terms: {U: 1}}. */
export interface SizeExpr {
  readonly constant: number;
  /** Coefficients by size name, no zero coefficients, keys in sorted order. */
  readonly terms: Readonly<Record<string, number>>;
}

/** What comparisons mean, of ints and of reals. NaN is unequal to all, itself included. */
export const comparisons = {
  eq: (a, b) => a === b,
  ne: (a, b) => a !== b,
  lt: (a, b) => a < b,
  le: (a, b) => a <= b,
  gt: (a, b) => a > b,
  ge: (a, b) => a >= b,
} satisfies Record<string, (a: number, b: number) => boolean>;
export type CompareOp = keyof typeof comparisons;
export type LogicOp = 'and' | 'or' | 'not';

/** Scalar expressions. `id` is unique and dense within one builder; children have smaller ids. */
export type Expr =
  | ConstExpr
  | SizeRef
  | ParamRef
  | IndexRef
  | ReadExpr
  | PrimExpr
  | CompareExpr
  | LogicExpr
  | SelectExpr
  | ToRealExpr
  | ReduceExpr;

interface Node<Type extends ValueType = ValueType> {
  readonly id: number;
  readonly type: Type;
}
/** A literal. `int` constants are integers; `real` ones may be +-Infinity; `bool` ones are 0 or 1. */
export interface ConstExpr extends Node {
  readonly op: 'const';
  readonly value: number;
}
/** The value of a size symbol (T, U, V, ...), an int. */
export interface SizeRef extends Node<'int'> {
  readonly op: 'size';
  readonly name: string;
}
/** A run-time scalar parameter. Changing it never recompiles. */
export interface ParamRef extends Node<'real' | 'int'> {
  readonly op: 'param';
  readonly name: string;
}
/** An index variable, bound by exactly one field (its axes) or one reduction. `name` is the author's; `unique` tells two `t` apart. */
export interface IndexRef extends Node<'int'> {
  readonly op: 'index';
  readonly name: string;
  readonly unique: number;
}
/**
 * One cell of an input or field. Outside of its domain a real input or field reads as
 * its `outside` value (log 0 unless declared otherwise) and an int input as -1, which is never a valid index.
 * Each index is an int expression: affine in index variables, sizes and int parameters, or a gather (an int read) plus such.
 */
export interface ReadExpr extends Node<'real' | 'int'> {
  readonly op: 'read';
  /** Name of an input or field. */
  readonly source: string;
  readonly indices: readonly Expr[];
}
/** An operation. On reals all primitives; on ints only add, sub, mul, neg, min, max, and floorDiv by a constant of at least 1. */
export interface PrimExpr extends Node<'real' | 'int'> {
  readonly op: 'prim';
  readonly name: OperationName;
  readonly args: readonly Expr[];
}
/** Both operands have the same type (an int beside a real is converted by `toReal`). */
export interface CompareExpr extends Node<'bool'> {
  readonly op: 'compare';
  readonly compare: CompareOp;
  readonly args: readonly [Expr, Expr];
}
export interface LogicExpr extends Node<'bool'> {
  readonly op: 'logic';
  readonly logic: LogicOp;
  readonly args: readonly Expr[];
}
/** `condition ? then : otherwise`. Both arms are total, so evaluating the arm not taken is harmless. */
export interface SelectExpr extends Node {
  readonly op: 'select';
  readonly args: readonly [condition: Expr, then: Expr, otherwise: Expr];
}
export interface ToRealExpr extends Node<'real'> {
  readonly op: 'toReal';
  readonly args: readonly [Expr];
}
/** Reduction of `body` over `index` in [0, extent). */
export interface ReduceExpr extends Node<'real'> {
  readonly op: 'reduce';
  readonly reduction: ReductionName;
  readonly index: IndexRef;
  readonly extent: SizeExpr;
  readonly body: Expr;
}

/** A tensor the caller passes: one utterance's part of it, `dims` long. */
export interface InputDecl {
  readonly name: string;
  /** 'f32': real, may have a gradient. 'i32': int, may be used as an index. */
  readonly element: 'f32' | 'i32';
  readonly dims: readonly SizeExpr[];
  /** For 'i32': values must lie in [0, below), found from how the spec uses them as indices, or declared. */
  readonly below?: SizeExpr;
  /** For 'i32': the name of an int parameter whose value must not occur in it. */
  readonly not?: string;
}

/** A run-time scalar. */
export interface ParamDecl {
  readonly name: string;
  readonly type: 'real' | 'int';
  readonly default: number;
  /** For int parameters used as an index: values must lie in [0, below). */
  readonly below?: SizeExpr;
}

/** A size that differs between utterances, and the name of the argument that carries it ([B] ints). */
export interface LengthDecl {
  readonly size: string;
  readonly argument: string;
}

export interface FieldDecl {
  readonly name: string;
  readonly kind: 'field' | 'recurrence';
  readonly domain: readonly SizeExpr[];
  /** One index variable per axis. */
  readonly axes: readonly IndexRef[];
  readonly body: Expr;
  /** What a read outside of the domain gives: -Infinity (log 0) unless the spec says otherwise. */
  readonly outside: number;
  /** Always 'real'. */
  readonly type: 'real';
}

/**
 * A step a path may take: from node x to node x + step. It exists where `when` holds and x + step is a node, or,
 * if it is `final`, is the end. All expressions are over the lattice's axes (x, the node the arc leaves).
 */
export interface ArcDecl {
  /** The author's name for it, or 'arc0', 'arc1', ... Unique within the lattice. */
  readonly name: string;
  /** One constant per axis. */
  readonly step: readonly number[];
  /** Log-weight, real. */
  readonly weight: Expr;
  /** bool; absent: everywhere. */
  readonly when?: Expr;
  /** How many times the arc's posterior counts in the gradient, real, without indices; absent: once. */
  readonly scale?: Expr;
  /** Whether it may enter the end. */
  readonly final: boolean;
}

/**
 * A loss stated by its arcs: the graph has no loss or gradients of its own yet, `derive` makes them.
 * In `loss` the read of LOG_LIKELIHOOD, in `gradient` the read of GRADIENT (both without indices) stand for what derive computes.
 */
export interface LatticeDecl {
  readonly axes: readonly IndexRef[];
  /** Extents of the nodes. */
  readonly nodes: readonly SizeExpr[];
  /** Where paths begin; int, without indices. */
  readonly start: readonly Expr[];
  /** Where they end: a node, or a place outside of the nodes that only final arcs enter. int, without indices. */
  readonly end: readonly Expr[];
  readonly arcs: readonly ArcDecl[];
  /** The loss in terms of the log-likelihood: read(LOG_LIKELIHOOD, []). Usually its negative. */
  readonly loss: Expr;
  /** What becomes of each element of each gradient, read(GRADIENT, []); absent: nothing. A clamp, say. */
  readonly gradient?: Expr;
}

/** Names that stand for derived values within a LatticeDecl. */
export const LOG_LIKELIHOOD = 'logLik';
export const GRADIENT = 'gradient';

/** Results over the nodes of a best path's graph, by name: see compiler/derive/best.ts. */
export const bestPathResults = ['arc', 'weight', 'target'] as const;

export interface Graph {
  readonly name: string;
  /** One line from the spec's header, for `trellis list`. */
  readonly doc: string;
  /** In declaration order: the order of forward()'s arguments, followed by the lengths. */
  readonly inputs: readonly InputDecl[];
  readonly lengths: readonly LengthDecl[];
  readonly params: readonly ParamDecl[];
  /** Static parameters, already folded into the expressions; kept for cache keys and dumps. */
  readonly statics: Readonly<Record<string, number | readonly number[]>>;
  /** In source order, fields the outputs do not need included (they are still checked). */
  readonly fields: readonly FieldDecl[];
  /** No free index variables. */
  readonly loss: Expr;
  /** By input name: the name of a field whose domain is the input's dims. */
  readonly gradients: Readonly<Record<string, string>>;
  /**
   * Results over the nodes of a lattice, by name: fields over the nodes that are computed on request. With the loss: the share of an
   * utterance's probability that takes each arc, and 'occupancy', that which passes the node. With the best path
   * (compiler/derive/best.ts): the choice at each node. Derived from arcs; a spec in equations has none.
   */
  readonly perNode?: Readonly<Record<string, string>>;
  /** Present before `derive` where the spec states arcs: `loss` is then lattice.loss and `gradients` is empty. */
  readonly lattice?: LatticeDecl;
  /** Places an expression (by id) came from, for diagnostics. Not part of the graph's identity. */
  readonly origins: ReadonlyMap<number, readonly Origin[]>;
  /** Place of each field's definition, by name. */
  readonly fieldOrigins: ReadonlyMap<string, Origin>;
}
