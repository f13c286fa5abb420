/**
 * Rows that several lanes loops read one after the other, as a maximum and then a sum do: each invocation keeps its part of
 * the row in registers, so that the row is read from memory once. Which lanes are an invocation's, and in what order it adds
 * them up, is as in an ordinary lanes loop, so results have the same bits.
 *
 * Such loops are unrolled, since only variables with names of their own are sure to be registers. So the range must be
 * known when the loop is compiled, and an invocation's part of it small.
 */
import { isVarying, operandsOf } from '../kernel/analysis.js';
import type { KExpr, Kernel, KLoad, KLoop, KStmt } from '../kernel/kernel.js';
import type { Abreast } from './abreast.js';
import type { Vectors } from './vectors.js';

/** Numbers that one invocation keeps, at most: more would leave too few registers for enough workgroups at a time. */
const MOST_KEPT = 32;

/** A row that loops share. Loops of one row print one after the other, in the same block. */
export interface KeptRow {
  /** What is read more than once, as the first loop has it, by what tells it from others. */
  readonly loads: ReadonlyMap<string, KLoad>;
  /** The key of each of the loops' loads of what is kept. */
  readonly keys: ReadonlyMap<KLoad, string>;
  /** Rounds of its invocations over the range. */
  readonly rounds: number;
  /** Rounds in which every invocation has lanes: the last may have some for a few only. */
  readonly full: number;
  readonly first: KLoop;
}

/** The loops of a kernel that keep rows. */
export function findRows(
  kernel: Kernel,
  vectors: Vectors,
  stored: ReadonlySet<string>,
  workgroupSize: number,
  abreast: Abreast | undefined,
): ReadonlyMap<KLoop, KeptRow> {
  const rows = new Map<KLoop, KeptRow>();
  const visit = (body: readonly KStmt[], lanes: number): void => {
    const byRange = new Map<string, KLoop[]>();
    for (const statement of body) {
      if (statement.kind === 'if') {
        visit(statement.then, lanes);
        visit(statement.otherwise, lanes);
      } else if (statement.kind === 'loop' && statement.mode !== 'lanes')
        visit(statement.body, abreast?.loops.has(statement) ? abreast.lanes : lanes);
      else if (statement.kind === 'loop') {
        const { from, to } = statement;
        if (from.op !== 'const' || to.op !== 'const' || !isStraight(statement)) continue;
        const range = `${from.value} ${to.value} ${vectors.loops.has(statement)}`;
        byRange.set(range, [...(byRange.get(range) ?? []), statement]);
      }
    }
    for (const loops of byRange.values()) {
      const row = sharedRow(loops, vectors, stored, lanes);
      if (row !== undefined)
        for (const loop of loops) if (loadsOf(loop).some((load) => row.keys.has(load))) rows.set(loop, row);
    }
  };
  visit(kernel.body, abreast !== undefined && abreast.loops.size === 0 ? abreast.lanes : workgroupSize);
  return rows;
}

function sharedRow(
  loops: readonly KLoop[],
  vectors: Vectors,
  stored: ReadonlySet<string>,
  /** Invocations that share the row. */
  lanes: number,
): KeptRow | undefined {
  const [first, ...others] = loops;
  if (first === undefined || others.length === 0) return undefined;
  const each = vectors.loops.has(first) ? 4 : 1;
  const count = (first.to as { value: number }).value - (first.from as { value: number }).value;
  const rounds = Math.ceil(count / (each * lanes));
  const keyed = new Map(loops.flatMap((loop) => keyedLoads(loop, stored)));
  const inFirst = new Map<string, KLoad>();
  for (const [load, key] of keyedLoads(first, stored)) if (!inFirst.has(key)) inFirst.set(key, load);
  const inOthers = new Set(others.flatMap((loop) => keyedLoads(loop, stored).map(([, key]) => key)));
  const loads = new Map([...inFirst].filter(([key]) => inOthers.has(key)));
  if (loads.size === 0 || rounds * each * loads.size > MOST_KEPT) return undefined;
  const keys = new Map([...keyed].filter(([, key]) => loads.has(key)));
  return { loads, keys, rounds, full: Math.floor(count / (each * lanes)), first };
}

const isStraight = ({ body }: KLoop): boolean => body.every(({ kind }) => kind !== 'loop' && kind !== 'if');

/** Loads without a mask that differ between lanes and that nothing inside of the loop but its variable decides. */
function keyedLoads(loop: KLoop, stored: ReadonlySet<string>): [load: KLoad, key: string][] {
  const own = new Set(loop.body.flatMap((statement) => (statement.kind === 'let' ? [statement.name] : [])));
  const suits = ({ buffer, type, mask, index }: KLoad): boolean =>
    type === 'f32' &&
    mask === undefined &&
    !stored.has(buffer) &&
    !isVarying(index, own) &&
    isVarying(index, new Set([loop.variable]));
  return loadsOf(loop)
    .filter(suits)
    .map((load) => [load, `${load.buffer} ${keyOf(load.index, loop.variable)}`]);
}

function loadsOf(loop: KLoop): KLoad[] {
  const loads: KLoad[] = [];
  const visit = (expr: KExpr): void => {
    if (expr.op === 'load') loads.push(expr);
    operandsOf(expr).forEach(visit);
  };
  for (const statement of loop.body) {
    if (statement.kind === 'let') visit(statement.value);
    if (statement.kind !== 'store') continue;
    visit(statement.index);
    visit(statement.value);
  }
  for (const { value } of loop.reduce) visit(value);
  return loads;
}

/** Equal for equal expressions of two loops' variables. Names are unique within a kernel, and values never change. */
function keyOf(expr: KExpr, variable: string): string {
  return JSON.stringify(expr, (_, value: unknown) =>
    typeof value === 'object' &&
    value !== null &&
    (value as KExpr).op === 'var' &&
    (value as { name?: string }).name === variable
      ? 'lane'
      : value,
  );
}
