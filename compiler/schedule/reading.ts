/**
 * Kernels that read rows, in blocks: see blocks.ts.
 *
 * A log of a sum of exponentials is usually taken in two sweeps over its row: for the largest element, which is then subtracted from all,
 * and for the sum. Here the sum comes first, with nothing subtracted. Only where float32 could not hold it, or what it is
 * made of, is its row swept again in the usual way: where its largest logit is beyond about -44 or 80.
 */
import { freeIndices } from '../graph/free.js';
import type { Expr, ReduceExpr } from '../graph/graph.js';
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
  slotOf,
  slotsOf,
  whole,
} from './blocks.js';
import { outermost, pickedFrom } from './elements.js';
import type { Equation } from './equations.js';
import type { BlockedRows, RowGroup, Scene } from './kernels.js';
import { inNextLine, type ProgramContext } from './lower.js';
import { type Block, Value } from './writer.js';

/** How a group's rows are read in blocks; undefined if they are not of that kind. */
export function blockedReading(
  { equations, box, lanesLast }: RowGroup,
  context: ProgramContext,
): BlockedRows | undefined {
  const axis = box.length - 1;
  if (!context.blocks || lanesLast || axis < 1) return undefined;
  const reductionsOf = new Map(
    equations.map((each) => [each, outermost(each.body, (expr) => expr.op === 'reduce') as ReduceExpr[]]),
  );
  const reduces = [...new Set([...reductionsOf.values()].flat())];
  const perRow = equations.every((equation) =>
    reductionsOf.get(equation)!.every((reduce) => freeIndices(reduce).includes(equation.axes[axis]!)),
  );
  const sameOuter = equations.every(({ domain }) =>
    domain.slice(0, axis).every((extent, i) => sameSize(extent, box[i]!)),
  );
  if (!perRow || !sameOuter || reduces.length === 0) return undefined;

  const short = reduces.every(({ extent }) => Object.keys(extent.terms).length === 0 && extent.constant < LONG);
  // Values of the rows go along the diagonals of a tile where that is how they are stored.
  const tiled = short && axis === 1 && equations.some(({ name }) => isDiagonal(context.layouts.get(name)));
  // Elements that equations pick from the rows: taken while a row is in the nearest cache.
  const picksOf = new Map(equations.map((equation) => [equation, pickedFrom(equation, context.graph)]));
  const picked = new Set([...picksOf.values()].flat());

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
      overLines(scene, body, lines, equations, axis - 1, (lineBody, line) => {
        const slotIn = (number: Affine): Affine => slotOf(tiled, number, line);
        /** The sums of one line's rows side by side, whatever becomes of them. */
        const totals = new Map<ReduceExpr, Local>();
        overRows(scene, lineBody, rows, equations, axis, undefined, (within, number) => {
          const slot = slotIn(number);
          for (const reduce of reduces) {
            if (reduce.reduction !== 'logSumExp') {
              keep(reduce, lower.fold(reduce), within, slot);
              continue;
            }
            const ahead = lines ? inNextLine(line, number) : lower.rowsAhead(reduce);
            const total = lower.total(reduce, undefined, { ahead });
            const none = new Value(k.real(total.type as 'f32' | 'f64', 0), writer.root, 'shift');
            for (const part of [none, total]) keep(reduce, part, within, slot);
            if (tiled) {
              const beside = new Local(scene, context, total.name, total.type as 'f32' | 'f64', ROWS);
              beside.store(within, writer.index(number), total);
              totals.set(reduce, beside);
            } else totals.set(reduce, results.get(reduce)![1]!);
          }
          for (const read of picked) keep(read, lower.real(read, within), within, slot, 'f32');
        });
        if (totals.size === 0) return;
        writer.branch(lineBody, anyOutside(scene, lineBody, rows, totals.values()), (again) =>
          overRows(scene, again, rows, equations, axis, undefined, (within, number) => {
            for (const [reduce, totalsOfLine] of totals) {
              const total = totalsOfLine.load(within, writer.index(number), 'total');
              writer.branch(within, lower.outside(total), (sweep) => {
                // Bound once more, so that the sweeps are made in this branch.
                for (const equation of equations) lower.bindIndex(equation.axes[axis]!, rows.first.plus(number), sweep);
                const shift = lower.shiftOf(lower.top(reduce));
                writer.bind(shift);
                const parts = [shift, lower.total(reduce, shift)];
                for (const [i, local] of results.get(reduce)!.entries())
                  local.store(sweep, writer.index(slotIn(number)), parts[i]!);
              });
            }
          }),
        );
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
            for (const read of picksOf.get(equation)!) lower.given(read, lower.widen(load(read, read.source)), within);
            for (const reduce of reductionsOf.get(equation)!) {
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

/** Whether any of the rows' sums is outside. */
function anyOutside(scene: Scene, block: Block, rows: Rows, totals: Iterable<Local>): Value {
  const { writer, lower } = scene;
  const tests = [...totals].map((local) => {
    const [least, most] = ['least', 'most'].map((name) => writer.fresh(name)) as [string, string];
    const { element: type } = local;
    writer.loop(
      block,
      'lanes',
      { name: 'row', from: writer.constant(k.index(0)), to: rows.count, precision: type },
      (body, variable) => {
        const value = writer.use(local.load(body, variable, 'total'), body);
        return [
          { name: least, op: 'min', type, value },
          { name: most, op: 'max', type, value },
        ];
      },
    );
    return [least, most].map((name) => lower.outside(new Value(k.variable(name, type), block, name)));
  });
  return writer.combine((...conditions) => k.or(...conditions), tests.flat(), 'again');
}
