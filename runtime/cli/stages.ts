/** What `trellis dump` can print: a spec's text after each stage of the compiler, for this machine or for another. */
import type { SourceSpec } from '../../compiler/compile.js';
import type { Graph } from '../../compiler/graph/graph.js';
import { type SpecSignature, signatureOfGraph } from '../signature.js';

/** In the order in which the compiler makes them. */
export const stageNames = ['graph', 'kernels', 'llvm', 'llvm-opt', 'asm'] as const;
export type Stage = (typeof stageNames)[number];

const extensions: Record<Stage, string> = {
  graph: 'graph.txt',
  kernels: 'kernels.txt',
  llvm: 'll',
  'llvm-opt': 'opt.ll',
  asm: 's',
};

const x86 = { arch: 'x64', triple: 'x86_64-unknown-linux-gnu' };
const targets = {
  avx512: { ...x86, cpu: 'x86-64-v4', vectorBits: 512 },
  avx2: { ...x86, cpu: 'x86-64-v3', vectorBits: 256 },
  sse: { ...x86, cpu: 'x86-64-v2', vectorBits: 128 },
  neon: { arch: 'arm64', triple: 'aarch64-unknown-linux-gnu', cpu: 'generic', vectorBits: 128 },
} as const;
export type TargetName = keyof typeof targets;
export const targetNames = Object.keys(targets) as TargetName[];

export interface StageChoices {
  /** Sizes that the whole batch shares; those left out have `defaultSize`. */
  readonly sizes: Readonly<Record<string, number>>;
  readonly gradients: boolean;
  /** Default: this machine. */
  readonly target?: TargetName;
}

/** A size that is compiled in but was not told; a common vocabulary. */
const defaultSize = 1024;

export interface OpenedSpec {
  readonly signature: SpecSignature;
  /** The text of a stage. Stages after `llvm` need libLLVM. */
  print(stage: Stage, choices: StageChoices): Promise<string>;
  extension(stage: Stage): string;
}

/** Reads a spec, by name or path. @throws SpecError where it cannot be compiled. */
export async function openSpec(spec: string): Promise<OpenedSpec> {
  const { findSpec } = await import('../specs.js');
  const { compileToGraph } = await import('../../compiler/compile.js');
  const source = compileToGraph(findSpec(spec));
  return {
    signature: signatureOfGraph(source.graph),
    print: (stage, choices) => printStage(source, stage, choices),
    extension: (stage) => extensions[stage],
  };
}

async function printStage(source: SourceSpec, stage: Stage, choices: StageChoices): Promise<string> {
  const { compileToKernels, compileToLlvm, printGraph, printProgram } = await import('../../compiler/index.js');
  if (stage === 'graph') return printGraph(source.graph);
  const program = compileToKernels(source, {
    sizes: compiledSizes(source.graph, choices.sizes),
    lattice: 'f64',
    gradients: choices.gradients,
  });
  if (stage === 'kernels') return printProgram(program);
  const target = choices.target && targets[choices.target];
  if (stage === 'llvm' && target) return compileToLlvm(program, target);

  const { LlvmJit } = await import('../cpu/jit.js');
  // The host's own triple where the processor family is the same, so that its object format and ABI are kept.
  const triple = target && target.arch !== process.arch ? { triple: target.triple } : {};
  const jit = new LlvmJit(target ? { ...triple, cpu: target.cpu } : {});
  const text = compileToLlvm(program, target ?? jit.target);
  if (stage === 'llvm') return text;
  const compiled = jit.compile(text, { object: false, optimisedIr: true, assembly: true });
  return (stage === 'asm' ? compiled.assembly : compiled.optimisedIr) ?? '';
}

/** The sizes that kernels are specialised for: those in the inputs that no length argument varies. */
function compiledSizes(graph: Graph, told: Readonly<Record<string, number>>): Record<string, number> {
  const varying = new Set(graph.lengths.map((length) => length.size));
  const all = new Set(graph.inputs.flatMap((input) => input.dims.flatMap((dim) => Object.keys(dim.terms))));
  return Object.fromEntries(
    [...all].filter((size) => !varying.has(size)).map((size) => [size, told[size] ?? defaultSize]),
  );
}
