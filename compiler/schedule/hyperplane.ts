/**
 * Dependence analysis of recurrences: the order in which the cells of a lattice can be computed.
 *
 * A cell x that reads cell y depends on it at distance d = x - y. A vector h schedules the recurrence if h . d >= 1
 * for every distance: all cells with equal h . x form one step (a hyperplane, or wavefront) and may be computed side
 * by side. Lamport, "The parallel execution of DO loops", CACM 17(2), 1974.
 */

import { operands } from '../graph/build.js';
import { readsIn } from '../graph/free.js';
import type { Expr, Origin } from '../graph/graph.js';
import { Affine } from './affine.js';
import type { Equation } from './equations.js';
import type { Ranges } from './ranges.js';

export interface Wavefront {
  /** Coefficients by axis; cells are computed in increasing h . x. */
  readonly h: readonly number[];
}

/** A recurrence that cannot be ordered: the reads that contradict each other, for the diagnostic. */
export class NoOrder extends Error {
  constructor(
    readonly recurrence: string,
    readonly reads: readonly { readonly text: string; readonly origin: Origin | undefined }[],
    readonly reason: 'contradiction' | 'rank' | 'domains',
  ) {
    super(`${recurrence} has no order of cells`);
  }
}

/** Candidate vectors, simplest first: whole rows, whole columns, diagonals, then steeper ones. */
function candidates(rank: number): number[][] {
  if (rank === 1) return [[1], [-1]];
  const simple = [
    [1, 0],
    [-1, 0],
    [0, 1],
    [0, -1],
    [1, 1],
    [-1, -1],
    [1, -1],
    [-1, 1],
  ];
  const steep = [2, 3].flatMap((k) => [
    [k, 1],
    [-k, -1],
    [k, -1],
    [-k, 1],
    [1, k],
    [-1, -k],
    [1, -k],
    [-1, k],
  ]);
  return [...simple, ...steep];
}

interface Dependence {
  readonly distance: readonly Affine[];
  /** Conditions on the path to this read, as forms that are >= 0 there. */
  readonly given: readonly Affine[];
  readonly text: string;
  readonly origin: Origin | undefined;
  /** Reading another member of the group at the very same cell: settled by the order within a cell. */
  readonly sameCell: boolean;
}

/**
 * The wavefront of a group of mutually dependent recurrences over one domain.
 * @throws NoOrder if no candidate vector satisfies every dependence
 */
export function findWavefront(
  group: readonly Equation[],
  ranges: Ranges,
  origins: ReadonlyMap<number, readonly Origin[]>,
): Wavefront {
  const rank = group[0]!.axes.length;
  const dependences = group.flatMap((equation) => dependencesOf(equation, group, ranges, origins));
  if (rank < 1 || rank > 2) {
    const reads = dependences.slice(0, 1).map(({ text, origin }) => ({ text, origin }));
    throw new NoOrder(group[0]!.name, reads, 'rank');
  }
  const violated = (h: readonly number[]): Dependence[] =>
    dependences.filter((d) => {
      if (d.sameCell) return false;
      const advance = d.distance.reduce((sum, part, axis) => sum.plus(part, h[axis]!), Affine.zero);
      return !ranges.provable(advance.offset(-1), d.given);
    });
  let best: Dependence[] = dependences;
  for (const h of candidates(rank)) {
    const left = violated(h);
    if (left.length === 0) return { h };
    if (left.length < best.length) best = left;
  }
  const blamed = best.length > 0 ? best : dependences;
  const others = dependences.filter((d) => !blamed.includes(d));
  throw new NoOrder(
    group[0]!.name,
    [...blamed, ...others].map(({ text, origin }) => ({ text, origin })),
    'contradiction',
  );
}

function dependencesOf(
  equation: Equation,
  group: readonly Equation[],
  ranges: Ranges,
  origins: ReadonlyMap<number, readonly Origin[]>,
): Dependence[] {
  const members = new Set(group.map((member) => member.name));
  const found: Dependence[] = [];
  const visit = (expr: Expr, given: readonly Affine[]): void => {
    if (expr.op === 'select') {
      const [condition, then, otherwise] = expr.args;
      visit(condition, given);
      visit(then, [...given, ...implied(condition, true, ranges)]);
      visit(otherwise, [...given, ...implied(condition, false, ranges)]);
      return;
    }
    if (expr.op === 'read' && members.has(expr.source)) {
      const distance = expr.indices.map((at, axis) => ranges.affine(equation.axes[axis]!).minus(ranges.affine(at)));
      const zero = distance.every((part) => part.isConstant && part.constant === 0);
      found.push({
        distance,
        given,
        text: `(${expr.indices.map((at) => printIndex(at)).join(', ')})`,
        origin: origins.get(expr.id)?.[0],
        sameCell: zero && expr.source !== equation.name,
      });
    }
    for (const child of operands(expr)) visit(child, given);
  };
  visit(equation.body, []);
  return found;
}

