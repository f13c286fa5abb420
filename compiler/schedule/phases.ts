/**
 * Which equations are computed together, and in what order: phases of kernels, where a phase needs only what earlier
 * phases stored. Plain equations that share a pass over a tensor are fused into one kernel; recurrences that do not
 * need each other (a forward and a backward one) land in one phase and run at the same time.
 */

import type { GraphBuilder } from '../graph/build.js';
import { operands } from '../graph/build.js';
import { readsIn } from '../graph/free.js';
import type { Expr, Graph, SizeExpr } from '../graph/graph.js';
import { pickedFrom } from './elements.js';
import type { Equation } from './equations.js';
import { findWavefront, NoOrder, recurrenceGroups } from './hyperplane.js';
import type { RowGroup, WaveGroup } from './kernels.js';
import { affineOfSize, type Ranges } from './ranges.js';

export type Step =
  | { readonly kind: 'rows'; readonly group: RowGroup }
  | { readonly kind: 'wave'; readonly group: WaveGroup };

interface OpenRows {
  readonly phase: number;
  readonly equations: Equation[];
  box: readonly SizeExpr[];
}

/** @throws NoOrder if a recurrence, or a cycle through several equations, has no order of cells */
export function findPhases(stored: readonly Equation[], graph: Graph, ranges: Ranges, builder: GraphBuilder): Step[][] {
  const groups = recurrenceGroups(stored);
  const phaseOf = new Map<string, number>();
  const rows: OpenRows[] = [];
  const waves: { phase: number; group: WaveGroup }[] = [];
  const pending = new Set<readonly Equation[]>([
    ...groups,
    ...stored.filter((equation) => !equation.recurrence).map((equation) => [equation]),
  ]);
  const names = new Set(stored.map((equation) => equation.name));

  while (pending.size > 0) {
    const ready = [...pending].find((group) =>
      group.every((equation) =>
        readsIn(equation.body).every(
          (read) =>
            !names.has(read.source) || phaseOf.has(read.source) || group.some((member) => member.name === read.source),
        ),
      ),
    );
    if (!ready) {
      const stuck = [...pending][0]![0]!;
      const reads = readsIn(stuck.body).filter((read) => names.has(read.source) && !phaseOf.has(read.source));
      throw new NoOrder(
        stuck.name,
        reads.map((read) => ({ text: read.source, origin: builder.origins.get(read.id)?.[0] })),
        'contradiction',
      );
    }
    pending.delete(ready);
    const needs = ready.flatMap((equation) => readsIn(equation.body)).filter((read) => phaseOf.has(read.source));
    const after = needs.reduce((latest, read) => Math.max(latest, phaseOf.get(read.source)! + 1), 0);
    if (ready[0]!.recurrence) {
      const box = ready.reduce<readonly SizeExpr[] | undefined>(
        (largest, equation) => largest && largerBox(largest, equation.domain, ranges),
        ready[0]!.domain,
      );
      if (!box) throw new NoOrder(ready[0]!.name, [], 'domains');
      waves.push({
        phase: after,
        group: { equations: ready, box, wave: findWavefront(ready, ranges, builder.origins) },
      });
      for (const equation of ready) phaseOf.set(equation.name, after);
    } else {
      const home = placeRows(ready[0]!, after, rows, phaseOf, ranges);
      phaseOf.set(ready[0]!.name, home.phase);
    }
  }

  const count = Math.max(0, ...[...phaseOf.values()].map((phase) => phase + 1));
  return Array.from({ length: count }, (_, phase) => [
    ...rows
      .filter((group) => group.phase === phase)
      .map(
        ({ equations, box }): Step => ({
          kind: 'rows',
          group: { equations, box, lanesLast: !needsOwnLanes(equations, graph) },
        }),
      ),
    ...waves.filter((group) => group.phase === phase).map(({ group }): Step => ({ kind: 'wave', group })),
  ]);
}

/** Cells that reduce over an index, or pick points of a bigger tensor row by row, are computed one after the other. */
function needsOwnLanes(equations: readonly Equation[], graph: Graph): boolean {
  return (
    equations[0]!.domain.length === 0 ||
    equations.some((equation) => contains(equation.body, 'reduce') || pickedFrom(equation, graph).length > 0)
  );
}

function contains(root: Expr, op: Expr['op']): boolean {
  return root.op === op || operands(root).some((child) => contains(child, op));
}

/**
 * The group a plain equation joins: one over a compatible box whose members it reads, if at all, at its own cell.
 * Otherwise a new one in the first phase where all it needs is there.
 */
function placeRows(
  equation: Equation,
  after: number,
  rows: OpenRows[],
  phaseOf: ReadonlyMap<string, number>,
  ranges: Ranges,
): OpenRows {
  const reads = readsIn(equation.body).filter((read) => phaseOf.has(read.source));
  const joinable = rows
    .filter((group) => {
      const outer = reads.filter((read) => !group.equations.some((member) => member.name === read.source));
      if (outer.some((read) => phaseOf.get(read.source)! >= group.phase)) return false;
      const box = largerBox(group.box, equation.domain, ranges);
      if (!box) return false;
      return reads
        .filter((read) => group.equations.some((member) => member.name === read.source))
        .every((read) => {
          const member = group.equations.find((candidate) => candidate.name === read.source)!;
          const everywhere = sameBox(member.domain, box);
          return (
            everywhere &&
            read.indices.every((at, axis) => ranges.affine(at).equals(ranges.affine(equation.axes[axis]!)))
          );
        });
    })
    .sort((a, b) => a.phase - b.phase);
  const home = joinable[0];
  if (home && home.phase <= after) {
    home.box = largerBox(home.box, equation.domain, ranges)!;
    home.equations.push(equation);
    return home;
  }
  const fresh: OpenRows = { phase: after, equations: [equation], box: equation.domain };
  rows.push(fresh);
  return fresh;
}

const sameBox = (a: readonly SizeExpr[], b: readonly SizeExpr[]): boolean =>
  a.length === b.length && a.every((extent, axis) => affineOfSize(extent).equals(affineOfSize(b[axis]!)));

/** The box that contains both, where for each axis one extent is provably the larger. */
function largerBox(a: readonly SizeExpr[], b: readonly SizeExpr[], ranges: Ranges): SizeExpr[] | undefined {
  if (a.length !== b.length) return undefined;
  const box: SizeExpr[] = [];
  for (const [axis, extent] of a.entries()) {
    const difference = affineOfSize(extent).minus(affineOfSize(b[axis]!));
    if (ranges.provable(difference)) box.push(extent);
    else if (ranges.provable(difference.times(-1))) box.push(b[axis]!);
    else return undefined;
  }
  return box;
}
