/**
 * The partial evaluator: walks a spec's syntax and computes what is known, turning the rest into expressions.
 * Functions are called by evaluating their bodies in place; nothing of the spec is ever executed.
 */
import { ts } from 'ts-morph';
import type { PrimitiveName } from '../../dsl/primitives.js';
import type { CompareOp, Expr } from '../graph/graph.js';
import { callBuiltin, callRead } from './builtins.js';
import type { Argument, Context, Reader } from './context.js';
import { learnFromCompare, wouldBeInt } from './indices.js';
import type { Found, Modules } from './modules.js';
import { applyPrimitive, choose, compareValues, condition, numeric } from './operators.js';
import { bindPattern, runBody } from './statements.js';
import { didYouMean, listWords } from './suggest.js';
import { refuseExpression, refuseOperator } from './unsupported.js';
import {
  type Closure,
  describe,
  hasKind,
  isArray,
  type ObjectValue,
  Scope,
  scalar,
  staticObject,
  type Value,
} from './values.js';
import {
  constantWords,
  impureGlobals,
  mathConstants,
  mathFunctions,
  numberConstants,
  vocabulary,
} from './vocabulary.js';

const mathObject = staticObject(
  'Math',
  new Map<string, Value>([
    ...mathFunctions.map((name) => [name, { kind: 'builtin', name }] as const),
    ...Object.entries(mathConstants),
  ]),
);
const globals = new Map<string, Value>([
  ['Infinity', Number.POSITIVE_INFINITY],
  ['Math', mathObject],
  ['Number', staticObject('Number', new Map(Object.entries(numberConstants)))],
]);

const K = ts.SyntaxKind;
const arithmetic: ReadonlyMap<ts.SyntaxKind, PrimitiveName> = new Map([
  [K.PlusToken, 'add'],
  [K.MinusToken, 'sub'],
  [K.AsteriskToken, 'mul'],
  [K.SlashToken, 'div'],
] as const);
const comparison: ReadonlyMap<ts.SyntaxKind, CompareOp> = new Map([
  [K.EqualsEqualsEqualsToken, 'eq'],
  [K.ExclamationEqualsEqualsToken, 'ne'],
  [K.LessThanToken, 'lt'],
  [K.LessThanEqualsToken, 'le'],
  [K.GreaterThanToken, 'gt'],
  [K.GreaterThanEqualsToken, 'ge'],
] as const);

export class Evaluator implements Reader {
  constructor(
    readonly context: Context,
    private readonly modules: Modules,
  ) {}

  evaluate(node: ts.Expression, scope: Scope): Value {
    this.context.step(node);
    const value = this.visit(node, scope);
    const transparent = ts.isParenthesizedExpression(node) || ts.isIdentifier(node) || ts.isAsExpression(node);
    if (hasKind(value, 'scalar')) {
      const leaf = ['size', 'param', 'index'].includes(value.expr.op);
      if (!transparent || (leaf && ts.isIdentifier(node))) this.context.note(value.expr, node);
    }
    return value;
  }

  private argument = (node: ts.Expression, scope: Scope): Argument => ({ value: this.evaluate(node, scope), node });

  private visit(node: ts.Expression, scope: Scope): Value {
    if (
      ts.isParenthesizedExpression(node) ||
      ts.isAsExpression(node) ||
      ts.isSatisfiesExpression(node) ||
      ts.isNonNullExpression(node)
    ) {
      return this.evaluate(node.expression, scope);
    }
    if (ts.isNumericLiteral(node)) return Number(node.text);
    if (ts.isStringLiteral(node) || ts.isNoSubstitutionTemplateLiteral(node)) return node.text;
    if (node.kind === K.TrueKeyword) return true;
    if (node.kind === K.FalseKeyword) return false;
    if (ts.isIdentifier(node)) return this.name(node, scope);
    if (ts.isArrowFunction(node) || ts.isFunctionExpression(node)) return this.closure(node, scope);
    if (ts.isArrayLiteralExpression(node)) return this.spread(node.elements, scope).map(({ value }) => value);
    if (ts.isObjectLiteralExpression(node)) return this.object(node, scope);
    if (ts.isPrefixUnaryExpression(node)) return this.prefix(node, scope);
    if (ts.isBinaryExpression(node)) return this.binary(node, scope);
    if (ts.isConditionalExpression(node)) {
      const test = condition(this.context, this.argument(node.condition, scope));
      if (typeof test === 'boolean') return this.evaluate(test ? node.whenTrue : node.whenFalse, scope);
      return choose(this.context, test, this.argument(node.whenTrue, scope), this.argument(node.whenFalse, scope));
    }
    if (ts.isPropertyAccessExpression(node)) return this.property(node, scope);
    if (ts.isElementAccessExpression(node)) return this.element(node, scope);
    if (ts.isCallExpression(node)) return this.callExpression(node, scope);
    if (ts.isTemplateExpression(node)) return this.template(node, scope);
    return refuseExpression(this.context, node);
  }

