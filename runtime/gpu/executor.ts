/// <reference types="@webgpu/types" preserve="true" />
/**
 * Runs a compiled program on the GPU: cuts the batch so that every tensor fits a binding, moves data, dispatches kernels.
 * Nothing here needs Node.
 */
import type { BufferDecl, KExpr } from '../../compiler/kernel/kernel.js';
import { evaluateExtent } from '../cpu/extents.js';
import { InputError, throwIfAborted, TrellisError } from '../errors.js';
import { usage } from './buffers.js';
import { Launch, type Operand } from './launch.js';
import type { GpuProgram } from './program.js';
import type { GpuHost, GpuSession, KernelTime } from './session.js';
import type { Problems } from './transfer.js';
import { runInWindows } from './windowed.js';

export type HostArray = Float32Array | Float64Array | Int32Array;

/** One call of a program. */
export interface GpuCall {
  /**
   * An array or GPUBuffer for every input and output, by name, batch first. A GPUBuffer is of the session's device, dense, float32,
   * with usage STORAGE, or COPY_SRC for an input and COPY_DST for an output. An output may be the very array or buffer of an input.
   */
  readonly buffers: Readonly<Record<string, HostArray | GPUBuffer>>;
  /** A value for every scalar, by name; 'B' is the batch size. */
  readonly scalars: Readonly<Record<string, number>>;
  readonly signal?: AbortSignal | undefined;
}

/** What a call has in hand while it runs. */
export interface CallState {
  readonly session: GpuSession;
  readonly program: GpuProgram;
  readonly call: GpuCall;
  readonly problems: Problems;
  /** Of its dispatches, where they are wanted. */
  readonly times: KernelTime[];
  /** False once the caller has gone: nothing of its is touched any more. */
  readonly wanted: () => boolean;
}

export const isGpuBuffer = (value: HostArray | GPUBuffer): value is GPUBuffer => !ArrayBuffer.isView(value);
export const bytesOf = ({ element }: Pick<BufferDecl, 'element'>): number => (element === 'f64' ? 8 : 4);
export const shapeOf = (decl: BufferDecl, scalars: GpuCall['scalars']): number[] =>
  decl.shape.map((extent: KExpr) => evaluateExtent(extent, scalars));
export const product = (extents: readonly number[]): number =>
  extents.reduce((all, extent) => all * Math.max(0, extent), 1);

/** A program, ready to be called any number of times, also several times at once. */
export class GpuExecutor {
  constructor(
    readonly program: GpuProgram,
    private readonly host: GpuHost,
  ) {}

  /** Builds the pipelines now rather than at the first call. @throws TrellisError */
  async prepare(): Promise<void> {
    const session = await this.host.session();
    await Promise.all(this.program.text.phases.flat().map((kernel) => session.pipelines.get(kernel)));
  }

  /**
   * Fills the outputs.
   * @throws TrellisError when the device is lost, out of memory or refuses something, InputError for a GPUBuffer that
   *   cannot be used, the signal's reason when it is aborted
   */
  async run(call: GpuCall): Promise<void> {
    throwIfAborted(call.signal);
    const session = await this.host.session();
    const state = { aborted: false };
    const running = this.#run(session, call, () => !state.aborted);
    if (call.signal === undefined) return running;
    // What is on the GPU cannot be taken back, but the caller need not wait for it.
    await orAborted(running, call.signal, () => {
      state.aborted = true;
    });
  }

  async #run(session: GpuSession, call: GpuCall, wanted: () => boolean): Promise<void> {
    const problems: Problems = [];
    const state: CallState = { session, program: this.program, call, problems, times: [], wanted };
    await session.enter();
    let failure: { readonly error: unknown } | undefined;
    try {
      if (!wanted()) return;
      const samples = samplesAtOnce(state);
      const B = call.scalars.B!;
      for (let b = 0; b < B && wanted(); b += Math.max(1, samples)) {
        if (samples === 0) await runInWindows(state, b);
        else await runChunk(state, b, Math.min(B, b + samples));
      }
    } catch (error) {
      failure = { error };
    } finally {
      session.leave();
    }
    const said = (await Promise.all(problems)).find((problem) => problem !== undefined);
    session.pool.endCall();
    if (failure === undefined && said === undefined) {
      if (session.timestamps) session.profile?.(state.times);
      return;
    }
    if (failure?.error instanceof InputError) throw failure.error;
    await session.settleLoss();
    throw session.lost ?? said ?? session.explain('the call', failure?.error);
  }
}

