/** Runs a compiled kernel program on typed arrays: arguments, scratch memory, threads. */
import os from 'node:os';
import type { BufferDecl, KExpr, Kernel, KernelProgram } from '../../compiler/kernel/kernel.js';
import type { CacheStore } from '../cache-store.js';
import type { PhaseTime } from '../device.js';
import { type Driver, driverFor, enterQueue, type Launch, leaveQueue, planBytes, writePlan } from './driver.js';
import { evaluateExtent, type Scalars } from './extents.js';
import type { LlvmJit, LoadedObject } from './jit.js';
import { ALIGNMENT, addressOf, type Block, BlockPool, bytesOf, holds, type NativeArray } from './memory.js';

/** One call of a program. */
export interface CpuCall {
  /** An array for every input and output buffer, by name, with at least as many elements as the buffer's shape says. */
  readonly buffers: Readonly<Record<string, NativeArray>>;
  /** A value for every scalar, by name. */
  readonly scalars: Scalars;
  /** Number of threads to use at most; default: as many as the system has for this process. */
  readonly threads?: number;
  /** About how many elements are worked on; small calls then start no threads, which would cost more than they save. */
  readonly work?: number;
  /** One element; once it is not 0, no further chunk of work is begun. */
  readonly abort?: Int32Array;
}

/**
 * Starting a thread and the waits between phases take as long as one thread takes for about so many elements: measured at V = 28, 168 000
 * elements took one thread as long as two, 336 000 ten per cent longer.
 */
const WORK_PER_THREAD = 100_000;
/** Chunks per thread and kernel: enough for ragged batches to balance and for an abort to be seen soon. */
const CHUNKS_PER_THREAD = 32;

const pool = new BlockPool();
const neverAborted = new Int32Array(1);
let parallelism = 0;

interface Prepared {
  readonly block: Block;
  readonly plan: bigint;
  /** Writes the plan anew, for some of the launches only; the arguments and scratch memory stay. */
  readonly narrow: (phases: readonly (readonly Launch[])[]) => void;
  readonly phases: readonly (readonly Launch[])[];
  /** Kept alive until the call is over. */
  readonly arrays: readonly unknown[];
}

/**
 * A program, linked and ready to be called any number of times, also several times at once.
 * Results are in the output arrays of the call. Arrays of a running asynchronous call must not be transferred or resized.
 */
export class CpuExecutor {
  readonly program: KernelProgram;
  readonly #code: LoadedObject;
  readonly #driver: Driver;
  readonly #kernels: readonly (readonly { kernel: Kernel; address: bigint }[])[];
  readonly #planBytes: number;
  #running = 0;
  #disposed = false;

