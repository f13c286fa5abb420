/** Values while a kernel is being printed, and what all of one kernel's text shares. */
import type { BufferDecl, KernelType } from '../kernel/kernel.js';
import { CompilerBug } from '../source.js';
import type { Names } from './names.js';
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
}

export function atom(type: KernelType, text: string, steady: boolean): Value {
  return { type, text, level: level.atom, steady };
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
}

/** The place where statements are printed. */
export interface Scope {
  /** Inside of a lanes loop: each invocation has its own values. */
  readonly inLanes: boolean;
  readonly values: Map<string, Value>;
  readonly writer: Writer;
}

export interface KernelContext {
  readonly names: Names;
  readonly workgroupSize: number;
  readonly subgroups: boolean;
  readonly buffers: ReadonlyMap<string, BoundBuffer>;
  readonly scalars: ReadonlyMap<string, Value>;
  /** Shared functions and variables the body has turned out to need. */
  readonly shared: Set<string>;
  /** Counts what only uniform control flow may contain. */
  barriers: number;
}

export function bufferOf(context: KernelContext, name: string): BoundBuffer {
  const buffer = context.buffers.get(name);
  if (buffer === undefined) throw new CompilerBug('wgsl', `buffer '${name}' is not declared`);
  return buffer;
}
