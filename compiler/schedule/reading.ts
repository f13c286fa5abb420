/** Kernels that read rows, in blocks: see blocks.ts. */
import { freeIndices } from '../graph/free.js';
import type { Expr, ReadExpr, ReduceExpr } from '../graph/graph.js';
import { sameSize } from '../graph/size.js';
import * as k from '../kernel/build.js';
import type { Affine } from './affine.js';
import {
  inBlocks,
  isDiagonal,
  LONG,
  Local,
  overLines,
  overPatch,
  overRows,
  ROWS,
  type Rows,
  STAGED,
  slotOf,
  slotsOf,
  whole,
} from './blocks.js';
import { outermost } from './elements.js';
import type { Equation } from './equations.js';
import type { BlockedRows, RowGroup, Scene } from './kernels.js';
import { inNextLine, type ProgramContext } from './lower.js';
import type { Block, Value } from './writer.js';

/** How a group's rows are read in blocks; undefined if they are not of that kind. */
export function blockedReading(
  { equations, box, lanesLast }: RowGroup,
  context: ProgramContext,
): BlockedRows | undefined {
  const axis = box.length - 1;
  if (!context.blocks || lanesLast || axis < 1) return undefined;
  const reductions = equations.map(
    (equation) => outermost(equation.body, (expr) => expr.op === 'reduce') as ReduceExpr[],
  );
  const perRow = equations.every((equation, i) =>
    reductions[i]!.every((reduce) => freeIndices(reduce).includes(equation.axes[axis]!)),
  );
  const sameOuter = equations.every(({ domain }) =>
    domain.slice(0, axis).every((extent, i) => sameSize(extent, box[i]!)),
  );
  if (!perRow || !sameOuter || reductions.every((some) => some.length === 0)) return undefined;

  const reduces = [...new Set(reductions.flat())];
  // Rows that are not long are swept once for the maxima of some of them, then once for the sums: the many steps from a row's
  // elements to its maximum do not wait for the sum of the row before. So many rows that the nearest cache holds them.
  const apart = reduces.every(({ extent }) => Object.keys(extent.terms).length === 0 && extent.constant < LONG);
  const longest = Math.max(1, ...reduces.map(({ extent }) => extent.constant));
  const swept = apart ? Math.min(ROWS, Math.floor(STAGED / longest)) : ROWS;

  // Values of the rows go along the diagonals of a tile where that is how they are stored.
  const tiled = apart && axis === 1 && equations.some(({ name }) => isDiagonal(context.layouts.get(name)));
  // Elements that equations pick from the rows: taken while a row is in the nearest cache, which a tile is too large for.
  const picked = tiled ? new Set(equations.flatMap((equation) => pickedFrom(equation, context))) : new Set<ReadExpr>();

  const write = (scene: Scene, block: Block, lines?: Rows): void => {
    const { writer, lower } = scene;
    const extent = lower.size(box[axis]!);
    inBlocks(scene, block, whole(scene, extent), ROWS, (body, rows) => {
      const results = new Map<Expr, Local[]>();
      const keep = (expr: Expr, value: Value, within: Block, slot: Affine, element = value.type): void => {
        const kept = new Local(scene, context, value.name, element as 'f32' | 'f64', slotsOf(tiled));
        kept.store(within, writer.index(slot), value);
        results.set(expr, [...(results.get(expr) ?? []), kept]);
      };
      const sums = apart ? reduces.filter(({ reduction }) => reduction === 'logSumExp') : [];
      overLines(scene, body, lines, equations, axis - 1, (lineBody, line) => {
        inBlocks(scene, lineBody, rows, swept, (part, few, before) => {
          const slotIn = (number: Affine): Affine => slotOf(tiled, before.plus(number), line);
          const pick = (within: Block, number: Affine): void => {
            for (const read of picked) keep(read, lower.real(read, within), within, slotIn(number), 'f32');
          };
          const tops = new Map<ReduceExpr, Local>();
          // One line's, side by side whatever becomes of them.
          const topAt = (number: Affine): Value => writer.index(before.plus(number));
          overRows(scene, part, few, equations, axis, undefined, (within, number) => {
            for (const reduce of reduces) {
              if (reduce.reduction !== 'logSumExp') keep(reduce, lower.fold(reduce), within, slotIn(number));
              else if (apart) {
                const top = lower.top(reduce);
                const kept = new Local(scene, context, top.name, top.type as 'f32' | 'f64', ROWS);
                kept.store(within, topAt(number), top);
                tops.set(reduce, kept);
              } else {
                const shift = lower.shiftOf(lower.top(reduce));
                writer.bind(shift);
                keep(reduce, shift, within, slotIn(number));
                keep(reduce, lower.total(reduce, shift), within, slotIn(number));
              }
            }
            if (sums.length === 0) pick(within, number);
          });
          if (sums.length === 0) return;
          overRows(scene, part, few, equations, axis, 'f32', (within, number) => {
            const at = topAt(number);
            for (const top of tops.values()) top.store(within, at, lower.shiftOf(top.load(within, at, 'top')));
          });
          overRows(scene, part, few, equations, axis, undefined, (within, number) => {
            for (const reduce of sums) {
              const shift = tops.get(reduce)!.load(within, topAt(number), 'shift');
              if (tiled) keep(reduce, shift, within, slotIn(number));
              else results.set(reduce, [tops.get(reduce)!]);
              keep(reduce, lower.total(reduce, shift, lines && inNextLine(line, number)), within, slotIn(number));
            }
            pick(within, number);
          });
        });
      });
      for (const cells of byExtent(equations, axis)) {
        const end = lower.size(cells[0]!.domain[axis]!);
        const count = writer.combine(
          (n, left) => k.min(n, left),
          [rows.count, writer.index(end.minus(rows.first))],
          'count',
        );
        const fewer = sameSize(cells[0]!.domain[axis]!, box[axis]!) ? rows : { ...rows, count, last: end.offset(-1) };
        overPatch(scene, body, { rows: fewer, lines }, cells, axis, context.lattice, (within, slot) => {
          const load = (expr: Expr, name: string, part = 0): Value =>
            results.get(expr)![part]!.load(within, writer.index(slot), name);
          for (const equation of cells) {
            for (const read of pickedFrom(equation, context))
              if (picked.has(read)) lower.given(read, lower.widen(load(read, read.source)), within);
            for (const reduce of reductions[equations.indexOf(equation)]!) {
              const value =
                reduce.reduction === 'logSumExp'
                  ? lower.logOfTotal(load(reduce, 'shift'), load(reduce, 'total', 1))
                  : lower.widen(load(reduce, reduce.reduction));
              lower.given(reduce, value, within);
            }
            const value = lower.real(equation.body, within);
            value.name = equation.name;
            writer.bind(value);
            const at = equation.axes.map((each) => lower.form(each, within));
            writer.store(within, equation.name, lower.address(equation.name, at), value);
            lower.computed(equation, value);
          }
        });
        lower.forget(cells);
      }
    });
  };
  return { tiled, write };
}

/** What an equation reads, outside of its reductions, of tensors that have more axes than it has: single elements. */
function pickedFrom({ axes, body }: Equation, { graph }: ProgramContext): ReadExpr[] {
  const rank = new Map(graph.inputs.map((input) => [input.name, input.dims.length]));
  const isPick = (expr: Expr): expr is ReadExpr =>
    expr.op === 'read' && expr.type === 'real' && (rank.get(expr.source) ?? 0) > axes.length;
  return outermost(body, (expr) => expr.op === 'reduce' || isPick(expr)).filter(isPick);
}

/** Neighbours of one extent of an axis together, in order. */
function byExtent(equations: readonly Equation[], axis: number): Equation[][] {
  const groups: Equation[][] = [];
  for (const equation of equations) {
    const last = groups.at(-1);
    if (last && sameSize(last[0]!.domain[axis]!, equation.domain[axis]!)) last.push(equation);
    else groups.push([equation]);
  }
  return groups;
}