/** What a condition on indices being true (or false) says, as forms >= 0. */
function implied(condition: Expr, holds: boolean, ranges: Ranges): Affine[] {
  if (condition.op === 'logic') {
    if (condition.logic === 'not') return implied(condition.args[0]!, !holds, ranges);
    if ((condition.logic === 'and') === holds) return condition.args.flatMap((part) => implied(part, holds, ranges));
    return [];
  }
  if (condition.op !== 'compare' || condition.args[0].type !== 'int') return [];
  const difference = ranges.affine(condition.args[0]).minus(ranges.affine(condition.args[1]));
  const negated = { eq: 'ne', ne: 'eq', lt: 'ge', le: 'gt', gt: 'le', ge: 'lt' } as const;
  switch (holds ? condition.compare : negated[condition.compare]) {
    case 'eq':
      return [difference, difference.times(-1)];
    case 'ge':
      return [difference];
    case 'gt':
      return [difference.offset(-1)];
    case 'le':
      return [difference.times(-1)];
    case 'lt':
      return [difference.times(-1).offset(-1)];
    case 'ne':
      // i !== 0 for an i that is never negative says i >= 1.
      return ranges.provable(difference) ? [difference.offset(-1)] : [];
  }
}

/** An index as the author wrote it, near enough. */
export function printIndex(expr: Expr): string {
  if (expr.op === 'const') return String(expr.value);
  if (expr.op === 'index' || expr.op === 'size' || expr.op === 'param') return expr.name;
  if (expr.op === 'read') return `${expr.source}(${expr.indices.map(printIndex).join(', ')})`;
  if (expr.op === 'prim' && expr.name === 'floorDiv') return `floorDiv(${expr.args.map(printIndex).join(', ')})`;
  if (expr.op === 'prim' && expr.args.length === 2) {
    const sign = { add: '+', sub: '-', mul: '*' }[expr.name as 'add' | 'sub' | 'mul'] ?? expr.name;
    return `${printIndex(expr.args[0]!)} ${sign} ${printIndex(expr.args[1]!)}`;
  }
  return '...';
}

/** Groups of recurrences that read each other, in an order in which each group needs only earlier ones. */
export function recurrenceGroups(equations: readonly Equation[]): Equation[][] {
  const byName = new Map(equations.map((equation) => [equation.name, equation]));
  const reaches = (from: Equation): Set<string> => {
    const seen = new Set<string>();
    const visit = (equation: Equation): void => {
      for (const read of readsIn(equation.body)) {
        const next = byName.get(read.source);
        if (next && !seen.has(next.name)) {
          seen.add(next.name);
          visit(next);
        }
      }
    };
    visit(from);
    return seen;
  };
  const reach = new Map(equations.map((equation) => [equation.name, reaches(equation)]));
  const groups: Equation[][] = [];
  for (const equation of equations.filter((candidate) => candidate.recurrence)) {
    const home = groups.find(
      ([first]) => reach.get(first!.name)!.has(equation.name) && reach.get(equation.name)!.has(first!.name),
    );
    if (home) home.push(equation);
    else groups.push([equation]);
  }
  return groups;
}

/** Members of a group so that each reads, at its own cell, only members before it. */
export function orderWithinCell(group: readonly Equation[], ranges: Ranges): Equation[] {
  const ordered: Equation[] = [];
  const visit = (equation: Equation, path: readonly Equation[]): void => {
    if (ordered.includes(equation)) return;
    if (path.includes(equation)) throw new NoOrder(equation.name, [], 'contradiction');
    for (const read of readsIn(equation.body)) {
      const other = group.find((member) => member.name === read.source);
      const same = read.indices.every((at, axis) => ranges.affine(equation.axes[axis]!).equals(ranges.affine(at)));
      if (other && other !== equation && same) visit(other, [...path, equation]);
    }
    ordered.push(equation);
  };
  for (const equation of group) visit(equation, []);
  return ordered;
}
