/** A loss by its arcs: arc({ ... }) and lattice({ ... }), checked where they are written, and made a LatticeDecl at the end. */
import type { ts } from 'ts-morph';
import { type ArcDecl, type Expr, GRADIENT, type LatticeDecl, LOG_LIKELIHOOD, type SizeExpr } from '../graph/graph.js';
import { addSize, printSize, scaleSize } from '../graph/size.js';
import { axisName, closureOf, elementNodes, evaluateCell, knownKeys } from './arguments.js';
import type { Argument, Context, Reader } from './context.js';
import { asSize } from './indices.js';
import { asReal, condition } from './operators.js';
import {
  type ArcForm,
  type Closure,
  describe,
  hasKind,
  indexCount,
  isArray,
  type LatticeForm,
  type ObjectValue,
  scalar,
} from './values.js';

export const arcUsage = 'arc({ step: [1, 0], weight: (t, u) => ..., final: true })';
export const latticeUsage = 'lattice({ nodes: [T, U + 1], start: [0, 0], end: [T, U], arcs: [arc(...)] })';

const maximumRank = 4;

/** The one object that `arc` and `lattice` take, with keys that mean something. */
function options(
  context: Context,
  { value, node }: Argument,
  what: 'arc' | 'lattice',
  call: ts.Node,
  keys: { readonly needed: readonly string[]; readonly others: readonly string[] },
): ObjectValue {
  const usage = `Write ${what === 'arc' ? arcUsage : latticeUsage}.`;
  if (context.cellDepth > 0) {
    context.fail(
      call,
      'nested-field',
      `${what} is called inside the body of a field, reduction or arc`,
      'A lattice and its arcs are stated once, by the body of the loss.',
    );
  }
  if (!hasKind(value, 'object'))
    context.fail(node, 'argument-type', `${what} needs an object, and this is ${describe(value)}`, usage);
  knownKeys(context, value, [...keys.needed, ...keys.others], what === 'arc' ? 'an arc' : 'a lattice', node);
  for (const key of keys.needed) {
    if (value.get(key) === undefined) context.fail(node, 'missing-key', `this ${what} has no ${key}`, usage);
  }
  return value;
}

/** A key's value, where it was written. */
function argument(object: ObjectValue, key: string, otherwise: ts.Node): Argument {
  const property = object.nodeOf(key) ?? otherwise;
  return { value: object.get(key)!, node: (property as { initializer?: ts.Node }).initializer ?? property };
}

function listOf(context: Context, arg: Argument, what: string, code: string, usage: string): Argument[] {
  const { value, node } = arg;
  if (!isArray(value)) context.fail(node, code, `${what} is a list, and this is ${describe(value)}`, usage);
  const places = elementNodes(node, value.length);
  return value.map((item, i) => ({ value: item, node: places[i]! }));
}

export function declareArc(context: Context, arg: Argument, node: ts.Node): ArcForm {
  const needed = ['step', 'weight'];
  const object = options(context, arg, 'arc', node, { needed, others: ['name', 'when', 'scale', 'final'] });
  const usage = `Write ${arcUsage}.`;
  const name = object.get('name');
  if (name !== undefined && (typeof name !== 'string' || !/^[A-Za-z_]\w*$/.test(name))) {
    const { node: place } = argument(object, 'name', node);
    context.fail(
      place,
      'bad-name',
      `${typeof name === 'string' ? `'${name}'` : describe(name)} cannot be the name of an arc`,
      'Names are texts of letters, digits and underscores, a letter first.',
    );
  }
  const stepArg = argument(object, 'step', node);
  const step = listOf(context, stepArg, 'a step', 'arc-step', usage).map(({ value, node: place }) => {
    if (typeof value === 'number' && Number.isInteger(value)) return value;
    return context.fail(
      place,
      'arc-step',
      typeof value === 'number'
        ? `a step is made of integers, and this is ${value}`
        : `a step must be known while the spec is read, and this is ${describe(value)}`,
      'Write integers, or statics: step: [1, 0]. What depends on the utterance can be a when, or the place of the end.',
    );
  });
  if (step.length < 1 || step.length > maximumRank) {
    context.fail(
      stepArg.node,
      'arc-step',
      `this step has ${indexCount(step.length)}; 1 to ${maximumRank} are allowed`,
      usage,
    );
  }
  if (step.every((part) => part === 0)) {
    context.fail(
      stepArg.node,
      'arc-step',
      'this arc leads from a node to itself',
      'At least one number of a step is not 0.',
    );
  }
  const closure = (key: string): Closure => closureOf(context, key, argument(object, key, node), step.length, arcUsage);
  const final = object.get('final') ?? false;
  if (typeof final !== 'boolean') {
    const { node: place } = argument(object, 'final', node);
    context.fail(
      place,
      'arc-option',
      `final must be known while the spec is read, and this is ${describe(final)}`,
      'Write final: true or false, or a condition on statics. Whether an arc exists at a node is its when.',
    );
  }
  const scale = object.get('scale');
  if (scale !== undefined && typeof scale !== 'number' && !hasKind(scale, 'scalar')) {
    const { node: place } = argument(object, 'scale', node);
    context.fail(
      place,
      'arc-option',
      `scale is one number for all nodes, and this is ${describe(scale)}`,
      'Write an expression of parameters: scale: 1 + lambda. What depends on the node belongs into the weight.',
    );
  }
  return {
    kind: 'arc-form',
    object,
    ...(name === undefined ? {} : { name }),
    step,
    weight: closure('weight'),
    ...(object.get('when') === undefined ? {} : { when: closure('when') }),
    final,
    node,
  };
}

