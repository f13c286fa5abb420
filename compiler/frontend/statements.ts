/** Function bodies: consts, functions, `if (c) return x;` chains and a final return. */
import type { ts } from 'ts-morph';
import type { Context, Reader } from './context.js';
import { mutableKeyword } from './modules.js';
import { choose, condition } from './operators.js';
import { didYouMean, listWords } from './suggest.js';
import { boundNames } from './syntax.js';
import { TS } from './typescript.js';
import { refuseStatement } from './unsupported.js';
import { type Closure, describe, hasKind, isArray, Scope, type Value } from './values.js';

/** Evaluates a function's body in a scope that has its parameters. */
export function runBody(reader: Reader, fn: Closure, scope: Scope): Value {
  const { body } = fn.node;
  if (!body) return reader.context.fail(fn.node, 'missing-return', 'this function has no body', 'Give it one.');
  if (!TS.isBlock(body)) return reader.evaluate(body, scope);
  return runBlock(reader, body.statements, scope, () => undefined)?.value ?? missingReturn(reader.context, body);
}

function missingReturn(context: Context, node: ts.Node): never {
  context.fail(
    node,
    'missing-return',
    'a way through this block ends without return',
    'Every way through must return a value: end with return ...;',
  );
}

/** A returned value and the node that says so. */
interface Returned {
  readonly value: Value;
  readonly node: ts.Node;
}

/** What happens after the last statement of a block: the statements that follow it, or nothing. */
type Continuation = () => Returned | undefined;

function runBlock(
  reader: Reader,
  statements: readonly ts.Statement[],
  outer: Scope,
  after: Continuation,
): Returned | undefined {
  const scope = new Scope(outer);
  declare(reader.context, statements, scope);
  return runFrom(reader, statements, 0, scope, after);
}

/** Names are known in the whole block, so that an inner name hides an outer one also above its own line. */
function declare(context: Context, statements: readonly ts.Statement[], scope: Scope): void {
  const add = (name: ts.Identifier): void => {
    if (scope.bindings.has(name.text)) {
      context.fail(
        name,
        'duplicate-name',
        `${name.text} is declared twice in this block`,
        'Give one of the two another name.',
      );
    }
    scope.bindings.set(name.text, { state: 'pending' });
  };
  for (const statement of statements) {
    if (TS.isVariableStatement(statement)) {
      for (const { name } of statement.declarationList.declarations) boundNames(name).forEach(add);
    } else if (TS.isFunctionDeclaration(statement) && statement.name && statement.body) {
      add(statement.name);
      scope.bind(statement.name.text, { kind: 'closure', node: statement, scope, name: statement.name.text });
    }
  }
}

/**
 * Evaluates statements up to a return. Where a condition is known at run time only, both ways are followed to their
 * returns, each with all that comes after the `if`, and the results become a choice.
 */
function runFrom(
  reader: Reader,
  statements: readonly ts.Statement[],
  first: number,
  scope: Scope,
  after: Continuation,
): Returned | undefined {
  const context: Context = reader.context;
  for (let i = first; i < statements.length; i++) {
    const statement = statements[i]!;
    const rest: Continuation = () => runFrom(reader, statements, i + 1, scope, after);
    if (TS.isVariableStatement(statement)) {
      runDeclarations(reader, statement.declarationList, scope);
    } else if (TS.isReturnStatement(statement)) {
      if (!statement.expression) return missingReturn(context, statement);
      return { value: reader.evaluate(statement.expression, scope), node: statement.expression };
    } else if (TS.isIfStatement(statement)) {
      const { expression, thenStatement, elseStatement } = statement;
      const test = condition(context, { value: reader.evaluate(expression, scope), node: expression });
      const branch = (node: ts.Statement | undefined): Returned | undefined =>
        node ? runBlock(reader, blockOf(node), scope, rest) : rest();
      if (typeof test === 'boolean') return branch(test ? thenStatement : elseStatement);
      const then = branch(thenStatement) ?? missingReturn(context, thenStatement);
      const otherwise = branch(elseStatement) ?? missingReturn(context, statement);
      const value = choose(context, test, then, otherwise);
      if (hasKind(value, 'scalar')) context.note(value.expr, expression);
      return { value, node: expression };
    } else if (TS.isBlock(statement)) {
      return runBlock(reader, statement.statements, scope, rest);
    } else if (!isIgnored(statement)) {
      refuseStatement(context, statement);
    }
  }
  return after();
}

const blockOf = (node: ts.Statement): readonly ts.Statement[] => (TS.isBlock(node) ? node.statements : [node]);

const isIgnored = (node: ts.Statement): boolean =>
  TS.isFunctionDeclaration(node) ||
  TS.isInterfaceDeclaration(node) ||
  TS.isTypeAliasDeclaration(node) ||
  TS.isEmptyStatement(node);

function runDeclarations(reader: Reader, list: ts.VariableDeclarationList, scope: Scope): void {
  const keyword = mutableKeyword(list);
  if (keyword) {
    reader.context.fail(
      list,
      'mutable-state',
      `${keyword} declares a variable that may change, and equations have none`,
      'Declare it with const. Values that depend on earlier cells are recurrences.',
    );
  }
  for (const { name, initializer } of list.declarations) {
    if (initializer) bindPattern(reader, scope, name, reader.evaluate(initializer, scope), initializer);
  }
}

/** Binds names to a value, taking arrays and objects apart. Fields and functions get the name they are first bound to. */
export function bindPattern(reader: Reader, scope: Scope, pattern: ts.BindingName, value: Value, node: ts.Node): void {
  const context: Context = reader.context;
  if (TS.isIdentifier(pattern)) {
    if (hasKind(value, 'field')) value.name ??= context.claim(pattern.text);
    if (hasKind(value, 'closure')) value.name ??= pattern.text;
    scope.bind(pattern.text, value);
    return;
  }
  if (TS.isArrayBindingPattern(pattern)) {
    if (!isArray(value)) {
      context.fail(
        pattern,
        'destructuring',
        `only arrays can be taken apart by [ ], and this is ${describe(value)}`,
        'Give it one name.',
      );
    }
    for (const [i, element] of pattern.elements.entries()) {
      if (TS.isOmittedExpression(element)) continue;
      if (element.dotDotDotToken) {
        bindPattern(reader, scope, element.name, value.slice(i), node);
        continue;
      }
      const item = value[i] ?? (element.initializer && reader.evaluate(element.initializer, scope));
      if (item === undefined) {
        context.fail(
          element,
          'destructuring',
          `this array has ${value.length} elements, so none for ${element.getText()}`,
          'Take apart as many as there are.',
        );
      }
      bindPattern(reader, scope, element.name, item, node);
    }
    return;
  }
  if (!hasKind(value, 'object')) {
    context.fail(
      pattern,
      'destructuring',
      `only objects can be taken apart by { }, and this is ${describe(value)}`,
      'Give it one name.',
    );
  }
  for (const element of pattern.elements) {
    if (element.dotDotDotToken) {
      context.fail(element, 'destructuring', 'the rest of an object cannot be collected', 'Name the keys you need.');
    }
    const key = (element.propertyName ?? element.name).getText();
    const item = value.get(key) ?? (element.initializer && reader.evaluate(element.initializer, scope));
    if (item === undefined) {
      context.fail(
        element.propertyName ?? element,
        'unknown-name',
        `${value.what} has no ${key}`,
        didYouMean(key, value.keys(), `It has ${listWords(value.keys())}.`),
      );
    }
    bindPattern(reader, scope, element.name, item, node);
  }
}
