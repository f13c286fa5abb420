/**
 * The reference device: runs a spec's own TypeScript in float64, one utterance after the other. Slow, exact, needs
 * nothing but Node, and honours breakpoints and console.log in the spec. Every other device is judged by it.
 */
import { evalSize } from '../../compiler/graph/size.js';
import { SpecError } from '../../compiler/source.js';
import type { LossDefinition } from '../../dsl/index.js';
import type { Batch, Device, DeviceOptions, DeviceSpec, Runner } from '../device.js';
import { throwIfAborted } from '../errors.js';
import { type SpecSignature, signatureOfGraph, signatureOfHeader } from '../signature.js';
import { ownSizes } from '../validate.js';
import { loadDefinition } from './load.js';

/** Float64 gradients; Float64Array inputs keep their precision. */
export const referenceDevice: Device = {
  name: 'reference',
  reals: 'f64',
  open: async (file, options) => {
    const definition = loadDefinition(file);
    return specOf(definition, await readSignature(file, definition, options));
  },
  openSync: (file) => {
    const definition = loadDefinition(file);
    return specOf(definition, signatureOfHeader(definition));
  },
};

/**
 * The compiler knows more of a spec's arguments than its header says (which ints are indices, and into what). A
 * spec that the compiler refuses still runs here, since it is TypeScript: that is what one debugs with.
 */
async function readSignature(file: string, definition: LossDefinition, options: DeviceOptions): Promise<SpecSignature> {
  const { readSpec } = await import('../../compiler/frontend/index.js');
  try {
    return signatureOfGraph(readSpec(file).graph);
  } catch (error) {
    if (!(error instanceof SpecError)) throw error;
    const { file: where, line, column } = error.origin;
    options.notice(
      `trellis: runs as plain TypeScript only, the compiler refuses it: ${where}:${line}:${column} ${error.problem}`,
    );
    return signatureOfHeader(definition);
  }
}

function specOf(definition: LossDefinition, signature: SpecSignature): DeviceSpec {
  // Nothing depends on the shape class: there is nothing to build.
  const runner: Runner = {
    source: 'compiled',
    run: async (batch) => {
      for (let b = 0; b < batch.B; b++) {
        // Between utterances everybody else has a turn, and the caller a chance to abort.
        await new Promise((resolve) => setImmediate(resolve));
        throwIfAborted(batch.signal);
        runSample(definition, signature, batch, b);
      }
    },
    runSync: (batch) => {
      for (let b = 0; b < batch.B; b++) runSample(definition, signature, batch, b);
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

function runSample(definition: LossDefinition, signature: SpecSignature, batch: Batch, b: number): void {
  const sizes = ownSizes(signature, batch.sizes, batch.lengths, b);
  const inputs = Object.fromEntries(
    signature.inputs.map(({ name }) => [
      name,
      { data: batch.inputs[name] ?? [], ...layoutOf(batch.shapes[name] ?? [], b) },
    ]),
  );
  const { gradients } = batch.out;
  // The whole utterance is evaluated before anything is written, so an output may be its own input.
  const result = definition.evaluate({ inputs, sizes, params: batch.params, gradients: gradients !== undefined });
  batch.out.loss[b] = result.loss;
  const scale = batch.gradScale[b] ?? 1;
  for (const [name, output] of Object.entries(gradients ?? {})) {
    const dims = signature.inputs.find((input) => input.name === name)?.dims ?? [];
    const extents = dims.map((dim) => Math.max(0, evalSize(dim, sizes)));
    const shape = batch.shapes[name] ?? [];
    const { offset, strides } = layoutOf(shape, b);
    output.fill(0, offset, offset + shape.slice(1).reduce((product, extent) => product * extent, 1));
    const values = result.gradients[name] ?? new Float64Array(0);
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
