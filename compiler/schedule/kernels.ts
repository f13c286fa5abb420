/**
 * The kinds of kernel a schedule is made of.
 *
 *   rows    plain equations that share a pass: one grid cell per (utterance, first index), the rest inside
 *   wave    a group of recurrences: one grid cell per utterance, steps of the wavefront, lanes along it
 *   output  a gradient over the padded tensor: rows of lanes, zeros over the padding and for utterances without a path
 *   loss    one value per utterance
 */
import { reductionsIn } from '../graph/free.js';
import type { Expr, SizeExpr } from '../graph/graph.js';
import { printOnOneLine } from '../graph/print.js';
import { printSize, sameSize } from '../graph/size.js';
import * as k from '../kernel/build.js';
import type { Kernel } from '../kernel/kernel.js';
import { Affine } from './affine.js';
import { LINES, overLines, type Rows } from './blocks.js';
import type { Equation } from './equations.js';
import { orderWithinCell, type Wavefront } from './hyperplane.js';
import { skewOf } from './layout.js';
import type { LongElements } from './long.js';
import {
  addsInF32,
  isLongPadded,
  Lowering,
  lanePrecision,
  mayBeLong,
  type ProgramContext,
  paddedSize,
} from './lower.js';
import type { Ranges } from './ranges.js';
import { type Block, KernelWriter, Value } from './writer.js';

export interface Scene {
  readonly writer: KernelWriter;
  readonly lower: Lowering;
}

function begin(context: ProgramContext, wide = false): Scene {
  const writer = new KernelWriter();
  const lower = new Lowering(context, writer, wide);
  writer.atom('b', writer.constant(k.variable(writer.fresh('b'), 'index')), [Affine.zero]);
  return { writer, lower };
}

const batchGrid = { variable: 'b', extent: k.scalar('B', 'index') };

/** Of a kernel for utterances with long paths: no tasks in a batch that has room for none, so that nothing is dispatched. */
const longGrid = (box: readonly SizeExpr[]): Kernel['grid'][number] => ({
  ...batchGrid,
  extent: k.select(isLongPadded(box), batchGrid.extent, k.index(0)),
});

/** Which utterances a kernel is for, if there is another for the rest. */
const ofPaths = (long: boolean | undefined): string[] =>
  long === undefined ? [] : [`of utterances whose paths ${long ? 'are' : 'are not'} long`];

/** Equations up to this long are shown above their kernels. */
const shownLength = 108;

/** What an equation defines and over which domain, and the equation itself where it fits on a line. */
function heading({ name, axes, domain, body }: Equation, { graph }: ProgramContext): string[] {
  const cell = `${name}(${axes.map((axis) => axis.name).join(', ')})`;
  const text = printOnOneLine(body, graph, shownLength);
  return [`${cell} over [${domain.map(printSize).join(', ')}]`, ...(text === undefined ? [] : [`  = ${text}`])];
}

/** Binds an axis to a variable that runs over [0, extent) in `block`. */
function bindAxis(
  { writer, lower }: Scene,
  equations: readonly Equation[],
  axis: number,
  variable: Value,
  name: string,
  extent: Affine,
  block: Block,
): void {
  const form = writer.atom(name, variable, [Affine.zero], [extent.offset(-1)]);
  for (const equation of equations) lower.bindIndex(equation.axes[axis]!, form, block);
}

/** A group of plain equations over one box; `box` has the largest extent of each axis. */
export interface RowGroup {
  readonly equations: readonly Equation[];
  readonly box: readonly SizeExpr[];
  /** The last axis runs over lanes: nothing in a cell needs lanes of its own. */
  readonly lanesLast: boolean;
}

/** How the last axis is written, if the rows are to be worked on in blocks. */
export interface BlockedRows {
  /** A cell of the grid has several lines, those handed to `write`, where it has one otherwise. */
  readonly tiled: boolean;
  /** Writes all that the group needs of one cell of the grid. */
  readonly write: (scene: Scene, block: Block, lines?: Rows) => void;
}

