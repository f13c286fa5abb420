/**
 * Kernels: a small loop IR with the three kinds of loop both backends share.
 *
 *   grid   independent cells of work. CPU: tasks for threads. GPU: workgroups.
 *   lanes  neighbours worked on side by side. CPU: SIMD vectors with masked ends. GPU: invocations.
 *   steps  one after the other; everything stored in a step is visible in the next (GPU: barrier).
 *
 * plus `serial`, a plain loop inside one grid cell or one lane.
 *
 * Values are named by `let` and immutable. A value is *uniform* where it does not depend on the
 * variable of an enclosing lanes loop, and *varying* otherwise; backends find out by looking.
 * Lanes loops do not nest in lanes loops. Reads are `load`s with an explicit flat element index
 * into one buffer; domain guards and skewed layouts have been spelled out by the scheduler.
 */
import type { PrimitiveName } from '../../dsl/primitives.js';
import type { CompareOp, LogicOp } from '../graph/graph.js';
import type { HalfType } from './half.js';

/** `index`: integers that count things (i64 on the CPU, i32 on a GPU). */
export type KernelType = 'f32' | 'f64' | 'index' | 'bool';
/** Element type in memory. `f16`, `bf16`: storage only, f32 as soon as it is loaded; see half.ts. */
export type ElementType = 'f32' | 'f64' | 'i32' | HalfType;

export type KExpr = KConst | KVar | KScalar | KLoad | KPrim | KIndexOp | KCompare | KLogic | KSelect | KCast;

/** A literal; f32/f64 may be +-Infinity. bool: 0 or 1. */
export interface KConst {
  readonly op: 'const';
  readonly type: KernelType;
  readonly value: number;
}
/** A loop variable, a `let`, a reduction's result, or a grid variable. */
export interface KVar {
  readonly op: 'var';
  readonly type: KernelType;
  readonly name: string;
}
/** A launch argument that is the same for the whole batch: a padded size ('index'), or a parameter (f64, or index for int ones). */
export interface KScalar {
  readonly op: 'scalar';
  readonly type: 'index' | 'f64';
  readonly name: string;
}
/**
 * One element. The value's type follows from the buffer: f32, f16 and bf16 -> f32, f64 -> f64, i32 -> index (sign-extended).
 * With `mask`, memory is touched only where the mask is true, and elsewhere the value is `other` (default 0).
 */
export interface KLoad {
  readonly op: 'load';
  readonly type: 'f32' | 'f64' | 'index';
  readonly buffer: string;
  readonly index: KExpr;
  readonly mask?: KExpr;
  readonly other?: number;
}
/** A primitive on f32 or f64; all operands and the result have that one type. */
export interface KPrim {
  readonly op: 'prim';
  readonly type: 'f32' | 'f64';
  readonly name: PrimitiveName;
  readonly args: readonly KExpr[];
}
/** Integer arithmetic. mod: both operands >= 0, right one >= 1. div: likewise, rounding down. */
export interface KIndexOp {
  readonly op: 'index';
  readonly type: 'index';
  readonly name: 'add' | 'sub' | 'mul' | 'div' | 'mod' | 'min' | 'max';
  readonly args: readonly [KExpr, KExpr];
}
/** Operands both index, both f32 or both f64. Ordered comparisons; 'ne' is true on NaN. */
export interface KCompare {
  readonly op: 'compare';
  readonly type: 'bool';
  readonly compare: CompareOp;
  readonly args: readonly [KExpr, KExpr];
}
export interface KLogic {
  readonly op: 'logic';
  readonly type: 'bool';
  readonly logic: LogicOp;
  readonly args: readonly KExpr[];
}
export interface KSelect {
  readonly op: 'select';
  readonly type: KernelType;
  readonly args: readonly [condition: KExpr, then: KExpr, otherwise: KExpr];
}
/** f32 <-> f64 (rounding to nearest), index -> f32/f64. */
export interface KCast {
  readonly op: 'cast';
  readonly type: 'f32' | 'f64';
  readonly arg: KExpr;
}

export type KStmt = KLet | KStore | KPrefetch | KLoop | KIf | KComment;

/** Names are unique within a kernel; visible to the statements that follow in the same block and to nested blocks. */
export interface KLet {
  readonly kind: 'let';
  readonly name: string;
  readonly value: KExpr;
}
/**
 * Store to one element; the value is of the type that a load gives, and rounded to the nearest (halves to even) f16 or bf16. Inside a lanes loop every active lane stores its own;
 * outside of any, the store happens once. `streaming`: written once and not read again by this kernel (non-temporal hint).
 */
