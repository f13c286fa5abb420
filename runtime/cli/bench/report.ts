/** What a benchmark is asked and what it answers: plain data, sent between processes and written as JSON. */

/** Quartiles over the rounds. */
export interface Summary {
  readonly median: number;
  readonly lower: number;
  readonly upper: number;
}

export type BenchDevice = 'cpu' | 'webgpu';

/** What every job is about. */
interface Subject {
  /** Absolute path of the spec. */
  readonly spec: string;
  readonly device: BenchDevice;
  readonly params: Readonly<Record<string, number>>;
  /** B and every size of the spec. */
  readonly sizes: Readonly<Record<string, number>>;
  readonly threads: number;
  /** Where compiled objects are kept. */
  readonly cacheDir: string;
}

/** Compile for these sizes in a fresh process, or take what an earlier one compiled. */
export interface CompileJob extends Subject {
  readonly kind: 'compile';
}

export interface MeasureJob extends Subject {
  readonly kind: 'measure';
  /** Rounds to measure; absent: as many as fit into `seconds`. */
  readonly rounds?: number;
  readonly seconds: number;
  readonly seed: number;
  /** A folder for the tensors, our costs and our gradients, as `.npy`. */
  readonly saveTo?: string;
}

export type Job = CompileJob | MeasureJob;

/** Milliseconds that a process waits before its first result, beyond the time of that call itself. */
export interface CompileTimes {
  /** Loading the library, libLLVM or the GPU, and in a cold start the parser; all up to reading the spec. */
  readonly loading: number;
  /** The compiler's own stages, as TRELLIS_TIME says them; absent where nothing was compiled. */
  readonly stages: Readonly<Record<string, number>>;
  /** What follows them: LLVM's optimiser, linking and writing to the cache; a GPU's pipelines. */
  readonly backend: number;
  readonly total: number;
}

/** The child's own part of it: the stages come over its stderr. */
export interface CompileAnswer {
  readonly ready: number;
  readonly build: number;
}

export interface CompileReport {
  /** The sizes compiled in. */
  readonly sizes: Readonly<Record<string, number>>;
  readonly cold: CompileTimes;
  /** From the cache on disk; absent on devices that keep none. */
  readonly warm?: CompileTimes;
}

export interface KernelReport {
  readonly kernel: string;
  /** From 1; null where the device does not tell. */
  readonly phase: number | null;
  readonly milliseconds: Summary;
}

/** The loss with its gradient on so many threads, in rounds of their own that go through every number of threads. */
export interface ThreadReport {
  readonly threads: number;
  readonly milliseconds: Summary;
  readonly floor: Summary;
  /** The time of one thread over this one, round by round; of the loss, and of the floor: memory is shared. */
  readonly gain: Summary;
  readonly floorGain: Summary;
}

export interface Measured {
  /** B and every size. */
  readonly sizes: Readonly<Record<string, number>>;
  readonly rounds: number;
  /** Bytes of the inputs and gradients that the model counts. */
  readonly bytes: { readonly lossAndGradient: number; readonly loss: number };
  readonly milliseconds: {
    readonly lossAndGradient: Summary;
    readonly loss: Summary;
    /** Reading every real input twice and writing each gradient once. */
    readonly floor: Summary;
    /** Reading every real input once. */
    readonly read: Summary;
  };
  /** To the floor and to one read, round by round. */
  readonly ratio: { readonly lossAndGradient: Summary; readonly loss: Summary };
  /** `bytes` over the median time, in 10^9 bytes per second. */
  readonly gigabytesPerSecond: { readonly lossAndGradient: number; readonly loss: number; readonly floor: number };
  /** Of the loss with its gradient; empty where the device has no clock for them. */
  readonly kernels: readonly KernelReport[];
  /** Phases as wholes: the kernels of one run side by side. Empty where the device does not tell. */
  readonly phases: readonly Summary[];
  /** What more threads gain; empty where there is but one, or none. */
  readonly threads: readonly ThreadReport[];
  /** Real inputs and gradients together. */
  readonly tensorBytes: number;
  /** By how much the process's peak rose in a call beyond its tensors; null where the system does not say. */
  readonly addedBytes: number | null;
}

export interface Skipped {
  readonly sizes: Readonly<Record<string, number>>;
  /** Why. */
  readonly skipped: string;
}

export interface Machine {
  readonly processor: string;
  readonly cores: number;
  readonly memoryBytes: number;
  readonly platform: string;
  readonly node: string;
  /** Of libLLVM, or the GPU's name. */
  readonly backend: string;
}

export interface BenchReport {
  readonly date: string;
  readonly version: string;
  /** True where the TypeScript sources ran: loading them takes longer than the installed package's JavaScript. */
  readonly fromSource: boolean;
  readonly machine: Machine;
  readonly spec: string;
  readonly device: BenchDevice;
  readonly dtype: 'float32';
  readonly threads: number;
  readonly params: Readonly<Record<string, number>>;
  readonly compiles: readonly CompileReport[];
  readonly shapes: readonly (Measured | Skipped)[];
}

export const isMeasured = (shape: Measured | Skipped): shape is Measured => !('skipped' in shape);

/** '(8, 200, 50, 1024)', B first. */
export const shapeText = (sizes: Readonly<Record<string, number>>): string => `(${Object.values(sizes).join(', ')})`;

/** '(B, T, U, V)', of the shapes that one report holds. */
export const sizeNames = ([first]: readonly { readonly sizes: Readonly<Record<string, number>> }[]): string =>
  `(${Object.keys(first?.sizes ?? {}).join(', ')})`;

/** The value below which a share of the sorted values lies, between neighbours in proportion. */
function quantile(sorted: readonly number[], share: number): number {
  const at = (sorted.length - 1) * share;
  const below = sorted[Math.floor(at)] as number;
  const above = sorted[Math.ceil(at)] as number;
  return below + (above - below) * (at - Math.floor(at));
}

/** Of at least one value. */
export function summarize(values: readonly number[]): Summary {
  const sorted = [...values].sort((a, b) => a - b);
  return { median: quantile(sorted, 0.5), lower: quantile(sorted, 0.25), upper: quantile(sorted, 0.75) };
}
