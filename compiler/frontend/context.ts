/** What one reading of a spec knows and collects: the graph builder, fields so far, and what is learnt about ints. */
import type { ts } from 'ts-morph';
import { GraphBuilder } from '../graph/build.js';
import type { Expr, IndexRef, SizeExpr } from '../graph/graph.js';
import { originOf, specError } from './syntax.js';
import { TS } from './typescript.js';
import type { Closure, FieldHandle, Scope, Value } from './values.js';

/** An argument and where it was written. */
export interface Argument {
  readonly value: Value;
  readonly node: ts.Node;
}

/** What the parts of the evaluator need of each other. */
export interface Reader {
  readonly context: Context;
  evaluate(node: ts.Expression, scope: Scope): Value;
  /** Calls a function of the spec; `at` is where, for the trail of messages, which quiet calls leave no mark in. */
  apply(fn: Closure, args: readonly Argument[], at: ts.Node, quiet?: boolean): Value;
}

/** Thrown when a parameter taken for a real turns out to be an int: the spec is then read again. */
export class NeedsInt extends Error {
  constructor(readonly params: readonly string[]) {
    super(`int parameters: ${params.join(', ')}`);
  }
}

/** Unrolling and inlining stop here: a spec this long is a mistake, and would take minutes to compile. */
const maximumSteps = 200_000;
const maximumDepth = 200;

export class Context {
  readonly builder = new GraphBuilder();
  readonly fields: FieldHandle[] = [];
  /** Calls that are being inlined, outermost first. */
  private readonly trail: { readonly name: string; readonly at: ts.Node }[] = [];
  /** The range of each index variable, by its `unique`; whether a reduction binds it. */
  private readonly ranges = new Map<number, { readonly extent: SizeExpr; readonly reduction: boolean }>();
  /** Exclusive upper limits of int parameters and int inputs, from how they are used. */
  private readonly limits = new Map<string, { readonly size: SizeExpr; readonly sure: boolean }>();
  private readonly places = new Map<number, ts.Node[]>();
  private readonly taken = new Set<string>();
  private steps = 0;
  /** How many index functions of fields and reductions we are inside of. */
  cellDepth = 0;

  constructor(
    /** Parameters already known to be ints, and the default of every parameter. */
    readonly intParams: ReadonlySet<string>,
  ) {}

  readonly paramDefaults = new Map<string, number>();

  /** One read of the spec's first int input, for examples in hints: 'labels(u)'. */
  exampleGather: string | undefined;

  /** Reports the author's mistake at a node, with the calls that led there. */
  fail(node: ts.Node, code: string, message: string, hint: string): never {
    const calls = this.trail.slice(-4).reverse();
    const trail = calls.map(({ name, at }) => {
      const { file, line, column } = originOf(at);
      return `\n  in ${name}, called at ${file}:${line}:${column}`;
    });
    // Parentheses are not what is wrong.
    let place = node;
    while (TS.isParenthesizedExpression(place)) place = place.expression;
    throw specError(code, place, message, hint + trail.join(''));
  }

  step(node: ts.Node): void {
    if (++this.steps > maximumSteps) {
      this.fail(
        node,
        'too-large',
        `the equations unroll to more than ${maximumSteps} operations`,
        'Use a reduction over an index instead of unrolling, or fewer nested .map calls.',
      );
    }
  }

  /** Runs `work` inside a call, for messages; refuses functions that call themselves without end. */
  inside<T>(name: string, at: ts.Node, work: () => T): T {
    if (this.trail.length >= maximumDepth) {
      this.trail.length = 0;
      this.fail(
        at,
        'recursive-helper',
        `${name} is called ${maximumDepth} calls deep`,
        'Helpers are inlined, so they cannot call themselves without end. Use recurrence for values that depend on earlier cells.',
      );
    }
    this.trail.push({ name, at });
    const result = work();
    this.trail.pop();
    return result;
  }

  /** Remembers where an expression was written. */
  note<E extends Expr>(expr: E, node: ts.Node): E {
    this.builder.note(expr, originOf(node));
    const places = this.places.get(expr.id);
    if (places) places.push(node);
    else this.places.set(expr.id, [node]);
    return expr;
  }

  /** Where inside `node` an expression was written, or `node` itself: the smallest place to point at. */
  placeWithin(expr: Expr, node: ts.Node): ts.Node {
    const file = node.getSourceFile();
    const inside = (place: ts.Node): boolean =>
      place.getSourceFile() === file && place.getStart() >= node.getStart() && place.getEnd() <= node.getEnd();
    return this.places.get(expr.id)?.find(inside) ?? node;
  }

  /** The last index variable's range. */
  newIndex(name: string, extent: SizeExpr, reduction: boolean): IndexRef {
    const index = this.builder.index(name);
    this.ranges.set(index.unique, { extent, reduction });
    return index;
  }
  rangeOf = (index: IndexRef): { readonly extent: SizeExpr; readonly reduction: boolean } =>
    this.ranges.get(index.unique)!;

  /** Learns that an int lies in [0, size). A use as an index (`sure`) outweighs a comparison with one. */
  learnLimit(name: string, size: SizeExpr, sure: boolean): void {
    const known = this.limits.get(name);
    if (!known || (sure && !known.sure)) this.limits.set(name, { size, sure });
  }
  limitOf = (name: string): SizeExpr | undefined => this.limits.get(name)?.size;

  /** Reads the spec again with these parameters as ints. */
  demandInts(params: readonly string[]): never {
    throw new NeedsInt(params);
  }

  /** Makes a name that no input, size, parameter or field has yet. */
  claim(wanted: string): string {
    let name = wanted;
    for (let i = 2; this.taken.has(name); i++) name = `${wanted}_${i}`;
    this.taken.add(name);
    return name;
  }
  nameOf(field: FieldHandle): string {
    field.name ??= this.claim('unnamed');
    return field.name;
  }
}
