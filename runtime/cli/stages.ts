/** What `trellis dump` can print: a spec's text after each stage of the compiler, for this machine or for another. */
import type { SourceSpec } from '../../compiler/compile.js';
import type { Graph } from '../../compiler/graph/graph.js';
import type { HalfStorage } from '../../compiler/kernel/half.js';
import type { KernelProgram } from '../../compiler/kernel/kernel.js';
import type { StageName } from '../../compiler/trace.js';
import type { LlvmJit } from '../cpu/jit.js';
import { type SpecSignature, signatureOfGraph } from '../signature.js';

const x86 = { arch: 'x64', triple: 'x86_64-unknown-linux-gnu' };
/** What these have instructions for, but for sse. */
const halves = { float16: true, bfloat16: false };
const targets = {
  avx512: { ...x86, cpu: 'x86-64-v4', vectorBits: 512, halves, scalef: true },
  avx2: { ...x86, cpu: 'x86-64-v3', vectorBits: 256, halves },
  sse: { ...x86, cpu: 'x86-64-v2', vectorBits: 128 },
  neon: { arch: 'arm64', triple: 'aarch64-unknown-linux-gnu', cpu: 'generic', vectorBits: 128, halves },
} as const;
export type TargetName = keyof typeof targets;
export const targetNames = Object.keys(targets) as TargetName[];

export interface StageChoices {
  /** Sizes that the whole batch shares; those left out have `defaultSize`. */
  readonly sizes: Readonly<Record<string, number>>;
  readonly gradients: boolean;
  /** Default: float32. */
  readonly storage?: HalfStorage;
  /** Default: this machine. */
  readonly target?: TargetName;
}

/** A size that is compiled in but was not told; a common vocabulary. */
const defaultSize = 1024;

export interface OpenedSpec {
  readonly signature: SpecSignature;
  /** The texts of its stages, compiled one way. */
  stages(choices: StageChoices): StageTexts;
}

/** Reads a spec, by name or path. @throws SpecError where it cannot be compiled. */
export async function openSpec(spec: string): Promise<OpenedSpec> {
  const { findSpec } = await import('../specs.js');
  const { compileToGraph } = await import('../../compiler/compile.js');
  const source = compileToGraph(findSpec(spec));
  return { signature: signatureOfGraph(source.graph), stages: (choices) => new StageTexts(source, choices) };
}

/** Every stage is computed when it, or a later one, is first asked for, and once. */
export class StageTexts {
  private program: KernelProgram | undefined;
  private spelled: { readonly llvm: string; readonly jit: LlvmJit | undefined } | undefined;
  private compiled: { readonly optimisedIr?: string; readonly assembly?: string } | undefined;

  constructor(
    private readonly source: SourceSpec,
    private readonly choices: StageChoices,
  ) {}

  /** The text of a stage. `llvm-opt` and `asm` need libLLVM, and so does `llvm` for this machine. */
  async print(stage: StageName): Promise<string> {
    const { printGraph, printProgram } = await import('../../compiler/index.js');
    switch (stage) {
      case 'graph':
        return printGraph(this.source.stated);
      case 'derived':
        return printGraph(this.source.graph);
      case 'kernels':
        return printProgram(await this.kernels());
      case 'llvm':
        return (await this.spell()).llvm;
      case 'llvm-opt':
        return (await this.optimise()).optimisedIr ?? '';
      case 'asm':
        return (await this.optimise()).assembly ?? '';
      case 'wgsl': {
        const { packBuffers } = await import('../gpu/packing.js');
        const { printLaunches, printSized } = await import('../gpu/sized.js');
        const lengths = this.source.graph.lengths.map(({ argument }) => argument);
        // What every WebGPU adapter can run.
        const target = { subgroups: false, workgroupSize: 256, maxWorkgroupStorage: 16384 };
        return printLaunches(printSized(packBuffers(await this.kernelsForGpu(), lengths), target));
      }
    }
  }

  private async kernels(): Promise<KernelProgram> {
    const { compileToKernels } = await import('../../compiler/index.js');
    this.program ??= compileToKernels(this.source, { ...this.scheduling, blocks: true });
    return this.program;
  }

  /** What a GPU runs is scheduled without blocks of rows, and not reported: the stage is the one above. */
  private async kernelsForGpu(): Promise<KernelProgram> {
    const { schedule } = await import('../../compiler/schedule/index.js');
    await this.kernels(); // says what is wrong with a spec in its own lines
    return schedule(this.source.graph, this.scheduling);
  }

  private get scheduling() {
    const { sizes, gradients, storage } = this.choices;
    const compiled = compiledSizes(this.source.graph, sizes);
    return { sizes: compiled, lattice: 'f64', gradients, ...(storage && { storage }) } as const;
  }

  private async spell() {
    if (this.spelled) return this.spelled;
    const { compileToLlvm } = await import('../../compiler/index.js');
    const program = await this.kernels();
    const target = this.choices.target && targets[this.choices.target];
    const jit = target ? undefined : await startJit();
    this.spelled = { llvm: compileToLlvm(program, target ?? (jit as LlvmJit).target), jit };
    return this.spelled;
  }

  private async optimise() {
    const { llvm, jit } = await this.spell();
    const compiler = jit ?? (await startJit(this.choices.target));
    this.compiled ??= compiler.compile(llvm, { object: false, optimisedIr: true, assembly: true });
    return this.compiled;
  }
}

async function startJit(name?: TargetName): Promise<LlvmJit> {
  const { LlvmJit } = await import('../cpu/jit.js');
  if (name === undefined) return new LlvmJit();
  const { arch, cpu, triple } = targets[name];
  // The host's own triple where the processor family is the same, so that its object format and ABI are kept.
  return new LlvmJit(arch === process.arch ? { cpu } : { triple, cpu });
}

/** The sizes that kernels are specialised for: those in the inputs that no length argument varies. */
function compiledSizes(graph: Graph, told: Readonly<Record<string, number>>): Record<string, number> {
  const varying = new Set(graph.lengths.map((length) => length.size));
  const all = new Set(graph.inputs.flatMap((input) => input.dims.flatMap((dim) => Object.keys(dim.terms))));
  return Object.fromEntries(
    [...all].filter((size) => !varying.has(size)).map((size) => [size, told[size] ?? defaultSize]),
  );
}
