/**
 * The reference: a loss's equations, or its lattice, run as the plain TypeScript they are, in float64, for one utterance.
 * It is slow and it is the definition: every other device is judged by it.
 */
import { type Dim, evalDim } from './dims.js';
import { collectFields, noteShape, valuesOf } from './fields.js';
import { scoreLattice } from './lattice.js';
import type { FieldView, Lattice, LossDefinition, ReferenceResult, TensorView, Utterance } from './types.js';

/** A checked header and its body, as `defineLoss` keeps them. */
export interface RunnableLoss extends Omit<LossDefinition, 'evaluate' | 'form'> {
  readonly dims: Readonly<Record<string, readonly Dim[]>>;
  readonly sizes: readonly string[];
  readonly body: (scope: Readonly<Record<string, unknown>>) => Returned | Lattice;
}

/** What a body in equations form should return; an author without a type checker may return anything. */
interface Returned {
  readonly loss: unknown;
  readonly gradients: Readonly<Record<string, unknown>>;
}

/**
 * Loss and gradients of one utterance in float64. The definition runs itself, so it may come from another copy of this
 * module than the caller's.
 * @throws Error for input that does not fit the header, for a read of the wrong rank or with an index that is no
 *   integer, and for a cell that depends on itself, naming the field and the cell
 */
export function evaluateReference(definition: LossDefinition, utterance: Utterance): ReferenceResult {
  return definition.evaluate(utterance);
}

/** What `LossDefinition.evaluate` does. */
export function runLoss(loss: RunnableLoss, utterance: Utterance): ReferenceResult {
  const where = `loss ${loss.name}`;
  const { scope, shapes } = scopeOf(loss, utterance);
  const { result, fields } = collectFields(String(loss.body), () => {
    const returned = runBody(loss, scope, where);
    if (isLattice(returned)) {
      const { loss: value, posteriors } = scoreLattice(returned);
      checkLoss(value, where);
      return { loss: value, gradients: {}, ...(utterance.gradients === false ? {} : { posteriors: posteriors() }) };
    }
    const { loss: value, gradients } = returned;
    checkLoss(value, where);
    const dense: Record<string, Float64Array> = {};
    if (utterance.gradients !== false) {
      for (const [name, gradient] of Object.entries(gradients ?? {})) {
        const shape = shapes[name];
        if (shape === undefined || loss.inputs[name]?.element !== 'f32') {
          throw new Error(`${where}: gradients.${name} does not name a real input`);
        }
        // Where there is no path there is nothing to learn: a rule of the language, for every device.
        dense[name] =
          value === Number.POSITIVE_INFINITY
            ? new Float64Array(shape.reduce((size, n) => size * n, 1))
            : valuesOf(gradient, shape, `${where}: gradients.${name}`);
      }
    }
    return { loss: value, gradients: dense };
  });
  return { ...result, fields, field: (name) => fieldNamed(fields, name, where) };
}

/** What `LossDefinition.form` says: the body's answer for sizes of 1 and inputs of 0. */
export function formOf(loss: RunnableLoss): LossDefinition['form'] {
  const sizes = Object.fromEntries(loss.sizes.map((name) => [name, 1]));
  const inputs = Object.fromEntries(
    Object.entries(loss.dims).map(([name, dims]) => [
      name,
      { data: new Float64Array(dims.reduce((count, dim) => count * Math.max(0, evalDim(dim, sizes)), 1)) },
    ]),
  );
  const { scope } = scopeOf(loss, { inputs, sizes });
  const { result } = collectFields(String(loss.body), () => runBody(loss, scope, `loss ${loss.name}`));
  return isLattice(result) ? 'arcs' : 'equations';
}

const isLattice = (returned: Returned | Lattice): returned is Lattice =>
  'kind' in returned && returned.kind === 'lattice';

function checkLoss(value: unknown, where: string): asserts value is number {
  if (typeof value !== 'number') throw new Error(`${where}: the loss is ${String(value)}; it must be a number`);
}

