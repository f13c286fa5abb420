/**
 * Values while a kernel is being printed: whether they are the same in all lanes is part of what they are.
 *
 *   uniform  one scalar for all lanes (and every value outside of a lanes loop)
 *   affine   an index that grows by a constant from lane to lane: kept as its scalar in lane 0, so that a load or store
 *            at it is known to be contiguous, and made a vector only where one is needed
 *   varying  a vector
 */

import type { BufferDecl, KernelType, KLoop, KStmt } from '../kernel/kernel.js';
import { CompilerBug } from '../source.js';
import { type HalfInstructions, registerType, vectorOf } from './types.js';
import type { FunctionWriter } from './writer.js';

export type Value = Uniform | Affine | Varying;
export interface Uniform {
  readonly shape: 'uniform';
  readonly type: KernelType;
  readonly text: string;
}
export interface Affine {
  readonly shape: 'affine';
  readonly type: 'index';
  /** The scalar in lane 0. */
  readonly text: string;
  /** What is added from one lane to the next: a constant, not 0. */
  readonly stride: number;
}
export interface Varying {
  readonly shape: 'varying';
  readonly type: KernelType;
  readonly text: string;
}

/** What expressions and statements are printed in. */
export interface Scope {
  /** Lanes of a vector; 0 outside of lanes loops. */
  readonly lanes: number;
  /** Active lanes, a vector of i1; undefined where all are. At least one is. */
  readonly mask: string | undefined;
  readonly values: Map<string, Value>;
  /** Buffer whose contiguous full-vector stores are aligned to the vector's size and non-temporal, in this copy of the loop. */
  readonly streamAligned?: string | undefined;
}

/** What all of one kernel's text shares. */
export interface KernelContext {
  readonly writer: FunctionWriter;
  readonly vectorBits: number;
  readonly halves: HalfInstructions;
  readonly buffers: ReadonlyMap<
    string,
    { readonly decl: Pick<BufferDecl, 'name' | 'element'>; readonly pointer: string }
  >;
  readonly scalars: ReadonlyMap<string, Uniform>;
  /** Loops whose iterations are taken several at a time. */
  readonly abreast: ReadonlySet<KLoop>;
  /** Set when a non-temporal store was printed: the kernel then ends with a fence. */
  streams: boolean;
}

/** Prints statements in a block of their own and returns the scope at its end. */
export type BlockPrinter = (context: KernelContext, scope: Scope, body: readonly KStmt[]) => Scope;

export function uniform(type: KernelType, text: string): Uniform {
  return { shape: 'uniform', type, text };
}
export function varying(type: KernelType, text: string): Varying {
  return { shape: 'varying', type, text };
}

/** The value as text of a vector (of a scalar outside of lanes loops). */
export function asVector(context: KernelContext, scope: Scope, value: Value): string {
  if (scope.lanes === 0 || value.shape === 'varying') return value.text;
  const scalar = registerType[value.type];
  const base = context.writer.splat(scalar, scope.lanes, value.text);
  if (value.shape === 'uniform') return base;
  const steps = lanesOf('i64', scope.lanes, (lane) => String(lane * value.stride));
  return context.writer.emit('lanes', `add ${vectorOf('i64', scope.lanes)} ${base}, ${steps}`);
}

/** The value as text of a scalar. `what` names it in the message if it is not uniform. */
export function asScalar(value: Value, what: string): string {
  if (value.shape !== 'uniform') throw new CompilerBug('llvm', `${what} must be the same in all lanes`);
  return value.text;
}

/** A constant vector. */
export function lanesOf(scalar: string, lanes: number, element: (lane: number) => string): string {
  return `<${Array.from({ length: lanes }, (_, lane) => `${scalar} ${element(lane)}`).join(', ')}>`;
}

/** Both masks; undefined means all lanes. */
export function andMask(
  context: KernelContext,
  lanes: number,
  a: string | undefined,
  b: string | undefined,
): string | undefined {
  if (a === undefined) return b;
  if (b === undefined) return a;
  return context.writer.emit('mask', `and ${vectorOf('i1', lanes)} ${a}, ${b}`);
}