export function declareLattice(context: Context, arg: Argument, node: ts.Node): LatticeForm {
  const needed = ['nodes', 'start', 'end', 'arcs'];
  const object = options(context, arg, 'lattice', node, { needed, others: ['loss', 'gradient'] });
  const usage = `Write ${latticeUsage}.`;
  const nodesArg = argument(object, 'nodes', node);
  const nodes = listOf(context, nodesArg, 'nodes', 'lattice-place', usage).map((each, i) =>
    asSize(context, each, 'lattice-place', `size ${i + 1} of the nodes`),
  );
  if (nodes.length < 1 || nodes.length > maximumRank) {
    const message = `these nodes have ${indexCount(nodes.length)}; 1 to ${maximumRank} are allowed`;
    context.fail(nodesArg.node, 'lattice-place', message, usage);
  }
  const start = placeOf(context, object, 'start', nodes, node);
  const end = placeOf(context, object, 'end', nodes, node);
  const arcs = arcsOf(context, argument(object, 'arcs', node), nodes.length, usage);
  const beyond = (place: Place): number => place.findIndex(({ size }, axis) => isBeyond(size, nodes[axis]!));
  const [startAxis, endAxis] = [beyond(start), beyond(end)];
  if (startAxis >= 0) {
    context.fail(
      start[startAxis]!.node,
      'lattice-place',
      'the start lies outside of the nodes, so there is no path',
      `Index ${startAxis + 1} of a node is less than ${printSize(nodes[startAxis]!)}.`,
    );
  }
  if (endAxis >= 0 && !arcs.some(({ final }) => final)) {
    context.fail(
      end[endAxis]!.node,
      'unreachable-end',
      'the end lies outside of the nodes, and no arc is final, so there is no path',
      `Mark the arcs that may enter it with final: true, or end at a node: index ${endAxis + 1} less than ${printSize(nodes[endAxis]!)}.`,
    );
  }
  const exprs = (place: Place): Expr[] => place.map(({ expr }) => expr);
  return { kind: 'lattice-form', object, nodes, start: exprs(start), end: exprs(end), arcs, node };
}

type Place = readonly { readonly size: SizeExpr; readonly expr: Expr; readonly node: ts.Node }[];

/** Integers that are affine in sizes, as many as a node has indices. */
function placeOf(
  context: Context,
  object: ObjectValue,
  key: 'start' | 'end',
  nodes: readonly SizeExpr[],
  call: ts.Node,
): Place {
  const arg = argument(object, key, call);
  const parts = listOf(context, arg, `the ${key}`, 'lattice-place', `Write ${latticeUsage}.`);
  if (parts.length !== nodes.length) {
    context.fail(
      arg.node,
      'lattice-place',
      `the ${key} has ${indexCount(parts.length)}, but nodes have ${nodes.length}: [${nodes.map(printSize).join(', ')}]`,
      `Give one number for each of [${nodes.map(printSize).join(', ')}].`,
    );
  }
  return parts.map((part, i) => {
    const size = asSize(context, part, 'lattice-place', `index ${i + 1} of the ${key}`);
    const expr = hasKind(part.value, 'scalar') ? part.value.expr : context.builder.int(part.value as number);
    return { size, expr, node: part.node };
  });
}