  // ---- names

  private name(node: ts.Identifier, scope: Scope): Value {
    const name = node.text;
    const owner = scope.owner(name);
    if (owner) return this.read(owner, name, node);
    const global = globals.get(name);
    if (global !== undefined) return global;
    const context: Context = this.context;
    if (impureGlobals.has(name)) {
      context.fail(
        node,
        'impure',
        `${name} is outside of a spec's reach`,
        'A spec is equations: its value may depend on inputs, lengths and parameters only.',
      );
    }
    if (vocabulary.has(name)) {
      context.fail(
        node,
        'unknown-name',
        `${name} is not imported`,
        `Add it to the imports: import { ${name} } from 'trellis-jit/dsl';`,
      );
    }
    const called = ts.isCallExpression(node.parent) && node.parent.expression === node;
    const names = [...scope.names(), ...globals.keys(), ...vocabulary];
    context.fail(
      node,
      called ? 'unknown-function' : 'unknown-name',
      called ? `there is no function ${name}` : `there is nothing called ${name} here`,
      didYouMean(
        name,
        names,
        called
          ? `The language's own functions are ${listWords([...vocabulary].filter((word) => !(word in constantWords)))}.`
          : 'Names are those declared by const, by the header of defineLoss, or imported.',
      ),
    );
  }

  /** The value of a name in the scope that declares it. */
  private read(owner: Scope, name: string, node: ts.Node): Value {
    const binding = owner.bindings.get(name)!;
    const context: Context = this.context;
    switch (binding.state) {
      case 'bound':
        return binding.value;
      case 'pending':
        return context.fail(
          node,
          'used-before-definition',
          `${name} is used before the line that defines it`,
          `Move the definition of ${name} above this line. (Only bodies of fields may look ahead.)`,
        );
      case 'evaluating':
        return context.fail(
          node,
          'used-before-definition',
          `${name} is defined by itself`,
          `Define ${name} without using it; values that depend on earlier cells are recurrences.`,
        );
      case 'mutable':
        return context.fail(
          node,
          'mutable-state',
          `${name} is declared with ${binding.keyword}, so its value may change`,
          `Declare ${name} with const. Equations cannot depend on mutable state.`,
        );
      case 'unsupported':
        return context.fail(
          node,
          'unsupported-expression',
          `${name} is ${binding.what}, which equations cannot use`,
          'Use consts and functions.',
        );
      case 'lazy': {
        for (const [other, entry] of owner.bindings) {
          if (entry.state === 'lazy' && entry.declaration === binding.declaration)
            owner.bindings.set(other, { state: 'evaluating' });
        }
        const { name: pattern, initializer } = binding.declaration;
        if (!initializer)
          return context.fail(
            node,
            'used-before-definition',
            `${name} has no value`,
            `Give ${name} a value where it is declared.`,
          );
        bindPattern(this, owner, pattern, this.evaluate(initializer, owner), initializer);
        return this.read(owner, name, node);
      }
      case 'import': {
        const value = this.imported(binding.specifier, binding.name, binding.node);
        owner.bind(name, value);
        return value;
      }
    }
  }

  private imported(specifier: string, name: string, node: ts.Node): Value {
    if (name === '*') return this.namespace(specifier, node);
    const found = this.modules.find(specifier, name, node);
    if (!found) return this.modules.missingExport(specifier, name, node);
    return this.found(found, node, specifier);
  }

  private found(what: Found, node: ts.Node, specifier: string): Value {
    if ('word' in what) return this.word(what.word, node, specifier);
    if ('namespace' in what) return this.namespace(what.namespace, what.node);
    const { module, found } = what;
    if (found.kind === 'expression') return this.evaluate(found.node, module.scope);
    const owner = module.scope.owner(found.name);
    if (!owner)
      return this.context.fail(
        module.file,
        'unknown-name',
        `there is nothing called ${found.name} to export`,
        'Declare it in this file.',
      );
    return this.read(owner, found.name, module.file);
  }

  private word(name: string, node: ts.Node, specifier: string): Value {
    const constant = constantWords[name];
    if (constant !== undefined) return constant;
    if (vocabulary.has(name)) return { kind: 'builtin', name };
    return this.context.fail(
      node,
      'unknown-import',
      `the vocabulary (${specifier}) has no word ${name}`,
      didYouMean(name, vocabulary, `The words are ${listWords([...vocabulary])}.`),
    );
  }

