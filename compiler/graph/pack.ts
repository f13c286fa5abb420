/**
 * A graph as plain JSON and back, so that the equations of a spec outlive the process that read them.
 *
 * Shared expressions stay shared: each is written once, into a table in order of ids, and referred to by its place. Ids and
 * index variables are kept as they were, so all that is made of the graph afterwards is the same text. Places in the source
 * are left out: who has a mistake to show reads the source again.
 */
import { CompilerBug } from '../source.js';
import { operands } from './build.js';
import type { Expr, Graph } from './graph.js';

type Json = null | boolean | number | string | readonly Json[] | { readonly [name: string]: Json };

/** What JSON can carry of a graph. */
export interface PackedGraph {
  /** Each without its operands, which are references: { "$": place in this table }. */
  readonly exprs: readonly Json[];
  readonly graph: Json;
}

/** Numbers that JSON has no word for are { "$": one of these }. */
const specials: Readonly<Record<string, number>> = {
  Infinity: Number.POSITIVE_INFINITY,
  '-Infinity': Number.NEGATIVE_INFINITY,
  NaN: Number.NaN,
  '-0': -0,
};
const nameOf = (value: number): string => (Object.is(value, -0) ? '-0' : String(value));

/** Authors may call a thing $ as well: one more is put before it. */
const escaped = (key: string): string => (key.startsWith('$') ? `$${key}` : key);
const unescaped = (key: string): string => (key.startsWith('$$') ? key.slice(1) : key);

const isExpr = (value: object): value is Expr => 'op' in value && 'id' in value;

/** The graph as JSON.stringify takes it. */
export function packGraph({ origins: _origins, fieldOrigins: _fieldOrigins, ...parts }: Graph): PackedGraph {
  const places = new Map<Expr, number>();
  const exprs: Json[] = [];
  const found = [...expressionsIn(parts)].sort((a, b) => a.id - b.id); // children first
  const pack = (value: unknown): Json => {
    if (typeof value === 'number') return nameOf(value) in specials ? { $: nameOf(value) } : value;
    if (Array.isArray(value)) return value.map(pack);
    if (typeof value !== 'object' || value === null) return value as Json;
    return isExpr(value) ? { $: places.get(value)! } : packParts(value);
  };
  const packParts = (value: object): Json =>
    Object.fromEntries(
      Object.entries(value).flatMap(([key, part]) => (part === undefined ? [] : [[escaped(key), pack(part)]])),
    );
  for (const expr of found) {
    exprs.push(packParts(expr));
    places.set(expr, exprs.length - 1);
  }
  return { exprs, graph: packParts(parts) };
}

/** Every expression a graph holds, in whatever part of it. */
function expressionsIn(root: object): Set<Expr> {
  const found = new Set<Expr>();
  const visit = (value: unknown): void => {
    if (typeof value !== 'object' || value === null) return;
    if (isExpr(value)) {
      if (found.has(value)) return;
      found.add(value);
    }
    for (const part of Object.values(value)) visit(part);
  };
  visit(root);
  return found;
}

/**
 * The graph that was packed; not verified.
 * @throws CompilerBug for what `packGraph` did not make
 */
export function unpackGraph(packed: PackedGraph): Graph {
  const exprs: Expr[] = [];
  const unpack = (value: Json): unknown => {
    if (typeof value !== 'object' || value === null) return value;
    if (Array.isArray(value)) return value.map(unpack);
    const parts = value as { readonly [name: string]: Json };
    if (typeof parts.$ === 'number') return exprs[parts.$] ?? bug(`a reference to the expression ${parts.$}`);
    if (typeof parts.$ === 'string') return specials[parts.$] ?? bug(`the number ${parts.$}`);
    return Object.fromEntries(Object.entries(parts).map(([key, part]) => [unescaped(key), unpack(part)]));
  };
  if (!Array.isArray(packed?.exprs)) bug('no table of expressions');
  for (const packedExpr of packed.exprs) {
    const expr = unpack(packedExpr) as Expr;
    if (!isExpr(expr) || operands(expr).some((operand) => !isExpr(operand))) bug(`the expression ${exprs.length}`);
    exprs.push(Object.freeze(expr));
  }
  const graph = {
    ...(unpack(packed.graph) as object),
    origins: new Map(),
    fieldOrigins: new Map(),
  } as unknown as Graph;
  if (!Array.isArray(graph.inputs) || !Array.isArray(graph.fields)) bug('no inputs or no fields');
  return graph;
}

function bug(what: string): never {
  throw new CompilerBug('graph', `a packed graph has ${what}`);
}
