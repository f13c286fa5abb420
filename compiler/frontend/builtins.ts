/** What the words of the vocabulary do when a spec calls them, and what reading a cell is. */
import type { ts } from 'ts-morph';
import { parseDim } from '../../dsl/dims.js';
import type { SizeExpr } from '../graph/graph.js';
import { printSize } from '../graph/size.js';
import { axisName, closureOf, elementNodes, evaluateCell, knownKeys, nameOfSource, takes } from './arguments.js';
import type { Argument, Context, Reader } from './context.js';
import { asIndex, asSize, floorDivision } from './indices.js';
import { arcUsage, declareArc, declareLattice, latticeUsage } from './lattice.js';
import { applyPrimitive, asReal } from './operators.js';
import { declareLogSoftmax } from './softmax.js';
import {
  describe,
  dimsOf,
  type FieldHandle,
  hasKind,
  type InputForm,
  type InputHandle,
  indexCount,
  isArray,
  type LossForm,
  scalar,
  type Value,
} from './values.js';
import { foldWords, reductionWords, unaryWords } from './vocabulary.js';

/** Calls a word of the vocabulary. */
export function callBuiltin(reader: Reader, name: string, args: readonly Argument[], node: ts.CallExpression): Value {
  const context: Context = reader.context;
  const unary = unaryWords[name];
  if (unary) {
    const [only] = takes(context, name, args, node, 1, 1, `${name}(x)`);
    return applyPrimitive(context, unary, [only!]);
  }
  const fold = foldWords[name];
  if (fold) {
    if (node.arguments.length === 0) takes(context, name, args, node, 1, 2, `${name}(a, b, ...)`);
    const [first, ...rest] = args;
    if (!first) return fold.empty;
    // One operand must still be a number.
    if (rest.length === 0) return typeof first.value === 'number' ? first.value : scalar(asReal(context, first));
    return rest.reduce<Argument>((left, right) => {
      const value = applyPrimitive(context, fold.primitive, [left, right]);
      if (hasKind(value, 'scalar')) context.note(value.expr, node);
      return { value, node };
    }, first).value;
  }
  if (reductionWords[name]) return reduction(reader, name, args, node);
  switch (name) {
    case 'floorDiv':
      return floorDivision(context, takes(context, name, args, node, 2, 2, 'floorDiv(i, 2)'), node);
    case 'field':
    case 'recurrence':
      return declareField(context, name, args, node);
    case 'f32':
    case 'i32':
      return declareInput(context, name, args, node);
    case 'logSoftmax':
      return declareLogSoftmax(context, takes(context, name, args, node, 2, 3, 'logSoftmax(acts, V)'), node);
    case 'arc':
      return declareArc(context, takes(context, name, args, node, 1, 1, arcUsage)[0]!, node);
    case 'lattice':
      return declareLattice(context, takes(context, name, args, node, 1, 1, latticeUsage)[0]!, node);
    default:
      return declareLoss(context, args, node);
  }
}

function reduction(reader: Reader, name: string, args: readonly Argument[], node: ts.Node): Value {
  const context: Context = reader.context;
  const usage = `${name}(extent, (i) => expression)`;
  const [extentArg, bodyArg] = takes(context, name, args, node, 2, 2, usage) as [Argument, Argument];
  const extent = asSize(context, extentArg, 'bad-extent', `the extent of ${name}`);
  const fn = closureOf(context, name, bodyArg, 1, usage);
  const index = context.newIndex(axisName(fn, 0), extent, true);
  const body = evaluateCell(reader, fn, [{ value: scalar(index), node: bodyArg.node }], bodyArg.node);
  return scalar(context.builder.reduce(reductionWords[name]!, index, extent, body));
}

// ---- fields and reads

function declareField(
  context: Context,
  name: 'field' | 'recurrence',
  args: readonly Argument[],
  node: ts.Node,
): FieldHandle {
  const usage = `${name}([T, U + 1], (t, u) => expression)`;
  const [domainArg, bodyArg, optionsArg] = takes(context, name, args, node, 2, 3, usage) as [
    Argument,
    Argument,
    Argument?,
  ];
  if (context.cellDepth > 0) {
    context.fail(
      node,
      'nested-field',
      `a ${name} is defined inside the body of another field or reduction`,
      'Define it by its own const and read its cells here.',
    );
  }
  if (!isArray(domainArg.value)) {
    context.fail(
      domainArg.node,
      'field-domain',
      `the domain of a ${name} is a list of sizes, and this is ${describe(domainArg.value)}`,
      `Write ${usage}.`,
    );
  }
  const places = elementNodes(domainArg.node, domainArg.value.length);
  const domain = domainArg.value.map((value, i) =>
    asSize(context, { value, node: places[i]! }, 'field-domain', `size ${i + 1} of this ${name}'s domain`),
  );
  if (domain.length === 0) {
    context.fail(
      domainArg.node,
      'field-domain',
      `the domain of this ${name} has no size in it`,
      `Write ${usage}, or a plain const for one value.`,
    );
  }
  if (domain.length > maximumRank) {
    context.fail(
      domainArg.node,
      'field-domain',
      `this ${name} has ${indexCount(domain.length)}; 1 to ${maximumRank} are allowed`,
      'Split it into fields of fewer indices.',
    );
  }
  const body = closureOf(context, name, bodyArg, domain.length, usage);
  const outside = optionsArg ? outsideOf(context, optionsArg) : Number.NEGATIVE_INFINITY;
  const field: FieldHandle = {
    kind: 'field',
    recurrence: name === 'recurrence',
    domain,
    outside,
    body,
    bodyNode: bodyArg.node,
    node,
  };
  context.fields.push(field);
  return field;
}