/**
 * The kernels of a group: one, or where sums over rows are float64 for utterances with long paths one for those and one for the
 * others. In one kernel the constants of either way would take registers from the other.
 */
export function rowsKernels(group: RowGroup, context: ProgramContext, blocked?: BlockedRows): Kernel[] {
  const { equations, box } = group;
  const sums = equations.flatMap(({ body }) => reductionsIn(body)).some((expr) => addsInF32(expr, context));
  if (!sums || !mayBeLong(box, context)) return [rowsKernel(group, context, blocked)];
  return [false, true].map((long) => rowsKernel(group, context, blocked, long));
}

/** With `long`, for utterances whose paths are, or are not. */
function rowsKernel(group: RowGroup, context: ProgramContext, blocked?: BlockedRows, long?: boolean): Kernel {
  const scene = begin(context, long);
  const { writer, lower } = scene;
  const { equations, box } = group;
  const mine = long === undefined ? [] : [lower.pathsAre(long, box)];
  const rank = box.length;
  const axisName = (axis: number): string => equations[0]!.axes[axis]!.name;
  for (const equation of equations) lower.prepare(equation.body);

  const writeCell = (block: Block, cells: readonly Equation[]): void => {
    for (const equation of cells) {
      const inside = equation.domain.map((extent, axis) => {
        const at = lower.form({ ...equation.axes[axis]! }, block);
        return { form: lower.size(extent).offset(-1).minus(at), at };
      });
      const guard = writer.all(inside.map(({ form }) => writer.nonNegative(form)));
      writer.branch(block, guard, (within) => {
        const value = lower.real(equation.body, within);
        value.name = equation.name;
        // Later equations of the group read it from its register; only where it is always computed.
        const always = guard.expr.op === 'const';
        if (always) writer.bind(value);
        const stored = writer.combine((x) => k.cast(context.lattice, x), [value], equation.name);
        writer.store(
          within,
          equation.name,
          lower.address(
            equation.name,
            inside.map(({ at }) => at),
          ),
          stored,
        );
        if (always) lower.computed(equation, value);
      });
    }
  };

  /** `cells`: the equations whose cells these are; lanes have one extent, so equations of different ones have a loop each. */
  const inner = (block: Block, axis: number, cells: readonly Equation[]): void => {
    if (axis === rank) {
      writeCell(block, cells);
      return;
    }
    if (blocked && axis === rank - 1) {
      blocked.write(scene, block);
      return;
    }
    const lanes = group.lanesLast && axis === rank - 1;
    const sameExtent = cells.every((equation) => sameSize(equation.domain[axis]!, box[axis]!));
    if (lanes && !sameExtent && cells.length > 1) {
      for (const equation of cells) inner(block, axis, [equation]);
      return;
    }
    const extent = lower.size(lanes ? cells[0]!.domain[axis]! : box[axis]!);
    const precision = lanes ? context.lattice : undefined;
    writer.loop(
      block,
      lanes ? 'lanes' : 'serial',
      {
        name: axisName(axis),
        from: writer.constant(k.index(0)),
        to: writer.index(extent),
        ...(precision && { precision }),
      },
      (body, variable, name) => {
        bindAxis(scene, cells, axis, variable, name, extent, body);
        inner(body, axis + 1, cells);
        return undefined;
      },
    );
  };

  const grid = [long && !context.blocks ? longGrid(box) : batchGrid];
  const lanesOnly = group.lanesLast && rank === 1;
  if (blocked?.tiled) {
    const tiles = tilesOf(scene, axisName(0), box[0]!);
    grid.push(tiles.grid);
    writer.branch(writer.root, writer.all([...mine, tiles.inside]), (block) =>
      blocked.write(scene, block, tiles.lines(block)),
    );
  } else if (rank > 0 && !lanesOnly) {
    const name = writer.fresh(axisName(0));
    const extent = lower.size(box[0]!);
    grid.push({ variable: name, extent: paddedSize(box[0]!) });
    const variable = new Value(k.variable(name, 'index'), writer.root, name);
    const inDomain = writer.combine((at, end) => k.compare('lt', at, end), [variable, writer.index(extent)], 'inside');
    const always = box[0] && Object.keys(box[0].terms).length === 0;
    writer.branch(writer.root, writer.all([...mine, ...(always ? [] : [inDomain])]), (block) => {
      // The axis is bound inside the branch: what depends on it must not be hoisted out of its range.
      bindAxis(scene, equations, 0, new Value(k.variable(name, 'index'), block, name), name, extent, block);
      inner(block, 1, equations);
    });
  } else writer.branch(writer.root, writer.all(mine), (block) => inner(block, 0, equations));
  return writer.kernel(
    [...equations.map((equation) => equation.name), ...(long ? ['long'] : [])].join('_'),
    [...equations.flatMap((equation) => heading(equation, context)), ...ofPaths(long)],
    grid,
  );
}