/** Whether a place is at or beyond an extent, whatever the sizes are. */
function isBeyond(place: SizeExpr, extent: SizeExpr): boolean {
  const { constant, terms } = addSize(place, scaleSize(extent, -1));
  return constant >= 0 && Object.values(terms).every((k) => k >= 0);
}

function arcsOf(context: Context, arg: Argument, rank: number, usage: string): LatticeForm['arcs'] {
  const list = listOf(context, arg, 'arcs', 'lattice-arcs', usage);
  if (list.length === 0) context.fail(arg.node, 'lattice-arcs', 'this lattice has no arcs, so it has no path', usage);
  const names = new Set<string>();
  return list.map(({ value, node }, n) => {
    if (!hasKind(value, 'arc-form')) {
      const hint = isArray(value) ? 'Spread the list: ...durations.map((d) => arc({ ... })).' : `Write ${arcUsage}.`;
      context.fail(node, 'lattice-arcs', `arcs is a list of arcs, and this is ${describe(value)}`, hint);
    }
    const name = value.name ?? `arc${n}`;
    if (value.step.length !== rank) {
      const { node: place } = argument(value.object, 'step', value.node);
      context.fail(
        place,
        'arc-step',
        `this step has ${indexCount(value.step.length)}, but nodes have ${rank}`,
        'Give one integer for each index of a node.',
      );
    }
    if (names.has(name)) {
      const { node: place } = argument(value.object, 'name', value.node);
      context.fail(place, 'duplicate-name', `two arcs are called ${name}`, 'Give one of the two another name.');
    }
    names.add(name);
    return { ...value, name };
  });
}

/** The lattice, once every const of the loss has a value. */
export function readLattice(reader: Reader, form: LatticeForm): LatticeDecl {
  const { context } = reader;
  const { builder } = context;
  const { nodes, start, end } = form;
  const axes = nodes.map((extent, i) => {
    // The first arc that names this index.
    const named = form.arcs.find(({ weight }) => weight.node.parameters.length > i) ?? form.arcs[0]!;
    return context.newIndex(axisName(named.weight, i), extent, false);
  });
  const node = form.arcs.map(({ weight }) => axes.map((axis) => ({ value: scalar(axis), node: weight.node })));
  const arcs = form.arcs.map((arc, k): ArcDecl => {
    const weight = evaluateCell(reader, arc.weight, node[k]!, arc.weight.node);
    const when = arc.when && whenOf(reader, arc.when, node[k]!);
    const scale = arc.object.get('scale') === undefined ? undefined : argument(arc.object, 'scale', arc.node);
    return {
      name: arc.name,
      step: arc.step,
      weight,
      ...(when ? { when } : {}),
      ...(scale ? { scale: asReal(context, scale) } : {}),
      final: arc.final,
    };
  });
  const logLik = builder.read(LOG_LIKELIHOOD, 'real', []);
  const loss = completion(reader, form, 'loss', logLik) ?? builder.prim('neg', logLik);
  const gradient = completion(reader, form, 'gradient', builder.read(GRADIENT, 'real', []));
  return { axes, nodes, start, end, arcs, loss, ...(gradient ? { gradient } : {}) };
}

/** undefined: everywhere. */
function whenOf(reader: Reader, when: Closure, node: readonly Argument[]): Expr | undefined {
  const { context } = reader;
  context.cellDepth++;
  const value = reader.apply(when, node, when.node, true);
  context.cellDepth--;
  const test = condition(context, { value, node: when.node.body ?? when.node });
  if (test === true) return undefined;
  return test === false ? context.builder.bool(false) : test;
}

/** The function of one number under a key of the lattice, at a value that is derived later. */
function completion(reader: Reader, form: LatticeForm, key: 'loss' | 'gradient', value: Expr): Expr | undefined {
  if (form.object.get(key) === undefined) return undefined;
  const arg = argument(form.object, key, form.node);
  const usage = key === 'loss' ? 'loss: (logLik) => -logLik' : 'gradient: (g) => max(-1, min(1, g))';
  const fn = closureOf(reader.context, key, arg, 1, usage);
  return evaluateCell(reader, fn, [{ value: scalar(value), node: arg.node }], arg.node);
}
