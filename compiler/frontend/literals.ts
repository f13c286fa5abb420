/** Objects, arrays and texts: static values that exist only while a spec is read. */
import type { ts } from 'ts-morph';
import type { Argument, Context, Reader } from './context.js';
import { didYouMean, listWords } from './suggest.js';
import { TS } from './typescript.js';
import { refuseExpression } from './unsupported.js';
import { describe, hasKind, isArray, type ObjectValue, type Scope, staticObject, type Value } from './values.js';

export function objectLiteral(reader: Reader, node: ts.ObjectLiteralExpression, scope: Scope): ObjectValue {
  const context: Context = reader.context;
  const entries = new Map<string, Value>();
  const nodes = new Map<string, ts.Node>();
  for (const property of node.properties) {
    if (TS.isSpreadAssignment(property)) {
      const value = reader.evaluate(property.expression, scope);
      if (!hasKind(value, 'object'))
        return context.fail(
          property,
          'unsupported-expression',
          `only objects can be spread here, and this is ${describe(value)}`,
          'Write the keys out.',
        );
      for (const key of value.keys()) {
        entries.set(key, value.get(key)!);
        nodes.set(key, property);
      }
      continue;
    }
    const isPlain = TS.isPropertyAssignment(property) || TS.isShorthandPropertyAssignment(property);
    if (!isPlain || !(TS.isIdentifier(property.name) || TS.isStringLiteral(property.name))) {
      return context.fail(
        property,
        'unsupported-expression',
        'only plain keys are supported in objects',
        'Write key: value, with an arrow function for a function.',
      );
    }
    const key = property.name.text;
    if (nodes.get(key)?.parent === node) {
      return context.fail(
        property.name,
        'duplicate-name',
        `${key} occurs twice in this object`,
        'Keep one of the two, or rename one.',
      );
    }
    const source = TS.isPropertyAssignment(property) ? property.initializer : property.name;
    const value = reader.evaluate(source as ts.Expression, scope);
    if (hasKind(value, 'closure')) value.name ??= key;
    entries.set(key, value);
    nodes.set(key, property);
  }
  return staticObject('an object', entries, nodes);
}

export function propertyOf(reader: Reader, node: ts.PropertyAccessExpression, scope: Scope): Value {
  const context: Context = reader.context;
  if (node.questionDotToken) return refuseExpression(context, node);
  const object = reader.evaluate(node.expression, scope);
  const key = node.name.text;
  if (isArray(object) && key === 'length') return object.length;
  if (!hasKind(object, 'object')) {
    return context.fail(
      node.name,
      'unsupported-expression',
      `${describe(object)} has no property ${key}`,
      'Arrays have .length and .map; objects and module namespaces have their own keys.',
    );
  }
  const value = object.get(key);
  if (value !== undefined) return value;
  if (object.what === 'Math' && key === 'random') {
    return context.fail(
      node,
      'impure',
      'Math.random gives another value every time',
      'A spec is equations: its value may depend on inputs, lengths and parameters only.',
    );
  }
  const called = TS.isCallExpression(node.parent) && node.parent.expression === node;
  return context.fail(
    node.name,
    called ? 'unknown-function' : 'unknown-name',
    `${object.what} has no ${key} in the language`,
    didYouMean(key, object.keys(), `It has ${listWords(object.keys())}.`),
  );
}

export function elementOf(reader: Reader, node: ts.ElementAccessExpression, scope: Scope): Value {
  const context: Context = reader.context;
  if (node.questionDotToken) return refuseExpression(context, node);
  const object = reader.evaluate(node.expression, scope);
  const index = reader.evaluate(node.argumentExpression, scope);
  if (hasKind(object, 'object') && typeof index === 'string') {
    const value = object.get(index);
    if (value !== undefined) return value;
  }
  if (hasKind(object, 'input') || hasKind(object, 'field')) {
    return context.fail(
      node,
      'unsupported-expression',
      `${describe(object)} is read by a call, not by [ ]`,
      `Write ${object.name ?? 'it'}(...) with all its indices.`,
    );
  }
  if (!isArray(object)) {
    return context.fail(
      node.expression,
      'unsupported-expression',
      `[ ] reads static arrays, and this is ${describe(object)}`,
      'Inputs and fields are read by a call: acts(t, u, v).',
    );
  }
  if (typeof index !== 'number') {
    return context.fail(
      node.argumentExpression,
      'static-index',
      `a static array needs an index known while the spec is read, and this is ${describe(index)}`,
      'Unroll the array with .map, or pass it as an i32 or f32 input to index it at run time.',
    );
  }
  const value = object[index];
  if (value === undefined) {
    return context.fail(
      node.argumentExpression,
      'static-index',
      `index ${index} is outside of this array of ${object.length}`,
      `Use 0 to ${object.length - 1}.`,
    );
  }
  return value;
}

export function templateText(reader: Reader, node: ts.TemplateExpression, scope: Scope): Value {
  let text = node.head.text;
  for (const span of node.templateSpans) {
    const value = reader.evaluate(span.expression, scope);
    if (typeof value !== 'number' && typeof value !== 'string') {
      return reader.context.fail(
        span.expression,
        'unsupported-expression',
        `a text cannot contain ${describe(value)}`,
        'Texts exist only while the spec is read: use static numbers in them.',
      );
    }
    text += String(value) + span.literal.text;
  }
  return text;
}

export function callMethod(
  reader: Reader,
  object: string | readonly Value[],
  target: ts.PropertyAccessExpression,
  node: ts.CallExpression,
  scope: Scope,
): Value {
  const context: Context = reader.context;
  if (typeof object === 'string')
    return context.fail(
      target.name,
      'unsupported-expression',
      `strings have no .${target.name.text} here`,
      'Equations are made of numbers.',
    );
  if (target.name.text !== 'map') {
    return context.fail(
      target.name,
      'unsupported-expression',
      `arrays have no .${target.name.text} in a spec`,
      'Use .map, .length, an index, or a spread into a call: logAddExp(...durations.map((d) => ...)).',
    );
  }
  const [fn] = spread(reader, node.arguments, scope);
  if (!fn || !hasKind(fn.value, 'closure')) {
    return context.fail(node, 'argument-count', '.map takes one function', 'Write durations.map((d, n) => ...).');
  }
  const body = fn.value;
  return object.map((value, i) =>
    reader.apply(
      body,
      [
        { value, node: fn.node },
        { value: i, node: fn.node },
      ],
      node,
      true,
    ),
  );
}

/** Elements with spreads of static arrays laid out. */
export function spread(reader: Reader, nodes: readonly ts.Expression[], scope: Scope): Argument[] {
  return nodes.flatMap((node): Argument[] => {
    if (!TS.isSpreadElement(node)) {
      if (TS.isOmittedExpression(node))
        return reader.context.fail(
          node.parent,
          'unsupported-expression',
          'this array has a hole',
          'Give every element a value.',
        );
      return [{ value: reader.evaluate(node, scope), node }];
    }
    const value = reader.evaluate(node.expression, scope);
    if (isArray(value)) return value.map((item) => ({ value: item, node }));
    return reader.context.fail(
      node,
      'unsupported-expression',
      `only arrays can be spread, and this is ${describe(value)}`,
      'Spread a static array, or a .map of one.',
    );
  });
}
