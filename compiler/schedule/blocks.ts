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
 */
import * as k from '../kernel/build.js';
import { Affine } from './affine.js';
import type { Equation } from './equations.js';
import type { Scene } from './kernels.js';
import type { ProgramContext } from './lower.js';
import type { Block, Value } from './writer.js';

/** Rows in a block. */
export const ROWS = 64;
/** Elements of several short rows that are worked on together: as many as leave room for others in the nearest cache. */
export const STAGED = 4096;
/** Rows of at least this length are worked on one at a time. */
export const LONG = 512;

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
