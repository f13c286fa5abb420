/**
 * Statements, and the loops that run in order (`serial`, `steps`), alone or inside the lanes of a vector.
 */

import { isVarying, varyingReductions } from '../kernel/analysis.js';
import type { KIf, KLoop, KStmt } from '../kernel/kernel.js';
import { CompilerBug } from '../source.js';
import { emitAbreast } from './abreast.js';
import { emitExpr } from './expr.js';
import { emitLanes } from './lanes.js';
import { emitPrefetch, emitStore } from './memory.js';
import { combine, neutralOf } from './reduce.js';
import { registerType, vectorOf } from './types.js';
import { andMask, asScalar, asVector, type KernelContext, type Scope, uniform, varying } from './values.js';

/** Prints statements in a block of their own: names defined in it are not seen outside. */
export function emitBlock(context: KernelContext, scope: Scope, body: readonly KStmt[]): Scope {
  const inner: Scope = { ...scope, values: new Map(scope.values) };
  for (const statement of body) emitStatement(context, inner, statement);
  return inner;
}

function emitStatement(context: KernelContext, scope: Scope, statement: KStmt): void {
  switch (statement.kind) {
    case 'comment':
      context.writer.comment(statement.text);
      return;
    case 'let': {
      if (scope.values.has(statement.name)) throw new CompilerBug('llvm', `'${statement.name}' is defined twice`);
      const value = emitExpr(context, scope, statement.value);
      const text = statement.value.op === 'var' ? value.text : context.writer.rename(value.text, statement.name);
      scope.values.set(statement.name, { ...value, text });
      return;
    }
    case 'store': {
      const index = emitExpr(context, scope, statement.index);
      emitStore(context, scope, statement, index, emitExpr(context, scope, statement.value));
      return;
    }
    case 'prefetch':
      emitPrefetch(context, statement, emitExpr(context, scope, statement.index));
      return;
    case 'if':
      emitIf(context, scope, statement);
      return;
    case 'loop':
      if (statement.mode !== 'lanes') emitOrdered(context, scope, statement);
      else if (scope.lanes === 0) emitLanes(context, scope, statement, emitBlock);
      else throw new CompilerBug('llvm', `lanes loop over '${statement.variable}' inside of a lanes loop`);
  }
}

function emitIf(context: KernelContext, scope: Scope, statement: KIf): void {
  const { writer } = context;
  const condition = asScalar(emitExpr(context, scope, statement.condition), 'the condition of an if');
  const [then, otherwise, after] = ['then', 'else', 'endif'].map((hint) => writer.fresh(hint)) as [
    string,
    string,
    string,
  ];
  writer.branchIf(condition, then, statement.otherwise.length > 0 ? otherwise : after);
  writer.startBlock(then);
  emitBlock(context, scope, statement.then);
  writer.branch(after);
  if (statement.otherwise.length > 0) {
    writer.startBlock(otherwise);
    emitBlock(context, scope, statement.otherwise);
    writer.branch(after);
  }
  writer.startBlock(after);
}

/**
 * A loop whose iterations run in order. Its variable is the same in all lanes; where the bounds differ between lanes
 * it runs from the least to the greatest of them, with the lanes masked that are not in their own range.
 */