async function orAborted(running: Promise<void>, signal: AbortSignal, onAbort: () => void): Promise<void> {
  let stop: (() => void) | undefined;
  try {
    await Promise.race([
      running,
      new Promise<void>((_, reject) => {
        stop = () => {
          onAbort();
          reject(signal.reason);
        };
        signal.addEventListener('abort', stop, { once: true });
        if (signal.aborted) stop();
      }),
    ]);
  } finally {
    if (stop !== undefined) signal.removeEventListener('abort', stop);
  }
}

/** How many samples go together so that each tensor fits a binding; 0: not even one does, by its tensors. */
function samplesAtOnce({ session, program, call }: CallState): number {
  const { bindingBytes, bufferBytes } = session.limits;
  const limit = Math.min(bindingBytes, bufferBytes);
  let most = call.scalars.B!;
  for (const decl of program.buffers) {
    const [, ...extents] = shapeOf(decl, call.scalars);
    const bytes = product(extents) * bytesOf(decl);
    if (bytes <= limit) most = Math.min(most, bytes === 0 ? most : Math.floor(limit / bytes));
    else if (decl.role === 'scratch') throw tooLarge(session, `'${decl.name}' of one utterance`, bytes, limit);
    else most = 0;
  }
  return most;
}

export function tooLarge(session: GpuSession, what: string, bytes: number, limit: number): TrellisError {
  const mebibytes = (value: number): string => `${(value / 2 ** 20).toFixed(1)} MiB`;
  return new TrellisError(
    'not-supported',
    `${what} takes ${mebibytes(bytes)}, but ${session.name} binds at most ${mebibytes(limit)}; use device 'cpu', or shorter utterances`,
  );
}

/** Samples [first, end) in one submission. */
async function runChunk(state: CallState, first: number, end: number): Promise<void> {
  const { program, call, session } = state;
  const scalars = { ...call.scalars, B: end - first };
  const whole = end - first === call.scalars.B;
  const launch = new Launch(state);
  try {
    for (const decl of program.buffers) {
      const [, ...extents] = shapeOf(decl, scalars);
      const perSample = product(extents);
      const from = first * perSample;
      const count = (end - first) * perSample;
      if (decl.role === 'scratch') launch.scratch(decl, count);
      else if (decl.role === 'input') launch.input(decl, operandOf(state, decl), from, count, whole);
      else launch.output(decl, operandOf(state, decl), from, count, whole);
    }
    for (const phase of program.text.phases) {
      for (const kernel of phase) {
        const tasks = product(kernel.grid.map((extent) => evaluateExtent(extent, scalars)));
        launch.dispatch(await session.pipelines.get(kernel), kernel, program.text, scalars, 0, tasks);
      }
    }
    await launch.submit();
    await launch.finish();
  } catch (error) {
    launch.discard();
    throw error;
  }
}

/** The array or buffer that the caller gave, checked. @throws Error for one that is missing: the loss module's mistake */
export function operandOf({ program, call, session }: CallState, decl: BufferDecl): Operand {
  const given = call.buffers[decl.name];
  if (given === undefined) throw new Error(`buffer '${decl.name}' of '${program.name}' is missing`);
  const elements = product(shapeOf(decl, call.scalars));
  if (!isGpuBuffer(given)) {
    if (given.length < elements) {
      throw new RangeError(`buffer '${decl.name}' has ${given.length} elements, but its shape needs ${elements}`);
    }
    return { array: given };
  }
  const refuse = (problem: string, allowed: string): InputError =>
    new InputError({ code: 'type', argument: decl.name, problem, value: given, allowed });
  if (decl.element === 'f64') throw refuse('is a GPUBuffer', 'a typed array');
  if (given.size < elements * 4) {
    throw refuse(`is a GPUBuffer of ${given.size} bytes`, `at least ${elements * 4} bytes (${elements} float32)`);
  }
  const copy = decl.role === 'input' ? usage.copySource : usage.copyTarget;
  if ((given.usage & (usage.storage | copy)) === 0) {
    const name = decl.role === 'input' ? 'COPY_SRC' : 'COPY_DST';
    throw refuse(`is a GPUBuffer of usage 0x${given.usage.toString(16)}`, `a GPUBuffer with usage STORAGE or ${name}`);
  }
  const shared = Object.entries(call.buffers).some(([name, other]) => name !== decl.name && other === given);
  const direct = (given.usage & usage.storage) !== 0 && elements * 4 <= session.limits.bindingBytes;
  if ((!direct || shared) && (given.usage & copy) === 0) {
    throw refuse(
      'is a GPUBuffer that has to be copied, without the usage for it',
      'a GPUBuffer with COPY_SRC and COPY_DST',
    );
  }
  return { buffer: given, direct: direct && !(shared && decl.role === 'input') };
}
