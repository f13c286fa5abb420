/** A whole benchmark: each class of sizes compiled, each shape measured. */
import os from 'node:os';
import { join } from 'node:path';
import { shapeClassOf } from '../../cache.js';
import { packageVersion } from '../../package.js';
import type { SpecSignature } from '../../signature.js';
import { compileApart, measureApart } from './process.js';
import type { BenchDevice, BenchReport, CompileReport, Machine, Measured, MeasureJob, Skipped } from './report.js';
import { shapeText } from './report.js';
import { withTemporaryFolder } from './temporary.js';
import { realInputs, type Sizes, tensorBytes } from './tensors.js';

export interface BenchPlan {
  /** Absolute path. */
  readonly spec: string;
  readonly signature: SpecSignature;
  readonly shapes: readonly Sizes[];
  readonly device: BenchDevice;
  readonly params: Readonly<Record<string, number>>;
  readonly threads: number;
  readonly rounds?: number;
  readonly seconds: number;
  readonly seed: number;
  /** A folder for the tensors of each shape, in folders of their own. */
  readonly saveTo?: string;
  readonly progress: (text: string) => void;
  /** Called after each shape, before the next. */
  readonly shapeDone?: (shape: Measured | Skipped) => Promise<void> | void;
}

/** @throws InputError for sizes or parameters the spec does not take, TrellisError where the device is not available */
export const runBench = (plan: BenchPlan): Promise<BenchReport> =>
  withTemporaryFolder('trellis-bench-', async (folder) => {
    const caches = new Map<string, string>();
    const compiles: CompileReport[] = [];
    const shapes: (Measured | Skipped)[] = [];
    const { spec, device, params, threads, signature } = plan;
    /** Compiles the first time a class of sizes is met: each has a folder of its own, empty until then. */
    const cacheOf = async (sizes: Sizes): Promise<string> => {
      const { key, sizes: fixed } = shapeClassOf(signature, withoutBatch(sizes), { gradients: true });
      const known = caches.get(key);
      if (known !== undefined) return known;
      const cacheDir = join(folder, String(caches.size));
      caches.set(key, cacheDir);
      const job = { kind: 'compile', spec, device, params, sizes, threads, cacheDir } as const;
      plan.progress(`${shapeText(sizes)}: compiling`);
      const cold = await compileApart(job);
      plan.progress(`${shapeText(sizes)}: starting from the cache`);
      // A GPU's drivers keep caches of their own, which are not ours to empty.
      compiles.push({ sizes: fixed, cold, ...(device === 'cpu' ? { warm: await compileApart(job) } : {}) });
      return cacheDir;
    };
    for (const sizes of plan.shapes) {
      const shape = tooLarge(signature, sizes) ?? (await measureShape(plan, sizes, await cacheOf(sizes)));
      shapes.push(shape);
      await plan.shapeDone?.(shape);
    }
    return {
      date: new Date().toISOString(),
      version: packageVersion(),
      fromSource: import.meta.url.endsWith('.ts'),
      machine: await describeMachine(device),
      spec: signature.name,
      device,
      dtype: 'float32',
      threads,
      params,
      compiles,
      shapes,
    };
  });

const withoutBatch = ({ B: _batch, ...sizes }: Sizes): Sizes => sizes;

/** Beyond the tensors: the lattice, and the process itself. */
const ROOM = { share: 0.25, bytes: 2 ** 28 };

function tooLarge(signature: SpecSignature, sizes: Sizes): Skipped | undefined {
  const needed = tensorBytes(realInputs(signature, sizes)) * (1 + ROOM.share) + ROOM.bytes;
  const free = process.availableMemory();
  const gib = (bytes: number) => (bytes / 2 ** 30).toFixed(1);
  return needed > free
    ? { sizes, skipped: `needs ${gib(needed)} GiB of memory, and ${gib(free)} are free` }
    : undefined;
}

async function measureShape(plan: BenchPlan, sizes: Sizes, cacheDir: string): Promise<Measured | Skipped> {
  const { spec, device, params, threads, rounds, seconds, seed, saveTo } = plan;
  const job: MeasureJob = {
    ...{ kind: 'measure', spec, device, params, sizes, threads, cacheDir, seconds, seed },
    ...(rounds === undefined ? {} : { rounds }),
    ...(saveTo === undefined ? {} : { saveTo: join(saveTo, folderOf(sizes)) }),
  };
  try {
    return await measureApart(job, (text) => plan.progress(`${shapeText(sizes)}: ${text}`));
  } catch (error) {
    if ((error as { code?: unknown }).code === 'out-of-memory') return { sizes, skipped: (error as Error).message };
    throw error;
  }
}

/** The folder of a shape's tensors: '8x200x50x1024'. */
export const folderOf = (sizes: Sizes): string => Object.values(sizes).join('x');

async function describeMachine(device: BenchDevice): Promise<Machine> {
  return {
    processor: os.cpus()[0]?.model.trim() ?? 'unknown',
    cores: os.availableParallelism(),
    memoryBytes: os.totalmem(),
    platform: `${process.platform} ${process.arch}`,
    node: process.versions.node,
    backend: device === 'cpu' ? await describeLlvm() : await describeGpu(),
  };
}

async function describeLlvm(): Promise<string> {
  const { LlvmJit } = await import('../../cpu/jit.js');
  const jit = new LlvmJit();
  const { vectorBits } = jit.target;
  return `libLLVM ${jit.llvm.version}, ${vectorBits}-bit vectors`;
}

async function describeGpu(): Promise<string> {
  const { adapterName, chooseAdapter, summarize } = await import('../../gpu/adapter.js');
  const adapter = summarize(await chooseAdapter({ software: true }));
  return adapterName(adapter);
}