  private namespace(specifier: string, node: ts.Node): ObjectValue {
    const module = this.modules.follow(specifier, node);
    return {
      kind: 'object',
      what: `the module '${specifier}'`,
      get: (key) => {
        if (module === 'vocabulary') return vocabulary.has(key) ? this.word(key, node, specifier) : undefined;
        const found = this.modules.findIn(module, key, new Set());
        return found && this.found(found, node, specifier);
      },
      keys: () => (module === 'vocabulary' ? [...vocabulary] : this.modules.exportNames(module)),
      nodeOf: () => undefined,
    };
  }

  /** The default export of the spec's own file. */
  defaultExport(path: string): { value: Value; node: ts.Node } {
    const module = this.modules.load(path);
    const found = this.modules.findIn(module, 'default', new Set());
    const node = module.file.statements.find(ts.isExportAssignment)?.expression ?? module.file;
    if (!found) {
      return this.context.fail(
        module.file,
        'no-default-export',
        'this file has no default export, so there is no loss in it',
        'End the spec with: export default defineLoss({ name, inputs }, ({ ... }) => { ... });',
      );
    }
    return { value: this.found(found, node, path), node };
  }

  // ---- functions

  private closure(node: ts.ArrowFunction | ts.FunctionExpression, scope: Scope): Closure {
    const odd = node.asteriskToken ?? (node.modifiers ?? []).find((modifier) => modifier.kind === K.AsyncKeyword);
    if (odd)
      this.context.fail(
        odd,
        'unsupported-expression',
        'async functions and generators are not equations',
        'Write an ordinary arrow function.',
      );
    return { kind: 'closure', node, scope };
  }

  apply(fn: Closure, args: readonly Argument[], at: ts.Node, quiet = false): Value {
    const work = (): Value => {
      const scope = new Scope(fn.scope);
      this.bindParameters(fn, args, at, scope);
      return runBody(this, fn, scope);
    };
    return quiet ? work() : this.context.inside(fn.name ?? 'this function', at, work);
  }

  private bindParameters(fn: Closure, args: readonly Argument[], at: ts.Node, scope: Scope): void {
    const { parameters } = fn.node;
    for (const [i, parameter] of parameters.entries()) {
      if (parameter.dotDotDotToken) {
        bindPattern(
          this,
          scope,
          parameter.name,
          args.slice(i).map(({ value }) => value),
          parameter,
        );
        continue;
      }
      const given = args[i];
      const value = given ? given.value : parameter.initializer && this.evaluate(parameter.initializer, scope);
      if (value === undefined) {
        this.context.fail(
          at,
          'argument-count',
          `${fn.name ?? 'this function'} takes ${parameters.length} arguments, got ${args.length}`,
          `Pass ${parameter.name.getText()} as well.`,
        );
      }
      bindPattern(this, scope, parameter.name, value, given?.node ?? parameter);
    }
  }

  private callExpression(node: ts.CallExpression, scope: Scope): Value {
    const context: Context = this.context;
    if (node.questionDotToken) return refuseExpression(context, node);
    const target = node.expression;
    if (ts.isPropertyAccessExpression(target) && !target.questionDotToken) {
      const object = this.evaluate(target.expression, scope);
      if (isArray(object) || typeof object === 'string') return this.method(object, target, node, scope);
    }
    const callee = this.evaluate(target, scope);
    const args = this.spread(node.arguments, scope);
    if (hasKind(callee, 'closure')) return this.apply(callee, args, node);
    if (hasKind(callee, 'builtin')) return callBuiltin(this, callee.name, args, node);
    if (hasKind(callee, 'input') || hasKind(callee, 'field')) return callRead(context, callee, args, node);
    return context.fail(
      target,
      'unknown-function',
      `${target.getText()} is ${describe(callee)}, not a function`,
      'Inputs, fields, helpers and the vocabulary can be called; sizes, parameters and cells are plain numbers.',
    );
  }

