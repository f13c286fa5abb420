/**
 * Values of the partial evaluator. Static ones (numbers, booleans, strings, arrays, objects, functions) exist
 * only while a spec is read; scalars are expressions of the graph; handles stand for inputs and fields. Scopes
 * say which value a name has where it is written.
 */
import type { ts } from 'ts-morph';
import type { Expr, IndexRef, SizeExpr } from '../graph/graph.js';

export type Value =
  | number
  | boolean
  | string
  | readonly Value[]
  | Scalar
  | InputHandle
  | FieldHandle
  | Closure
  | Builtin
  | ObjectValue
  | InputForm
  | LossForm
  | LogSoftmaxHandle
  | ArcForm
  | LatticeForm;

/** An expression of the graph: real, int or bool. */
export interface Scalar {
  readonly kind: 'scalar';
  readonly expr: Expr;
}
export interface InputHandle {
  readonly kind: 'input';
  readonly name: string;
  readonly element: 'f32' | 'i32';
  readonly dims: readonly SizeExpr[];
}
/** A field as declared; its body is evaluated after every const of the loss has a value. */
export interface FieldHandle {
  readonly kind: 'field';
  readonly recurrence: boolean;
  readonly domain: readonly SizeExpr[];
  readonly outside: number;
  readonly body: Closure | MadeCell;
  readonly bodyNode: ts.Node;
  /** The whole call, for messages about the field. */
  readonly node: ts.Node;
  /** The name in the graph: of the const it is first assigned to, or a generated one once it is read. */
  name?: string;
}
/** The cell function of a field that a word of the vocabulary declares. */
export interface MadeCell {
  readonly kind: 'made-cell';
  /** Names for the axes. */
  readonly axes: readonly string[];
  readonly cell: (axes: readonly IndexRef[]) => Expr;
}
/** What logSoftmax gives: read like a field, but every read is written out in terms of the logits and one field for the log of each row's sum. */
export interface LogSoftmaxHandle {
  readonly kind: 'log-softmax';
  /** All of them: where a part of the last index was asked for, `part`. */
  readonly logits: InputHandle | FieldHandle;
  /** A field of the logits that take part, where not all do. Named after the const of the log-softmax. */
  readonly part?: FieldHandle;
  readonly logZ: FieldHandle;
  name?: string;
}
/** arc({ ... }): checked as far as it can be without its lattice. */
export interface ArcForm {
  readonly kind: 'arc-form';
  readonly object: ObjectValue;
  readonly name?: string;
  readonly step: readonly number[];
  readonly weight: Closure;
  readonly when?: Closure;
  readonly final: boolean;
  /** The whole call. */
  readonly node: ts.Node;
}
/** lattice({ ... }), whose weights are evaluated after every const of the loss has a value. */
export interface LatticeForm {
  readonly kind: 'lattice-form';
  readonly object: ObjectValue;
  readonly nodes: readonly SizeExpr[];
  readonly start: readonly Expr[];
  readonly end: readonly Expr[];
  /** With names, and steps of as many numbers as nodes has. */
  readonly arcs: readonly (ArcForm & { readonly name: string })[];
  readonly node: ts.Node;
}
/** A function of the spec, called by evaluating its body in place. */
export interface Closure {
  readonly kind: 'closure';
  readonly node: ts.ArrowFunction | ts.FunctionExpression | ts.FunctionDeclaration;
  readonly scope: Scope;
  name?: string;
}
/** A word of the language's vocabulary, under its canonical name. */
export interface Builtin {
  readonly kind: 'builtin';
  readonly name: string;
}
/** A static object: an object literal, a module namespace, `Math`, or what the loss function receives. */
export interface ObjectValue {
  readonly kind: 'object';
  /** What to call it in messages. */
  readonly what: string;
  /** The value of a key, evaluated when first asked for; undefined when there is no such key. */
  readonly get: (key: string) => Value | undefined;
  readonly keys: () => readonly string[];
  /** Where a key's value was written. */
  readonly nodeOf: (key: string) => ts.Node | undefined;
}
/** f32('T', 'U+1', 'V') or i32('U', { not: 'pad' }), not yet given a name. */
export interface InputForm {
  readonly kind: 'input-form';
  readonly element: 'f32' | 'i32';
  readonly dims: readonly SizeExpr[];
  readonly not?: { readonly name: string; readonly node: ts.Node };
  readonly node: ts.Node;
}
/** defineLoss(header, body), not yet read. */
export interface LossForm {
  readonly kind: 'loss-form';
  readonly header: ObjectValue;
  readonly headerNode: ts.Node;
  readonly body: Closure;
  readonly bodyNode: ts.Node;
}

