/** What a loss's body returns, checked: the loss itself and one field for each gradient. */
import type { ts } from 'ts-morph';
import type { Expr, Graph } from '../graph/graph.js';
import { printSize, sameSize } from '../graph/size.js';
import { knownKeys } from './builtins.js';
import type { Context } from './context.js';
import type { Header } from './header.js';
import { asReal } from './operators.js';
import { didYouMean, listWords } from './suggest.js';
import { describe, hasKind, indexCount, type ObjectValue, type Value } from './values.js';

const usage = 'End the body with: return { loss, gradients: { acts: grad } };';

export function readOutputs(
  context: Context,
  header: Header,
  value: Value,
  bodyNode: ts.Node,
): Pick<Graph, 'loss' | 'gradients'> {
  if (!hasKind(value, 'object') || value.what !== 'an object') {
    context.fail(
      bodyNode,
      'missing-loss',
      `the body of a loss returns { loss, gradients }, and this returns ${describe(value)}`,
      usage,
    );
  }
  const place = (key: string): ts.Node => value.nodeOf(key) ?? bodyNode;
  // The object literal, if there is one, is a better place than the whole body.
  const whole = value.keys().length > 0 ? (place(value.keys()[0]!).parent ?? bodyNode) : bodyNode;
  knownKeys(context, value, ['loss', 'gradients'], "a loss's result", bodyNode);
  const loss = value.get('loss');
  if (loss === undefined) context.fail(whole, 'missing-loss', 'the body returns no loss', usage);
  const gradients = value.get('gradients');
  if (gradients === undefined) {
    context.fail(
      whole,
      'missing-gradient',
      'the body returns no gradients',
      `${usage} A loss without gradients says so: gradients: {}.`,
    );
  }
  if (!hasKind(gradients, 'object')) {
    context.fail(
      place('gradients'),
      'missing-gradient',
      `gradients is an object by input, and this is ${describe(gradients)}`,
      usage,
    );
  }
  return {
    loss: lossOf(context, loss, valueNode(place('loss'))),
    gradients: gradientsOf(context, header, gradients, bodyNode),
  };
}

/** The value of `key: value`, or the key itself in a shorthand. */
const valueNode = (property: ts.Node): ts.Node => (property as { initializer?: ts.Node }).initializer ?? property;

function lossOf(context: Context, value: Value, node: ts.Node): Expr {
  if (hasKind(value, 'field') || hasKind(value, 'input')) {
    const dims = hasKind(value, 'field') ? value.domain : value.dims;
    const last = dims.map((dim) => printSize({ ...dim, constant: dim.constant - 1 })).join(', ');
    context.fail(
      node,
      'loss-type',
      `the loss is ${describe(value)}, so it has ${indexCount(dims.length)} left open`,
      `The loss is one number: read one cell, e.g. ${value.name ?? 'it'}(${last}), or reduce over the indices.`,
    );
  }
  const isNumber = typeof value === 'number' || (hasKind(value, 'scalar') && value.expr.type !== 'bool');
  if (!isNumber)
    context.fail(
      node,
      'loss-type',
      `the loss is ${describe(value)}, not a real number`,
      'The loss is one real number, e.g. -beta(0, 0).',
    );
  return asReal(context, { value, node });
}

function gradientsOf(context: Context, header: Header, object: ObjectValue, bodyNode: ts.Node): Record<string, string> {
  const gradients: Record<string, string> = {};
  const reals = header.inputs.filter(({ element }) => element === 'f32').map(({ name }) => name);
  for (const name of object.keys()) {
    const property = object.nodeOf(name) ?? bodyNode;
    const key = (property as { name?: ts.Node }).name ?? property;
    const input = header.inputs.find((decl) => decl.name === name);
    if (!input) {
      context.fail(
        key,
        'gradient-input',
        `there is no input ${name} to have a gradient`,
        didYouMean(name, reals, `The f32 inputs are ${listWords(reals)}.`),
      );
    }
    if (input.element === 'i32') {
      context.fail(
        key,
        'gradient-input',
        `${name} is an int input, so it has no gradient`,
        `Gradients belong to f32 inputs: ${listWords(reals)}.`,
      );
    }
    const value = object.get(name)!;
    const node = valueNode(property);
    const dims = `[${input.dims.map(printSize).join(', ')}]`;
    if (!hasKind(value, 'field')) {
      context.fail(
        node,
        'gradient-field',
        `the gradient of ${name} must be a field, and this is ${describe(value)}`,
        `Define it by field(${dims}, (...) => ...) and give the field's name here.`,
      );
    }
    const same =
      value.domain.length === input.dims.length && value.domain.every((dim, i) => sameSize(dim, input.dims[i]!));
    if (!same) {
      context.fail(
        node,
        'gradient-domain',
        `the gradient of ${name} is a field over [${value.domain.map(printSize).join(', ')}], but ${name} is ${dims}`,
        `Define it over ${dims}.`,
      );
    }
    gradients[name] = context.nameOf(value);
  }
  return gradients;
}