export interface KStore {
  readonly kind: 'store';
  readonly buffer: string;
  readonly index: KExpr;
  readonly value: KExpr;
  readonly streaming?: boolean;
}
/**
 * Says that an element will be read, or written, soon. It has no effect but on time, so its index may lie outside of the buffer. In a lanes
 * loop it stands for the elements of all lanes, which are neighbours.
 */
export interface KPrefetch {
  readonly kind: 'prefetch';
  readonly buffer: string;
  readonly index: KExpr;
  readonly forWriting?: boolean;
}
/** A running reduction of a loop: after the loop `name` holds the combination of `value` over all iterations (the reduction's neutral element if none). */
export interface KReduce {
  readonly name: string;
  readonly op: 'sum' | 'max' | 'min';
  readonly type: 'f32' | 'f64';
  /** Evaluated at the end of each iteration's body. */
  readonly value: KExpr;
  /** Of max and min: a NaN may be passed over, where what follows meets it again. It must make the result NaN otherwise. */
  readonly passesNaN?: boolean;
}
/**
 * for (variable = from; variable < to; variable++) body.
 * `lanes`: iterations are independent except for `reduce`; any order, side by side (`reverse`, without `reduce`: a hint that memory
 * is best walked from the end down).
 * `steps`: in order (`reverse`: from to - 1 down to from); stores of a step are visible in the next.
 * `serial`: in order, inside a grid cell or a lane. Reduction results are visible after the loop.
 * In a lanes loop `precision` says what width of real the loop works in: it decides the number of lanes in a vector.
 */
export interface KLoop {
  readonly kind: 'loop';
  readonly mode: 'lanes' | 'serial' | 'steps';
  readonly variable: string;
  readonly from: KExpr;
  readonly to: KExpr;
  readonly reverse?: boolean;
  readonly precision?: 'f32' | 'f64';
  readonly body: readonly KStmt[];
  readonly reduce: readonly KReduce[];
}
/** `condition` is uniform. */
export interface KIf {
  readonly kind: 'if';
  readonly condition: KExpr;
  readonly then: readonly KStmt[];
  readonly otherwise: readonly KStmt[];
}
/** Printed into every backend's text, so that a reader of the kernel finds the equation it came from. */
export interface KComment {
  readonly kind: 'comment';
  readonly text: string;
}

export interface BufferDecl {
  readonly name: string;
  readonly element: ElementType;
  /** `input`: read only. `output`: written; every element of it by exactly one kernel. `scratch`: between kernels of one call. */
  readonly role: 'input' | 'output' | 'scratch';
  /** Extent of each axis over the padded batch, for allocation and checks: index expressions over scalars. First axis is the batch. */
  readonly shape: readonly KExpr[];
  /** For dumps: how a cell maps to an address, e.g. 'alpha[b][(t + u) mod T][u]'. */
  readonly layout: string;
}

/**
 * Memory that each grid cell has for itself, while it runs: small enough to stay in the nearest cache. Loaded from and stored to
 * by name like a buffer; what is in it at first is not defined.
 */
export interface LocalDecl {
  readonly name: string;
  readonly element: ElementType;
  /** Number of elements. */
  readonly extent: number;
}

export interface Kernel {
  readonly name: string;
  /** One line per equation it computes, for dumps. */
  readonly doc: readonly string[];
  /** Independent axes, outermost first: variable name and extent (an index expression over scalars). Tasks are numbered row-major. */
  readonly grid: readonly { readonly variable: string; readonly extent: KExpr }[];
  /** Only in programs for the CPU. */
  readonly locals?: readonly LocalDecl[];
  readonly body: readonly KStmt[];
}

/** What a launch needs besides buffers: padded sizes (index) and parameters (f64 or index), in ABI order. */
export interface ScalarDecl {
  readonly name: string;
  readonly type: 'index' | 'f64';
  /** 'size': read off the padded tensors ('B', 'T_max', ...). 'param': a run-time parameter of the spec. */
  readonly role: 'size' | 'param';
}

/**
 * A whole compiled loss: phases run one after the other; the kernels within a phase are independent of
 * each other and may run at the same time.
 *
 * CPU ABI: each kernel is `void name(ptr args, i64 begin, i64 end)`, running tasks [begin, end) of its flattened grid.
 * `args` points to 8-byte slots: one pointer per buffer in `buffers` order, then one i64 or double per scalar in `scalars` order.
 */
export interface KernelProgram {
  readonly name: string;
  readonly buffers: readonly BufferDecl[];
  readonly scalars: readonly ScalarDecl[];
  readonly phases: readonly (readonly Kernel[])[];
  /**
   * Inputs whose gradient may be written over them: their last reader reads no element but the one it then writes.
   * For any other input, and where this is absent, the gradient needs memory of its own.
   */
  readonly inPlace?: readonly string[];
}
