/** `trellis dump`: what each stage of the compiler makes of a spec. */
import { type Command, Option } from 'commander';
import type { HalfStorage, HalfType } from '../../compiler/kernel/half.js';
import { type StageName, stageFile, stageNames } from '../../compiler/trace.js';
import type { SpecSignature } from '../signature.js';
import { collect, readDtypes } from './options.js';
import { print, withProgress } from './output.js';
import { sizesOfShape } from './signature.js';
import { type TargetName, targetNames } from './stages.js';
import { UsageError } from './usage.js';

interface DumpOptions {
  stage?: string;
  shape?: string;
  out?: string;
  grads: boolean;
  target?: TargetName;
  dtype?: string[];
}

export function addDump(trellis: Command): void {
  trellis
    .command('dump')
    .summary('print what a stage of the compiler makes of a spec')
    .description(
      'Prints what the stages of the compiler make of a spec: to read it, to compare it, to feed opt and llc.',
    )
    .argument('<spec>', 'a name from "trellis list", or a path to a spec file')
    .option('--stage <name>', `one of ${stageNames.join(', ')} (default: graph; with --out, all of them)`)
    .option(
      '--shape <B,T,U+1,V>',
      'the shape of the first real input; sizes that are the same for a batch are compiled in',
    )
    .option('--out <folder>', 'write one file for each stage into this folder')
    .option('--no-grads', 'the loss alone')
    .option(
      '--dtype <name=type>',
      'a real input, with its gradient, as float16 or bfloat16 in memory; repeatable',
      collect,
    )
    .addOption(
      new Option('--target <vectors>', 'compile for these vectors, not for this machine').choices([...targetNames]),
    )
    .addHelpText(
      'after',
      `
Stages, in order:
  graph      the spec as it was read: fields, recurrences, reductions, or arcs
  derived    the same as equations: what arcs become, with posteriors and gradients
  kernels    the loops: grid, lanes and steps, with what is stored where
  llvm       LLVM IR text with explicit vectors; a stand-alone module that opt and llc accept
  llvm-opt   the same after LLVM's optimiser
  asm        assembly
  wgsl       the kernels for GPUs: one WGSL module each, without subgroup operations

Examples:
  $ trellis dump rnnt
  $ trellis dump rnnt --stage kernels --shape 8,200,51,1024
  $ trellis dump ./my-loss.ts --stage llvm --target avx2 > my-loss.ll
  $ trellis dump rnnt --stage wgsl --shape 8,200,51,1024
  $ trellis dump rnnt --out trellis-dump`,
    )
    .action(runDump);
}

async function runDump(spec: string, options: DumpOptions): Promise<void> {
  const wanted = options.stage ?? (options.out === undefined ? 'graph' : undefined);
  if (wanted !== undefined && !(stageNames as readonly string[]).includes(wanted)) {
    throw new UsageError(`--stage ${wanted}: no such stage; there are ${stageNames.join(', ')}`);
  }
  const dtypes = readDtypes(options.dtype);
  const hasBfloat16 = Object.values(dtypes).includes('bfloat16');
  if (wanted === 'wgsl' && hasBfloat16) throw new UsageError('--dtype: WGSL has no type for bfloat16');
  const all = stageNames.filter((name) => !(name === 'wgsl' && hasBfloat16));
  const stages: readonly StageName[] = wanted === undefined ? all : [wanted as StageName];
  const { openSpec } = await import('./stages.js');
  const opened = await withProgress(`reading ${spec}`, async () => openSpec(spec));
  const { B: _batch, ...sizes } = options.shape === undefined ? {} : sizesOfShape(opened.signature, options.shape);
  const texts = opened.stages({
    sizes,
    gradients: options.grads,
    storage: storageOf(dtypes, opened.signature),
    ...(options.target ? { target: options.target } : {}),
  });
  const textOf = (stage: StageName): Promise<string> => withProgress(`compiling to ${stage}`, () => texts.print(stage));

  if (options.out === undefined) {
    for (const stage of stages) print(await textOf(stage));
    return;
  }
  const { mkdir, writeFile } = await import('node:fs/promises');
  const { join } = await import('node:path');
  // All stages first, files then: a stage that fails leaves nothing half-written.
  const files: [path: string, text: string][] = [];
  for (const stage of stages)
    files.push([join(options.out, stageFile(opened.signature.name, stage)), await textOf(stage)]);
  try {
    await mkdir(options.out, { recursive: true });
    for (const [path, text] of files) await writeFile(path, text.endsWith('\n') ? text : `${text}\n`);
  } catch (error) {
    throw new UsageError(`--out: cannot write into ${options.out}: ${(error as Error).message}`);
  }
  for (const [path] of files) print(path);
}

/** Inputs in half precision, each with its gradient, where it has one. */
function storageOf(
  dtypes: ReturnType<typeof readDtypes>,
  { name: spec, inputs, gradients }: SpecSignature,
): HalfStorage {
  const types = Object.entries(dtypes).map(([name, dtype]): [string, HalfType] => {
    if (inputs.find((input) => input.name === name)?.element !== 'f32')
      throw new UsageError(`--dtype: the spec ${spec} has no input ${name} of reals`);
    return [name, dtype === 'float16' ? 'f16' : 'bf16'];
  });
  return {
    inputs: Object.fromEntries(types),
    gradients: Object.fromEntries(types.filter(([name]) => gradients.includes(name))),
  };
}
