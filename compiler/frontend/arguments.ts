/** What calls of the vocabulary have in common: how many arguments, functions among them, keys of options, names. */
import type { ts } from 'ts-morph';
import type { Argument, Context, Reader } from './context.js';
import { asReal } from './operators.js';
import { didYouMean, listWords } from './suggest.js';
import {
  type Closure,
  describe,
  type FieldHandle,
  hasKind,
  type InputHandle,
  indexCount,
  type MadeCell,
  type ObjectValue,
} from './values.js';

/** Checks how many arguments there are. */
export function takes(
  context: Context,
  name: string,
  args: readonly Argument[],
  node: ts.Node,
  least: number,
  most: number,
  usage: string,
): readonly Argument[] {
  if (args.length >= least && args.length <= most) return args;
  const count = least === most ? `${least}` : `${least} or ${most}`;
  return context.fail(
    args[most]?.node ?? node,
    'argument-count',
    `${name} takes ${count} argument${most === 1 ? '' : 's'}, got ${args.length}`,
    `Write ${usage}.`,
  );
}

/** The function that an argument is, of `count` indices at most. */
export function closureOf(context: Context, name: string, arg: Argument, count: number, usage: string): Closure {
  if (!hasKind(arg.value, 'closure')) {
    context.fail(
      arg.node,
      'argument-type',
      `${name} needs a function here, and this is ${describe(arg.value)}`,
      `Write ${usage}.`,
    );
  }
  const { parameters } = arg.value.node;
  if (parameters.length > count) {
    context.fail(
      parameters[count]!,
      'index-rank',
      `this function takes ${indexCount(parameters.length)}, but ${name} gives it ${count}`,
      `Write ${usage}.`,
    );
  }
  return arg.value;
}

/** The author's name of an axis, or a made-up one where the function ignores it. */
export function axisName(fn: Closure | MadeCell, position: number): string {
  if (fn.kind === 'made-cell') return fn.axes[position]!;
  const name = fn.node.parameters[position]?.name;
  const text = name?.getText() ?? '';
  return /^\w+$/.test(text) ? text : `i${position}`;
}

/** The value of an index function for one cell, as a real. */
export function evaluateCell(reader: Reader, fn: Closure, indices: readonly Argument[], node: ts.Node) {
  reader.context.cellDepth++;
  const value = reader.apply(fn, indices, node, true);
  reader.context.cellDepth--;
  const body = fn.node.body;
  return asReal(reader.context, { value, node: body ?? node });
}

/** The elements of an array literal, for messages; the whole where they cannot be told apart. */
export function elementNodes(node: ts.Node, count: number): ts.Node[] {
  const elements = (node as { elements?: readonly ts.Node[] }).elements;
  return Array.from({ length: count }, (_, i) => (elements?.length === count ? elements[i]! : node));
}

/** Refuses keys that mean nothing, at the key. */
export function knownKeys(
  context: Context,
  object: ObjectValue,
  known: readonly string[],
  what: string,
  node: ts.Node,
): void {
  for (const key of object.keys()) {
    if (known.includes(key)) continue;
    const place = object.nodeOf(key);
    const name = (place as { name?: ts.Node } | undefined)?.name;
    context.fail(
      name ?? place ?? node,
      'unknown-key',
      `${what} has no key ${key}`,
      didYouMean(key, known, `Its keys are ${listWords(known)}.`),
    );
  }
}

/** The name that an input or field goes by in the graph. */
export const nameOfSource = (context: Context, source: InputHandle | FieldHandle): string =>
  hasKind(source, 'input') ? source.name : context.nameOf(source);
