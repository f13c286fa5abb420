/**
 * Runs kernel programs through WebGPU, each buffer in a GPU buffer of its own and every dispatch alone: slow and simple,
 * to judge the printed text. Dawn's validation is strict, and no unsafe feature is switched on.
 */
import { create, globals } from 'webgpu';
import { compileToKernels, type SourceSpec } from '../../compiler/compile.js';
import type { KExpr, KernelProgram } from '../../compiler/kernel/kernel.js';
import { joinDouble, printWgsl, splitDouble, type WgslKernel, type WgslProgram } from '../../compiler/wgsl/index.js';
import { evaluateExtent } from '../../runtime/cpu/extents.js';

Object.assign(globalThis, globals);
/** Kept for the life of the process: what it made dies with it. */
const gpu = create([]);

export type BufferArray = Float32Array | Float64Array | Int32Array;

export interface Variant {
  readonly subgroups: boolean;
  readonly workgroupSize: number;
  readonly maxWorkgroupStorage?: number;
  readonly vectors?: boolean;
  readonly wholeTasks?: boolean;
  /** All kernels of a phase in one module. */
  readonly together?: boolean;
}
/** Every way of printing that tests go through. */
export const variants: readonly Variant[] = [
  { subgroups: false, workgroupSize: 64 },
  { subgroups: true, workgroupSize: 64 },
  { subgroups: false, workgroupSize: 256 },
  { subgroups: true, workgroupSize: 256 },
];
export const variantName = ({ subgroups, workgroupSize }: Variant): string =>
  `${workgroupSize} invocations ${subgroups ? 'with' : 'without'} subgroups`;

const devices = new Map<boolean, Promise<GPUDevice>>();

/** The one device for a kind of module. @throws Error if this machine has no adapter, or one without subgroups. */
export function deviceFor(subgroups: boolean): Promise<GPUDevice> {
  let device = devices.get(subgroups);
  if (!device) {
    device = (async () => {
      const adapter = await gpu.requestAdapter();
      if (!adapter) throw new Error('no WebGPU adapter: run scripts/setup-vulkan.sh');
      return adapter.requestDevice({
        requiredFeatures: subgroups ? ['subgroups'] : [],
        requiredLimits: {
          maxStorageBuffersPerShaderStage: adapter.limits.maxStorageBuffersPerShaderStage,
          maxStorageBufferBindingSize: adapter.limits.maxStorageBufferBindingSize,
          maxBufferSize: adapter.limits.maxBufferSize,
        },
      });
    })();
    devices.set(subgroups, device);
  }
  return device;
}

/** One program for all sizes: those that are the same for all utterances are launch scalars as well. */
export function openProgram(spec: SourceSpec, gradients: boolean): KernelProgram {
  const ragged = new Set(spec.graph.lengths.map(({ size }) => size));
  const dims = spec.graph.inputs.flatMap((input) => input.dims.flatMap((dim) => Object.keys(dim.terms)));
  const openSizes = [...new Set(dims)].filter((name) => !ragged.has(name));
  return compileToKernels(spec, { sizes: {}, openSizes, lattice: 'f64', gradients });
}

/** The value of an index expression over launch scalars. */
export const evaluateIndex = (expr: KExpr, scalars: ReadonlyMap<string, number>): number =>
  evaluateExtent(expr, Object.fromEntries(scalars));

export interface Compiled {
  readonly text: WgslProgram;
  /** Outputs are written in place. */
  run(buffers: ReadonlyMap<string, BufferArray>, scalars: ReadonlyMap<string, number>): Promise<void>;
}

