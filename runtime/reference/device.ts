/**
 * The reference device: runs a spec's own TypeScript in float64, one utterance after the other. Slow, exact, needs
 * nothing but Node, and honours breakpoints and console.log in the spec. Every other device is judged by it.
 *
 * A spec in arcs form has no gradients of its own, and plain numbers cannot be differentiated: its loss comes from its
 * TypeScript; its gradients, its posteriors and its best path from the equations that the compiler derives, evaluated in float64.
 */
import { compileToGraph, type SourceSpec, type Statics } from '../../compiler/compile.js';
import { evaluateGraph } from '../../compiler/graph/evaluate.js';
import type { SizeExpr } from '../../compiler/graph/graph.js';
import { evalSize } from '../../compiler/graph/size.js';
import { SpecError } from '../../compiler/source.js';
import type { LossDefinition, TensorView, Utterance } from '../../dsl/index.js';
import { bestPathOf } from '../compiler/compile.js';
import type { Batch, Device, DeviceOptions, DeviceSpec, Runner, ShapeClass } from '../device.js';
import { throwIfAborted } from '../errors.js';
import { type SpecSignature, signatureOfGraph, signatureOfHeader } from '../signature.js';
import type { RealArray } from '../tensor.js';
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
    if (definition.form === 'arcs' || options.statics) return openSpec(file, options, definition);
    return specOf({ definition, signature: signatureOfHeader(definition) });
  },
};

/** A spec as this device runs it. */
interface Runnable {
  readonly definition: LossDefinition;
  readonly signature: SpecSignature;
  /** Absent: the definition's own. */
  readonly statics?: Statics;
  /** What gives the gradients of a spec in arcs form: its derived equations, and the lattice they are derived from. */
  readonly derived?: SourceSpec;
  /** Set where the best path is asked for: its equations, which take the place of the loss. */
  readonly best?: SourceSpec;
}

/**
 * The compiler knows more of a spec's arguments than its header says (which ints are indices, and into what). A
 * spec that the compiler refuses still runs here, since it is TypeScript: that is what one debugs with.
 */
function openSpec(file: string, options: DeviceOptions, definition = loadDefinition(file)): DeviceSpec {
  const isArcs = definition.form === 'arcs';
  try {
    const source = compileToGraph(file, options.statics);
    const signature = signatureOfGraph(source.graph, source.stated);
    return specOf({ definition, signature, statics: source.graph.statics, ...(isArcs ? { derived: source } : {}) });
  } catch (error) {
    if (!(error instanceof SpecError)) throw error;
    const { file: where, line, column } = error.origin;
    const how = isArcs ? 'runs as plain TypeScript only, without gradients' : 'runs as plain TypeScript only';
    options.notice(`trellis: ${how}, the compiler refuses it: ${where}:${line}:${column} ${error.problem}`);
    const { statics } = options;
    return specOf({ definition, signature: signatureOfHeader(definition), ...(statics ? { statics } : {}) });
  }
}

function specOf(spec: Runnable): DeviceSpec {
  const { signature } = spec;
  // Only one thing depends on the shape class, whether it is the best path that is asked for, and there is nothing else to build.
  const runnerFor = ({ perNode }: ShapeClass): Runner =>
    runnerOf(perNode === 'best-path' && spec.derived ? { ...spec, best: bestPathOf(spec.derived) } : spec);
  return { signature, prepare: async (shapeClass) => runnerFor(shapeClass), prepareSync: runnerFor };
}

function runnerOf(spec: Runnable): Runner {
  return {
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

interface Evaluated {
  readonly loss: number;
  readonly gradients: Readonly<Record<string, Float64Array>>;
  readonly perNode: Readonly<Record<string, Float64Array>>;
}

/** Loss, dense gradients and dense results over the nodes of one utterance. */
function evaluate({ definition, derived, best }: Runnable, utterance: Utterance, perNode: boolean): Evaluated {
  const wantsGradients = utterance.gradients !== false;
  if (!derived || !(wantsGradients || perNode)) return { ...definition.evaluate(utterance), perNode: {} };
  const inputs = Object.fromEntries(Object.entries(utterance.inputs).map(([name, view]) => [name, readerOf(view)]));
  const { sizes, params = {} } = utterance;
  const { graph } = best ?? derived;
  const found = evaluateGraph(graph, { inputs, sizes, params }, { gradients: wantsGradients, perNode });
  const dense = (tensors: typeof found.gradients): Record<string, Float64Array> =>
    Object.fromEntries(Object.entries(tensors).map(([name, { data }]) => [name, data]));
  const loss = best ? found.loss : definition.evaluate({ ...utterance, gradients: false }).loss;
  return { loss, gradients: dense(found.gradients), perNode: dense(found.perNode) };
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
  const { gradients, perNode } = batch.out;
  // The whole utterance is evaluated before anything is written, so an output may be its own input.
  const { statics } = spec;
  const utterance: Utterance = {
    inputs,
    sizes,
    params: batch.params,
    ...(statics ? { statics } : {}),
    gradients: gradients !== undefined,
  };
  const result = evaluate(spec, utterance, perNode !== undefined);
  batch.out.loss[b] = result.loss;
  const scale = batch.gradScale[b] ?? 1;
  for (const [name, output] of Object.entries(gradients ?? {})) {
    // This device has no halves of its own: whoever wants them rounds what it returns.
    const dims = signature.inputs.find((input) => input.name === name)?.dims ?? [];
    scatter(result.gradients[name], { dims, sizes }, output as RealArray, batch.shapes[name] ?? [], b, scale);
  }
  const dims = signature.lattice?.nodes ?? [];
  const shape = [batch.B, ...extentsOf(dims, batch.sizes)];
  for (const [name, output] of Object.entries(perNode ?? {}))
    scatter(result.perNode[name], { dims, sizes }, output, shape, b, 1);
}

const extentsOf = (dims: readonly SizeExpr[], sizes: Readonly<Record<string, number>>): number[] =>
  dims.map((dim) => Math.max(0, evalSize(dim, sizes)));

/** Writes one utterance's dense values into its part of a padded tensor, zeros around them. */
function scatter(
  values: Float64Array = new Float64Array(0),
  { dims, sizes }: { readonly dims: readonly SizeExpr[]; readonly sizes: Readonly<Record<string, number>> },
  output: RealArray,
  shape: readonly number[],
  b: number,
  scale: number,
): void {
  const extents = extentsOf(dims, sizes);
  const { offset, strides } = layoutOf(shape, b);
  output.fill(0, offset, offset + shape.slice(1).reduce((product, extent) => product * extent, 1));
  const rowLength = extents[extents.length - 1] ?? 1;
  if (rowLength === 0) return;
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
