/**
 * The cpu device: a spec is compiled through LLVM to native code for this machine, or found compiled on disk.
 *
 * Two things are kept on disk: what a spec's file says about its arguments, and for each shape class the object code
 * with its launch plan. With both, a process starts without reading the spec and without LLVM's optimiser.
 */
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { KernelProgram } from '../../compiler/kernel/kernel.js';
import { CacheStore, type JsonValue } from '../cache-store.js';
import { outline, prepare } from '../compiler/compile.js';
import type { CompileOptions, PreparedProgram, SpecOutline } from '../compiler/protocol.js';
import { outlineAsync, prepareAsync } from '../compiler/service.js';
import type { Batch, Device, DeviceOptions, DeviceSpec, Runner, ShapeClass } from '../device.js';
import { TrellisError, throwIfAborted } from '../errors.js';
import type { SpecSignature } from '../signature.js';
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
    open: (file, options) => open(file, jit, storeFor(options)),
    openSync: (file, options) => openSync(file, jit, storeFor(options)),
  };
  return device;
}

const stores = new Map<string | false | undefined, CacheStore>();

/** One store per folder and process: it also remembers in memory what it read. */
function storeFor({ cacheDir }: DeviceOptions): CacheStore {
  let store = stores.get(cacheDir);
  if (!store) {
    store = new CacheStore(cacheDir === undefined ? {} : { directory: cacheDir });
    stores.set(cacheDir, store);
  }
  return store;
}

const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex');

let compilerHash: string | undefined;

/** Changes whenever the compiler does: objects made by another version of it are never used. */
function compilerFingerprint(): string {
  if (compilerHash === undefined) {
    const root = join(dirname(fileURLToPath(import.meta.url)), '..', '..');
    const files: string[] = [];
    const visit = (folder: string): void => {
      for (const entry of readdirSync(folder, { withFileTypes: true })) {
        const path = join(folder, entry.name);
        if (entry.isDirectory()) visit(path);
        else if (/\.(js|ts)$/.test(entry.name) && !entry.name.endsWith('.d.ts')) files.push(path);
      }
    };
    for (const folder of ['compiler', 'dsl']) visit(join(root, folder));
    const hash = createHash('sha256');
    for (const file of files.sort()) hash.update(readFileSync(file));
    compilerHash = hash.digest('hex');
  }
  return compilerHash;
}

/** What is remembered about a spec's file: its arguments, and the files it is made of with their hashes. */
interface SpecRecord {
  readonly signature: SpecSignature;
  readonly files: readonly { readonly path: string; readonly hash: string }[];
}

type SourceFiles = SpecOutline['files'];
const hashesOf = (files: SourceFiles): SpecRecord['files'] =>
  files.map(({ path, text }) => ({ path, hash: sha256(text) }));
const joinHashes = (files: SpecRecord['files']): string =>
  sha256(files.map(({ path, hash }) => `${path} ${hash}`).join('\n'));

const recordKey = (file: string): string =>
  `spec\n${compilerFingerprint()}\n${file}\n${sha256(readFileSync(file, 'utf8'))}`;

/** The record from disk, if every file of the spec is as it was. */
function recall(file: string, store: CacheStore): SpecRecord | undefined {
  const entry = store.get(recordKey(file));
  if (!entry) return undefined;
  const record = entry.metadata as unknown as SpecRecord;
  try {
    const unchanged = record.files.every(({ path, hash }) => sha256(readFileSync(path, 'utf8')) === hash);
    return unchanged ? record : undefined;
  } catch {
    return undefined; // a file it imported is gone: reading the spec will say so
  }
}

function remember(file: string, store: CacheStore, { signature, files }: SpecOutline): SpecRecord {
  const record: SpecRecord = { signature, files: hashesOf(files) };
  store.set(recordKey(file), record as unknown as JsonValue, new Uint8Array(0));
  return record;
}

async function open(file: string, jit: LlvmJit, store: CacheStore): Promise<DeviceSpec> {
  const record = recall(file, store) ?? remember(file, store, await outlineAsync(file));
  return new CpuSpec(file, jit, store, record);
}

function openSync(file: string, jit: LlvmJit, store: CacheStore): DeviceSpec {
  const record = recall(file, store) ?? remember(file, store, outline(file));
  return new CpuSpec(file, jit, store, record);
}

class CpuSpec implements DeviceSpec {
  readonly signature: SpecSignature;
  /** Hash of all the source there is to this spec. */
  readonly #sourceHash: string;

  constructor(
    private readonly file: string,
    private readonly jit: LlvmJit,
    private readonly store: CacheStore,
    record: SpecRecord,
  ) {
    this.signature = record.signature;
    this.#sourceHash = joinHashes(record.files);
  }

  #programKey(shapeClass: ShapeClass): string {
    return ['program', compilerFingerprint(), this.#sourceHash, shapeClass.key, this.jit.fingerprint].join('\n');
  }

  #options({ sizes, gradients }: ShapeClass): CompileOptions {
    return { sizes, gradients, lattice: 'f64', blocks: true, vectorBits: this.jit.target.vectorBits };
  }

  #fromDisk(shapeClass: ShapeClass): Runner | undefined {
    const entry = this.store.get(this.#programKey(shapeClass));
    if (!entry) return undefined;
    const plan = entry.metadata as unknown as KernelProgram;
    return new CpuRunner('disk', this.signature, new CpuExecutor(plan, entry.payload, this.jit, this.store));
  }

  #finish(shapeClass: ShapeClass, { plan, files }: PreparedProgram, object: Uint8Array): Runner {
    const runner = new CpuRunner('compiled', this.signature, new CpuExecutor(plan, object, this.jit, this.store));
    // A file that changed since it was first read made another program: it must not be kept under the old one's key.
    if (joinHashes(hashesOf(files)) === this.#sourceHash)
      this.store.set(this.#programKey(shapeClass), plan as unknown as JsonValue, object);
    return runner;
  }

  async prepare(shapeClass: ShapeClass): Promise<Runner> {
    const known = this.#fromDisk(shapeClass);
    if (known) return known;
    const prepared = await prepareAsync(this.file, this.#options(shapeClass));
    const { object } = await this.jit.compileAsync(prepared.llvm, { name: `${prepared.plan.name}.ll` });
    return this.#finish(shapeClass, prepared, object);
  }

  prepareSync(shapeClass: ShapeClass): Runner {
    const known = this.#fromDisk(shapeClass);
    if (known) return known;
    const prepared = prepare(this.file, this.#options(shapeClass));
    return this.#finish(
      shapeClass,
      prepared,
      this.jit.compile(prepared.llvm, { name: `${prepared.plan.name}.ll` }).object,
    );
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

  /** A gradient that is to replace its input, but reads more of it than the cell it writes, is made in memory of its own. */
  #apart(batch: Batch): { own: Batch; deliver: () => void } {
    const gradients = { ...batch.out.gradients };
    const moved = Object.keys(gradients).filter(
      (name) =>
        gradients[name]!.buffer === batch.inputs[name]!.buffer && !this.executor.program.inPlace?.includes(name),
    );
    if (moved.length === 0) return { own: batch, deliver: () => {} };
    for (const name of moved) gradients[name] = alignedArray('f32', gradients[name]!.length);
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