/** A group of recurrences that need each other; `box` has the largest extent of each axis. */
export interface WaveGroup {
  readonly equations: readonly Equation[];
  readonly box: readonly SizeExpr[];
  readonly wave: Wavefront;
}

/** The steps of a wavefront over a box, lanes along each of them. */
export function waveKernel({ equations, box, wave }: WaveGroup, context: ProgramContext, ranges: Ranges): Kernel {
  const scene = begin(context);
  const { writer, lower } = scene;
  const ordered = orderWithinCell(equations, ranges);
  for (const equation of ordered) lower.prepare(equation.body);
  const boxForm = box.map((extent) => lower.size(extent));
  const names = ordered[0]!.axes.map((axis) => axis.name);
  const skew = skewOf(wave);
  const pinned = new Set(ordered.map((equation) => equation.name));
  // Equations over one domain share a loop over lanes; over different ones each has its own, in order.
  const sameDomain = ordered.every((equation) => equation.domain.every((extent, axis) => sameSize(extent, box[axis]!)));
  const passes = sameDomain ? [ordered] : ordered.map((equation) => [equation]);

  const writeCells = (block: Block, cells: readonly Equation[]): void => {
    for (const equation of cells) {
      const at = equation.axes.map((axis) => lower.form(axis, block));
      const value = lower.real(equation.body, block);
      value.name = equation.name;
      writer.bind(value);
      writer.store(block, equation.name, lower.address(equation.name, at), value);
      lower.computed(equation, value);
    }
    // Other passes see these cells in memory, not in this one's registers.
    if (!sameDomain) lower.forget(cells);
  };

  // A wavefront h and its opposite visit the same steps, in opposite order.
  const h = skew ? skew.h : [1];
  const reverse = (skew ? wave.h[skew.line]! : wave.h[0]!) < 0;
  // h . x runs from `lowest` over `count` values.
  let count = Affine.constant(1);
  let lowest = Affine.zero;
  for (const [axis, factor] of h.entries()) {
    const last = boxForm[axis]!.offset(-1);
    count = count.plus(last, Math.abs(factor));
    if (factor < 0) lowest = lowest.plus(last, factor);
  }
  // Steps along one axis go by that axis' name; along several they are the step number n.
  const single = !skew || skew.h[skew.lane] === 0;
  const line = skew ? skew.line : 0;
  const stepName = single ? names[line]! : 'n';
  const zero = writer.constant(k.index(0));
  writer.loop(
    writer.root,
    'steps',
    { name: stepName, from: zero, to: writer.index(count), reverse },
    (body, variable, name) => {
      const step = writer.atom(name, variable, [Affine.zero], [count.offset(-1)]).plus(lowest);
      for (const cells of passes) {
        const domain = cells[0]!.domain.map((extent) => lower.size(extent));
        const inLine = single
          ? writer.nonNegative(domain[line]!.offset(-1).minus(step))
          : writer.constant(k.boolean(true));
        writer.branch(body, inLine, (within) => {
          // Bound in here, so that nothing of it is computed on a line that this domain does not have.
          const here = single
            ? writer.atom(
                `${name}@${cells[0]!.name}`,
                new Value(k.variable(name, 'index'), within, name),
                [Affine.zero],
                [domain[line]!.offset(-1)],
              )
            : step;
          lower.pin(pinned, within);
          if (!skew) {
            for (const equation of cells) lower.bindIndex(equation.axes[0]!, here, within);
            writeCells(within, cells);
            return;
          }
          const slope = skew.h[skew.lane];
          const range = laneRange(scene, here, slope, domain[line]!, domain[skew.lane]!);
          // Steps that go backwards through the rows go backwards along them too: memory is then read in one direction, which
          // caches foresee. Reading each row forwards, the beginning of every row was waited for.
          writer.loop(
            within,
            'lanes',
            { name: names[skew.lane]!, from: range.from, to: range.to, reverse, precision: context.lattice },
            (inner, at, laneName) => {
              const along = writer.atom(laneName, at, range.lower, range.upper);
              const solved = here.plus(along, -slope);
              inner.given.push(solved, domain[line]!.offset(-1).minus(solved));
              for (const equation of cells) {
                lower.bindIndex(equation.axes[skew.lane]!, along, inner);
                lower.bindIndex(equation.axes[line]!, solved, inner);
              }
              writeCells(inner, cells);
              return undefined;
            },
          );
        });
      }
      return undefined;
    },
  );
  const doc = [
    ...ordered.flatMap((equation) => heading(equation, context)),
    `in order of ${printOrder(wave.h, names)}`,
  ];
  return writer.kernel(ordered.map((equation) => equation.name).join('_'), doc, [batchGrid]);
}

