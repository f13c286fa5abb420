/**
 * The cpu device: a spec is compiled through LLVM to native code for this machine, or found compiled on disk.
 *
 * For each shape class the object code is kept on disk, with its launch plan. With it, and with what is known of the spec
 * (`known-specs.ts`), a process starts without reading the spec and without LLVM's optimiser.
 */
import type { KernelProgram } from '../../compiler/kernel/kernel.js';
import { reportTime } from '../../compiler/trace.js';
import { type CacheStore, type JsonValue, storeFor } from '../cache-store.js';
import { prepare } from '../compiler/compile.js';
import type { CompileOptions, PreparedProgram, WantedSpec } from '../compiler/protocol.js';
import { prepareAsync } from '../compiler/service.js';
import type { Batch, Device, DeviceSpec, PhaseTime, Runner, ShapeClass } from '../device.js';
import { TrellisError, throwIfAborted } from '../errors.js';
import { compilerFingerprint } from '../fingerprint.js';
import {
  hashesOf,
  type KnownSpec,
  openSpec,
  openSpecSync,
  sourceHash,
  staticsKey,
  wantedSpec,
} from '../known-specs.js';
import type { SpecSignature } from '../signature.js';
import { prepareDriver } from './driver.js';
import { CpuExecutor } from './executor.js';
import { LlvmJit } from './jit.js';
import { findLibLlvm } from './libllvm.js';
import { alignedArray } from './memory.js';

type NativeCall = Parameters<CpuExecutor['run']>[0];

/** How to get the device; both throw TrellisError 'device-unavailable' where there is no usable libLLVM. */
export const cpuFactory = { load: async (): Promise<Device> => openDevice(), loadSync: (): Device => openDevice() };

let device: Device | undefined;

function openDevice(): Device {
  if (device) return device;
  let found: ReturnType<typeof findLibLlvm>;
  try {
    found = findLibLlvm();
  } catch (error) {
    throw new TrellisError('device-unavailable', `koffi cannot be loaded: ${(error as Error).message}`, {
      cause: error,
    });
  }
  if ('missing' in found) {
    throw new TrellisError('device-unavailable', `${found.missing}; ${found.advice}`);
  }
  let jit: LlvmJit;
  try {
    jit = new LlvmJit();
  } catch (error) {
    throw new TrellisError(
      'device-unavailable',
      `libLLVM at ${found.path} cannot be used: ${(error as Error).message}`,
      { cause: error },
    );
  }
  device = {
    name: 'cpu',
    reals: 'f32',
    halves: ['f16', 'bf16'],
    open: (file, options) => open(wantedSpec(file, options), jit, storeFor(options.cacheDir)),
    openSync: (file, options) => openSync(wantedSpec(file, options), jit, storeFor(options.cacheDir)),
  };
  return device;
}

async function open(wanted: WantedSpec, jit: LlvmJit, store: CacheStore): Promise<DeviceSpec> {
  return new CpuSpec(wanted, jit, store, await openSpec(wanted, store));
}

function openSync(wanted: WantedSpec, jit: LlvmJit, store: CacheStore): DeviceSpec {
  return new CpuSpec(wanted, jit, store, openSpecSync(wanted, store));
}

class CpuSpec implements DeviceSpec {
  readonly signature: SpecSignature;
  /** Hash of all the source there is to this spec. */
  readonly #sourceHash: string;

  constructor(
    private readonly wanted: WantedSpec,
    private readonly jit: LlvmJit,
    private readonly store: CacheStore,
    private readonly known: KnownSpec,
  ) {
    this.signature = known.signature;
    this.#sourceHash = sourceHash(known.files);
  }

  #programKey(shapeClass: ShapeClass): string {
    const parts = ['program', compilerFingerprint(), this.#sourceHash, shapeClass.key, this.jit.fingerprint];
    return parts.join('\n') + staticsKey(this.wanted.statics);
  }

