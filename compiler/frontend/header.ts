/** The header of a loss: inputs, lengths, parameters and statics, and what the body receives. */
import type { ts } from 'ts-morph';
import { usualLengths } from '../../dsl/define.js';
import type { Graph, InputDecl, LengthDecl, ParamDecl, SizeExpr } from '../graph/graph.js';
import { StaticsError } from '../source.js';
import { knownKeys } from './arguments.js';
import type { Context } from './context.js';
import { didYouMean, listWords } from './suggest.js';
import {
  describe,
  hasKind,
  isArray,
  type LossForm,
  type ObjectValue,
  scalar,
  staticObject,
  type Value,
} from './values.js';

export interface Header {
  readonly name: string;
  readonly doc: string;
  /** Without what is learnt from their use. */
  readonly inputs: readonly InputDecl[];
  readonly lengths: readonly LengthDecl[];
  readonly params: readonly ParamDecl[];
  readonly statics: Graph['statics'];
  /** What the body's only parameter is. */
  readonly environment: ObjectValue;
}

const headerKeys = ['name', 'doc', 'inputs', 'lengths', 'params', 'statics'] as const;
const identifier = /^[A-Za-z_]\w*$/;

/** Every kind of name of the header, with where it stands; two of one name would be confused in the body. */
class Names {
  private readonly seen = new Map<string, string>();
  constructor(private readonly context: Context) {}
  add(name: string, what: string, node: ts.Node): void {
    if (!identifier.test(name)) {
      this.context.fail(
        node,
        'bad-name',
        `'${name}' cannot be the name of ${what}`,
        'Use letters, digits and underscores, and a letter first.',
      );
    }
    const other = this.seen.get(name);
    if (other !== undefined) {
      this.context.fail(
        node,
        'duplicate-name',
        `${name} is the name of ${other} and of ${what}`,
        'Give one of the two another name.',
      );
    }
    this.seen.set(name, what);
    this.context.claim(name);
  }
}

/** Reads the header; `given` replaces values of its statics. */
/** The name that an index over a dimension usually has: u for U or U + 1. */
const usualIndex = ({ terms }: SizeExpr): string => Object.keys(terms)[0]?.toLowerCase() ?? 'i';

export function readHeader(context: Context, loss: LossForm, given: Graph['statics']): Header {
  const { header, headerNode } = loss;
  const at = (object: ObjectValue, key: string): ts.Node => object.nodeOf(key) ?? headerNode;
  knownKeys(context, header, headerKeys, 'the header', headerNode);
  const name = header.get('name');
  if (typeof name !== 'string' || !/^[A-Za-z][\w-]*$/.test(name)) {
    context.fail(
      name === undefined ? headerNode : at(header, 'name'),
      name === undefined ? 'missing-key' : 'bad-name',
      name === undefined ? 'the header has no name' : 'the name of a loss is a short text of letters, digits, - and _',
      "Write name: 'my-loss'.",
    );
  }
  const doc = header.get('doc') ?? '';
  if (typeof doc !== 'string')
    context.fail(
      at(header, 'doc'),
      'bad-option',
      `doc is a text, and this is ${describe(doc)}`,
      "Write doc: 'what this loss is, in one line'.",
    );
  const section = (key: 'inputs' | 'lengths' | 'params' | 'statics'): ObjectValue | undefined => {
    const value = header.get(key);
    if (value === undefined || hasKind(value, 'object')) return value;
    return context.fail(
      at(header, key),
      'bad-option',
      `${key} is an object, and this is ${describe(value)}`,
      `Write ${key}: { name: ... }.`,
    );
  };

  const names = new Names(context);
  for (const taken of ['loss', 'B']) context.claim(taken);
  const environment = new Map<string, Value>();
  const forms = readInputs(context, section('inputs'), headerNode, names);
  for (const [input, form] of forms) {
    context.claim(`grad_${input}`);
    environment.set(input, { kind: 'input', name: input, element: form.element, dims: form.dims });
    if (form.element === 'i32') context.exampleGather ??= `${input}(${form.dims.map(usualIndex).join(', ')})`;
  }
  const sizes = new Map<string, ts.Node>();
  for (const form of forms.values()) {
    for (const size of form.dims) {
      for (const symbol of Object.keys(size.terms)) if (!sizes.has(symbol)) sizes.set(symbol, form.node);
    }
  }
  for (const [size, node] of sizes) {
    names.add(size, 'a size', node);
    environment.set(size, scalar(context.builder.size(size)));
  }
  const lengths = readLengths(context, section('lengths'), sizes, names, headerNode);
  const params = readParams(context, section('params'), names, headerNode);
  const inputs = [...forms].map(([input, form]): InputDecl => {
    const { element, dims, not } = form;
    if (not) checkNot(context, not, params);
    return { name: input, element, dims, ...(not ? { not: not.name } : {}) };
  });
  for (const param of params) environment.set(param.name, scalar(context.builder.param(param.name, param.type)));
  const statics = replaceStatics(readStatics(context, section('statics'), names, headerNode), given);
  for (const [key, value] of Object.entries(statics)) environment.set(key, value);
  return { name, doc, inputs, lengths, params, statics, environment: staticObject('the loss', environment) };
}

