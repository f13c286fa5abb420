/**
 * Rows worked on in blocks, for processors with vectors and caches. A row is what a cell of the last axis but one reads or
 * writes of a big tensor: V logits for each (t, u).
 *
 * What there is one of per row (the log of a sum, the posteriors that a gradient needs) is computed for many rows side by side,
 * where one row after the other would do it in scalars:
 *
 *   reading   row by row: the sums over the row, into local memory; then in lanes over the rows: the equations
 *   writing   in lanes over the rows: all that does not depend on the element, into local memory; then row by row: the elements,
 *             into local memory; then the few elements that equations single out (v === k ? ... : 0); then all of it, in one
 *             run of aligned vectors, to the output
 *
 * The last step is there because short rows begin anywhere in a cache line, and only whole lines can be streamed; and because a
 * correction of single elements is cheap where they are still in the nearest cache, but a comparison in every element is not.
 *
 * Where the lattice is stored by its diagonals (layout.ts), neighbours of a row (t, u), (t, u + 1), ... are far from each other in
 * memory, and lanes over them would gather. Short rows are therefore taken in tiles of LINES frames: the lanes go along the diagonals
 * of a tile, (t + 7, u), (t + 6, u + 1), ..., which are side by side.
 */
import * as k from '../kernel/build.js';
import { Affine } from './affine.js';
import type { Equation } from './equations.js';
import type { Scene } from './kernels.js';
import type { Layout } from './layout.js';
import type { ProgramContext } from './lower.js';
import type { Block, Value } from './writer.js';

/** Rows in a block. */
export const ROWS = 64;
/** Elements of several short rows that are worked on together: as many as leave room for others in the nearest cache. */
export const STAGED = 4096;
/** Rows of at least this length are worked on one at a time. */
export const LONG = 512;
/** Lines of a tile: as many as the widest vectors have lanes of float64. */
export const LINES = 8;

/** Rows first, first + 1, ... of one block; `count` is how many there are. */
export interface Rows {
  readonly first: Affine;
  readonly count: Value;
  /** The largest that may be. */
  readonly atMost: number;
  /** The largest row of the axis there may be. */
  readonly last: Affine;
}

/** Calls `write` for blocks of `size` rows, which make up 0..extent or the rows of a larger block. */
export function inBlocks(
  { writer }: Scene,
  block: Block,
  outer: Rows,
  size: number,
  write: (block: Block, rows: Rows, local: Affine) => void,
): void {
  if (outer.atMost <= size) {
    write(block, outer, Affine.zero);
    return;
  }
  const blocks = writer.combine((n) => k.div(k.add(n, k.index(size - 1)), k.index(size)), [outer.count], 'blocks');
  writer.loop(
    block,
    'serial',
    { name: 'block', from: writer.constant(k.index(0)), to: blocks },
    (body, variable, name) => {
      const local = writer.atom(name, variable, [Affine.zero]).times(size);
      const count = writer.combine(
        (n, before) => k.min(k.index(size), k.sub(n, before)),
        [outer.count, writer.index(local)],
        'count',
      );
      write(body, { first: outer.first.plus(local), count, atMost: size, last: outer.last }, local);
      return undefined;
    },
  );
}

/** A block of rows of one line, or, where there are `lines`, of each of them. */
export interface Patch {
  readonly rows: Rows;
  readonly lines: Rows | undefined;
}

/** Whether one diagonal after the other of the first two axes is stored: the cells that lanes over a tile visit side by side. */
export const isDiagonal = (layout: Layout | undefined): boolean =>
  layout?.skew?.line === 0 && layout.skew.lane === 1 && layout.skew.h[1] === 1;

/** How many values local memory holds of a patch. */
export const slotsOf = (tiled: boolean): number => (tiled ? (ROWS + LINES - 1) * LINES : ROWS);

/** Where local memory keeps what belongs to a row: the diagonals of a tile one after the other, LINES places for each. */
export const slotOf = (tiled: boolean, row: Affine, line: Affine): Affine =>
  tiled
    ? row
        .plus(line)
        .times(LINES)
        .plus(line, -1)
        .offset(LINES - 1)
    : row;

/** One line after the other. `line` is the number in the patch. */
export function overLines(
  scene: Scene,
  block: Block,
  lines: Rows | undefined,
  equations: readonly Equation[],
  axis: number,
  write: (body: Block, line: Affine) => void,
): void {
  if (lines) overRows(scene, block, lines, equations, axis, undefined, write);
  else write(block, Affine.zero);
}

