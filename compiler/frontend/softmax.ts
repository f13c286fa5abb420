/**
 * logSoftmax(logits, extent, { from }): one field for the log of each row's sum, and every read written out in terms of that and the
 * logits, so that nothing of the size of the logits is ever a field of its own.
 */
import type { ts } from 'ts-morph';
import type { Expr, SizeExpr } from '../graph/graph.js';
import { printSize, sameSize, sizeConst } from '../graph/size.js';
import { axisName, knownKeys, nameOfSource } from './arguments.js';
import type { Argument, Context } from './context.js';
import { asIndex, asSize } from './indices.js';
import {
  describe,
  dimsOf,
  type FieldHandle,
  hasKind,
  type InputHandle,
  indexCount,
  type LogSoftmaxHandle,
  type MadeCell,
  scalar,
  type Value,
} from './values.js';

const usage = 'Write logSoftmax(acts, V), or logSoftmax(acts, 3, { from: V - 3 }) for a part of the last index.';

/** Declares the field of the rows' sums. */
export function declareLogSoftmax(context: Context, args: readonly Argument[], node: ts.Node): LogSoftmaxHandle {
  const [logitsArg, extentArg, optionsArg] = args as readonly [Argument, Argument, Argument?];
  if (context.cellDepth > 0) {
    context.fail(
      node,
      'nested-field',
      'logSoftmax is called inside the body of a field, reduction or arc',
      'Define it by its own const and read its cells here.',
    );
  }
  const logits = logitsArg.value;
  if (!hasKind(logits, 'input') && !hasKind(logits, 'field')) {
    context.fail(logitsArg.node, 'argument-type', `logSoftmax needs logits, and this is ${describe(logits)}`, usage);
  }
  const dims = dimsOf(logits);
  if (dims.length < 2 || (hasKind(logits, 'input') && logits.element === 'i32')) {
    context.fail(
      logitsArg.node,
      'argument-type',
      `logSoftmax needs real logits of 2 indices or more, and this is ${describe(logits)}`,
      usage,
    );
  }
  const last = dims[dims.length - 1]!;
  const extent = asSize(context, extentArg, 'bad-extent', 'the extent of logSoftmax');
  const apart = Object.keys(extent.terms).length > 0 && !Object.keys(extent.terms).some((name) => name in last.terms);
  if (apart) {
    context.fail(
      extentArg.node,
      'reduction-extent',
      `logSoftmax runs over ${printSize(extent)}, but the last index of its logits is ${printSize(last)} long`,
      `It runs over the last index: write ${printSize(last)}, or a part of it.`,
    );
  }
  const from = optionsArg ? fromOf(context, optionsArg) : sizeConst(0);

  const names = axisNames(logits, dims);
  const isWhole = sameSize(from, sizeConst(0)) && sameSize(extent, last);
  const part = isWhole ? undefined : partOf(context, logits, names, extent, from, node);
  const source = part ?? logits;
  const logZ = madeField(context, dims.slice(0, -1), names, node, (axes) => {
    const { builder } = context;
    const v = context.newIndex(names[names.length - 1]!, extent, true);
    const logit = builder.read(nameOfSource(context, source), 'real', [...axes, v]);
    return context.note(builder.reduce('logSumExp', v, extent, logit), node);
  });
  logZ.name = context.claim('logZ');
  return { kind: 'log-softmax', logits: source, logZ, ...(part ? { part } : {}) };
}

/** The logits of a part of the last index, as a field over that part: beyond it everything is log 0. */
function partOf(
  context: Context,
  logits: InputHandle | FieldHandle,
  names: readonly string[],
  extent: SizeExpr,
  from: SizeExpr,
  node: ts.Node,
): FieldHandle {
  const { builder } = context;
  const domain = [...dimsOf(logits).slice(0, -1), extent];
  return madeField(context, domain, names, node, (axes) => {
    const last = axes[axes.length - 1]!;
    const place = sameSize(from, sizeConst(0)) ? last : builder.prim('add', sizeValue(context, from), last);
    return context.note(builder.read(nameOfSource(context, logits), 'real', [...axes.slice(0, -1), place]), node);
  });
}

function madeField(
  context: Context,
  domain: readonly SizeExpr[],
  axes: readonly string[],
  node: ts.Node,
  cell: MadeCell['cell'],
): FieldHandle {
  const field: FieldHandle = {
    kind: 'field',
    recurrence: false,
    domain,
    outside: Number.NEGATIVE_INFINITY,
    body: { kind: 'made-cell', axes, cell },
    bodyNode: node,
    node,
  };
  context.fields.push(field);
  return field;
}

function fromOf(context: Context, { value, node }: Argument): SizeExpr {
  if (!hasKind(value, 'object'))
    context.fail(
      node,
      'argument-type',
      `the options of logSoftmax are an object, and this is ${describe(value)}`,
      usage,
    );
  knownKeys(context, value, ['from'], 'logSoftmax', node);
  const from = value.get('from');
  if (from === undefined) return sizeConst(0);
  return asSize(context, { value: from, node: value.nodeOf('from') ?? node }, 'bad-extent', 'from');
}

/** The author's names of a field's axes; for an input, those of its sizes in lower case. */
function axisNames(logits: InputHandle | FieldHandle, dims: readonly SizeExpr[]): string[] {
  const names: string[] = [];
  for (const [i, dim] of dims.entries()) {
    const [size] = Object.keys(dim.terms);
    const wanted = hasKind(logits as Value, 'field') ? axisName((logits as FieldHandle).body, i) : size?.toLowerCase();
    names.push(wanted !== undefined && !names.includes(wanted) ? wanted : `i${i}`);
  }
  return names;
}

/** A size as an int expression. */
function sizeValue(context: Context, size: SizeExpr): Expr {
  const { builder } = context;
  const terms = Object.entries(size.terms).map(([name, k]) =>
    k === 1 ? builder.size(name) : builder.prim('mul', builder.int(k), builder.size(name)),
  );
  const [first, ...rest] = terms;
  if (!first) return builder.int(size.constant);
  const sum = rest.reduce((total, term) => builder.prim('add', total, term), first);
  if (size.constant === 0) return sum;
  return size.constant < 0
    ? builder.prim('sub', sum, builder.int(-size.constant))
    : builder.prim('add', sum, builder.int(size.constant));
}

/** logp(t, u, v): the logit less the log of its row's sum, or log 0 where the logit is, even if its whole row is. */
export function readLogSoftmax(
  context: Context,
  handle: LogSoftmaxHandle,
  args: readonly Argument[],
  node: ts.CallExpression,
): Value {
  const { logits, logZ } = handle;
  const what = handle.name ?? 'this log-softmax';
  const dims = dimsOf(logits);
  const sizes = `[${dims.map(printSize).join(', ')}]`;
  if (args.length !== dims.length) {
    context.fail(
      args[dims.length]?.node ?? node,
      'index-rank',
      `${what} is read with ${indexCount(args.length)}, but it has ${dims.length}: ${sizes}`,
      `Give one index for each of ${sizes}.`,
    );
  }
  const { builder } = context;
  const indices = args.map((arg, position) => asIndex(context, arg, { source: what, position, dim: dims[position]! }));
  const logZero = builder.real(Number.NEGATIVE_INFINITY);
  const logit = builder.read(nameOfSource(context, logits), 'real', indices);
  const less = builder.prim('sub', logit, builder.read(context.nameOf(logZ), 'real', indices.slice(0, -1)));
  return scalar(builder.select(builder.compare('eq', logit, logZero), logZero, less));
}