/** 't + u', '-t', '2 * t + u'. */
function printOrder(h: readonly number[], names: readonly string[]): string {
  let text = '';
  for (const [axis, factor] of h.entries()) {
    if (factor === 0) continue;
    const term = Math.abs(factor) === 1 ? names[axis]! : `${Math.abs(factor)} * ${names[axis]}`;
    text += text === '' ? (factor < 0 ? `-${term}` : term) : `${factor < 0 ? ' - ' : ' + '}${term}`;
  }
  return text;
}

/** Lanes l of a step with 0 <= step - slope * l < lineExtent and 0 <= l < laneExtent. */
function laneRange({ writer }: Scene, step: Affine, slope: number, lineExtent: Affine, laneExtent: Affine) {
  const zero = writer.constant(k.index(0));
  const bottom = (form: Affine): Value => writer.combine((x) => k.max(x, k.index(0)), [writer.index(form)], 'first');
  const top = (form: Affine): Value =>
    writer.combine((x, y) => k.min(x, y), [writer.index(laneExtent), writer.index(form)], 'end');
  const always = { lower: [Affine.zero], upper: [laneExtent.offset(-1)] };
  if (slope === 0) return { from: zero, to: writer.index(laneExtent), ...always };
  if (slope === 1 || slope === -1) {
    // slope 1: step - lineExtent < l <= step.  slope -1: -step <= l < lineExtent - step.
    const first = slope === 1 ? step.minus(lineExtent).offset(1) : step.times(-1);
    const end = slope === 1 ? step.offset(1) : lineExtent.minus(step);
    return {
      from: bottom(first),
      to: top(end),
      lower: [...always.lower, first],
      upper: [...always.upper, end.offset(-1)],
    };
  }
  const steep = Math.abs(slope);
  const clamped = (form: Affine): Value => writer.combine((x) => k.max(x, k.index(0)), [writer.index(form)], 'reach');
  // Rounded up for the first lane, down (plus one) for the end.
  const numeratorFirst = slope > 0 ? step.minus(lineExtent).offset(1) : step.times(-1);
  const numeratorEnd = slope > 0 ? step : lineExtent.offset(-1).minus(step);
  const from = writer.combine(
    (x) => k.div(k.add(x, k.index(steep - 1)), k.index(steep)),
    [clamped(numeratorFirst)],
    'first',
  );
  const end = writer.combine(
    (x, ok, limit) =>
      k.min(limit, k.select(k.compare('ge', ok, k.index(0)), k.add(k.div(x, k.index(steep)), k.index(1)), k.index(0))),
    [clamped(numeratorEnd), writer.index(numeratorEnd), writer.index(laneExtent)],
    'end',
  );
  return { from, to: end, ...always };
}