  /**
   * `code`: an object file made by `jit.compile`, or IR text, which is compiled here.
   * Throws LlvmError where the code lacks a kernel of the program.
   */
  constructor(program: KernelProgram, code: Uint8Array | string, jit: LlvmJit, cache?: CacheStore) {
    this.program = program;
    this.#driver = driverFor(jit, cache);
    const object = typeof code === 'string' ? jit.compile(code, { name: `${program.name}.ll` }).object : code;
    const loaded = jit.load(object);
    this.#code = loaded;
    try {
      this.#kernels = program.phases.map((phase) =>
        phase.map((kernel) => ({ kernel, address: loaded.lookup(kernel.name) })),
      );
    } catch (error) {
      loaded.dispose();
      throw error;
    }
    this.#planBytes = planBytes(program.phases.length, program.phases.flat().length);
  }

  /**
   * Runs on the calling thread, with helpers, and returns when all is done: true, or false where the abort flag stopped it.
   * Throws RangeError, TypeError or Error for arguments that do not fit the program, before anything runs.
   */
  run(call: CpuCall): boolean {
    const prepared = this.#prepare(call);
    try {
      return this.#driver.run(prepared.plan) === 0;
    } finally {
      pool.give(prepared.block);
    }
  }

  /** The same, off the event loop's thread. Rejects where `run` throws. */
  async runAsync(call: CpuCall): Promise<boolean> {
    this.#checkLive();
    this.#running++;
    try {
      await enterQueue();
      try {
        const prepared = this.#prepare(call);
        try {
          return await new Promise<boolean>((resolve, reject) => {
            this.#driver.run.async(prepared.plan, (error: unknown, result: number) => {
              if (error) reject(error);
              else resolve(result === 0);
            });
          });
        } finally {
          // That `prepared` is needed here also keeps its arrays from being collected during the call.
          pool.give(prepared.block);
        }
      } finally {
        leaveQueue();
      }
    } finally {
      this.#running--;
    }
  }

  /**
   * For benchmarks: does the work of `run` in parts, on the same memory and with the same threads, and says what each took.
   * A phase runs as a whole, then each of its kernels again by itself: they only read what earlier phases made.
   */
  profile(call: CpuCall): PhaseTime[] {
    const prepared = this.#prepare(call);
    const { plan, narrow, phases } = prepared;
    const time = (launches: readonly Launch[]): number => {
      narrow([launches]);
      const start = performance.now();
      this.#driver.run(plan);
      return performance.now() - start;
    };
    try {
      return phases.map((launches, p) => {
        const milliseconds = time(launches);
        const alone = launches.length === 1 ? [milliseconds] : launches.map((launch) => time([launch]));
        const kernels = alone.map((each, k) => ({ kernel: this.program.phases[p]![k]!.name, milliseconds: each }));
        return { milliseconds, kernels };
      });
    } finally {
      pool.give(prepared.block);
    }
  }

  /** Bytes of scratch memory that a call with these scalars uses. */
  scratchBytes(scalars: Scalars): number {
    return this.program.buffers
      .filter((buffer) => buffer.role === 'scratch')
      .reduce((sum, buffer) => sum + align(elementsOf(buffer, scalars) * bytesOf(buffer.element)), 0);
  }

  /** Frees the code. Throws while an asynchronous call is running. */
  dispose(): void {
    if (this.#running > 0) throw new Error(`'${this.program.name}' is running and cannot be disposed of now`);
    if (this.#disposed) return;
    this.#disposed = true;
    this.#code.dispose();
  }

  #checkLive(): void {
    if (this.#disposed) throw new Error(`'${this.program.name}' has been disposed of`);
  }

  #prepare(call: CpuCall): Prepared {
    this.#checkLive();
    const { program } = this;
    const { scalars } = call;
    const argsAt = this.#planBytes;
    const argsBytes = align((program.buffers.length + program.scalars.length) * 8);
    const abort = call.abort ?? neverAborted;
    if (!(abort instanceof Int32Array) || abort.length < 1) {
      throw new TypeError('abort must be an Int32Array of at least one element');
    }
    const arrays: NativeArray[] = [abort];

    // Everything is checked before memory is taken: native code would read and write past the end of a short array.
    const slots: { address: bigint; scratch: number }[] = [];
    let bytes = argsAt + argsBytes;
    for (const buffer of program.buffers) {
      const elements = elementsOf(buffer, scalars);
      if (buffer.role === 'scratch') {
        slots.push({ address: 0n, scratch: bytes });
        bytes += align(elements * bytesOf(buffer.element));
        continue;
      }
      const array = call.buffers[buffer.name];
      if (array === undefined) throw new Error(`buffer '${buffer.name}' of '${program.name}' is missing`);
      if (!holds(array, buffer.element)) {
        throw new TypeError(`buffer '${buffer.name}' must hold ${buffer.element}, not be a ${array.constructor.name}`);
      }
      if (array.length < elements) {
        throw new RangeError(
          `buffer '${buffer.name}' has ${array.length} elements, but its shape ${shapeText(buffer, scalars)} needs ${elements}`,
        );
      }
      arrays.push(array);
      slots.push({ address: addressOf(array), scratch: 0 });
    }
    const values = program.scalars.map(({ name, type }) => {
      const value = scalars[name];
      if (value === undefined) throw new Error(`scalar '${name}' of '${program.name}' is missing`);
      if (type === 'index' && !Number.isSafeInteger(value)) {
        throw new RangeError(`scalar '${name}' is ${value}, but it must be an integer`);
      }
      return { type, value };
    });
    const threads = this.#threads(call);
    const phases = this.#kernels.map((phase) =>
      phase.map(({ kernel, address }): Launch => {
        const tasks = product(kernel.grid.map(({ extent }) => evaluateExtent(extent, scalars)));
        return { kernel: address, tasks, grain: Math.max(1, Math.floor(tasks / (threads * CHUNKS_PER_THREAD))) };
      }),
    );

    const block = pool.take(bytes);
    const words = new BigUint64Array(block.bytes.buffer, block.bytes.byteOffset, (argsAt + argsBytes) / 8);
    const reals = new Float64Array(words.buffer, words.byteOffset, words.length);
    const shared = { args: block.address + BigInt(argsAt), abort: addressOf(abort), threads };
    const narrow = (some: Prepared['phases']) => writePlan(words, block.address, { ...shared, phases: some });
    narrow(phases);
    let slot = argsAt / 8;
    for (const { address, scratch } of slots) words[slot++] = scratch > 0 ? block.address + BigInt(scratch) : address;
    for (const { type, value } of values) {
      if (type === 'index') words[slot++] = BigInt.asUintN(64, BigInt(value));
      else reals[slot++] = value;
    }
    return { block, plan: block.address, narrow, phases, arrays };
  }

  #threads(call: CpuCall): number {
    const { threads, work } = call;
    if (threads !== undefined && !(Number.isInteger(threads) && threads >= 1)) {
      throw new RangeError(`threads is ${threads}, but it must be an integer of at least 1`);
    }
    // Asking the system takes longer than a small call.
    if (parallelism === 0) parallelism = os.availableParallelism();
    const available = threads ?? parallelism;
    return work === undefined ? available : Math.max(1, Math.min(available, Math.floor(work / WORK_PER_THREAD)));
  }
}

const align = (bytes: number): number => Math.ceil(bytes / ALIGNMENT) * ALIGNMENT;
const product = (factors: readonly number[]): number => factors.reduce((all, factor) => all * Math.max(0, factor), 1);
const extents = (shape: readonly KExpr[], scalars: Scalars): number[] => shape.map((e) => evaluateExtent(e, scalars));
const shapeText = (buffer: BufferDecl, scalars: Scalars): string => `[${extents(buffer.shape, scalars).join(', ')}]`;

function elementsOf(buffer: BufferDecl, scalars: Scalars): number {
  const elements = product(extents(buffer.shape, scalars));
  if (!Number.isSafeInteger(elements)) {
    throw new RangeError(`buffer '${buffer.name}' would have ${elements} elements: ${shapeText(buffer, scalars)}`);
  }
  return elements;
}
