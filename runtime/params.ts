/** Run-time parameters: names, types and ranges. */
import type { ParamDecl } from '../compiler/graph/graph.js';
import { evalSize, printSize } from '../compiler/graph/size.js';
import { describe, didYouMean, InputError, listOf } from './errors.js';
import type { SpecSignature } from './signature.js';

export type ParamValues = Readonly<Record<string, number>>;

/**
 * Names and types, as far as they can be checked before any shape is known.
 * @throws InputError for a parameter the spec does not have, and for values that are no finite numbers
 */
export function checkParamNames(signature: SpecSignature, values: Readonly<Record<string, unknown>>): void {
  const names = signature.params.map((param) => param.name);
  for (const [name, value] of Object.entries(values)) {
    const decl = signature.params.find((param) => param.name === name);
    if (decl === undefined) {
      throw new InputError({
        code: 'option',
        argument: name,
        problem: `is not a parameter of ${signature.name}${didYouMean(name, names)}`,
        value,
        allowed: names.length === 0 ? 'none' : listOf(names),
      });
    }
    checkNumber(decl, value);
  }
}

function checkNumber(decl: ParamDecl, value: unknown): asserts value is number {
  const fits = typeof value === 'number' && (decl.type === 'int' ? Number.isInteger(value) : Number.isFinite(value));
  if (fits) return;
  throw new InputError({
    code: typeof value === 'number' ? 'range' : 'type',
    argument: decl.name,
    problem: `is ${describe(value)}`,
    value,
    allowed: decl.type === 'int' ? 'an integer' : 'a finite number',
  });
}

/**
 * The value of every parameter: given or default, ints within their range. A negative index counts from the end, so -1
 * is the last, as in torchaudio.
 * @throws InputError
 */
export function resolveParams(
  signature: SpecSignature,
  values: Readonly<Record<string, unknown>>,
  sizes: Readonly<Record<string, number>>,
): Record<string, number> {
  checkParamNames(signature, values);
  const resolved: Record<string, number> = {};
  for (const decl of signature.params) {
    const value = values[decl.name] ?? decl.default;
    checkNumber(decl, value);
    resolved[decl.name] = decl.type === 'int' ? resolveInt(decl, value, sizes) : value;
  }
  return resolved;
}

function resolveInt(decl: ParamDecl, value: number, sizes: Readonly<Record<string, number>>): number {
  const { name, below } = decl;
  // A bound by an utterance's own length cannot be checked for the batch as a whole.
  const limit = below === undefined ? undefined : evalSize(below, sizes);
  const lowest = limit === undefined ? -(2 ** 31) : -limit;
  const highest = limit === undefined ? 2 ** 31 - 1 : limit - 1;
  if (value < lowest || value > highest) {
    throw new InputError({
      code: 'range',
      argument: name,
      problem: `is ${value}`,
      value,
      allowed:
        limit === undefined || below === undefined
          ? `integers from ${lowest} to ${highest}`
          : `integers from 0 to ${highest}, or from ${lowest} to -1 counted from the end (${printSize(below)} is ${limit})`,
    });
  }
  return limit !== undefined && value < 0 ? value + limit : value;
}