  #options({ sizes, gradients, perNode, storage }: ShapeClass): CompileOptions {
    const { vectorBits, halves, scalef } = this.jit.target;
    return {
      sizes,
      gradients,
      perNode: perNode !== undefined,
      bestPath: perNode === 'best-path',
      storage,
      statics: this.wanted.statics,
      lattice: 'f64',
      blocks: true,
      vectorBits,
      halves,
      scalef,
    };
  }

  #fromDisk(shapeClass: ShapeClass): Runner | undefined {
    const entry = this.store.get(this.#programKey(shapeClass));
    if (!entry) return undefined;
    const plan = entry.metadata as unknown as KernelProgram;
    return new CpuRunner('disk', this.signature, new CpuExecutor(plan, entry.payload, this.jit, this.store));
  }

  #finish(shapeClass: ShapeClass, { plan, reread }: PreparedProgram, object: Uint8Array): Runner {
    const runner = new CpuRunner('compiled', this.signature, new CpuExecutor(plan, object, this.jit, this.store));
    // A file that changed since it was first read made another program: it must not be kept under the old one's key.
    if (reread === undefined || sourceHash(hashesOf(reread)) === this.#sourceHash)
      this.store.set(this.#programKey(shapeClass), plan as unknown as JsonValue, object);
    return runner;
  }

  async prepare(shapeClass: ShapeClass): Promise<Runner> {
    const known = this.#fromDisk(shapeClass);
    if (known) return known;
    // The driver is compiled while the compiler's thread is at work on the kernels.
    const [prepared] = await Promise.all([
      prepareAsync(this.wanted, this.known.equations, this.#options(shapeClass)),
      prepareDriver(this.jit, this.store),
    ]);
    const start = performance.now();
    const { object } = await this.jit.compileAsync(prepared.llvm, { name: `${prepared.plan.name}.ll` });
    reportTime(prepared.plan.name, 'object', performance.now() - start);
    return this.#finish(shapeClass, prepared, object);
  }

  prepareSync(shapeClass: ShapeClass): Runner {
    const known = this.#fromDisk(shapeClass);
    if (known) return known;
    const prepared = prepare(this.wanted, this.known.equations, this.#options(shapeClass));
    const start = performance.now();
    const { object } = this.jit.compile(prepared.llvm, { name: `${prepared.plan.name}.ll` });
    reportTime(prepared.plan.name, 'object', performance.now() - start);
    return this.#finish(shapeClass, prepared, object);
  }
}

class CpuRunner implements Runner {
  constructor(
    readonly source: 'compiled' | 'disk',
    private readonly signature: SpecSignature,
    private readonly executor: CpuExecutor,
  ) {}

  async run(batch: Batch): Promise<void> {
    const { signal } = batch;
    const abort = new Int32Array(1);
    const stop = (): void => {
      abort[0] = 1;
    };
    signal?.addEventListener('abort', stop, { once: true });
    try {
      const { own, deliver } = this.#apart(batch);
      const finished = await this.executor.runAsync(this.#call(own, abort));
      if (finished) deliver();
    } finally {
      signal?.removeEventListener('abort', stop);
    }
    throwIfAborted(signal);
  }

  runSync(batch: Batch): void {
    const { own, deliver } = this.#apart(batch);
    this.executor.run(this.#call(own, undefined));
    deliver();
  }

  profile(batch: Batch): PhaseTime[] {
    return this.executor.profile(this.#call(batch, undefined));
  }

  /** A gradient that is to replace its input, but reads more of it than the cell it writes, is made in memory of its own. */
  #apart(batch: Batch): { own: Batch; deliver: () => void } {
    const gradients = { ...batch.out.gradients };
    const moved = Object.keys(gradients).filter(
      (name) =>
        gradients[name]!.buffer === batch.inputs[name]!.buffer && !this.executor.program.inPlace?.includes(name),
    );
    if (moved.length === 0) return { own: batch, deliver: () => {} };
    for (const name of moved)
      gradients[name] = alignedArray(batch.storage.gradients?.[name] ?? 'f32', gradients[name]!.length);
    return {
      own: { ...batch, out: { ...batch.out, gradients } },
      deliver: () => {
        for (const name of moved) batch.out.gradients![name]!.set(gradients[name]!);
      },
    };
  }

  #call(batch: Batch, abort: Int32Array | undefined): NativeCall {
    const buffers: Record<string, NativeCall['buffers'][string]> = { gradScale: batch.gradScale, loss: batch.out.loss };
    let work = 0;
    for (const { name } of this.signature.inputs) {
      const array = batch.inputs[name]!;
      buffers[name] = array;
      work = Math.max(work, array.length);
    }
    for (const { argument } of this.signature.lengths) buffers[argument] = batch.lengths[argument]!;
    for (const [name, array] of Object.entries(batch.out.gradients ?? {})) buffers[`grad_${name}`] = array;
    for (const [name, array] of Object.entries(batch.out.perNode ?? {})) buffers[`node_${name}`] = array;
    const scalars: Record<string, number> = { ...batch.params, B: batch.B };
    for (const { size } of this.signature.lengths) scalars[`${size}_max`] = batch.sizes[size]!;
    return {
      buffers,
      scalars,
      work,
      ...(batch.threads !== undefined && { threads: batch.threads }),
      ...(abort && { abort }),
    };
  }
}
