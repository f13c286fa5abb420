/**
 * Fields and recurrences as memoised functions: what `field` and `recurrence` return while a loss runs as plain
 * TypeScript. A cell is computed when it is first read.
 *
 * Long chains of cells must not overflow the stack. So calls nest only to a bounded depth: a read beyond it abandons the
 * calls under way by throwing a private signal, and the driver, which keeps the cells it waits for on a stack of its own,
 * computes the cell that was missing before it runs the abandoned ones again. That is safe because cells are pure, and
 * cheap because whatever was finished stays.
 */
import type { Field1, Field2, Field3, Field4, FieldView } from './types.js';

export interface FieldOptions {
  /** Value of reads outside of the domain. Default: -Infinity, which is log 0. */
  readonly outside?: number;
}

/** Nested cells before the driver takes over. Each needs a few stack frames of the some ten thousand there are. */
const deepest = 300;

const empty = 0;
/** Being computed, or waiting on the driver's stack: to read it now is to depend on oneself. */
const busy = 1;
const done = 2;

/** Thrown, without a stack trace, to abandon calls nested too deeply. Only the driver may catch it. */
class CellNeeded {
  constructor(
    readonly field: Cells,
    readonly at: number,
  ) {}
}

/** Cells nested now. 0 outside of any cell: that is where the driver works. */
let depth = 0;
/** Depth of the innermost recurrence under way, 0 for none. */
let recurrenceAt = 0;
/** The body that runs now: its text and the fields it has declared so far. */
interface Body {
  readonly source: string;
  readonly declared: Cells[];
}
let current: Body | undefined;

type Cell = (...indices: number[]) => number;

/** The values of one field. */
class Cells {
  readonly size: number;
  private readonly values: Float64Array;
  private readonly state: Uint8Array;
  /** Depth of the innermost cell of this field under way, 0 for none. */
  private activeAt = 0;

  constructor(
    private readonly body: Body,
    readonly kind: 'field' | 'recurrence',
    readonly domain: readonly number[],
    readonly cell: Cell,
    readonly outside: number,
    /** A name that does not come from the author's text. */
    readonly given?: string,
  ) {
    this.size = domain.reduce((size, extent) => size * Math.max(0, extent), 1);
    this.values = new Float64Array(this.size);
    this.state = new Uint8Array(this.size);
  }

  /** The author's name for it. Looked up only for messages and inspection. */
  label(): string {
    return this.given ?? nameOf(this, this.body);
  }

  /** The cell at a dense position that lies in the domain. */
  get(at: number): number {
    if (this.state[at] === done) return this.values[at] as number;
    if (depth === 0) return this.drive(at);
    if (this.state[at] === busy) throw this.cycle(at);
    if (this.activeAt > recurrenceAt) {
      throw new Error(
        `${this.place(at)} is read by a cell of the same field: a plain field cannot be defined by itself; ` +
          `declare ${this.label()} with recurrence(...)`,
      );
    }
    if (depth >= deepest) throw new CellNeeded(this, at);
    return this.compute(at);
  }

  /** Read with checks. Missing arguments come as undefined. */
  read(given: readonly (number | undefined)[]): number {
    const indices = given.filter((index) => index !== undefined);
    // Late, because finding the name takes a search and reads outside are common.
    const call = () => `${this.label()}(${indices.join(', ')})`;
    if (indices.length !== this.domain.length) {
      throw new Error(
        `${this.kind} ${this.label()} has ${this.domain.length} indices but is read with ${indices.length}: ${call()}`,
      );
    }
    let at = 0;
    let inside = true;
    for (const [axis, index] of indices.entries()) {
      const extent = this.domain[axis] as number;
      if (!Number.isInteger(index)) throw new Error(`index ${axis} of ${call()} is ${index}; indices are integers`);
      if (index < 0 || index >= extent) inside = false;
      at = at * extent + index;
    }
    return inside ? this.get(at) : this.outside;
  }

  private drive(first: number): number {
    const waiting: CellNeeded[] = [new CellNeeded(this, first)];
    try {
      for (let top = waiting.at(-1); top !== undefined; top = waiting.at(-1)) {
        const { field, at } = top;
        try {
          field.compute(at);
          waiting.pop();
        } catch (thrown) {
          if (!(thrown instanceof CellNeeded)) throw thrown;
          field.state[at] = busy; // it still waits
          waiting.push(thrown);
        }
      }
    } finally {
      for (const { field, at } of waiting) field.state[at] = empty;
    }
    return this.values[first] as number;
  }

