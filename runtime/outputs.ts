/** Where gradients go: new arrays, an array or GPUBuffer of the caller's, or the inputs themselves. */
import type { SizeExpr } from '../compiler/graph/graph.js';
import { evalSize } from '../compiler/graph/size.js';
import type { Batch, Device } from './device.js';
import { InputError, listOf } from './errors.js';
import { dtypeNames, type HalfArray, halfArrayLike, isFloat16Array, isReal } from './half.js';
import type { CallOptions } from './options.js';
import type { SpecSignature } from './signature.js';
import { checkTyped, elementsOf, isGpuBuffer, type RealArray } from './tensor.js';
import type { Shapes } from './validate.js';

export interface Outputs {
  /** By input name, for the caller; undefined for score only. Reals, or of the input's own half precision. */
  readonly gradients: Readonly<Record<string, RealArray | HalfArray>> | undefined;
  /** Those that go to GPU memory. */
  readonly gpuGradients: Readonly<Record<string, GPUBuffer>>;
  /** Those for which a GPUBuffer is to be made: bytes, by input name. */
  readonly wanted: Readonly<Record<string, number>>;
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
  { name: device, reals, halves, gpu }: Pick<Device, 'name' | 'reals' | 'halves' | 'gpu'>,
): Outputs {
  const none = { gpuGradients: {}, wanted: {} };
  if (grads === false) return { ...none, gradients: undefined, borrowed: false };
  const names = signature.gradients;
  const bufferOf = (name: string): GPUBuffer | undefined => shapes.raw[name]?.buffer;
  const onHost = names.filter((name) => bufferOf(name) === undefined);
  const onGpu = names.filter((name) => bufferOf(name) !== undefined);
  if (grads === 'in-place') {
    return {
      ...none,
      gradients: Object.fromEntries(onHost.map((name) => [name, inPlace(name, shapes)])),
      gpuGradients: Object.fromEntries(onGpu.map((name) => [name, bufferOf(name) as GPUBuffer])),
      borrowed: true,
    };
  }
  const elements = (name: string): number => elementsOf(shapes.raw[name]?.shape ?? []);
  // A gradient has the type of its input; bindings are whole words.
  const gpuBytes = (name: string): number =>
    Math.ceil((elements(name) * (shapes.raw[name]?.half === undefined ? 4 : 2)) / 4) * 4;
  if (grads === undefined || grads === true) {
    const fresh = onHost.map((name) => {
      const { half, data } = shapes.raw[name] ?? {};
      if (half !== undefined) return [name, halfArrayLike(data, elements(name))] as const;
      return [name, reals === 'f32' ? new Float32Array(elements(name)) : new Float64Array(elements(name))] as const;
    });
    const wanted = Object.fromEntries(onGpu.map((name) => [name, gpuBytes(name)]));
    return { ...none, gradients: Object.fromEntries(fresh), wanted, borrowed: false };
  }
  if (isGpuBuffer(grads) && gpu === undefined) {
    const problem = `is a GPUBuffer, which the ${device} device cannot write to`;
    throw refuse(problem, grads, "true, false, a Float32Array, or 'in-place'; or device: 'webgpu'");
  }
  const [name, ...others] = names;
  if (name === undefined || others.length > 0) {
    const problem = `is one ${isGpuBuffer(grads) ? 'GPUBuffer' : 'array'}, but ${signature.name} has ${names.length} gradients${names.length > 0 ? ` (${listOf(names, 'and')})` : ''}`;
    throw refuse(problem, grads, "true, false or 'in-place'");
  }
  if (isGpuBuffer(grads)) {
    const bytes = gpuBytes(name);
    const half = shapes.raw[name]?.half;
    if (half !== undefined && !halves?.includes(half)) {
      const problem = `is a GPUBuffer, to which this ${device} device cannot write the ${dtypeNames[half]} of ${name}`;
      throw refuse(problem, grads, 'true, false, a Uint16Array or a Float32Array', 'dtype');
    }
    if (grads.size < bytes) {
      const problem = `is a GPUBuffer of ${grads.size} bytes where the gradient of ${name} has ${bytes}`;
      throw refuse(problem, grads.size, `at least ${bytes} bytes`, 'shape');
    }
    return { ...none, gradients: {}, gpuGradients: { [name]: grads }, borrowed: true };
  }
  checkArray(grads, name, shapes);
  return { ...none, gradients: { [name]: grads }, borrowed: true };
}

/** [B, ...nodes]: of a result over the nodes, as the padded sizes make it. */
export const perNodeShape = (nodes: readonly SizeExpr[], { B, sizes }: Pick<Batch, 'B' | 'sizes'>): number[] => [
  B,
  ...nodes.map((extent) => Math.max(0, evalSize(extent, sizes))),
];

/** New arrays for results over the nodes, by name. */
export function perNodeOutputs(
  nodes: readonly SizeExpr[],
  names: readonly string[],
  batch: Pick<Batch, 'B' | 'sizes'>,
  reals: Device['reals'],
): Record<string, RealArray> {
  const count = elementsOf(perNodeShape(nodes, batch));
  return Object.fromEntries(
    names.map((name) => [name, reals === 'f32' ? new Float32Array(count) : new Float64Array(count)]),
  );
}

function inPlace(name: string, shapes: Shapes): Float32Array | HalfArray {
  const { data, half } = shapes.raw[name] ?? {};
  if (half !== undefined) return data as HalfArray;
  if (Object.prototype.toString.call(data) === '[object Float32Array]') return data as Float32Array;
  throw refuse(
    `is "in-place", but ${name} is not a Float32Array that could hold its gradient`,
    'in-place',
    `${name} as { data: Float32Array, shape }`,
    'dtype',
  );
}

function checkArray(output: Float32Array | HalfArray, name: string, shapes: Shapes): void {
  checkTyped('grads', output);
  const input = shapes.raw[name];
  const half = input?.half;
  if (!isReal(output) && (half === undefined || (half === 'bf16' && isFloat16Array(output)))) {
    throw refuse(
      `is a ${isFloat16Array(output) ? 'Float16Array' : 'Uint16Array'}, but ${name} is ${half === undefined ? 'no tensor of half precision' : dtypeNames[half]}`,
      output,
      half === undefined ? 'a Float32Array' : 'a Uint16Array or a Float32Array',
      'dtype',
    );
  }
  const wanted = elementsOf(input?.shape ?? []);
  if (output.length !== wanted) {
    throw refuse(
      `has ${output.length} elements where ${name} [${input?.shape.join(', ')}] has ${wanted}`,
      output.length,
      `a ${isReal(output) ? 'Float32Array' : isFloat16Array(output) ? 'Float16Array' : 'Uint16Array'} of exactly ${wanted} elements`,
      'shape',
    );
  }
  for (const [other, { data, half: ownHalf }] of Object.entries(shapes.raw)) {
    if (!ArrayBuffer.isView(data) || data.buffer !== output.buffer) continue;
    const apart =
      data.byteOffset + data.byteLength <= output.byteOffset ||
      output.byteOffset + output.byteLength <= data.byteOffset;
    // Int inputs are copied before anything is written.
    const isInt = ownHalf === undefined && !/^\[object Float/.test(Object.prototype.toString.call(data));
    const same = other === name && data.byteOffset === output.byteOffset && data.byteLength === output.byteLength;
    if (apart || isInt || same) continue;
    throw refuse(`overlaps the memory of ${other} in part`, output, `memory of its own, or exactly that of ${name}`);
  }
}