function readInputs(context: Context, section: ObjectValue | undefined, headerNode: ts.Node, names: Names) {
  const usage = "Write inputs: { acts: f32('T', 'U+1', 'V') }.";
  const forms = new Map<string, Extract<Value, { kind: 'input-form' }>>();
  for (const name of section?.keys() ?? []) {
    const form = section!.get(name)!;
    const node = section!.nodeOf(name) ?? headerNode;
    if (!hasKind(form, 'input-form')) {
      context.fail(
        node,
        'bad-option',
        `the input ${name} is declared by ${describe(form)}`,
        "Declare it by f32('T', 'V') or i32('U').",
      );
    }
    names.add(name, 'an input', node);
    forms.set(name, form);
  }
  if (!section || forms.size === 0) context.fail(headerNode, 'missing-key', 'the header declares no inputs', usage);
  return forms;
}

function readLengths(
  context: Context,
  section: ObjectValue | undefined,
  sizes: ReadonlyMap<string, ts.Node>,
  names: Names,
  headerNode: ts.Node,
): LengthDecl[] {
  if (!section) {
    const used = Object.entries(usualLengths).filter(([size]) => sizes.has(size));
    for (const [size, argument] of used) names.add(argument, `the lengths of ${size}`, headerNode);
    return used.map(([size, argument]) => ({ size, argument }));
  }
  return section.keys().map((size) => {
    const argument = section.get(size)!;
    const node = section.nodeOf(size) ?? headerNode;
    if (!sizes.has(size)) {
      context.fail(
        node,
        'bad-length',
        `no input has the size ${size}`,
        didYouMean(size, sizes.keys(), `The sizes are ${listWords([...sizes.keys()])}.`),
      );
    }
    if (typeof argument !== 'string') {
      context.fail(
        node,
        'bad-length',
        `the lengths of ${size} are named by a text, and this is ${describe(argument)}`,
        `Write ${size}: 'nameOfTheArgument'.`,
      );
    }
    names.add(argument, `the lengths of ${size}`, node);
    return { size, argument };
  });
}

function readParams(
  context: Context,
  section: ObjectValue | undefined,
  names: Names,
  headerNode: ts.Node,
): ParamDecl[] {
  return (section?.keys() ?? []).map((name) => {
    const value = section!.get(name)!;
    const node = section!.nodeOf(name) ?? headerNode;
    if (typeof value !== 'number' || !Number.isFinite(value)) {
      context.fail(
        node,
        'param-default',
        `the default of ${name} must be a finite number, and this is ${describe(value)}`,
        isArray(value) ? `Arrays are statics: statics: { ${name}: [...] }.` : `Write ${name}: 0.`,
      );
    }
    names.add(name, 'a parameter', node);
    context.paramDefaults.set(name, value);
    return { name, type: context.intParams.has(name) ? 'int' : 'real', default: value };
  });
}

/** `not: 'x'` compares an int input with a parameter, so that is an int. */
function checkNot(
  context: Context,
  not: { readonly name: string; readonly node: ts.Node },
  params: readonly ParamDecl[],
): void {
  const param = params.find(({ name }) => name === not.name);
  if (!param) {
    const known = params.map(({ name }) => name);
    context.fail(
      not.node,
      'unknown-name',
      `not: '${not.name}' names no parameter`,
      didYouMean(not.name, known, `The parameters are ${listWords(known)}.`),
    );
  }
  if (!Number.isInteger(param.default)) {
    context.fail(
      not.node,
      'param-default',
      `not: '${not.name}' names a parameter whose default ${param.default} is not an integer`,
      'Give it an integer default.',
    );
  }
  if (param.type === 'real') context.demandInts([param.name]);
}

function readStatics(
  context: Context,
  section: ObjectValue | undefined,
  names: Names,
  headerNode: ts.Node,
): Graph['statics'] {
  const statics: Record<string, number | readonly number[]> = {};
  for (const name of section?.keys() ?? []) {
    const value = section!.get(name)!;
    const node = section!.nodeOf(name) ?? headerNode;
    const isNumber = (item: Value): item is number => typeof item === 'number' && Number.isFinite(item);
    const good = isNumber(value) || (isArray(value) && value.every(isNumber));
    if (!good) {
      context.fail(
        node,
        'static-value',
        `the static ${name} must be a finite number or an array of such, and this is ${describe(value)}`,
        `Write ${name}: 2 or ${name}: [1, 2].`,
      );
    }
    names.add(name, 'a static', node);
    statics[name] = value as number | readonly number[];
  }
  return statics;
}

function replaceStatics(declared: Graph['statics'], given: Graph['statics']): Graph['statics'] {
  for (const [name, value] of Object.entries(given)) {
    const known = declared[name];
    if (known === undefined) {
      const names = Object.keys(declared);
      throw new StaticsError(name, 'is no static of the spec', names.length === 0 ? 'none' : listWords(names));
    }
    const values = Array.isArray(value) ? value : [value];
    if (Array.isArray(known) !== Array.isArray(value) || !values.every(Number.isFinite)) {
      const kind = Array.isArray(known) ? 'an array of finite numbers' : 'a finite number';
      throw new StaticsError(name, `is ${JSON.stringify(value)}`, kind);
    }
  }
  return { ...declared, ...given };
}