  private compute(at: number): number {
    const { activeAt } = this;
    const outerRecurrence = recurrenceAt;
    this.state[at] = busy;
    depth++;
    this.activeAt = depth;
    if (this.kind === 'recurrence') recurrenceAt = depth;
    let finished = false;
    try {
      const value = this.call(at);
      if (typeof value !== 'number') throw new Error(`${this.place(at)} is ${String(value)}; a cell must be a number`);
      this.values[at] = value;
      finished = true;
      return value;
    } finally {
      this.state[at] = finished ? done : empty;
      this.activeAt = activeAt;
      recurrenceAt = outerRecurrence;
      depth--;
    }
  }

  private call(at: number): number {
    const { cell, domain } = this;
    switch (domain.length) {
      case 1:
        return cell(at);
      case 2: {
        const n1 = domain[1] as number;
        return cell(Math.floor(at / n1), at % n1);
      }
      case 3: {
        const n1 = domain[1] as number;
        const n2 = domain[2] as number;
        const row = Math.floor(at / n2);
        return cell(Math.floor(row / n1), row % n1, at % n2);
      }
      default:
        return cell(...this.indicesOf(at));
    }
  }

  private indicesOf(at: number): number[] {
    const indices: number[] = [];
    let rest = at;
    for (let axis = this.domain.length - 1; axis >= 0; axis--) {
      const extent = this.domain[axis] as number;
      indices.unshift(rest % extent);
      rest = Math.floor(rest / extent);
    }
    return indices;
  }

  private place(at: number): string {
    return `cell (${this.indicesOf(at).join(', ')}) of ${this.kind} ${this.label()}`;
  }

  private cycle(at: number): Error {
    return new Error(`${this.place(at)} depends on itself; read only cells that some order can compute first`);
  }
}

/** The values behind a field, kept off its public type. A WeakMap, so that a field is an ordinary function to the author. */
const cellsOf = new WeakMap<object, Cells>();
/** Extents of inputs and fields, by the function an author reads them by. */
const shapes = new WeakMap<object, readonly number[]>();

/** Remembers an input's extents for `shapeOf`. */
export const noteShape = (read: object, shape: readonly number[]): void => void shapes.set(read, shape);

/** Extents of an input or field. @throws Error for anything else */
export function shapeOf(read: unknown): readonly number[] {
  const shape = typeof read === 'function' ? shapes.get(read) : undefined;
  if (shape === undefined)
    throw new Error('logSoftmax needs an input, or a field made by field(...) or recurrence(...)');
  return shape;
}

/** A field that the language itself declares for the body that runs, under a name of its own choice. */
export function declareCells(kind: 'field' | 'recurrence', domain: readonly number[], name: string, cell: Cell): Cell {
  return make(kind, domain, cell, undefined, name) as Cell;
}

function make(
  kind: 'field' | 'recurrence',
  domain: readonly number[],
  cell: Cell,
  options?: FieldOptions,
  name?: string,
): unknown {
  if (current === undefined) throw new Error(`${kind}(...) may be called only by the body of a loss, while it runs`);
  if (depth > 0) throw new Error(`${kind}(...) is called inside a cell; declare it beside the other fields`);
  if (domain.length < 1 || domain.length > 4) {
    throw new Error(`${kind}([${domain.join(', ')}], ...) has ${domain.length} extents; 1 to 4 are allowed`);
  }
  for (const extent of domain) {
    if (!Number.isInteger(extent)) {
      throw new Error(`${kind}([${domain.join(', ')}], ...) has the extent ${extent}; extents are integers`);
    }
  }
  const cells = new Cells(current, kind, domain, cell, options?.outside ?? Number.NEGATIVE_INFINITY, name);
  current.declared.push(cells);
  const read = Object.assign(reader(cells), { kind, rank: domain.length });
  cellsOf.set(read, cells);
  noteShape(read, domain);
  return read;
}

/** The function an author calls. Two and three indices, by far the most common, take a path without a loop. */
function reader(cells: Cells): Cell {
  const n0 = cells.domain[0] as number;
  const n1 = cells.domain[1] as number;
  const n2 = cells.domain[2] as number;
  switch (cells.domain.length) {
    case 2:
      return (i?: number, j?: number, ...more: number[]) =>
        isIndex(i, n0) && isIndex(j, n1) && more.length === 0 ? cells.get(i * n1 + j) : cells.read([i, j, ...more]);
    case 3:
      return (i?: number, j?: number, k?: number, ...more: number[]) =>
        isIndex(i, n0) && isIndex(j, n1) && isIndex(k, n2) && more.length === 0
          ? cells.get((i * n1 + j) * n2 + k)
          : cells.read([i, j, k, ...more]);
    default:
      return (...indices) => cells.read(indices);
  }
}

function isIndex(index: number | undefined, extent: number): index is number {
  return index !== undefined && index >= 0 && index < extent && Number.isInteger(index);
}

