/**
 * The errors a caller of the runtime can meet. All are `TrellisError`s with a stable `code`; those that
 * say "this argument cannot be used" are `InputError`s, which the command line turns into exit code 2.
 * An aborted call is not one of them: it rejects with the signal's own reason.
 */

/** Kinds of failure, for programs. The message is for people and may change. */
export type ErrorCode =
  | 'type' // not a tensor, number, ... at all
  | 'dtype' // a tensor of the wrong element type
  | 'detached' // its memory was transferred away
  | 'ragged' // nested arrays of unequal lengths
  | 'rank' // wrong number of axes
  | 'shape' // an extent that disagrees with another, or with the data
  | 'batch' // batch sizes disagree, or the batch is empty
  | 'range' // a value, length or parameter outside its range
  | 'option' // an option that does not exist, or a value it does not take
  | 'missing' // an argument that was not given
  | 'infeasible' // no path through the lattice, and the caller asked for an error
  | 'spec' // no such spec, or a file that is not one
  | 'device-unavailable' // this machine lacks what the device needs
  | 'device-lost' // the GPU went away during the call; the next call opens it anew
  | 'device-error' // the GPU refused the work
  | 'out-of-memory' // the device has not enough memory for the call
  | 'not-supported'; // the device cannot do this

export class TrellisError extends Error {
  readonly code: ErrorCode;
  /** Name of the argument or option the error is about, where it is about one. */
  readonly argument: string | undefined;
  constructor(code: ErrorCode, message: string, options: { argument?: string; cause?: unknown } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'TrellisError';
    this.code = code;
    this.argument = options.argument;
  }
}

export interface InputErrorDetails {
  readonly code: ErrorCode;
  readonly argument: string;
  /** Where in the argument, e.g. '[1][2]'. Default: the argument itself. */
  readonly index?: readonly number[];
  /** What is wrong, so that `<argument><index> <problem>` reads as a sentence. */
  readonly problem: string;
  /** The offending value. */
  readonly value?: unknown;
  /** What would have been accepted. */
  readonly allowed?: string;
}

/** Bad input, refused before any kernel runs: the message names the argument, the value, its place and what is allowed. */
export class InputError extends TrellisError {
  readonly value: unknown;
  readonly index: readonly number[] | undefined;
  readonly allowed: string | undefined;
  declare readonly argument: string;
  constructor(details: InputErrorDetails) {
    const { code, argument, index = [], problem, allowed } = details;
    const place = argument + index.map((i) => `[${i}]`).join('');
    super(code, `${place} ${problem}${allowed === undefined ? '' : `; allowed: ${allowed}`}`, { argument });
    this.name = 'InputError';
    this.value = details.value;
    this.index = details.index;
    this.allowed = allowed;
  }
}

/** @throws the signal's reason when it is aborted. */
export function throwIfAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted === true) throw signal.reason;
}

/** A value as an error message shows it: short, and telling 1 from '1' from [1]. */
export function describe(value: unknown): string {
  if (typeof value === 'string') return JSON.stringify(value.length > 40 ? `${value.slice(0, 40)}...` : value);
  if (typeof value === 'number' || typeof value === 'bigint' || typeof value === 'boolean') return String(value);
  if (value === null || value === undefined) return String(value);
  if (typeof value === 'function') return 'a function';
  if (ArrayBuffer.isView(value)) {
    const { length } = value as unknown as { length?: number };
    return length === undefined ? value.constructor.name : `${value.constructor.name}(${length})`;
  }
  if (Array.isArray(value)) return `an array of ${value.length}`;
  if (typeof value === 'object') {
    const keys = Object.keys(value);
    const name = value.constructor?.name;
    if (name !== undefined && name !== 'Object') return `an object of class ${name}`;
    return `{ ${keys.slice(0, 6).join(', ')}${keys.length > 6 ? ', ...' : ''} }`;
  }
  return String(value);
}

/** 'a, b or c'. */
export function listOf(words: readonly string[], last = 'or'): string {
  if (words.length < 2) return words.join('');
  return `${words.slice(0, -1).join(', ')} ${last} ${words[words.length - 1]}`;
}

/** ' (did you mean "clamp"?)' when one of the names is close to what was typed, else ''. */
export function didYouMean(typed: string, names: readonly string[]): string {
  const plain = (text: string): string => text.toLowerCase().replace(/[^a-z0-9]/g, '');
  let best: string | undefined;
  let bestDistance = 3;
  for (const name of names) {
    // fastemit_lambda and FastEmitLambda are the same word to a person.
    const distance = plain(typed) === plain(name) ? 0 : editDistance(typed, name);
    if (distance < bestDistance && distance < Math.max(typed.length, name.length) - 1) {
      best = name;
      bestDistance = distance;
    }
  }
  return best === undefined ? '' : ` (did you mean ${JSON.stringify(best)}?)`;
}

/** Levenshtein distance. */
function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const change = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(change, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1));
    }
    row = next;
  }
  return row[b.length] ?? 0;
}
