/** One submission: buffers, uploads, dispatches, downloads. Built up synchronously, then submitted, then waited for. */
import type { BufferDecl } from '../../compiler/kernel/kernel.js';
import { joinDouble, splitDouble, type WgslKernel, type WgslProgram } from '../../compiler/wgsl/types.js';
import type { Scalars } from '../cpu/extents.js';
import { TrellisError } from '../errors.js';
import { mapMode, usage } from './buffers.js';
import { bytesOf, type CallState, type HostArray, type Operand, wholeWords } from './call.js';
import type { Pipeline } from './pipelines.js';
import type { KernelTime } from './session.js';
import { type Download, Downloader, Uploader } from './transfer.js';

interface Bound {
  readonly buffer: GPUBuffer;
  readonly bytes: number;
}

interface Upload {
  readonly source: ArrayBufferView;
  readonly target: GPUBuffer;
}

interface DeviceCopy {
  readonly source: GPUBuffer;
  readonly sourceOffset: number;
  readonly target: GPUBuffer;
  readonly targetOffset: number;
  readonly bytes: number;
}

interface Dispatch {
  readonly pipeline: Pipeline;
  readonly kernel: WgslKernel;
  readonly size: readonly [number, number, number];
  /** Offset of its scalars in the uniform buffer. */
  readonly slot: number;
}

/** Where scalars of the dispatches lie: offsets of uniform bindings are multiples of this. */
const SLOT = 256;
/** Time stamps of one query set, at most. */
const MOST_QUERIES = 4096;

export class Launch {
  readonly #bound = new Map<string, Bound>();
  readonly #taken: GPUBuffer[] = [];
  readonly #uploads: Upload[] = [];
  readonly #before: DeviceCopy[] = [];
  readonly #after: DeviceCopy[] = [];
  readonly #downloads: Download[] = [];
  readonly #dispatches: Dispatch[] = [];
  readonly #uniforms: ArrayBuffer[] = [];
  /** Bytes from one dispatch's scalars to the next's; the same for all, since they are of one text. */
  #slotBytes = SLOT;
  #uploader: Uploader | undefined;
  #downloader: Downloader | undefined;
  #times: { readonly staging: GPUBuffer; readonly queries: GPUQuerySet } | undefined;

  constructor(
    private readonly state: CallState,
    /** Buffers of an enclosing launch that this one uses as well. */
    shared?: Launch,
  ) {
    if (shared !== undefined) for (const [name, bound] of shared.#bound) this.#bound.set(name, bound);
  }

  /** A field between kernels. Its contents are what an earlier call left. */
  scratch(decl: BufferDecl, count: number): void {
    this.#take(decl, count, usage.storage);
  }

  /** Elements [from, from + count) of an input. @param whole they are all there are */
  input(decl: BufferDecl, operand: Operand, from: number, count: number, whole: boolean): void {
    if ('array' in operand) {
      const buffer = this.#take(decl, count, usage.storage | usage.copyTarget);
      if (count === 0) return;
      const part = operand.array.subarray(from, from + count);
      this.#uploads.push({ source: decl.element === 'f64' ? pairs(part) : part, target: buffer });
      return;
    }
    if (operand.direct && whole) {
      this.#bind(decl, operand.buffer, count);
      return;
    }
    const target = this.#take(decl, count, usage.storage | usage.copyTarget);
    const bytes = wholeWords(count * bytesOf(decl));
    this.#checkPlace(decl, from);
    this.#before.push({ source: operand.buffer, sourceOffset: from * bytesOf(decl), target, targetOffset: 0, bytes });
  }

  /** Elements [from, from + count) of an output. @param whole they are all there are */
  output(decl: BufferDecl, operand: Operand, from: number, count: number, whole: boolean): void {
    if ('buffer' in operand && operand.direct && whole) {
      this.#bind(decl, operand.buffer, count);
      return;
    }
    this.held(decl, count);
    this.fetch(decl, operand, from, count);
  }

  /** Elements [from, from + count) of an output of which an earlier launch has written some, which stay as they are. */
  addTo(decl: BufferDecl, operand: Operand, from: number, count: number): void {
    const target = this.#take(decl, count, usage.storage | usage.copySource | usage.copyTarget);
    if ('array' in operand) {
      if (count > 0) this.#uploads.push({ source: operand.array.subarray(from, from + count), target });
    } else {
      this.#checkPlace(decl, from);
      const bytes = wholeWords(count * bytesOf(decl));
      this.#before.push({ source: operand.buffer, sourceOffset: from * bytesOf(decl), target, targetOffset: 0, bytes });
    }
    this.fetch(decl, operand, from, count);
  }

  /** An output that stays on the GPU until a later launch fetches it. */
  held(decl: BufferDecl, count: number): void {
    this.#take(decl, count, usage.storage | usage.copySource);
  }

  /** Brings an output that is bound to where the caller wants it. */
  fetch(decl: BufferDecl, operand: Operand, from: number, count: number): void {
    const source = this.#bound.get(decl.name)!.buffer;
    // Where halves end within a word, the next part begins there and is copied later, or nothing does.
    const bytes = wholeWords(count * bytesOf(decl));
    if ('array' in operand) {
      const deliver = deliveryTo(operand.array, from, count, decl.element);
      if (count > 0) this.#downloads.push({ source, offset: 0, bytes, deliver });
      return;
    }
    this.#checkPlace(decl, from);
    this.#after.push({ source, sourceOffset: 0, target: operand.buffer, targetOffset: from * bytesOf(decl), bytes });
  }

  /** Copies on the GPU begin at whole words; a tensor of halves with an odd number of them in a sample may have to be cut elsewhere. */
  #checkPlace({ name, element }: BufferDecl, from: number): void {
    if ((from * bytesOf({ element })) % 4 === 0) return;
    throw new TrellisError(
      'not-supported',
      `'${name}' in GPU memory is too large for one binding of ${this.state.session.name}, and its float16 elements cannot be cut at a whole word; keep it in a Uint16Array, or give it an even number of elements`,
    );
  }

