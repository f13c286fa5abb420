/** Values while a kernel is being printed, and what all of one kernel's text shares. */
import type { BufferDecl, KernelType, KLoad, KLoop } from '../kernel/kernel.js';
import { CompilerBug } from '../source.js';
import type { Abreast } from './abreast.js';
import type { Names } from './names.js';
import type { Shared } from './reduce.js';
import type { KeptRow } from './rows.js';
import { vectorType } from './types.js';
import type { Vectors } from './vectors.js';
import type { Writer } from './writer.js';

/** How tightly a text binds. WGSL refuses several mixtures without parentheses; we always write them. */
export const level = { logic: 1, compare: 2, add: 3, mul: 4, unary: 5, atom: 6 } as const;
export type Level = (typeof level)[keyof typeof level];

/** The text of an expression. */
export interface Value {
  readonly type: KernelType;
  readonly text: string;
  readonly level: Level;
  /**
   * Whether WGSL's analysis knows that all invocations of the workgroup see the same value. Outside of lanes loops they
   * always do, but what this kernel stored and what a reduction gave is not known to be so.
   */
  readonly steady: boolean;
  /** The values of four neighbouring lanes, as a vec4. Never f64. */
  readonly four?: boolean;
}

export function atom(type: KernelType, text: string, steady: boolean, four = false): Value {
  return { type, text, level: level.atom, steady, four };
}

/** The value of four neighbouring lanes, the same in all where it is one value. */
export function asFour(value: Value): Value {
  if (value.four) return value;
  return atom(value.type, `${vectorType(value.type)}(${argument(value)})`, value.steady, true);
}

/** The text, in parentheses unless it binds at least as tightly as `needed`. */
export function wrap(value: Value, needed: Level): string {
  return value.level >= needed ? value.text : `(${value.text})`;
}

/** The text as an argument of a call. Comparisons get parentheses: `f(a < b, c > d)` would be read as a template. */
export function argument(value: Value): string {
  return value.level <= level.compare ? `(${value.text})` : value.text;
}

/** A buffer as this kernel sees it. */
export interface BoundBuffer {
  readonly decl: BufferDecl;
  readonly text: string;
  readonly access: 'read' | 'read_write';
  /** Bound as an array of vec4. */
  readonly byFour: boolean;
}

/** The place where statements are printed. */
export interface Scope {
  /** Inside of a lanes loop: each invocation has its own values. */
  readonly inLanes: boolean;
  readonly values: Map<string, Value>;
  /** Where a workgroup does several rows side by side: this invocation's. */
  readonly row?: RowScope | undefined;
  /** Inside of a lanes loop that goes by fours: its variable, and the first of this invocation's four lanes. */
  readonly firstOfFour?: { readonly variable: string; readonly lane: Value };
  /** Inside of a loop over a row that is kept in registers: the variables that hold this round's elements. */
  readonly kept?: ReadonlyMap<KLoad, Value>;
  readonly writer: Writer;
}

export interface RowScope {
  /** Which of the workgroup's rows, and which of the row's invocations this is. */
  readonly number: string;
  readonly lane: string;
  /** Whether there is such a row here, and it is meant to do what it does; undefined where that has been asked. */
  readonly active?: string | undefined;
}

export interface KernelContext {
  readonly names: Names;
  readonly workgroupSize: number;
  readonly subgroups: boolean;
  readonly vectors: Vectors;
  readonly rows: ReadonlyMap<KLoop, KeptRow>;
  readonly buffers: ReadonlyMap<string, BoundBuffer>;
  readonly scalars: ReadonlyMap<string, Value>;
  readonly abreast: Abreast | undefined;
  /** Where rows are side by side: the names of what tells an invocation its row. */
  readonly row?: Pick<RowScope, 'number' | 'lane'>;
  readonly shared: Shared;
  /** Counts what only uniform control flow may contain. */
  barriers: number;
}

export function bufferOf(context: KernelContext, name: string): BoundBuffer {
  const buffer = context.buffers.get(name);
  if (buffer === undefined) throw new CompilerBug('wgsl', `buffer '${name}' is not declared`);
  return buffer;
}
