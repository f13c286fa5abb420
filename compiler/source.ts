/**
 * The two kinds of error a compiler can raise, and the code frame that shows where.
 * `SpecError` is the author's mistake, in the author's own line. `CompilerBug` is ours.
 */
import type { Origin } from './graph/graph.js';

export interface SpecErrorOptions {
  /** Short stable name of the kind of mistake, e.g. 'index-rank'. */
  readonly code: string;
  /** What is wrong, in one sentence without the place. */
  readonly message: string;
  readonly origin: Origin;
  /** Full text of the file, for the code frame. */
  readonly text: string;
  /** What to write instead. */
  readonly hint: string;
}

/** A mistake in a spec: `message` has file, line, column, a code frame, what is wrong and what to write instead. */
export class SpecError extends Error {
  readonly code: string;
  readonly origin: Origin;
  readonly problem: string;
  readonly hint: string;
  /** Full text of the file the mistake is in. */
  readonly text: string;
  constructor(options: SpecErrorOptions) {
    const { origin, text, message, hint } = options;
    super(`${origin.file}:${origin.line}:${origin.column} ${message}\n${codeFrame(text, origin)}\n${hint}`);
    this.name = 'SpecError';
    this.code = options.code;
    this.origin = origin;
    this.problem = message;
    this.hint = hint;
    this.text = text;
  }
}

/** Values given for a spec's statics that it cannot have: the caller's mistake, not the author's. */
export class StaticsError extends RangeError {
  constructor(
    /** Name of the static. */
    readonly given: string,
    readonly problem: string,
    readonly allowed: string,
  ) {
    super(`statics: ${given} ${problem}; allowed: ${allowed}`);
    this.name = 'StaticsError';
  }
}

/** A broken invariant of the compiler, found at the stage that broke it. Never the author's fault. */
export class CompilerBug extends Error {
  readonly stage: string;
  constructor(stage: string, message: string) {
    super(
      `internal error in ${stage}: ${message}. This is a bug in Trellis; the spec that triggers it would help us fix it.`,
    );
    this.name = 'CompilerBug';
    this.stage = stage;
  }
}

/** The author's line with a caret under the offending part. */
export function codeFrame(text: string, origin: Origin): string {
  const line = text.split(/\r?\n/)[origin.line - 1] ?? '';
  const gutter = `${origin.line} | `;
  const width = Math.max(1, Math.min(origin.length, line.length - origin.column + 1));
  // A tab before the caret must stay a tab, or the caret lands elsewhere.
  const indent = line.slice(0, origin.column - 1).replace(/[^\t]/g, ' ');
  return `${gutter}${line}\n${' '.repeat(gutter.length - 2)}| ${indent}${'^'.repeat(width)}`;
}
