/**
 * The partial evaluator: walks a spec's syntax and computes what is known, turning the rest into expressions.
 * Functions are called by evaluating their bodies in place; nothing of the spec is ever executed.
 */
import type { ts } from 'ts-morph';
import type { PrimitiveName } from '../../dsl/primitives.js';
import type { CompareOp, Expr } from '../graph/graph.js';
import { callBuiltin, callRead } from './builtins.js';
import type { Argument, Context, Reader } from './context.js';
import { learnFromCompare, wouldBeInt } from './indices.js';
import { callMethod, elementOf, objectLiteral, propertyOf, spread, templateText } from './literals.js';
import type { Modules } from './modules.js';
import { Names } from './names.js';
import { applyPrimitive, choose, compareValues, condition, numeric } from './operators.js';
import { bindPattern, runBody } from './statements.js';
import { lazily, TS } from './typescript.js';
import { refuseExpression, refuseOperator } from './unsupported.js';
import { type Closure, describe, hasKind, isArray, Scope, scalar, type Value } from './values.js';

const arithmetic = lazily(
  (): ReadonlyMap<ts.SyntaxKind, PrimitiveName> =>
    new Map([
      [TS.SyntaxKind.PlusToken, 'add'],
      [TS.SyntaxKind.MinusToken, 'sub'],
      [TS.SyntaxKind.AsteriskToken, 'mul'],
      [TS.SyntaxKind.SlashToken, 'div'],
    ] as const),
);
const comparison = lazily(
  (): ReadonlyMap<ts.SyntaxKind, CompareOp> =>
    new Map([
      [TS.SyntaxKind.EqualsEqualsEqualsToken, 'eq'],
      [TS.SyntaxKind.ExclamationEqualsEqualsToken, 'ne'],
      [TS.SyntaxKind.LessThanToken, 'lt'],
      [TS.SyntaxKind.LessThanEqualsToken, 'le'],
      [TS.SyntaxKind.GreaterThanToken, 'gt'],
      [TS.SyntaxKind.GreaterThanEqualsToken, 'ge'],
    ] as const),
);

export class Evaluator implements Reader {
  private readonly names: Names;
  constructor(
    readonly context: Context,
    modules: Modules,
  ) {
    this.names = new Names(this, modules);
  }

  /** The default export of the spec's own file. */
  defaultExport = (path: string): { value: Value; node: ts.Node } => this.names.defaultExport(path);

  evaluate(node: ts.Expression, scope: Scope): Value {
    this.context.step(node);
    const value = this.visit(node, scope);
    const transparent = TS.isParenthesizedExpression(node) || TS.isIdentifier(node) || TS.isAsExpression(node);
    if (hasKind(value, 'scalar')) {
      const leaf = ['size', 'param', 'index'].includes(value.expr.op);
      if (!transparent || (leaf && TS.isIdentifier(node))) this.context.note(value.expr, node);
    }
    return value;
  }

  private argument = (node: ts.Expression, scope: Scope): Argument => ({ value: this.evaluate(node, scope), node });

  private visit(node: ts.Expression, scope: Scope): Value {
    if (
      TS.isParenthesizedExpression(node) ||
      TS.isAsExpression(node) ||
      TS.isSatisfiesExpression(node) ||
      TS.isTypeAssertionExpression(node) ||
      TS.isNonNullExpression(node)
    ) {
      return this.evaluate(node.expression, scope);
    }
    if (TS.isNumericLiteral(node)) return Number(node.text);
    if (TS.isStringLiteral(node) || TS.isNoSubstitutionTemplateLiteral(node)) return node.text;
    if (node.kind === TS.SyntaxKind.TrueKeyword) return true;
    if (node.kind === TS.SyntaxKind.FalseKeyword) return false;
    if (TS.isIdentifier(node)) return this.names.name(node, scope);
    if (TS.isArrowFunction(node) || TS.isFunctionExpression(node)) return this.closure(node, scope);
    if (TS.isArrayLiteralExpression(node)) return spread(this, node.elements, scope).map(({ value }) => value);
    if (TS.isObjectLiteralExpression(node)) return objectLiteral(this, node, scope);
    if (TS.isPrefixUnaryExpression(node)) return this.prefix(node, scope);
    if (TS.isBinaryExpression(node)) return this.binary(node, scope);
    if (TS.isConditionalExpression(node)) {
      const test = condition(this.context, this.argument(node.condition, scope));
      if (typeof test === 'boolean') return this.evaluate(test ? node.whenTrue : node.whenFalse, scope);
      return choose(this.context, test, this.argument(node.whenTrue, scope), this.argument(node.whenFalse, scope));
    }
    if (TS.isPropertyAccessExpression(node)) return propertyOf(this, node, scope);
    if (TS.isElementAccessExpression(node)) return elementOf(this, node, scope);
    if (TS.isCallExpression(node)) return this.callExpression(node, scope);
    if (TS.isTemplateExpression(node)) return templateText(this, node, scope);
    return refuseExpression(this.context, node);
  }

  private closure(node: ts.ArrowFunction | ts.FunctionExpression, scope: Scope): Closure {
    const odd =
      node.asteriskToken ?? (node.modifiers ?? []).find((modifier) => modifier.kind === TS.SyntaxKind.AsyncKeyword);
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
    if (TS.isPropertyAccessExpression(target) && !target.questionDotToken) {
      const object = this.evaluate(target.expression, scope);
      if (isArray(object) || typeof object === 'string') return callMethod(this, object, target, node, scope);
    }
    const callee = this.evaluate(target, scope);
    const args = spread(this, node.arguments, scope);
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

  private prefix(node: ts.PrefixUnaryExpression, scope: Scope): Value {
    const context: Context = this.context;
    if (node.operator === TS.SyntaxKind.MinusToken)
      return applyPrimitive(context, 'neg', [this.argument(node.operand, scope)]);
    if (node.operator === TS.SyntaxKind.PlusToken) {
      const value = numeric(context, this.evaluate(node.operand, scope), node.operand);
      return typeof value === 'number' ? value : scalar(value);
    }
    if (node.operator === TS.SyntaxKind.ExclamationToken) {
      const test = condition(context, this.argument(node.operand, scope));
      return typeof test === 'boolean' ? !test : scalar(context.builder.logic('not', test));
    }
    return refuseExpression(context, node);
  }

  private binary(node: ts.BinaryExpression, scope: Scope): Value {
    const context: Context = this.context;
    const operator = node.operatorToken.kind;
    if (operator === TS.SyntaxKind.AmpersandAmpersandToken || operator === TS.SyntaxKind.BarBarToken) {
      const isAnd = operator === TS.SyntaxKind.AmpersandAmpersandToken;
      const left = condition(context, this.argument(node.left, scope));
      if (typeof left === 'boolean' && left !== isAnd) return left;
      const right = condition(context, this.argument(node.right, scope));
      if (typeof left === 'boolean') return typeof right === 'boolean' ? right : scalar(right);
      const wrapped: Expr = typeof right === 'boolean' ? context.builder.bool(right) : right;
      return scalar(context.builder.logic(isAnd ? 'and' : 'or', left, wrapped));
    }
    const name = arithmetic().get(operator);
    const compare = comparison().get(operator);
    if (!name && !compare) return refuseOperator(context, node);
    const [left, right] = [this.argument(node.left, scope), this.argument(node.right, scope)];
    if (compare) return compareValues(context, { wouldBeInt, learnFromCompare }, compare, left, right);
    return applyPrimitive(context, name!, [left, right]);
  }
}
