/** Declares a loss: checks its header and makes the definition that specs export. */
import { type Dim, parseDim } from './dims.js';
import { runEquations } from './reference.js';
import type {
  DimTexts,
  Equations,
  InputSpec,
  InputSpecs,
  IntOptions,
  LengthSpecs,
  LossDefinition,
  LossHeader,
  ParamSpecs,
  Scope,
  StaticSpecs,
} from './types.js';

/**
 * A real input, one utterance's part, without the batch: `f32('T', 'U+1', 'V')`.
 * @param dims one to four affine texts over size names
 * @throws Error for a text that is not affine
 */
export function f32<const D extends DimTexts>(...dims: D): InputSpec<D, 'f32', never> {
  checkDims('f32', dims);
  return { element: 'f32', dims };
}

/**
 * An input of ints, which may be used as indices: `i32('U', { not: 'blank' })`.
 * @param args one to four affine texts over size names, then perhaps options
 * @throws Error for a text that is not affine
 */
export function i32<const D extends DimTexts>(...dims: D): InputSpec<D, 'i32', never>;
export function i32<const D extends DimTexts, const N extends string>(
  ...args: [...dims: D, options: IntOptions<N>]
): InputSpec<D, 'i32', N>;
export function i32(...args: readonly (string | IntOptions)[]): InputSpec {
  const last = args.at(-1);
  const options = typeof last === 'object' ? last : undefined;
  const dims = (options === undefined ? args : args.slice(0, -1)) as DimTexts;
  checkDims('i32', dims);
  return options === undefined ? { element: 'i32', dims } : { element: 'i32', dims, not: options.not };
}

function checkDims(what: string, dims: readonly string[]): Dim[] {
  if (dims.length < 1 || dims.length > 4)
    throw new Error(`${what}(...) has ${dims.length} dimensions; 1 to 4 are allowed`);
  return dims.map(parseDim);
}

/** Sizes that differ between utterances unless the header says otherwise. */
export const usualLengths: LengthSpecs = { T: 'actLens', U: 'labelLens' };

/**
 * Declares a loss by its equations for ONE utterance; the batch is implicit. The body is read by the compiler and also
 * runs as it stands, in float64.
 * @param header name, inputs, parameters
 * @param body receives inputs as functions and sizes, parameters, statics as numbers; returns the loss and its gradients
 * @throws Error naming the part of the header that is wrong
 */
export function defineLoss<
  const I extends InputSpecs,
  const P extends ParamSpecs = Record<never, number>,
  const S extends StaticSpecs = Record<never, number>,
  const L extends LengthSpecs = Record<never, string>,
>(header: LossHeader<I, P, S, L>, body: (scope: Scope<I, P, S, L>) => Equations<I>): LossDefinition {
  const { name, doc = '', inputs, params = {}, statics = {} } = header;
  const dims = Object.fromEntries(Object.entries(inputs).map(([key, input]) => [key, input.dims.map(parseDim)]));
  const sizes = new Set(Object.values(dims).flatMap((list) => list.flatMap((dim) => Object.keys(dim.terms))));
  const lengths =
    header.lengths ?? Object.fromEntries(Object.entries(usualLengths).filter(([size]) => sizes.has(size)));
  const definition = { name, doc, inputs, lengths, params, statics };
  for (const size of Object.keys(lengths)) sizes.add(size);
  checkHeader(definition, [...sizes]);
  return Object.freeze({
    ...definition,
    // The body is the author's; its types were checked at the call of defineLoss.
    evaluate: (utterance) => runEquations({ ...definition, dims, sizes: [...sizes], body: body as never }, utterance),
  } satisfies LossDefinition);
}

function checkHeader(header: Omit<LossDefinition, 'evaluate'>, sizes: readonly string[]): void {
  const { name, inputs, params, statics } = header;
  const fail = (problem: string): never => {
    throw new Error(`defineLoss(${JSON.stringify(name)}): ${problem}`);
  };
  if (typeof name !== 'string' || name === '') fail('name must be a text that is not empty');
  const owners = new Map<string, string>();
  const claim = (key: string, what: string) => {
    const owner = owners.get(key);
    if (owner !== undefined) fail(`${key} is both ${owner} and ${what}; the body could not tell them apart`);
    if (!/^[A-Za-z_$][\w$]*$/.test(key)) fail(`${what} is called ${JSON.stringify(key)}; names are identifiers`);
    owners.set(key, what);
  };
  for (const key of Object.keys(inputs)) claim(key, 'an input');
  for (const key of sizes) claim(key, 'a size');
  for (const [key, value] of Object.entries(params)) {
    claim(key, 'a parameter');
    if (typeof value !== 'number') fail(`the default of parameter ${key} is ${String(value)}; it must be a number`);
  }
  for (const [key, value] of Object.entries(statics)) {
    claim(key, 'a static');
    const values = Array.isArray(value) ? value : [value];
    if (!values.every(Number.isFinite)) fail(`static ${key} is ${String(value)}; it must be finite numbers`);
  }
  for (const [key, input] of Object.entries(inputs)) {
    if (input.not !== undefined && !Object.hasOwn(params, input.not)) {
      fail(`input ${key} excludes the value of ${JSON.stringify(input.not)}, which is not a parameter`);
    }
  }
}