function outsideOf(context: Context, { value, node }: Argument): number {
  const usage = 'Write { outside: 0 }, with a number.';
  if (!hasKind(value, 'object'))
    context.fail(node, 'field-options', `the options of a field are an object, and this is ${describe(value)}`, usage);
  knownKeys(context, value, ['outside'], 'a field', node);
  const outside = value.get('outside');
  if (outside === undefined) return Number.NEGATIVE_INFINITY;
  if (typeof outside !== 'number' || Number.isNaN(outside)) {
    context.fail(
      value.nodeOf('outside') ?? node,
      'field-options',
      `outside must be a number known while the spec is read, and this is ${describe(outside)}`,
      usage,
    );
  }
  return outside;
}

/** One cell of an input or field. */
export function callRead(
  context: Context,
  source: InputHandle | FieldHandle,
  args: readonly Argument[],
  node: ts.CallExpression,
): Value {
  const dims = dimsOf(source);
  const name = nameOfSource(context, source);
  const sizes = `[${dims.map(printSize).join(', ')}]`;
  if (args.length !== dims.length) {
    context.fail(
      args[dims.length]?.node ?? node,
      'index-rank',
      `${name} is read with ${indexCount(args.length)}, but it has ${dims.length}: ${sizes}`,
      `Give one index for each of ${sizes}.`,
    );
  }
  const indices = args.map((arg, position) => asIndex(context, arg, { source: name, position, dim: dims[position]! }));
  const type = hasKind(source, 'input') && source.element === 'i32' ? 'int' : 'real';
  return scalar(context.builder.read(name, type, indices));
}

// ---- the header's forms

/** Inputs and fields have one to four indices, as the vocabulary's types say. */
const maximumRank = 4;

function dimOf(context: Context, { value, node }: Argument): SizeExpr {
  const hint = "Write a size or an affine combination of sizes: 'T', 'U+1', '2*U+1'.";
  if (typeof value !== 'string')
    return context.fail(node, 'bad-dim', `a dimension is a text, and this is ${describe(value)}`, hint);
  try {
    return parseDim(value);
  } catch (error) {
    return context.fail(node, 'bad-dim', (error as Error).message, hint);
  }
}

function declareInput(context: Context, element: 'f32' | 'i32', args: readonly Argument[], node: ts.Node): InputForm {
  const last = args[args.length - 1];
  const options = last && hasKind(last.value, 'object') ? last.value : undefined;
  const dims = (options ? args.slice(0, -1) : args).map((arg) => dimOf(context, arg));
  if (dims.length < 1 || dims.length > maximumRank) {
    context.fail(
      node,
      'bad-dim',
      `${element} has ${dims.length} dimensions; 1 to ${maximumRank} are allowed`,
      `Write ${element}('T', 'V').`,
    );
  }
  if (!options) return { kind: 'input-form', element, dims, node };
  if (element === 'f32') {
    context.fail(
      last!.node,
      'unknown-key',
      'f32 inputs have no options',
      "Only i32 inputs have: { not: 'name of a parameter' }.",
    );
  }
  knownKeys(context, options, ['not'], 'an i32 input', last!.node);
  const not = options.get('not');
  if (not !== undefined && typeof not !== 'string') {
    context.fail(
      options.nodeOf('not')!,
      'bad-option',
      `not names a parameter, and this is ${describe(not)}`,
      "Write { not: 'name of a parameter' }.",
    );
  }
  return {
    kind: 'input-form',
    element,
    dims,
    node,
    ...(not === undefined ? {} : { not: { name: not, node: options.nodeOf('not')! } }),
  };
}

function declareLoss(context: Context, args: readonly Argument[], node: ts.Node): LossForm {
  const usage = 'defineLoss({ name, inputs, ... }, ({ ... }) => { ... return { loss, gradients }; })';
  const [header, body] = takes(context, 'defineLoss', args, node, 2, 2, usage) as [Argument, Argument];
  if (!hasKind(header.value, 'object')) {
    context.fail(
      header.node,
      'argument-type',
      `the header of a loss is an object, and this is ${describe(header.value)}`,
      `Write ${usage}.`,
    );
  }
  return {
    kind: 'loss-form',
    header: header.value,
    headerNode: header.node,
    body: closureOf(context, 'defineLoss', body, 1, usage),
    bodyNode: body.node,
  };
}