/** Lanes over all rows of a patch. `slot` is where local memory keeps what belongs to one. */
export function overPatch(
  scene: Scene,
  block: Block,
  { rows, lines }: Patch,
  equations: readonly Equation[],
  axis: number,
  precision: 'f32' | 'f64',
  write: (body: Block, slot: Affine) => void,
): void {
  if (!lines) {
    overRows(scene, block, rows, equations, axis, precision, write);
    return;
  }
  const { writer, lower } = scene;
  const diagonals = writer.combine((n, m) => k.sub(k.add(n, m), k.index(1)), [rows.count, lines.count], 'diagonals');
  writer.loop(
    block,
    'serial',
    { name: 'n', from: writer.constant(k.index(0)), to: diagonals },
    (outer, variable, name) => {
      const n = writer.atom(name, variable, [Affine.zero]);
      // Lane l is row n - 7 + l of line 7 - l.
      const at = writer.index(n.times(-1).offset(LINES - 1));
      const from = writer.combine(
        (x, count) => k.max(k.max(x, k.sub(k.index(LINES), count)), k.index(0)),
        [at, lines.count],
        'first',
      );
      const to = writer.combine((x, count) => k.min(k.add(x, count), k.index(LINES)), [at, rows.count], 'end');
      writer.loop(outer, 'lanes', { name: 'lane', from, to, precision }, (body, lane, laneName) => {
        const l = writer.atom(laneName, lane, [Affine.zero], [Affine.constant(LINES - 1)]);
        const row = rows.first
          .plus(n)
          .plus(l)
          .offset(1 - LINES);
        const line = lines.first.minus(l).offset(LINES - 1);
        body.given.push(row, rows.last.minus(row), lines.last.minus(line));
        for (const equation of equations) {
          lower.bindIndex(equation.axes[axis]!, row, body);
          lower.bindIndex(equation.axes[axis - 1]!, line, body);
        }
        write(body, n.times(LINES).plus(l));
        return undefined;
      });
      return undefined;
    },
  );
}

/** A loop over the rows of a block. `row` is the number in the block, to which `first` is added for the axis. */
export function overRows(
  scene: Scene,
  block: Block,
  rows: Rows,
  equations: readonly Equation[],
  axis: number,
  lanes: 'f32' | 'f64' | undefined,
  write: (body: Block, row: Affine) => void,
): void {
  const { writer, lower } = scene;
  const index = equations[0]!.axes[axis]!;
  writer.loop(
    block,
    lanes ? 'lanes' : 'serial',
    { name: index.name, from: writer.constant(k.index(0)), to: rows.count, ...(lanes && { precision: lanes }) },
    (body, variable, name) => {
      const row = writer.atom(name, variable, [Affine.zero], [rows.last.minus(rows.first)]);
      for (const equation of equations) lower.bindIndex(equation.axes[axis]!, rows.first.plus(row), body);
      write(body, row);
      return undefined;
    },
  );
}

export const whole = (scene: Scene, extent: Affine): Rows => ({
  first: Affine.zero,
  count: scene.writer.index(extent),
  atMost: extent.isConstant ? extent.constant : Number.POSITIVE_INFINITY,
  last: extent.offset(-1),
});

/** Names that a local must not have. */
const takenNames = ({ graph, layouts }: ProgramContext): ReadonlySet<string> =>
  new Set([
    ...graph.inputs.map(({ name }) => name),
    ...graph.lengths.map(({ argument }) => argument),
    ...layouts.keys(),
    ...Object.keys(graph.gradients).map((name) => `grad_${name}`),
    ...Object.keys(graph.perNode ?? {}).map((name) => `node_${name}`),
    'gradScale',
    'loss',
  ]);

/** Local memory with one value per row, or `width` of them. */
export class Local {
  readonly name: string;
  /** What its values are called. */
  readonly value: string;

  constructor(
    private readonly scene: Scene,
    context: ProgramContext,
    base: string,
    readonly element: 'f32' | 'f64',
    rows: number,
  ) {
    this.value = base;
    this.name = scene.writer.local(`${base}_rows`, element, rows, takenNames(context));
  }

  store(block: Block, at: Value, value: Value): void {
    const { writer } = this.scene;
    writer.store(
      block,
      this.name,
      at,
      writer.combine((x) => k.cast(this.element, x), [value], value.name),
    );
  }

  /** A value of `block`, whatever its index depends on: what is stored there changes. */
  load(block: Block, at: Value, name: string): Value {
    const { writer } = this.scene;
    const value = writer.combine((x) => k.load(this.name, this.element, x), [at], name, block);
    writer.bind(value);
    return value;
  }
}
