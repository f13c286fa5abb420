/** TypeScript that is not part of the language: what each construct is called, and what to write instead. */
import type { ts } from 'ts-morph';
import type { Context } from './context.js';
import { lazily, TS } from './typescript.js';

const assignments = lazily(
  (): ReadonlySet<ts.SyntaxKind> =>
    new Set(
      Array.from(
        { length: TS.SyntaxKind.LastAssignment - TS.SyntaxKind.FirstAssignment + 1 },
        (_, i) => (TS.SyntaxKind.FirstAssignment + i) as ts.SyntaxKind,
      ),
    ),
);

export const isAssignment = (node: ts.Node): boolean =>
  (TS.isBinaryExpression(node) && assignments().has(node.operatorToken.kind)) ||
  TS.isPostfixUnaryExpression(node) ||
  (TS.isPrefixUnaryExpression(node) &&
    (node.operator === TS.SyntaxKind.PlusPlusToken || node.operator === TS.SyntaxKind.MinusMinusToken));

function refuseAssignment(context: Context, node: ts.Node): never {
  context.fail(
    node,
    'mutable-state',
    `${node.getText()} changes a variable, and equations have none that change`,
    'Bind a new name with const. Values that depend on earlier cells are recurrences; totals are sum(extent, (i) => ...).',
  );
}

const operators = lazily(
  () =>
    new Map<ts.SyntaxKind, string>([
      [TS.SyntaxKind.EqualsEqualsToken, 'Write ===.'],
      [TS.SyntaxKind.ExclamationEqualsToken, 'Write !==.'],
      [TS.SyntaxKind.AsteriskAsteriskToken, 'Multiply out (x * x), or use exp(k * log(x)).'],
      [TS.SyntaxKind.PercentToken, 'There is no remainder: split the index into two axes instead.'],
      [
        TS.SyntaxKind.QuestionQuestionToken,
        'Every value is present: reads outside of a domain give its outside value. Use a condition.',
      ],
      [TS.SyntaxKind.CommaToken, 'Write one expression, or a block with consts and a return.'],
      [TS.SyntaxKind.AmpersandToken, 'Conditions combine with &&.'],
      [TS.SyntaxKind.BarToken, 'Conditions combine with ||.'],
      [TS.SyntaxKind.InKeyword, 'Compare numbers instead.'],
      [TS.SyntaxKind.InstanceOfKeyword, 'Compare numbers instead.'],
    ]),
);

export function refuseOperator(context: Context, node: ts.BinaryExpression): never {
  if (isAssignment(node)) refuseAssignment(context, node);
  context.fail(
    node.operatorToken,
    'unsupported-operator',
    `the operator ${node.operatorToken.getText()} is not part of the language`,
    operators().get(node.operatorToken.kind) ?? 'The operators are + - * / === !== < <= > >= && || ! and ?:.',
  );
}

const expressions = lazily(
  () =>
    new Map<ts.SyntaxKind, readonly [what: string, hint: string]>([
      [
        TS.SyntaxKind.NewExpression,
        ['new makes an object, and equations have none', 'Use numbers, arrays of numbers and functions.'],
      ],
      [TS.SyntaxKind.ThisKeyword, ['this has no meaning in equations', 'Name the values you need.']],
      [
        TS.SyntaxKind.AwaitExpression,
        ['await waits for something, and equations have no time', 'Pass the value as an input or a parameter.'],
      ],
      [TS.SyntaxKind.YieldExpression, ['generators are not equations', 'Write an ordinary arrow function.']],
      [TS.SyntaxKind.ClassExpression, ['classes are not equations', 'Use consts and functions.']],
      [
        TS.SyntaxKind.RegularExpressionLiteral,
        ['regular expressions are not equations', 'Equations are made of numbers.'],
      ],
      [TS.SyntaxKind.BigIntLiteral, ['big integers are not part of the language', 'Write an ordinary number.']],
      [TS.SyntaxKind.NullKeyword, ['null is not a number', 'Use 0, logZero, or a condition.']],
      [TS.SyntaxKind.DeleteExpression, ['delete changes an object, and equations have none', 'Leave the key out.']],
      [
        TS.SyntaxKind.TypeOfExpression,
        ['typeof asks at run time, and types are known while the spec is read', 'Leave it out.'],
      ],
      [TS.SyntaxKind.VoidExpression, ['void has no value', 'Leave it out.']],
      [TS.SyntaxKind.TaggedTemplateExpression, ['tagged templates are not part of the language', 'Call a function.']],
    ]),
);

export function refuseExpression(context: Context, node: ts.Expression): never {
  if (isAssignment(node)) refuseAssignment(context, node);
  const isOptional =
    (TS.isCallExpression(node) || TS.isPropertyAccessExpression(node) || TS.isElementAccessExpression(node)) &&
    node.questionDotToken !== undefined;
  if (isOptional) {
    context.fail(
      (node as ts.CallExpression).questionDotToken!,
      'unsupported-expression',
      'optional chaining is not part of the language: every value is present',
      'Read the cell or the key directly; reads outside of a domain give its outside value.',
    );
  }
  const [what, hint] = expressions().get(node.kind) ?? [
    `${node.getText()} is not part of the language`,
    'Expressions are numbers, names, calls, operators, conditions, arrow functions, arrays and objects.',
  ];
  context.fail(node, 'unsupported-expression', what, hint);
}

const statements = lazily(
  () =>
    new Map<ts.SyntaxKind, readonly [what: string, hint: string]>([
      ...[
        TS.SyntaxKind.ForStatement,
        TS.SyntaxKind.ForOfStatement,
        TS.SyntaxKind.ForInStatement,
        TS.SyntaxKind.WhileStatement,
        TS.SyntaxKind.DoStatement,
      ].map(
        (kind) =>
          [
            kind,
            [
              'loops are not part of the language',
              'Use sum, maxOver, minOver or logSumExp over an extent, recurrence for values that depend on earlier cells, or .map over a static array.',
            ],
          ] as const,
      ),
      [
        TS.SyntaxKind.SwitchStatement,
        ['switch is not part of the language', 'Write a chain of if (...) return ...; or of ?:.'],
      ],
      [TS.SyntaxKind.TryStatement, ['try is not part of the language: equations cannot fail', 'Leave it out.']],
      [
        TS.SyntaxKind.ThrowStatement,
        ['throw is not part of the language: equations cannot fail', 'Use logZero for what is impossible.'],
      ],
      [TS.SyntaxKind.ClassDeclaration, ['classes are not equations', 'Use consts and functions.']],
      [TS.SyntaxKind.EnumDeclaration, ['enums are not part of the language', 'Use consts.']],
    ]),
);

export function refuseStatement(context: Context, node: ts.Statement): never {
  if (TS.isExpressionStatement(node)) {
    if (isAssignment(node.expression)) refuseAssignment(context, node.expression);
    context.fail(
      node,
      'unsupported-statement',
      'the value of this expression is thrown away, so it can only be there for an effect',
      'Bind it with const, return it, or remove it.',
    );
  }
  const [what, hint] = statements().get(node.kind) ?? [
    'this statement is not part of the language',
    'Blocks hold const declarations, functions, if (...) return ...; and a final return.',
  ];
  context.fail(node, 'unsupported-statement', what, hint);
}
