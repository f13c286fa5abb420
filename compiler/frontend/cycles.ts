/** Definitions that go in circles. Recurrences may, through other cells; fields may not. */
import { operands } from '../graph/build.js';
import type { Expr, FieldDecl, ReadExpr } from '../graph/graph.js';
import type { Context } from './context.js';
import type { FieldHandle } from './values.js';

/** Every read in an expression, each once. */
export function readsOf(expr: Expr): ReadExpr[] {
  const seen = new Set<Expr>();
  const reads: ReadExpr[] = [];
  const stack = [expr];
  for (let next = stack.pop(); next; next = stack.pop()) {
    if (seen.has(next)) continue;
    seen.add(next);
    if (next.op === 'read') reads.push(next);
    stack.push(...operands(next));
  }
  return reads.sort((a, b) => a.id - b.id);
}

export function checkCycles(context: Context, fields: readonly FieldDecl[], handles: readonly FieldHandle[]): void {
  const byName = new Map(
    fields.map((field, i) => [field.name, { field, handle: handles[i]!, reads: readsOf(field.body) }]),
  );
  for (const { field, handle, reads } of byName.values()) {
    const own = reads.find(
      (read) => read.source === field.name && read.indices.every((index, axis) => index === field.axes[axis]),
    );
    const axes = field.axes.map(({ name }) => name).join(', ');
    if (own && field.kind === 'recurrence') {
      context.fail(
        context.placeWithin(own, handle.node),
        'reads-own-cell',
        `${field.name} reads the very cell it defines, (${axes})`,
        'Read an earlier cell here, e.g. one index less.',
      );
    }
    const self = reads.find((read) => read.source === field.name);
    if (self && field.kind === 'field') {
      context.fail(
        context.placeWithin(self, handle.node),
        'field-reads-itself',
        `${field.name} is a field and reads itself`,
        `Write recurrence instead of field if ${field.name} depends on its own earlier cells.`,
      );
    }
    if (field.kind === 'recurrence') continue;
    const path = pathBack(field.name, (name) => byName.get(name)?.reads.map(({ source }) => source) ?? []);
    if (!path) continue;
    const first = reads.find((read) => read.source === path[1])!;
    context.fail(
      context.placeWithin(first, handle.node),
      'cyclic-definition',
      `${field.name} depends on itself: ${path.join(' -> ')}`,
      'Only recurrences may depend on themselves, through other cells: write recurrence for each of these, or break the circle.',
    );
  }
}

/** The shortest way from a name through its dependencies back to itself, both ends included. */
function pathBack(start: string, next: (name: string) => readonly string[]): string[] | undefined {
  const queue: string[][] = [[start]];
  const seen = new Set<string>();
  for (let path = queue.shift(); path; path = queue.shift()) {
    for (const name of next(path[path.length - 1]!)) {
      if (name === start) return [...path, name];
      if (seen.has(name)) continue;
      seen.add(name);
      queue.push([...path, name]);
    }
  }
  return undefined;
}
