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
import { compile, compileToGraph, type SourceSpec } from '../../compiler/compile.js';
import type { KernelProgram } from '../../compiler/kernel/kernel.js';
import { CacheStore, type JsonValue } from '../cache-store.js';
import type { Batch, Device, DeviceOptions, DeviceSpec, Runner, ShapeClass } from '../device.js';
import { TrellisError, throwIfAborted } from '../errors.js';
import { type SpecSignature, signatureOfGraph } from '../signature.js';
import { CpuExecutor } from './executor.js';
import { LlvmJit } from './jit.js';
import { findLibLlvm, installHint } from './libllvm.js';

type NativeCall = Parameters<CpuExecutor['run']>[0];

/** How to get the device; both throw TrellisError 'device-unavailable' where there is no usable libLLVM. */
export const cpuFactory = { load: async (): Promise<Device> => openDevice(), loadSync: (): Device => openDevice() };

let device: Device | undefined;

function openDevice(): Device {
  if (device) return device;
  const found = findLibLlvm();
  if ('missing' in found) {
    throw new TrellisError('device-unavailable', `no libLLVM was found; install it with: ${installHint()}`);
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
    open: async (file, options) => new CpuSpec(file, jit, storeFor(options)),
    openSync: (file, options) => new CpuSpec(file, jit, storeFor(options)),
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

class CpuSpec implements DeviceSpec {
  readonly signature: SpecSignature;
  /** Hash of all the source there is to this spec. */
  readonly #sourceHash: string;
  #source: SourceSpec | undefined;

  constructor(
    private readonly file: string,
    private readonly jit: LlvmJit,
    private readonly store: CacheStore,
  ) {
    const record = this.#recall() ?? this.#read();
    this.signature = record.signature;
    this.#sourceHash = sha256(record.files.map(({ path, hash }) => `${path} ${hash}`).join('\n'));
  }

  get #recordKey(): string {
    return `spec\n${compilerFingerprint()}\n${this.file}\n${sha256(readFileSync(this.file, 'utf8'))}`;
  }

  /** The record from disk, if every file of the spec is as it was. */
  #recall(): SpecRecord | undefined {
    const entry = this.store.get(this.#recordKey);
    if (!entry) return undefined;
    const record = entry.metadata as unknown as SpecRecord;
    try {
      const unchanged = record.files.every(({ path, hash }) => sha256(readFileSync(path, 'utf8')) === hash);
      return unchanged ? record : undefined;
    } catch {
      return undefined; // a file it imported is gone: reading the spec will say so
    }
  }

  #read(): SpecRecord {
    const source = this.#compileGraph();
    const files = source.files.map(({ path, text }) => ({ path, hash: sha256(text) }));
    const record: SpecRecord = { signature: signatureOfGraph(source.graph), files };
    this.store.set(this.#recordKey, record as unknown as JsonValue, new Uint8Array(0));
    return record;
  }

  #compileGraph(): SourceSpec {
    this.#source ??= compileToGraph(this.file);
    return this.#source;
  }

  #programKey(shapeClass: ShapeClass): string {
    return ['program', compilerFingerprint(), this.#sourceHash, shapeClass.key, this.jit.fingerprint].join('\n');
  }

  #fromDisk(shapeClass: ShapeClass): Runner | undefined {
    const entry = this.store.get(this.#programKey(shapeClass));
    if (!entry) return undefined;
    return new CpuRunner(
      'disk',
      this.signature,
      new CpuExecutor(entry.metadata as unknown as KernelProgram, entry.payload, this.jit, this.store),
    );
  }

  #text(shapeClass: ShapeClass): { program: KernelProgram; llvm: string } {
    const { vectorBits } = this.jit.target;
    const { sizes, gradients } = shapeClass;
    return compile(this.#compileGraph(), { sizes, gradients, lattice: 'f64', vectorBits });
  }

  #finish(shapeClass: ShapeClass, program: KernelProgram, object: Uint8Array): Runner {
    // Only what a launch needs; the kernels' bodies are in the object code.
    const plan: KernelProgram = {
      ...program,
      phases: program.phases.map((phase) => phase.map((kernel) => ({ ...kernel, doc: [], body: [] }))),
    };
    const runner = new CpuRunner('compiled', this.signature, new CpuExecutor(plan, object, this.jit, this.store));
    this.store.set(this.#programKey(shapeClass), plan as unknown as JsonValue, object);
    return runner;
  }

  async prepare(shapeClass: ShapeClass): Promise<Runner> {
    const known = this.#fromDisk(shapeClass);
    if (known) return known;
    const { program, llvm } = this.#text(shapeClass);
    const { object } = await this.jit.compileAsync(llvm, { name: `${program.name}.ll` });
    return this.#finish(shapeClass, program, object);
  }

  prepareSync(shapeClass: ShapeClass): Runner {
    const known = this.#fromDisk(shapeClass);
    if (known) return known;
    const { program, llvm } = this.#text(shapeClass);
    return this.#finish(shapeClass, program, this.jit.compile(llvm, { name: `${program.name}.ll` }).object);
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
      await this.executor.runAsync(this.#call(batch, abort));
    } finally {
      signal?.removeEventListener('abort', stop);
    }
    throwIfAborted(signal);
  }

  runSync(batch: Batch): void {
    this.executor.run(this.#call(batch, undefined));
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