function emitOrdered(context: KernelContext, scope: Scope, loop: KLoop): void {
  const { writer } = context;
  const { lanes } = scope;
  const names = new Set([...scope.values].filter(([, value]) => value.shape !== 'uniform').map(([name]) => name));
  const differing = varyingReductions(loop, names);
  const masked = isVarying(loop.from, names) || isVarying(loop.to, names);

  const fromValue = emitExpr(context, scope, loop.from);
  const toValue = emitExpr(context, scope, loop.to);
  const fromLanes = masked ? asVector(context, scope, fromValue) : '';
  const toLanes = masked ? asVector(context, scope, toValue) : '';
  const least = masked ? extent(context, scope, 'smin', fromLanes) : fromValue.text;
  const to = masked ? extent(context, scope, 'smax', toLanes) : toValue.text;
  const from = context.abreast.has(loop)
    ? emitAbreast(context, scope, loop, { from: least, to }, emitStatement, emitBlock)
    : least;

  const start = loop.reverse ? writer.emit('last', `sub nsw i64 ${to}, 1`) : from;
  const accumulators = loop.reduce.map((reduce) => {
    const width = differing.has(reduce) ? lanes : 0;
    return {
      reduce,
      width,
      type: vectorOf(registerType[reduce.type], width),
      initial: neutralOf(writer, reduce, width),
    };
  });

  const [head, body, done] = [loop.variable, `${loop.variable}.body`, `${loop.variable}.done`].map((hint) =>
    writer.fresh(`${hint}`),
  ) as [string, string, string];
  const before = writer.block;
  writer.branch(head);
  writer.startBlock(head);
  const variable = writer.phi(loop.variable, 'i64', [{ value: start, block: before }]);
  const running = accumulators.map(({ reduce, type, initial }) =>
    writer.phi(reduce.name, type, [{ value: initial, block: before }]),
  );
  const more = loop.reverse
    ? writer.emit('more', `icmp sge i64 ${variable.value}, ${from}`)
    : writer.emit('more', `icmp slt i64 ${variable.value}, ${to}`);
  writer.branchIf(more, body, done);

  writer.startBlock(body);
  const mask = masked ? activeAt(context, scope, variable.value, fromLanes, toLanes) : scope.mask;
  const skip = masked ? skipUnlessAny(context, lanes, mask!, loop.variable) : undefined;
  const values = new Map(scope.values);
  values.set(loop.variable, uniform('index', variable.value));
  const inner = emitBlock(context, { ...scope, mask, values, streamAligned: undefined }, loop.body);
  const next = accumulators.map(({ reduce, width, type }, i) => {
    const value = emitExpr(context, inner, reduce.value);
    const text = width > 0 ? asVector(context, scope, value) : asScalar(value, `reduction '${reduce.name}'`);
    const old = running[i]!.value;
    const combined = combine(writer, reduce, width, old, text);
    if (!masked) return combined;
    return writer.emit(reduce.name, `select ${vectorOf('i1', width)} ${mask}, ${type} ${combined}, ${type} ${old}`);
  });
  const ran = writer.block;
  if (skip !== undefined) {
    writer.branch(skip.to);
    writer.startBlock(skip.to);
    accumulators.forEach(({ reduce, type }, i) => {
      const incoming = [
        { value: running[i]!.value, block: skip.from },
        { value: next[i]!, block: ran },
      ];
      next[i] = writer.phi(reduce.name, type, incoming).value;
    });
  }
  const step = writer.emit(`${loop.variable}.next`, `add nsw i64 ${variable.value}, ${loop.reverse ? -1 : 1}`);
  const latch = writer.block;
  variable.add({ value: step, block: latch });
  running.forEach((phi, i) => {
    phi.add({ value: next[i]!, block: latch });
  });
  writer.branchBack(head);

  writer.startBlock(done);
  accumulators.forEach(({ reduce, width }, i) => {
    const text = running[i]!.value;
    scope.values.set(reduce.name, width > 0 ? varying(reduce.type, text) : uniform(reduce.type, text));
  });
}

/** Lanes in whose own range an iteration is. */
function activeAt(context: KernelContext, scope: Scope, variable: string, from: string, to: string): string {
  const { writer } = context;
  const type = vectorOf('i64', scope.lanes);
  const at = writer.splat('i64', scope.lanes, variable);
  const begun = writer.emit('begun', `icmp sge ${type} ${at}, ${from}`);
  const unfinished = writer.emit('unfinished', `icmp slt ${type} ${at}, ${to}`);
  const inRange = writer.emit('mask', `and ${vectorOf('i1', scope.lanes)} ${begun}, ${unfinished}`);
  return andMask(context, scope.lanes, scope.mask, inRange)!;
}

/** Branches around what follows if no lane is active: a load that is the same in all lanes is then not made. */
function skipUnlessAny(
  context: KernelContext,
  lanes: number,
  mask: string,
  hint: string,
): { from: string; to: string } {
  const { writer } = context;
  const bools = vectorOf('i1', lanes);
  const symbol = writer.parts.declare(`llvm.vector.reduce.or.v${lanes}i1`, 'i1', [bools]);
  const any = writer.emit('any', `call i1 ${symbol}(${bools} ${mask})`);
  const [some, to] = [writer.fresh(`${hint}.some`), writer.fresh(`${hint}.after`)];
  const from = writer.block;
  writer.branchIf(any, some, to);
  writer.startBlock(some);
  return { from, to };
}

/** The least or greatest of a bound over the active lanes. */
function extent(context: KernelContext, scope: Scope, op: 'smin' | 'smax', bound: string): string {
  const { writer } = context;
  const { lanes, mask } = scope;
  const type = vectorOf('i64', lanes);
  let active = bound;
  if (mask !== undefined) {
    const neutral = op === 'smin' ? '9223372036854775807' : '-9223372036854775808';
    const rest = writer.splat('i64', lanes, neutral);
    active = writer.emit('bound', `select ${vectorOf('i1', lanes)} ${mask}, ${type} ${bound}, ${type} ${rest}`);
  }
  const symbol = writer.parts.declare(`llvm.vector.reduce.${op}.v${lanes}i64`, 'i64', [type]);
  return writer.emit('bound', `call i64 ${symbol}(${type} ${active})`);
}