  #take(decl: BufferDecl, count: number, flags: number): GPUBuffer {
    const bytes = boundBytes(decl, count);
    const { session, problems } = this.state;
    const make = (): GPUBuffer => {
      const { result, problem } = session.guard(`'${decl.name}' (${bytes} bytes)`, () =>
        session.pool.take(bytes, flags),
      );
      problems.push(problem);
      return result;
    };
    const buffer = session.pool.takeIdle(bytes, flags) ?? make();
    this.#taken.push(buffer);
    this.#bound.set(decl.name, { buffer, bytes });
    return buffer;
  }

  #bind(decl: BufferDecl, buffer: GPUBuffer, count: number): void {
    this.#bound.set(decl.name, { buffer, bytes: Math.min(boundBytes(decl, count), Math.floor(buffer.size / 4) * 4) });
  }

  /** Tasks [begin, end) of a kernel. */
  dispatch(
    pipeline: Pipeline,
    kernel: WgslKernel,
    text: WgslProgram,
    scalars: Scalars,
    begin: number,
    end: number,
  ): void {
    const most = this.state.session.limits.workgroups;
    for (let at = begin; at < end; ) {
      const size = gridOf(end - at, most);
      this.#slotBytes = SLOT * Math.ceil(text.uniformBytes / SLOT);
      const slot = this.#uniforms.length * this.#slotBytes;
      this.#uniforms.push(uniformOf(text, scalars, at));
      this.#dispatches.push({ pipeline, kernel, size, slot });
      at += size[0] * size[1] * size[2];
    }
  }

  /** Uploads, and submits everything in one go. */
  async submit(): Promise<void> {
    const { session, problems } = this.state;
    const total = this.#uploads.reduce((sum, { source }) => sum + wholeWords(source.byteLength), 0);
    const uploader = new Uploader(session, total, problems);
    this.#uploader = uploader;
    for (const { source, target } of this.#uploads) {
      if (!this.state.wanted()) return;
      await uploader.add(source, target);
    }
    const downloader = new Downloader(session, this.#downloads, problems);
    this.#downloader = downloader;
    const { problem } = session.guard('the kernels', () => {
      const { device } = session;
      const encoder = device.createCommandEncoder();
      uploader.record(encoder);
      for (const copy of this.#before) record(encoder, copy);
      this.#recordDispatches(encoder);
      for (const copy of this.#after) record(encoder, copy);
      downloader.record(encoder);
      device.queue.submit([encoder.finish()]);
    });
    problems.push(problem);
    uploader.submitted();
  }

  #recordDispatches(encoder: GPUCommandEncoder): void {
    const { session } = this.state;
    const { device } = session;
    if (this.#dispatches.length === 0) return;
    const slotBytes = this.#slotBytes;
    const uniforms = new Uint8Array(slotBytes * this.#uniforms.length);
    for (const [n, each] of this.#uniforms.entries()) uniforms.set(new Uint8Array(each), n * slotBytes);
    const uniform = session.pool.take(uniforms.length, usage.uniform | usage.copyTarget);
    this.#taken.push(uniform);
    device.queue.writeBuffer(uniform, 0, uniforms);

    const timed = session.profile !== undefined && session.timestamps && this.#dispatches.length * 2 <= MOST_QUERIES;
    const queries = timed
      ? device.createQuerySet({ type: 'timestamp', count: this.#dispatches.length * 2 })
      : undefined;
    let pass = queries === undefined ? encoder.beginComputePass() : undefined;
    this.#dispatches.forEach(({ pipeline, kernel, size, slot }, n) => {
      if (queries !== undefined) {
        const timestampWrites = { querySet: queries, beginningOfPassWriteIndex: 2 * n, endOfPassWriteIndex: 2 * n + 1 };
        pass = encoder.beginComputePass({ label: kernel.name, timestampWrites });
      }
      pass!.setPipeline(pipeline.pipeline);
      const shown = kernel.bindings.map(({ buffer }) => {
        const bound = this.#bound.get(buffer);
        if (bound === undefined) throw new Error(`kernel ${kernel.name} binds '${buffer}', which its program has not`);
        return { buffer: bound.buffer, offset: 0, size: bound.bytes };
      });
      const scalars = { buffer: uniform, offset: slot, size: slotBytes };
      pass!.setBindGroup(0, session.bindGroups.get(pipeline, [scalars, ...shown]));
      pass!.dispatchWorkgroups(...size);
      if (queries !== undefined) pass!.end();
    });
    if (queries === undefined) {
      pass!.end();
      return;
    }
    const bytes = this.#dispatches.length * 16;
    const resolved = session.pool.take(bytes, usage.queryResolve | usage.copySource);
    const staging = session.pool.take(bytes, usage.mapRead | usage.copyTarget);
    this.#taken.push(resolved, staging);
    encoder.resolveQuerySet(queries, 0, this.#dispatches.length * 2, resolved, 0);
    encoder.copyBufferToBuffer(resolved, 0, staging, 0, bytes);
    this.#times = { staging, queries };
  }

  /** Waits for the GPU, fills the output arrays, and gives the buffers back. */
  async finish(): Promise<void> {
    const { session, wanted } = this.state;
    if (this.#downloader !== undefined) {
      await this.#downloader.collect(wanted);
      // With nothing to download there was nothing to wait for yet.
      if (this.#downloads.length === 0) await session.device.queue.onSubmittedWorkDone();
      await this.#reportTimes();
    }
    await this.#uploader?.finish();
    // The pool gives the latest first: a call like this one takes the same buffers for the same ends.
    for (const buffer of this.#taken.reverse()) session.pool.give(buffer);
    this.#taken.length = 0;
  }

  async #reportTimes(): Promise<void> {
    if (this.#times === undefined) return;
    const { staging, queries } = this.#times;
    await staging.mapAsync(mapMode.read);
    const stamps = new BigUint64Array(staging.getMappedRange(0, this.#dispatches.length * 16));
    const times = this.#dispatches.map(({ kernel, size }, n): KernelTime => {
      const nanoseconds = Number(stamps[2 * n + 1]! - stamps[2 * n]!);
      return { kernel: kernel.name, workgroups: size[0] * size[1] * size[2], milliseconds: nanoseconds / 1e6 };
    });
    staging.unmap();
    queries.destroy();
    this.state.times.push(...times);
  }

  /** After an error: what the GPU may still be using is freed rather than kept. */
  discard(): void {
    for (const buffer of this.#taken) this.state.session.pool.discard(buffer);
    this.#taken.length = 0;
    this.#times?.queries.destroy();
    this.#uploader?.finish().catch(() => {});
  }
}

function record(encoder: GPUCommandEncoder, { source, sourceOffset, target, targetOffset, bytes }: DeviceCopy): void {
  if (bytes > 0) encoder.copyBufferToBuffer(source, sourceOffset, target, targetOffset, bytes);
}

/** Bindings have at least one element, of any type. */
const boundBytes = (decl: BufferDecl, count: number): number => Math.max(16, wholeWords(count * bytesOf(decl)));

/** A dispatch of at most so many tasks whose extents all are within the limit: exact, so that no workgroup is without a task. */
function gridOf(tasks: number, most: number): [number, number, number] {
  if (tasks <= most) return [tasks, 1, 1];
  const rows = Math.min(most, Math.floor(tasks / most));
  return [most, rows, 1];
}

/** Float64 as kernels read them. */
function pairs(array: HostArray): Float32Array {
  const result = new Float32Array(array.length * 2);
  for (let i = 0; i < array.length; i++) result.set(splitDouble(array[i]!), 2 * i);
  return result;
}

function deliveryTo(
  array: HostArray,
  from: number,
  count: number,
  element: BufferDecl['element'],
): Download['deliver'] {
  if (element === 'f16') {
    return (part, first) => {
      const bits = new Uint16Array(part.buffer, part.byteOffset, Math.min(2 * part.length, count - 2 * first));
      array.set(bits, from + 2 * first);
    };
  }
  if (element !== 'f64') return (part, first) => array.set(part, from + first);
  return (part, first) => {
    for (let i = 0; i < part.length; i += 2) array[from + (first + i) / 2] = joinDouble(part[i]!, part[i + 1]!);
  };
}

/** The scalars of one dispatch. */
function uniformOf(text: WgslProgram, scalars: Scalars, firstTask: number): ArrayBuffer {
  const bytes = new ArrayBuffer(Math.ceil(text.uniformBytes / 16) * 16);
  const view = new DataView(bytes);
  view.setInt32(text.taskBase, firstTask, true);
  for (const { name, type, offset } of text.uniform) {
    const value = scalars[name];
    if (value === undefined) throw new Error(`scalar '${name}' is missing`);
    if (type === 'i32') {
      view.setInt32(offset, value, true);
      continue;
    }
    const [high, low] = splitDouble(value);
    view.setFloat32(offset, high, true);
    view.setFloat32(offset + 4, low, true);
  }
  return bytes;
}
