/**
 * The reference device: runs a spec's own TypeScript in float64, one utterance after the other. Slow, exact, needs
 * nothing but Node, and honours breakpoints and console.log in the spec. Every other device is judged by it.
 *
 * A spec in arcs form has no gradients of its own, and plain numbers cannot be differentiated: its loss comes from its
 * TypeScript, its gradients from the equations that the compiler derives, evaluated in float64.
 */
import { compileToGraph } from '../../compiler/compile.js';
import { evaluateGraph } from '../../compiler/graph/evaluate.js';
import type { Graph } from '../../compiler/graph/graph.js';
import { evalSize } from '../../compiler/graph/size.js';
import { SpecError } from '../../compiler/source.js';
import type { LossDefinition, TensorView, Utterance } from '../../dsl/index.js';
import type { Batch, Device, DeviceOptions, DeviceSpec, Runner } from '../device.js';
import { throwIfAborted } from '../errors.js';
import { type SpecSignature, signatureOfGraph, signatureOfHeader } from '../signature.js';
import { ownSizes } from '../validate.js';
import { loadDefinition } from './load.js';

/** Float64 gradients; Float64Array inputs keep their precision. */
export const referenceDevice: Device = {
  name: 'reference',
  reals: 'f64',
  open: async (file, options) => openSpec(file, options),
  openSync: (file, options) => {
    const definition = loadDefinition(file);
    // Without the compiler where it is not needed: it takes a while to load, and a synchronous caller waits.
    if (definition.form === 'arcs') return openSpec(file, options, definition);
    return specOf({ definition, signature: signatureOfHeader(definition) });
  },
};

/** A spec as this device runs it. */
interface Runnable {
  readonly definition: LossDefinition;
  readonly signature: SpecSignature;
  /** What gives the gradients of a spec in arcs form: its derived equations. */
  readonly derived?: Graph;
}

/**
 * The compiler knows more of a spec's arguments than its header says (which ints are indices, and into what). A
 * spec that the compiler refuses still runs here, since it is TypeScript: that is what one debugs with.
 */
function openSpec(file: string, options: DeviceOptions, definition = loadDefinition(file)): DeviceSpec {
  const isArcs = definition.form === 'arcs';
  try {
    const { graph } = compileToGraph(file);
    return specOf({ definition, signature: signatureOfGraph(graph), ...(isArcs ? { derived: graph } : {}) });
  } catch (error) {
    if (!(error instanceof SpecError)) throw error;
    const { file: where, line, column } = error.origin;
    const how = isArcs ? 'runs as plain TypeScript only, without gradients' : 'runs as plain TypeScript only';
    options.notice(`trellis: ${how}, the compiler refuses it: ${where}:${line}:${column} ${error.problem}`);
    return specOf({ definition, signature: signatureOfHeader(definition) });
  }
}

function specOf(spec: Runnable): DeviceSpec {
  const { signature } = spec;
  // Nothing depends on the shape class: there is nothing to build.
  const runner: Runner = {
    source: 'compiled',
    run: async (batch) => {
      for (let b = 0; b < batch.B; b++) {
        // Between utterances everybody else has a turn, and the caller a chance to abort.
        await new Promise((resolve) => setImmediate(resolve));
        throwIfAborted(batch.signal);
        runSample(spec, batch, b);
      }
    },
    runSync: (batch) => {
      for (let b = 0; b < batch.B; b++) runSample(spec, batch, b);
    },
  };
  return { signature, prepare: async () => runner, prepareSync: () => runner };
}

/** Elements of one utterance within its padded part: strides per axis, and where the part begins. */
function layoutOf(shape: readonly number[], b: number): { offset: number; strides: number[] } {
  const strides: number[] = [];
  let stride = 1;
  for (let axis = shape.length - 1; axis >= 1; axis--) {
    strides.unshift(stride);
    stride *= shape[axis] ?? 0;
  }
  return { offset: b * stride, strides };
}

/** An element of one utterance's part by its indices. */
const readerOf =
  ({ data, offset = 0, strides = [] }: TensorView) =>
  (indices: readonly number[]): number =>
    data[indices.reduce((at, index, axis) => at + index * (strides[axis] ?? 0), offset)] ?? Number.NaN;

/** Loss and dense gradients of one utterance. */
function evaluate({ definition, derived }: Runnable, utterance: Utterance) {
  if (!derived || utterance.gradients === false) return definition.evaluate(utterance);
  const { loss } = definition.evaluate({ ...utterance, gradients: false });
  const inputs = Object.fromEntries(Object.entries(utterance.inputs).map(([name, view]) => [name, readerOf(view)]));
  const { sizes, params = {} } = utterance;
  const { gradients } = evaluateGraph(derived, { inputs, sizes, params });
  return { loss, gradients: Object.fromEntries(Object.entries(gradients).map(([name, { data }]) => [name, data])) };
}

function runSample(spec: Runnable, batch: Batch, b: number): void {
  const { signature } = spec;
  const sizes = ownSizes(signature, batch.sizes, batch.lengths, b);
  const inputs = Object.fromEntries(
    signature.inputs.map(({ name }) => [
      name,
      { data: batch.inputs[name] ?? [], ...layoutOf(batch.shapes[name] ?? [], b) },
    ]),
  );
  const { gradients } = batch.out;
  // The whole utterance is evaluated before anything is written, so an output may be its own input.
  const result = evaluate(spec, { inputs, sizes, params: batch.params, gradients: gradients !== undefined });
  batch.out.loss[b] = result.loss;
  const scale = batch.gradScale[b] ?? 1;
  for (const [name, output] of Object.entries(gradients ?? {})) {
    const dims = signature.inputs.find((input) => input.name === name)?.dims ?? [];
    const extents = dims.map((dim) => Math.max(0, evalSize(dim, sizes)));
    const shape = batch.shapes[name] ?? [];
    const { offset, strides } = layoutOf(shape, b);
    output.fill(0, offset, offset + shape.slice(1).reduce((product, extent) => product * extent, 1));
    const values: Float64Array = result.gradients[name] ?? new Float64Array(0);
    const rowLength = extents[extents.length - 1] ?? 1;
    if (rowLength === 0) continue;
    for (let row = 0; row * rowLength < values.length; row++) {
      let rest = row;
      let at = offset;
      for (let axis = extents.length - 2; axis >= 0; axis--) {
        const extent = extents[axis] ?? 1;
        at += (rest % extent) * (strides[axis] ?? 0);
        rest = Math.floor(rest / extent);
      }
      for (let i = 0; i < rowLength; i++) output[at + i] = (values[row * rowLength + i] ?? 0) * scale;
    }
  }
}