/** Prints and compiles a program. @throws Error with the line for what Dawn does not accept */
export async function compileGpu(program: KernelProgram, variant: Variant, largestGrid = 65535): Promise<Compiled> {
  const { together = false, workgroupSize } = variant;
  const groups = program.phases.map((kernels) =>
    together ? [{ kernels, workgroupSize }] : kernels.map((kernel) => ({ kernels: [kernel], workgroupSize })),
  );
  const text = printWgsl(program, { maxWorkgroupStorage: 16384, ...variant }, groups);
  const device = await deviceFor(variant.subgroups);
  const phases: { kernel: WgslKernel; pipeline: GPUComputePipeline }[][] = [];
  for (const kernels of text.phases) {
    const compiled: (typeof phases)[number] = [];
    for (const kernel of kernels) {
      device.pushErrorScope('validation');
      const module = device.createShaderModule({ code: kernel.code });
      const { messages } = await module.getCompilationInfo();
      const pipeline = device.createComputePipeline({ layout: 'auto', compute: { module, entryPoint: 'main' } });
      const error = await device.popErrorScope();
      const complaints = messages.map(
        (each) => `${each.lineNum}: ${each.message}\n  ${kernel.code.split('\n')[each.lineNum - 1]}`,
      );
      if (error || complaints.length > 0) throw new Error([kernel.name, ...complaints, error?.message].join('\n'));
      compiled.push({ kernel, pipeline });
    }
    phases.push(compiled);
  }

  return {
    text,
    async run(buffers, scalars) {
      device.pushErrorScope('validation');
      const made: GPUBuffer[] = [];
      const make = (bytes: number, use: number): GPUBuffer => {
        const buffer = device.createBuffer({ size: Math.max(16, Math.ceil(bytes / 4) * 4), usage: use });
        made.push(buffer);
        return buffer;
      };
      const { STORAGE, UNIFORM, COPY_DST, COPY_SRC, MAP_READ } = GPUBufferUsage;
      const memory = new Map<string, GPUBuffer>();
      for (const decl of program.buffers) {
        const count = decl.shape.reduce((product, extent) => product * evaluateIndex(extent, scalars), 1);
        const bytes = count * (decl.element === 'f64' ? 8 : 4);
        const buffer = make(bytes, STORAGE | COPY_DST | COPY_SRC);
        memory.set(decl.name, buffer);
        const array = buffers.get(decl.name);
        // Scratch starts as NaN.
        if (array) device.queue.writeBuffer(buffer, 0, array instanceof Float64Array ? splitAll(array) : array);
        else device.queue.writeBuffer(buffer, 0, new Float32Array(buffer.size / 4).fill(Number.NaN));
      }
      for (const phase of phases) {
        for (const { kernel, pipeline } of phase) {
          const tasks = kernel.grid.reduce((product, extent) => product * evaluateIndex(extent, scalars), 1);
          for (let base = 0; base < tasks; base += largestGrid) {
            const uniform = make(text.uniformBytes, UNIFORM | COPY_DST);
            device.queue.writeBuffer(uniform, 0, launchBytes(text, scalars, base));
            const group = device.createBindGroup({
              layout: pipeline.getBindGroupLayout(0),
              entries: [
                { binding: 0, resource: { buffer: uniform } },
                ...kernel.bindings.map(({ binding, buffer }) => ({
                  binding,
                  resource: { buffer: memory.get(buffer)! },
                })),
              ],
            });
            const encoder = device.createCommandEncoder();
            const pass = encoder.beginComputePass();
            pass.setPipeline(pipeline);
            pass.setBindGroup(0, group);
            // One workgroup too many in x: the guard has something to do.
            pass.dispatchWorkgroups(Math.min(tasks - base, largestGrid) + (tasks - base < largestGrid ? 1 : 0));
            pass.end();
            device.queue.submit([encoder.finish()]);
          }
        }
      }
      for (const decl of program.buffers) {
        const array = buffers.get(decl.name);
        if (decl.role === 'input' || !array || array.length === 0) continue;
        const source = memory.get(decl.name)!;
        const readable = make(source.size, MAP_READ | COPY_DST);
        const encoder = device.createCommandEncoder();
        encoder.copyBufferToBuffer(source, 0, readable, 0, source.size);
        device.queue.submit([encoder.finish()]);
        await readable.mapAsync(GPUMapMode.READ);
        const bytes = readable.getMappedRange();
        if (array instanceof Float64Array) {
          const parts = new Float32Array(bytes);
          for (let i = 0; i < array.length; i++) array[i] = joinDouble(parts[2 * i]!, parts[2 * i + 1]!);
        } else if (array instanceof Int32Array) array.set(new Int32Array(bytes, 0, array.length));
        else array.set(new Float32Array(bytes, 0, array.length));
      }
      const error = await device.popErrorScope();
      for (const buffer of made) buffer.destroy();
      if (error) throw new Error(error.message);
    },
  };
}

function splitAll(array: Float64Array): Float32Array<ArrayBuffer> {
  const parts = new Float32Array(2 * array.length);
  for (let i = 0; i < array.length; i++) parts.set(splitDouble(array[i]!), 2 * i);
  return parts;
}

function launchBytes(text: WgslProgram, scalars: ReadonlyMap<string, number>, taskBase: number): ArrayBuffer {
  const view = new DataView(new ArrayBuffer(text.uniformBytes));
  view.setInt32(text.taskBase, taskBase, true);
  for (const { name, type, offset } of text.uniform) {
    const value = scalars.get(name);
    if (value === undefined) throw new Error(`no value for scalar ${name}`);
    if (type === 'i32') view.setInt32(offset, value, true);
    else for (const [i, part] of splitDouble(value).entries()) view.setFloat32(offset + 4 * i, part, true);
  }
  return view.buffer;
}
