/**
 * From contributions of reads to the derivative of a whole tensor: for a cell x, the sum over all places that read x.
 *
 * A read source(f(i)) at indices i contributes to the cells x = f(i). Turned around: each index variable that occurs alone in some
 * f_j is solved for, what is left of x = f(i) is a condition (a gather: x_v === labels(u)), and variables that x does
 * not determine are summed over (the frames, for an input that has none). Such a sum is taken for every cell x, so what does not
 * depend on x is kept out of it: conditions without the summed variables stand before it, and the adjoint under a gather becomes
 * a field of its own.
 */

import type { GraphBuilder } from '../graph/build.js';
import { collect, freeIndices } from '../graph/free.js';
import type { Expr, IndexRef, SizeExpr } from '../graph/graph.js';
import { substitute as substituteIn } from '../graph/rebuild.js';
import { printSize } from '../graph/size.js';
import { indexAtom, type Ranges } from '../schedule/ranges.js';
import type { Contribution, Terms } from './adjoint.js';
import type { Expander } from './expand.js';

/** A contribution with the index variables it is summed over. */
export interface Place extends Contribution {
  readonly over: readonly IndexRef[];
}

export interface Derivative {
  readonly axes: readonly IndexRef[];
  readonly body: Expr;
}

export interface Tools {
  readonly terms: Terms;
  readonly expander: Expander;
  readonly ranges: Ranges;
  /** Makes a field over these indices, zero outside, and answers its name. */
  readonly field: (name: string, axes: readonly IndexRef[], body: Expr) => string;
}

/** The derivative with respect to a tensor with the given dims, from all places that read it. */
export function derivativeOf(
  source: string,
  dims: readonly SizeExpr[],
  axisNames: readonly string[],
  places: readonly Place[],
  tools: Tools,
): Derivative {
  const { terms, expander } = tools;
  const { b } = terms;
  const axes = dims.map((dim, axis) => expander.index(axisNames[axis]!, dim));
  // Terms that are summed over the same extents, for the same cells, share one sum.
  const sums = new Map<string, { indices: IndexRef[]; where: Expr; values: Expr[] }>();
  for (const place of places.filter(({ read }) => read.source === source)) {
    const { value, left, where } = turnAround(place, axes, tools);
    const key = `${where.id} ${left.map((index) => printSize(expander.extentOf(index))).join()}`;
    const group = sums.get(key) ?? {
      indices: left.map((index) => expander.index(index.name, expander.extentOf(index))),
      where,
      values: [],
    };
    sums.set(key, group);
    group.values.push(substitute(value, new Map(left.map((index, k) => [index, group.indices[k]!])), terms));
  }
  const totals = [...sums.values()].map(({ indices, where, values }) => {
    const total = indices.reduceRight(
      (sum, index) => b.reduce('sum', index, expander.extentOf(index), sum),
      terms.sum(values),
    );
    return terms.where(where, total);
  });
  return { axes, body: terms.sum(totals) };
}

/** The contribution as a function of the cell, the variables that the cell does not determine, and a condition free of those. */
function turnAround(
  { read, adjoint, over }: Place,
  axes: readonly IndexRef[],
  tools: Tools,
): { value: Expr; left: IndexRef[]; where: Expr } {
  const { terms, expander, ranges } = tools;
  const { b } = terms;
  const solved = new Map<IndexRef, Expr>();
  const pending = new Set(read.indices.keys());
  const unsolvedIn = (position: number): IndexRef[] =>
    freeIndices(read.indices[position]!).filter((index) => over.includes(index) && !solved.has(index));
  for (let progress = true; progress; ) {
    progress = false;
    for (const position of pending) {
      const unknown = unsolvedIn(position);
      const index = unknown[0];
      if (unknown.length !== 1 || !index) continue;
      const form = ranges.affine(read.indices[position]!);
      const k = form.coefficient(indexAtom(index));
      if (Math.abs(k) !== 1 || !occursOnlyAffinely(read.indices[position]!, index)) continue;
      // x = k i + rest, so i = k (x - rest); rest is the index with i put to 0.
      const rest = substitute(read.indices[position]!, new Map<IndexRef, Expr>([...solved, [index, b.int(0)]]), terms);
      const difference = b.prim('sub', axes[position]!, rest);
      solved.set(index, shorten(k === 1 ? difference : b.prim('neg', difference), b));
      pending.delete(position);
      progress = true;
    }
  }
  const conditions = [...pending].map((position) =>
    b.compare('eq', axes[position]!, substitute(read.indices[position]!, solved, terms)),
  );
  const bounds = [...solved].map(([index, value]) => expander.inside([value], [expander.extentOf(index)]));
  const left = over.filter((index) => !solved.has(index));
  const all = (parts: readonly Expr[]): Expr => b.logic('and', b.bool(true), ...parts);
  const uses = (part: Expr, indices: readonly IndexRef[]): boolean =>
    freeIndices(part).some((index) => indices.includes(index));
  const where = all([...bounds, ...conditions].filter((part) => !uses(part, left)));
  const within = all([...bounds, ...conditions].filter((part) => uses(part, left)));
  if (!conditions.some((part) => uses(part, left))) {
    const value = terms.where(within, substitute(adjoint, solved, terms));
    // Without a sum there is nothing to keep its condition out of.
    if (left.length === 0) return { value: terms.where(where, value), left, where: b.bool(true) };
    return { value, left, where };
  }
  // What the conditions do not ask for is summed before they are asked.
  const inner = left.filter((index) => !uses(within, [index]));
  let summed: Summed = { condition: within, adjoint, over, left: left.filter((index) => !inner.includes(index)) };
  for (const index of summed.left) summed = byQuotient(summed, index, tools);
  const flowing = apart(read.source, summed.adjoint, { over: summed.over, inner }, tools);
  return { value: terms.where(summed.condition, substitute(flowing, solved, terms)), left: summed.left, where };
}

