/** What the compiler's worker thread is asked, and what it answers. Everything here can be posted between threads. */

import type { PackedSpec, Statics } from '../../compiler/compile.js';
import type { KernelProgram } from '../../compiler/kernel/kernel.js';
import type { LlvmTarget } from '../../compiler/llvm/index.js';
import type { ScheduleOptions } from '../../compiler/schedule/index.js';
import { SpecError, type SpecErrorOptions, StaticsError } from '../../compiler/source.js';
import type { SpecSignature } from '../signature.js';

/** A spec as it was asked for. */
export interface WantedSpec {
  /** Absolute path. */
  readonly file: string;
  /** Those given; the others are the file's own. */
  readonly statics: Statics;
}

/** What a spec's files say: its arguments and equations, and the files it consists of. */
export interface SpecOutline {
  readonly signature: SpecSignature;
  readonly files: readonly { readonly path: string; readonly text: string }[];
  readonly equations: PackedSpec;
}

/** A program ready for LLVM: its text, and what a launch needs of the kernels (their bodies are in the text). */
export interface PreparedProgram {
  /** The files it was made from, where they had to be read once more: they may have changed. */
  readonly reread?: SpecOutline['files'];
  readonly plan: KernelProgram;
  readonly llvm: string;
}

export type CompileOptions = ScheduleOptions &
  LlvmTarget & {
    /** True: the best path through the spec's lattice, instead of its loss. */
    readonly bestPath: boolean;
    readonly statics: Statics;
  };

export type Request =
  | { readonly kind: 'outline'; readonly wanted: WantedSpec }
  | {
      readonly kind: 'prepare';
      readonly wanted: WantedSpec;
      readonly equations: PackedSpec;
      readonly options: CompileOptions;
    };

export type Answer =
  | { readonly id: number; readonly value: SpecOutline | PreparedProgram }
  | { readonly id: number; readonly specError: SpecErrorOptions }
  | { readonly id: number; readonly staticsError: Pick<StaticsError, 'given' | 'problem' | 'allowed'> }
  | { readonly id: number; readonly message: string; readonly stack: string | undefined };

/** An error as an answer: an author's mistake keeps its parts, so that it arrives as what it was. */
export function answerOfError(id: number, error: unknown): Answer {
  if (error instanceof SpecError) {
    const { code, problem, origin, text, hint } = error;
    return { id, specError: { code, message: problem, origin, text, hint } };
  }
  if (error instanceof StaticsError) {
    const { given, problem, allowed } = error;
    return { id, staticsError: { given, problem, allowed } };
  }
  const known = error instanceof Error ? error : new Error(String(error));
  return { id, message: known.message, stack: known.stack };
}