export const scalar = (expr: Expr): Scalar => ({ kind: 'scalar', expr });
export const isArray = (value: Value): value is readonly Value[] => Array.isArray(value);
export const hasKind = <K extends string>(value: Value, kind: K): value is Extract<Value, { kind: K }> =>
  typeof value === 'object' && !isArray(value) && value.kind === kind;

/** In messages: 'an array of 3', 'the field alpha over 2 indices'. */
export function describe(value: Value): string {
  if (typeof value === 'number') return `the number ${value}`;
  if (typeof value === 'boolean') return `the boolean ${value}`;
  if (typeof value === 'string') return `the string '${value}'`;
  if (isArray(value)) return `an array of ${value.length}`;
  switch (value.kind) {
    case 'scalar':
      if (value.expr.type === 'bool') return 'a condition';
      return value.expr.type === 'int' ? 'an integer' : 'a real number';
    case 'input':
      return `the input ${value.name} over ${indexCount(value.dims.length)}`;
    case 'field':
      return `${value.name ? `the field ${value.name}` : 'a field'} over ${indexCount(value.domain.length)}`;
    case 'closure':
      return value.name ? `the function ${value.name}` : 'a function';
    case 'builtin':
      return `the function ${value.name}`;
    case 'object':
      return value.what;
    case 'input-form':
      return `an input declaration ${value.element}(...)`;
    case 'loss-form':
      return 'a whole loss, defineLoss(...)';
    case 'log-softmax':
      return `${value.name ? `the log-softmax ${value.name}` : 'a log-softmax'} over ${indexCount(ranked(value.logits))}`;
    case 'arc-form':
      return 'an arc';
    case 'lattice-form':
      return 'a lattice';
  }
}

const ranked = (source: InputHandle | FieldHandle): number => dimsOf(source).length;
/** Extents of an input or field. */
export const dimsOf = (source: InputHandle | FieldHandle): readonly SizeExpr[] =>
  source.kind === 'input' ? source.dims : source.domain;

export const indexCount = (count: number): string => (count === 1 ? '1 index' : `${count} indices`);

/** An object whose values are all known. */
export function staticObject(
  what: string,
  entries: ReadonlyMap<string, Value>,
  nodes?: ReadonlyMap<string, ts.Node>,
): ObjectValue {
  return {
    kind: 'object',
    what,
    get: (key) => entries.get(key),
    keys: () => [...entries.keys()],
    nodeOf: (key) => nodes?.get(key),
  };
}

/** What a name means. */
export type Binding =
  | { readonly state: 'bound'; readonly value: Value }
  /** A const of a block whose line has not been reached. */
  | { readonly state: 'pending' }
  /** A const of a module: evaluated when first read, so that nothing else of the module matters. */
  | { readonly state: 'lazy'; readonly declaration: ts.VariableDeclaration }
  /** Being evaluated right now: reading it again is a circle. */
  | { readonly state: 'evaluating' }
  | { readonly state: 'import'; readonly node: ts.Node; readonly specifier: string; readonly name: string }
  | { readonly state: 'mutable'; readonly keyword: string }
  | { readonly state: 'unsupported'; readonly what: string };

export class Scope {
  readonly bindings = new Map<string, Binding>();
  constructor(readonly parent?: Scope) {}

  /** The scope that declares a name, the nearest first. */
  owner(name: string): Scope | undefined {
    for (let scope: Scope | undefined = this; scope; scope = scope.parent) if (scope.bindings.has(name)) return scope;
    return undefined;
  }
  bind(name: string, value: Value): void {
    this.bindings.set(name, { state: 'bound', value });
  }
  /** Every name that can be seen from here. */
  names(): string[] {
    return [...this.bindings.keys(), ...(this.parent?.names() ?? [])];
  }
}
