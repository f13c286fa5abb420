/**
 * Runs a compiled program on the GPU: cuts the batch so that every tensor fits a binding, moves data, dispatches kernels.
 * Nothing here needs Node.
 */
import { evaluateExtent } from '../cpu/extents.js';
import { InputError, throwIfAborted } from '../errors.js';
import { bytesOf, type CallState, type GpuCall, operandOf, product, shapeOf, tooLarge } from './call.js';
import { Launch } from './launch.js';
import type { GpuProgram } from './program.js';
import type { GpuHost, GpuSession } from './session.js';
import type { Problems } from './transfer.js';
import { runInWindows } from './windowed.js';

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
  // Copies within GPU memory begin at whole words.
  const odd = program.buffers.some(
    (decl) => decl.element === 'f16' && product(shapeOf(decl, call.scalars).slice(1)) % 2 === 1,
  );
  return odd && most > 1 && most < call.scalars.B! ? most - (most % 2) : most;
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