/** A grid over tiles of LINES lines of an axis. */
interface Tiles {
  readonly grid: Kernel['grid'][number];
  /** The first line of a tile. */
  readonly start: Value;
  /** Whether any of its lines is inside of the domain. */
  readonly inside: Value;
  /** Those that are. Bound where they are, so that nothing that depends on them is hoisted out of their range. */
  readonly lines: (block: Block) => Rows;
}

function tilesOf({ writer, lower }: Scene, axis: string, size: SizeExpr): Tiles {
  const extent = lower.size(size);
  const name = writer.fresh(`${axis}_tile`);
  const tileIn = (block: Block): Value => new Value(k.variable(name, 'index'), block, name);
  const start = writer.combine((tile) => k.mul(tile, k.index(LINES)), [tileIn(writer.root)], 'start');
  return {
    grid: { variable: name, extent: k.div(k.add(paddedSize(size), k.index(LINES - 1)), k.index(LINES)) },
    start,
    inside: writer.combine((at, end) => k.compare('lt', at, end), [start, writer.index(extent)], 'inside'),
    lines: (block) => {
      const first = writer.atom(name, tileIn(block), [Affine.zero]).times(LINES);
      const left = writer.index(extent.minus(first));
      const count = writer.combine((n) => k.min(k.index(LINES), n), [left], 'lines');
      return { first, count, atMost: LINES, last: extent.offset(-1) };
    },
  };
}

/** Where an output's elements go. */
export interface Target {
  /** Flat index of a cell. */
  readonly address: (at: readonly Value[]) => Value;
  /** Stores the equation's value at a flat index, as the output has it: scaled, if it is a gradient. */
  readonly store: (block: Block, index: Value, value: Value) => void;
}
/** How an output's last two axes, or the last one of two, are written in blocks. */
export interface BlockedOutput {
  /** A cell of the grid has several lines, those handed to `write`, where it has one otherwise. */
  readonly tiled: boolean;
  /** Writes what is inside of the domain. `at`: where it is in the axes before; without the lines' own, if there are any. */
  readonly write: (scene: Scene, block: Block, at: readonly Value[], target: Target, lines?: Rows) => void;
}

export interface OutputOptions {
  readonly scaled: boolean;
  readonly blocked?: BlockedOutput | undefined;
  /** How elements are computed where paths are long, if that is another way. */
  readonly long?: LongElements | undefined;
}

/** The kernels of an output: one, or where elements are computed another way for utterances with long paths one for those and one for the others. */
export function outputKernels(
  equation: Equation,
  loss: Expr,
  context: ProgramContext,
  options: OutputOptions,
): Kernel[] {
  const which = options.long ? [false, true] : [undefined];
  return which.map((long) => outputKernel(equation, loss, context, options, long));
}

/**
 * A gradient, or a posterior, over the whole padded tensor: the equation inside of each utterance's domain, a gradient
 * multiplied by the utterance's gradScale (`scaled`); zeros over the padding, and everywhere if the utterance's loss is +Infinity.
 */