/** An adjoint where a condition holds, to be summed over `left`. */
interface Summed {
  readonly condition: Expr;
  readonly adjoint: Expr;
  readonly over: readonly IndexRef[];
  readonly left: IndexRef[];
}

/**
 * Where the condition asks for an index s only as q = floorDiv(s, k), the k values of s that share q are summed before it is asked:
 * the sum over s becomes one over q, k times shorter.
 */
function byQuotient(summed: Summed, index: IndexRef, { terms, expander }: Tools): Summed {
  const { b } = terms;
  const quotients = collect(
    summed.condition,
    (part): part is Expr & { op: 'prim' } => part.op === 'prim' && part.name === 'floorDiv' && part.args[0] === index,
  );
  const [quotient] = quotients;
  const by = quotient?.args[1];
  if (!quotient || quotients.length > 1 || by?.op !== 'const') return summed;
  const k = by.value;
  const extent = expander.extentOf(index);
  const shorter = Object.entries(extent.terms).map(([name, factor]) => [name, factor / k] as const);
  if (!shorter.every(([, factor]) => Number.isInteger(factor))) return summed;
  const group = expander.index(index.name, {
    constant: Math.ceil(extent.constant / k),
    terms: Object.fromEntries(shorter),
  });
  const condition = substitute(summed.condition, new Map([[quotient, group]]), terms);
  if (freeIndices(condition).includes(index)) return summed;
  const members = Array.from({ length: k }, (_, r) => {
    const member = b.prim('add', b.prim('mul', b.int(k), group), b.int(r));
    const value = substitute(summed.adjoint, new Map([[index, member]]), terms);
    return terms.where(expander.inside([member], [extent]), value);
  });
  const replaced = (indices: readonly IndexRef[]): IndexRef[] => indices.map((each) => (each === index ? group : each));
  return {
    condition,
    adjoint: terms.sum(members),
    over: replaced(summed.over),
    left: replaced(summed.left),
  };
}

/** An adjoint, summed over some of its variables, as the read of a field over the others, with its sign left outside. */
function apart(
  source: string,
  adjoint: Expr,
  { over, inner }: { readonly over: readonly IndexRef[]; readonly inner: readonly IndexRef[] },
  tools: Tools,
): Expr {
  const { terms, expander, field } = tools;
  const negative = terms.negated(adjoint);
  if (negative) return terms.neg(apart(source, negative, { over, inner }, tools));
  if (inner.length === 0 && (adjoint.op === 'read' || adjoint.op === 'const')) return adjoint;
  // The sum has variables of its own: those of the adjoint may be bound elsewhere.
  const own = inner.map((index) => expander.index(index.name, expander.extentOf(index)));
  const summand = substitute(adjoint, new Map(inner.map((index, k) => [index, own[k]!])), terms);
  const total = own.reduceRight((sum, index) => terms.b.reduce('sum', index, expander.extentOf(index), sum), summand);
  const kept = over.filter((index) => !inner.includes(index));
  return terms.b.read(field(`d_${source}`, kept, total), 'real', kept);
}

/** Whether an index variable occurs in sums and multiples only, not inside of a gather or a quotient. */
function occursOnlyAffinely(expr: Expr, index: IndexRef): boolean {
  const nested = collect(
    expr,
    (part): part is Expr =>
      part.op === 'read' || part.op === 'select' || (part.op === 'prim' && part.name === 'floorDiv'),
  );
  return nested.every((part) => !freeIndices(part).includes(index));
}

/** An int expression with what cancels in it left out: u + 1 - 1 is u. */
function shorten(expr: Expr, b: GraphBuilder): Expr {
  if (expr.op !== 'prim' || expr.type !== 'int') return expr;
  const terms = new Map<Expr, number>();
  let [constant, parts, clumsy] = [0, 0, false];
  const walk = (part: Expr, sign: number): void => {
    if (part.op === 'prim' && (part.name === 'add' || part.name === 'sub')) {
      walk(part.args[0]!, sign);
      walk(part.args[1]!, part.name === 'add' ? sign : -sign);
    } else if (part.op === 'prim' && part.name === 'neg') walk(part.args[0]!, -sign);
    else {
      parts++;
      if (part.op === 'const') {
        clumsy ||= part.value <= 0;
        constant += sign * part.value;
      } else terms.set(part, (terms.get(part) ?? 0) + sign);
    }
  };
  walk(expr, 1);
  const left = [...terms].filter(([, times]) => times !== 0).sort(([, m], [, n]) => n - m);
  if (!clumsy && left.length + (constant === 0 ? 0 : 1) === parts) return expr;
  const [first, ...others] = left;
  if (left.some(([, times]) => Math.abs(times) !== 1) || (first && first[1] < 0)) return expr;
  if (!first) return b.int(constant);
  const sum = others.reduce((total, [term, sign]) => b.prim(sign > 0 ? 'add' : 'sub', total, term), first[0]);
  if (constant === 0) return sum;
  return constant > 0 ? b.prim('add', sum, b.int(constant)) : b.prim('sub', sum, b.int(-constant));
}

/** An expression with others in the place of some that it has, and its sums shortened. */
export function substitute(expr: Expr, replacements: ReadonlyMap<Expr, Expr>, { b }: Terms): Expr {
  return substituteIn(b, expr, replacements, (made, from) => (from.op === 'prim' ? shorten(made, b) : made));
}
