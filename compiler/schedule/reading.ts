/** Kernels that read rows, in blocks: see blocks.ts. */
import { freeIndices } from '../graph/free.js';
import type { ReduceExpr } from '../graph/graph.js';
import { sameSize } from '../graph/size.js';
import * as k from '../kernel/build.js';
import type { Affine } from './affine.js';
import { inBlocks, LONG, Local, overRows, ROWS, STAGED, whole } from './blocks.js';
import { outermost } from './elements.js';
import type { Equation } from './equations.js';
import type { RowGroup, WriteRows } from './kernels.js';
import type { ProgramContext } from './lower.js';
import type { Block, Value } from './writer.js';

/** How a group's rows are read in blocks; undefined if they are not of that kind. */
export function blockedReading(
  { equations, box, lanesLast }: RowGroup,
  context: ProgramContext,
): WriteRows | undefined {
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

  return (scene, block) => {
    const { writer, lower } = scene;
    const local = (value: Value): Local => new Local(scene, context, value.name, value.type as 'f32' | 'f64', ROWS);
    const extent = lower.size(box[axis]!);
    inBlocks(scene, block, whole(scene, extent), ROWS, (body, rows) => {
      const results = new Map<ReduceExpr, Local[]>();
      const keep = (reduce: ReduceExpr, value: Value, within: Block, row: Affine): void => {
        const kept = local(value);
        kept.store(within, writer.index(row), value);
        results.set(reduce, [...(results.get(reduce) ?? []), kept]);
      };
      inBlocks(scene, body, rows, swept, (part, few, before) => {
        overRows(scene, part, few, equations, axis, undefined, (within, number) => {
          const row = before.plus(number);
          for (const reduce of reduces) {
            if (reduce.reduction !== 'logSumExp') keep(reduce, lower.fold(reduce), within, row);
            else {
              const top = lower.top(reduce);
              const shift = apart ? top : lower.shiftOf(top);
              if (!apart) writer.bind(shift);
              keep(reduce, shift, within, row);
              if (!apart) keep(reduce, lower.total(reduce, shift), within, row);
            }
          }
        });
        const sums = apart ? reduces.filter(({ reduction }) => reduction === 'logSumExp') : [];
        if (sums.length === 0) return;
        overRows(scene, part, few, equations, axis, 'f32', (within, number) => {
          const at = writer.index(before.plus(number));
          for (const reduce of sums) {
            const [tops] = results.get(reduce)! as [Local];
            tops.store(within, at, lower.shiftOf(tops.load(within, at, 'top')));
          }
        });
        overRows(scene, part, few, equations, axis, undefined, (within, number) => {
          const row = before.plus(number);
          for (const reduce of sums) {
            const [shifts] = results.get(reduce)! as [Local];
            keep(reduce, lower.total(reduce, shifts.load(within, writer.index(row), 'shift')), within, row);
          }
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
        overRows(scene, body, fewer, cells, axis, context.lattice, (within, row) => {
          for (const equation of cells) {
            for (const reduce of reductions[equations.indexOf(equation)]!) {
              const names = reduce.reduction === 'logSumExp' ? ['shift', 'total'] : [reduce.reduction];
              const [first, second] = results
                .get(reduce)!
                .map((each, i) => each.load(within, writer.index(row), names[i]!));
              lower.given(reduce, second ? lower.logOfTotal(first!, second) : lower.widen(first!), within);
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