  private method(
    object: string | readonly Value[],
    target: ts.PropertyAccessExpression,
    node: ts.CallExpression,
    scope: Scope,
  ): Value {
    const context: Context = this.context;
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
    const [fn] = this.spread(node.arguments, scope);
    if (!fn || !hasKind(fn.value, 'closure')) {
      return context.fail(node, 'argument-count', '.map takes one function', 'Write durations.map((d, n) => ...).');
    }
    const body = fn.value;
    return object.map((value, i) =>
      this.apply(
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
  private spread(nodes: readonly ts.Expression[], scope: Scope): Argument[] {
    return nodes.flatMap((node): Argument[] => {
      if (!ts.isSpreadElement(node)) {
        if (ts.isOmittedExpression(node))
          return this.context.fail(
            node.parent,
            'unsupported-expression',
            'this array has a hole',
            'Give every element a value.',
          );
        return [this.argument(node, scope)];
      }
      const value = this.evaluate(node.expression, scope);
      if (isArray(value)) return value.map((item) => ({ value: item, node }));
      return this.context.fail(
        node,
        'unsupported-expression',
        `only arrays can be spread, and this is ${describe(value)}`,
        'Spread a static array, or a .map of one.',
      );
    });
  }

  // ---- operators

  private prefix(node: ts.PrefixUnaryExpression, scope: Scope): Value {
    const context: Context = this.context;
    if (node.operator === K.MinusToken) return applyPrimitive(context, 'neg', [this.argument(node.operand, scope)]);
    if (node.operator === K.PlusToken) {
      const value = numeric(context, this.evaluate(node.operand, scope), node.operand);
      return typeof value === 'number' ? value : scalar(value);
    }
    if (node.operator === K.ExclamationToken) {
      const test = condition(context, this.argument(node.operand, scope));
      return typeof test === 'boolean' ? !test : scalar(context.builder.logic('not', test));
    }
    return refuseExpression(context, node);
  }

  private binary(node: ts.BinaryExpression, scope: Scope): Value {
    const context: Context = this.context;
    const operator = node.operatorToken.kind;
    if (operator === K.AmpersandAmpersandToken || operator === K.BarBarToken) {
      const isAnd = operator === K.AmpersandAmpersandToken;
      const left = condition(context, this.argument(node.left, scope));
      if (typeof left === 'boolean' && left !== isAnd) return left;
      const right = condition(context, this.argument(node.right, scope));
      if (typeof left === 'boolean') return typeof right === 'boolean' ? right : scalar(right);
      const wrapped: Expr = typeof right === 'boolean' ? context.builder.bool(right) : right;
      return scalar(context.builder.logic(isAnd ? 'and' : 'or', left, wrapped));
    }
    const name = arithmetic.get(operator);
    const compare = comparison.get(operator);
    if (!name && !compare) return refuseOperator(context, node);
    const [left, right] = [this.argument(node.left, scope), this.argument(node.right, scope)];
    if (compare) return compareValues(context, { wouldBeInt, learnFromCompare }, compare, left, right);
    return applyPrimitive(context, name!, [left, right]);
  }

  // ---- objects and arrays

  private object(node: ts.ObjectLiteralExpression, scope: Scope): ObjectValue {
    const context: Context = this.context;
    const entries = new Map<string, Value>();
    const nodes = new Map<string, ts.Node>();
    for (const property of node.properties) {
      if (ts.isSpreadAssignment(property)) {
        const value = this.evaluate(property.expression, scope);
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
      const isPlain = ts.isPropertyAssignment(property) || ts.isShorthandPropertyAssignment(property);
      if (!isPlain || !(ts.isIdentifier(property.name) || ts.isStringLiteral(property.name))) {
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
      const source = ts.isPropertyAssignment(property) ? property.initializer : property.name;
      const value = this.evaluate(source as ts.Expression, scope);
      if (hasKind(value, 'closure')) value.name ??= key;
      entries.set(key, value);
      nodes.set(key, property);
    }
    return staticObject('an object', entries, nodes);
  }

  private property(node: ts.PropertyAccessExpression, scope: Scope): Value {
    const context: Context = this.context;
    if (node.questionDotToken) return refuseExpression(context, node);
    const object = this.evaluate(node.expression, scope);
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
    const called = ts.isCallExpression(node.parent) && node.parent.expression === node;
    return context.fail(
      node.name,
      called ? 'unknown-function' : 'unknown-name',
      `${object.what} has no ${key} in the language`,
      didYouMean(key, object.keys(), `It has ${listWords(object.keys())}.`),
    );
  }

  private element(node: ts.ElementAccessExpression, scope: Scope): Value {
    const context: Context = this.context;
    if (node.questionDotToken) return refuseExpression(context, node);
    const object = this.evaluate(node.expression, scope);
    const index = this.evaluate(node.argumentExpression, scope);
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

  private template(node: ts.TemplateExpression, scope: Scope): Value {
    let text = node.head.text;
    for (const span of node.templateSpans) {
      const value = this.evaluate(span.expression, scope);
      if (typeof value !== 'number' && typeof value !== 'string') {
        return this.context.fail(
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
}