function outputKernel(
  equation: Equation,
  loss: Expr,
  context: ProgramContext,
  options: OutputOptions,
  ofLong: boolean | undefined,
): Kernel {
  const scene = begin(context);
  const { writer, lower } = scene;
  const rank = equation.axes.length;
  const long = ofLong ? options.long : undefined;
  const singled = (long?.singled ?? []).map(({ element }) => element);
  for (const root of [long?.body ?? equation.body, ...singled, loss]) lower.prepare(root);
  const names = equation.axes.map((axis) => axis.name);
  const zero = writer.constant(k.index(0));
  const extents = equation.domain.map((extent) => lower.size(extent));
  const padded = equation.domain.map((extent) => lower.padded(extent));
  const varying = new Set(context.graph.lengths.map(({ size }) => size));
  const ragged = equation.domain.map((extent) => Object.keys(extent.terms).some((name) => varying.has(name)));
  const address = (at: readonly Value[]): Value => {
    let sum = writer.index(Affine.atom('b'));
    for (const [axis, column] of at.entries())
      sum = writer.combine(
        (outer, extent, x) => k.add(k.mul(outer, extent), x),
        [sum, padded[axis]!, column],
        'at_grad',
      );
    return sum;
  };

  /** Zeros for all cells whose leading indices are `at`, from `from` on in the next axis. */
  const zeros = (block: Block, at: readonly Value[], from: Value): void => {
    const axis = at.length;
    const last = axis === rank - 1;
    writer.loop(
      block,
      last ? 'lanes' : 'serial',
      { name: names[axis]!, from, to: padded[axis]!, ...(last && { precision: 'f32' as const }) },
      (body, variable) => {
        if (!last) zeros(body, [...at, variable], zero);
        else writer.store(body, equation.name, address([...at, variable]), writer.constant(k.real('f32', 0)), true);
        return undefined;
      },
    );
  };

  const lossValue = lower.real(loss, writer.root);
  const feasible = writer.combine(
    (x) => k.compare('ne', x, k.real(context.lattice, Number.POSITIVE_INFINITY)),
    [lossValue],
    'feasible',
  );
  const scale = options.scaled
    ? writer.combine((at) => k.load('gradScale', 'f64', at), [writer.index(Affine.atom('b'))], 'gradScale')
    : undefined;
  if (scale) writer.bind(scale);

  const store = (block: Block, index: Value, value: Value): void => {
    const type = block.lanes!;
    const scaled = scale
      ? writer.combine(
          (x, factor) => k.cast('f32', k.prim('mul', k.cast(type, x), factor)),
          [value, narrow(scene, scale, type)],
          'scaled',
        )
      : writer.combine((x) => k.cast('f32', x), [value], equation.name);
    writer.store(block, equation.name, index, scaled, true);
  };

  /** Elements of a row. */
  const elements = (block: Block, at: readonly Value[], to: Value): void => {
    const axis = rank - 1;
    const name = names[axis]!;
    const precision = lanePrecision([equation.body], equation.axes[axis]!, context);
    const singled = (long?.singled ?? []).map(({ at, element }) => {
      const value = lower.real(element, block);
      return { place: lower.int(at, block), value: narrow(scene, value, precision) };
    });
    writer.loop(block, 'lanes', { name, from: zero, to, precision }, (body, variable, name) => {
      bindAxis(scene, [equation], axis, variable, name, extents[axis]!, body);
      if (long && singled.length > 0) {
        const dense = long.dense ? lower.real(long.dense, body) : writer.constant(k.real(precision, 0));
        const either = (other: Value, { place, value }: (typeof singled)[number]): Value =>
          writer.combine(
            (v, here, x, y) => k.select(k.compare('eq', v, here), x, y),
            [variable, place, value, other],
            'x',
          );
        const sum = singled.reduce(either, dense);
        sum.name = 'element';
        writer.bind(sum);
        lower.given(long.sum, sum, body);
      }
      const value = lower.real(long?.body ?? equation.body, body);
      const factor = long && long.factor !== 1 ? k.real(precision, long.factor) : undefined;
      const whole = factor ? writer.combine((x) => k.prim('mul', k.cast(precision, x), factor), [value], 'x') : value;
      store(body, address([...at, variable]), whole);
      return undefined;
    });
  };

  const cells = (block: Block, at: readonly Value[]): void => {
    const axis = at.length;
    if (options.blocked && axis === rank - 2) {
      options.blocked.write(scene, block, at, { address, store });
      if (ragged[axis]) zeros(block, at, writer.index(extents[axis]!));
      return;
    }
    const last = axis === rank - 1;
    if (options.blocked && last) {
      options.blocked.write(scene, block, at, { address, store });
      return;
    }
    const to = writer.index(extents[axis]!);
    if (last) elements(block, at, to);
    else
      writer.loop(block, 'serial', { name: names[axis]!, from: zero, to }, (body, variable, name) => {
        bindAxis(scene, [equation], axis, variable, name, extents[axis]!, body);
        cells(body, [...at, variable]);
        return undefined;
      });
    if (ragged[axis]) zeros(block, at, to);
  };

  const rows = equation.domain.slice(0, -1);
  const grid = [ofLong ? longGrid(rows) : batchGrid];
  if (rank === 1) {
    writer.branch(
      writer.root,
      feasible,
      (block) => cells(block, []),
      (block) => zeros(block, [], zero),
    );
  } else if (options.blocked?.tiled) {
    const { blocked } = options;
    const tiles = tilesOf(scene, names[0]!, equation.domain[0]!);
    grid.push(tiles.grid);
    const zeroLines = (block: Block, from: Value): void => {
      const to = writer.combine(
        (end, start) => k.min(k.index(LINES), k.sub(end, start)),
        [padded[0]!, tiles.start],
        'lines',
      );
      writer.loop(block, 'serial', { name: names[0]!, from, to }, (body, variable) => {
        zeros(body, [writer.combine(k.add, [tiles.start, variable], names[0])], zero);
        return undefined;
      });
    };
    writer.branch(
      writer.root,
      writer.all([feasible, tiles.inside]),
      (block) => {
        const lines = tiles.lines(block);
        blocked.write(scene, block, [], { address, store }, lines);
        if (ragged[1])
          overLines(scene, block, lines, [equation], 0, (body, line) =>
            zeros(body, [writer.index(lines.first.plus(line))], writer.index(extents[1]!)),
          );
        if (ragged[0]) zeroLines(block, lines.count);
      },
      (block) => zeroLines(block, zero),
    );
  } else {
    const name = writer.fresh(names[0]!);
    grid.push({ variable: name, extent: paddedSize(equation.domain[0]!) });
    const variable = new Value(k.variable(name, 'index'), writer.root, name);
    const inDomain = ragged[0]
      ? writer.combine((at, end) => k.compare('lt', at, end), [variable, writer.index(extents[0]!)], 'inside')
      : writer.constant(k.boolean(true));
    const write = (mine: Block): void =>
      writer.branch(
        mine,
        writer.all([feasible, inDomain]),
        (block) => {
          const here = new Value(k.variable(name, 'index'), block, name);
          bindAxis(scene, [equation], 0, here, name, extents[0]!, block);
          cells(block, [here]);
        },
        (block) => zeros(block, [variable], zero),
      );
    if (ofLong === undefined) write(writer.root);
    else writer.branch(writer.root, lower.pathsAre(ofLong, rows), write);
  }
  return writer.kernel(
    ofLong ? `${equation.name}_long` : equation.name,
    [
      ...heading(equation, context),
      ...ofPaths(ofLong),
      'zero over the padding, and where the loss is +Infinity',
      ...(long && long.factor !== 1
        ? [`computed times ${1 / long.factor}, so that small numbers keep their digits`]
        : []),
    ],
    grid,
  );
}

/** A uniform float64 as the type of the lanes, converted once outside of them. */
function narrow({ writer }: Scene, value: Value, type: 'f32' | 'f64'): Value {
  const converted = writer.combine((x) => k.cast(type, x), [value], value.name);
  writer.bind(converted);
  return converted;
}

export function lossKernel(loss: Expr, context: ProgramContext): Kernel {
  const { writer, lower } = begin(context);
  lower.prepare(loss);
  const value = lower.real(loss, writer.root);
  const wide = writer.combine((x) => k.cast('f64', x), [value], 'value');
  writer.store(writer.root, 'loss', writer.index(Affine.atom('b')), wide);
  const text = printOnOneLine(loss, context.graph, shownLength);
  const doc = text === undefined ? 'the loss of an utterance' : `loss = ${text}`;
  return writer.kernel('loss', [doc], [batchGrid]);
}