/** What the body receives, and the extents of each input. */
function scopeOf(loss: RunnableLoss, utterance: Utterance) {
  const where = `loss ${loss.name}`;
  const sizes = chooseSizes(loss, utterance.sizes, where);
  const params = withDefaults(loss.params, utterance.params, `${where}: parameter`);
  const statics = withDefaults(loss.statics, utterance.statics, `${where}: static`);
  rejectUnknown(utterance.inputs, Object.keys(loss.inputs), `${where}: input`);
  const shapes: Record<string, readonly number[]> = {};
  const scope: Record<string, unknown> = { ...sizes, ...params, ...statics };
  for (const [name, spec] of Object.entries(loss.inputs)) {
    const view = utterance.inputs[name];
    if (view === undefined) throw new Error(`${where}: input ${name} is missing`);
    const shape = (loss.dims[name] ?? []).map((dim) => Math.max(0, evalDim(dim, sizes)));
    shapes[name] = shape;
    // A real input reads as log 0 outside, an int one as -1, so that a gather by it is outside as well.
    scope[name] = inputReader(name, view, shape, spec.element === 'i32' ? -1 : Number.NEGATIVE_INFINITY);
  }
  return { scope, shapes };
}

function runBody(
  { body }: RunnableLoss,
  scope: Readonly<Record<string, unknown>>,
  where: string,
): ReturnType<RunnableLoss['body']> {
  try {
    return body(scope);
  } catch (error) {
    // A constant such as `const logLik = beta(0, 0)` is computed where it stands, with the fields declared so far.
    if (error instanceof ReferenceError && error.message.includes('before initialization')) {
      throw new Error(
        `${where}: ${error.message}; a cell is read before a field it needs is declared: move the read below`,
        {
          cause: error,
        },
      );
    }
    throw error;
  }
}

function chooseSizes(
  loss: RunnableLoss,
  given: Readonly<Record<string, number>>,
  where: string,
): Record<string, number> {
  rejectUnknown(given, loss.sizes, `${where}: size`);
  const sizes: Record<string, number> = {};
  for (const name of loss.sizes) {
    const value = given[name];
    if (value === undefined) throw new Error(`${where}: size ${name} is missing`);
    if (!Number.isInteger(value) || value < 0)
      throw new Error(`${where}: size ${name} is ${value}; it must be an integer >= 0`);
    sizes[name] = value;
  }
  return sizes;
}

function withDefaults<V>(
  defaults: Readonly<Record<string, V>>,
  given: Readonly<Record<string, V>> = {},
  what: string,
): Record<string, V> {
  rejectUnknown(given, Object.keys(defaults), what);
  return { ...defaults, ...given };
}

function rejectUnknown(given: object, known: readonly string[], what: string): void {
  for (const name of Object.keys(given)) {
    if (!known.includes(name)) throw new Error(`${what} ${name} is unknown; there are ${known.join(', ') || 'none'}`);
  }
}

function fieldNamed(fields: readonly FieldView[], name: string, where: string): FieldView {
  const found = fields.find((field) => field.name === name);
  if (found === undefined) {
    throw new Error(`${where} has no field ${name}; there are ${fields.map((field) => field.name).join(', ')}`);
  }
  return found;
}

/** An input as the function the body reads it by. */
function inputReader(name: string, view: TensorView, shape: readonly number[], outside: number): unknown {
  const { data, offset = 0, strides = denseStrides(shape) } = view;
  if (strides.length !== shape.length) {
    throw new Error(`input ${name} has ${strides.length} strides for ${shape.length} dimensions`);
  }
  if (shape.every((extent) => extent > 0)) {
    const reach = (pick: (a: number, b: number) => number) =>
      shape.reduce((at, extent, axis) => at + pick(0, (extent - 1) * (strides[axis] as number)), offset);
    const first = reach(Math.min);
    const last = reach(Math.max);
    if (!(first >= 0 && last < data.length)) {
      throw new Error(
        `input ${name} of shape [${shape.join(', ')}] reaches from element ${first} to ${last} of data that has ${data.length}`,
      );
    }
  }
  const rank = shape.length;
  const read = (...indices: number[]): number => {
    if (indices.length !== rank) {
      throw new Error(
        `input ${name} has ${rank} indices but is read with ${indices.length}: ${name}(${indices.join(', ')})`,
      );
    }
    let at = offset;
    let inside = true;
    for (let axis = 0; axis < rank; axis++) {
      const index = indices[axis] as number;
      if (!Number.isInteger(index)) {
        throw new Error(`index ${axis} of ${name}(${indices.join(', ')}) is ${index}; indices are integers`);
      }
      if (index < 0 || index >= (shape[axis] as number)) inside = false;
      at += index * (strides[axis] as number);
    }
    return inside ? (data[at] as number) : outside;
  };
  noteShape(read, shape);
  return Object.assign(read, { kind: 'input', rank });
}

function denseStrides(shape: readonly number[]): number[] {
  const strides: number[] = [];
  let stride = 1;
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    strides.unshift(stride);
    stride *= Math.max(1, shape[axis] as number);
  }
  return strides;
}
