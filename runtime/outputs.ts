/** Where gradients go: new arrays, an array of the caller's, or the inputs themselves. */
import { InputError, listOf } from './errors.js';
import type { CallOptions } from './options.js';
import type { SpecSignature } from './signature.js';
import { checkTyped, elementsOf, type RealArray } from './tensor.js';
import type { Shapes } from './validate.js';

export interface Outputs {
  /** By input name; undefined for score only. */
  readonly gradients: Readonly<Record<string, RealArray>> | undefined;
  /** True when the caller's own memory is written to. */
  readonly borrowed: boolean;
}

const refuse = (
  problem: string,
  value: unknown,
  allowed: string,
  code: 'shape' | 'dtype' | 'option' = 'option',
): InputError => new InputError({ code, argument: 'grads', problem, value, allowed });

/** @throws InputError when the caller's array cannot take the gradient. */
export function chooseOutputs(
  signature: SpecSignature,
  shapes: Shapes,
  grads: CallOptions['grads'],
  reals: 'f32' | 'f64',
): Outputs {
  if (grads === false) return { gradients: undefined, borrowed: false };
  const names = signature.gradients;
  if (grads === 'in-place') {
    const own = names.map((name) => [name, inPlace(name, shapes)] as const);
    return { gradients: Object.fromEntries(own), borrowed: true };
  }
  if (grads === undefined || grads === true) {
    const fresh = names.map((name) => {
      const elements = elementsOf(shapes.raw[name]?.shape ?? []);
      return [name, reals === 'f32' ? new Float32Array(elements) : new Float64Array(elements)] as const;
    });
    return { gradients: Object.fromEntries(fresh), borrowed: false };
  }
  const [name, ...others] = names;
  if (name === undefined || others.length > 0) {
    const problem = `is one array, but ${signature.name} has ${names.length} gradients${names.length > 0 ? ` (${listOf(names, 'and')})` : ''}`;
    throw refuse(problem, grads, "true, false or 'in-place'");
  }
  checkArray(grads, name, shapes);
  return { gradients: { [name]: grads }, borrowed: true };
}

function inPlace(name: string, shapes: Shapes): Float32Array {
  const data = shapes.raw[name]?.data;
  if (Object.prototype.toString.call(data) === '[object Float32Array]') return data as Float32Array;
  throw refuse(
    `is "in-place", but ${name} is not a Float32Array that could hold its gradient`,
    'in-place',
    `${name} as { data: Float32Array, shape }`,
    'dtype',
  );
}

function checkArray(output: Float32Array, name: string, shapes: Shapes): void {
  checkTyped('grads', output);
  const input = shapes.raw[name];
  const wanted = elementsOf(input?.shape ?? []);
  if (output.length !== wanted) {
    throw refuse(
      `has ${output.length} elements where ${name} [${input?.shape.join(', ')}] has ${wanted}`,
      output.length,
      `a Float32Array of exactly ${wanted} elements`,
      'shape',
    );
  }
  for (const [other, { data }] of Object.entries(shapes.raw)) {
    if (!ArrayBuffer.isView(data) || data.buffer !== output.buffer) continue;
    const apart =
      data.byteOffset + data.byteLength <= output.byteOffset ||
      output.byteOffset + output.byteLength <= data.byteOffset;
    // Int inputs are copied before anything is written.
    const isInt = !/^\[object Float/.test(Object.prototype.toString.call(data));
    const same = other === name && data.byteOffset === output.byteOffset && data.byteLength === output.byteLength;
    if (apart || isInt || same) continue;
    throw refuse(`overlaps the memory of ${other} in part`, output, `memory of its own, or exactly that of ${name}`);
  }
}