/**
 * One real value for each cell of a domain, by an expression that may read other fields, inputs and parameters.
 * @param domain extents, one for each index; a negative one is an empty range
 * @param cell the value at indices in [0, extent)
 * @throws Error outside of a loss's body, for an extent that is no integer
 */
export function field(domain: readonly [number], cell: (i: number) => number, options?: FieldOptions): Field1;
export function field(
  domain: readonly [number, number],
  cell: (i: number, j: number) => number,
  options?: FieldOptions,
): Field2;
export function field(
  domain: readonly [number, number, number],
  cell: (i: number, j: number, k: number) => number,
  options?: FieldOptions,
): Field3;
export function field(
  domain: readonly [number, number, number, number],
  cell: (i: number, j: number, k: number, l: number) => number,
  options?: FieldOptions,
): Field4;
export function field(domain: readonly number[], cell: Cell, options?: FieldOptions): unknown {
  return make('field', domain, cell, options);
}

/**
 * A field whose cells may read other cells of itself, as long as some order can compute them. Give the variable its
 * type, because its own definition reads it: `const alpha: Field2 = recurrence([T, U + 1], (t, u) => ...)`.
 * @param domain extents, one for each index; a negative one is an empty range
 * @param cell the value at indices in [0, extent)
 * @throws Error outside of a loss's body, for an extent that is no integer
 */
export function recurrence(domain: readonly [number], cell: (i: number) => number, options?: FieldOptions): Field1;
export function recurrence(
  domain: readonly [number, number],
  cell: (i: number, j: number) => number,
  options?: FieldOptions,
): Field2;
export function recurrence(
  domain: readonly [number, number, number],
  cell: (i: number, j: number, k: number) => number,
  options?: FieldOptions,
): Field3;
export function recurrence(
  domain: readonly [number, number, number, number],
  cell: (i: number, j: number, k: number, l: number) => number,
  options?: FieldOptions,
): Field4;
export function recurrence(domain: readonly number[], cell: Cell, options?: FieldOptions): unknown {
  return make('recurrence', domain, cell, options);
}

/** Runs a body; the fields it declares know their names from its source text. */
export function collectFields<R>(source: string, body: () => R): { result: R; fields: readonly FieldView[] } {
  const outer = { current, depth, recurrenceAt };
  const declared: Cells[] = [];
  current = { source, declared };
  depth = 0;
  recurrenceAt = 0;
  try {
    const result = body();
    return { result, fields: declared.map(viewOf) };
  } finally {
    ({ current, depth, recurrenceAt } = outer);
  }
}

function viewOf(cells: Cells): FieldView {
  return {
    name: cells.label(),
    kind: cells.kind,
    domain: cells.domain,
    at: (...indices) => cells.read(indices),
  };
}

/**
 * The author's name for a field: that of the variable its definition is assigned to, found by the text of its cell
 * function in the text of the body. A field made elsewhere (by an imported helper, say) is called by its number.
 */
function nameOf(cells: Cells, { source, declared }: Body): string {
  const text = cells.cell.toString();
  // Fields with equal cell functions are told apart by their order.
  const twins = declared.filter((other) => other.given === undefined && other.cell.toString() === text);
  let from = -1;
  for (const twin of twins) {
    from = source.indexOf(text, from + 1);
    if (twin === cells || from < 0) break;
  }
  const before = from < 0 ? '' : source.slice(0, from);
  const declaration =
    /([A-Za-z_$][\w$]*)\s*(?::[^=;]*)?=\s*(?:\([^()]*\)|[\w$.]+)\s*\(\s*\[(?:[^[\]]|\[[^[\]]*\])*\]\s*,\s*$/.exec(
      before,
    );
  return declaration?.[1] ?? `#${declared.indexOf(cells) + 1}`;
}

/** All values of a field, dense. @throws Error when it is not a field made by this copy of the language, or its domain is another. */
export function valuesOf(read: unknown, domain: readonly number[], what: string): Float64Array {
  const cells = typeof read === 'function' ? cellsOf.get(read) : undefined;
  if (cells === undefined) throw new Error(`${what} must be a field made by field(...) or recurrence(...)`);
  const extents = domain.map((extent) => Math.max(0, extent));
  if (cells.domain.length !== extents.length || !cells.domain.every((n, axis) => Math.max(0, n) === extents[axis])) {
    throw new Error(
      `${what} is ${cells.label()} over [${cells.domain.join(', ')}]; it must have the input's shape [${domain.join(', ')}]`,
    );
  }
  const values = new Float64Array(cells.size);
  for (let at = 0; at < values.length; at++) values[at] = cells.get(at);
  return values;
}
