/**
 * Looking inside a compile, by environment variable and without touching code:
 *
 *   TRELLIS_DUMP=folder   each stage's text, as a file of that folder
 *   TRELLIS_TIME=1        milliseconds per stage, and of the runtime's own steps, on stderr
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** In the order in which they are made; `wgsl` is made of the kernels, for GPUs. The two before it are LLVM's own: the runtime asks it for them. */
export const stageNames = ['graph', 'derived', 'kernels', 'llvm', 'llvm-opt', 'asm', 'wgsl'] as const;
export type StageName = (typeof stageNames)[number];

/** Suffixes that tools go by. */
const suffixes: Record<StageName, string> = {
  graph: 'txt',
  derived: 'txt',
  kernels: 'txt',
  llvm: 'll',
  'llvm-opt': 'll',
  asm: 's',
  wgsl: 'wgsl',
};

/** The file of a stage's text, wherever one is written: 'my-loss-1-graph.txt'. Names sort by spec, then by stage. */
export const stageFile = (spec: string, stage: StageName): string =>
  `${spec}-${stageNames.indexOf(stage) + 1}-${stage}.${suffixes[stage]}`;

export interface StageReport {
  readonly name: StageName;
  readonly milliseconds: number;
  /** The stage's result as text; computed only when asked for. */
  readonly text: () => string;
}

/** A line for TRELLIS_TIME. */
export function reportTime(subject: string, name: string, milliseconds: number): void {
  if (process.env.TRELLIS_TIME)
    process.stderr.write(`trellis: ${subject}: ${name.padEnd(8)} ${milliseconds.toFixed(1)} ms\n`);
}

export function reportStage(spec: string, { name, milliseconds, text }: StageReport): void {
  reportTime(spec, name, milliseconds);
  const folder = process.env.TRELLIS_DUMP;
  if (folder) {
    mkdirSync(folder, { recursive: true });
    const content = text();
    writeFileSync(join(folder, stageFile(spec, name)), content.endsWith('\n') ? content : `${content}\n`);
  }
}
