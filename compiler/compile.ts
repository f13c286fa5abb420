/**
 * The compiler, as one list of stages. Start reading here.
 *
 *   spec.ts --read--> graph --derive--> graph --schedule--> kernels --print--> LLVM IR text
 *
 * Every stage's result is immutable, can be printed, and is verified as soon as it is made: what is malformed is found
 * at the stage that made it. What comes after the text (LLVM's optimiser, linking, threads) is the runtime's work.
 */
import { bestPathGraph } from './derive/best.js';
import { DeriveProblem, deriveGraph } from './derive/derive.js';
import { readSpec } from './frontend/index.js';
import type { Graph } from './graph/graph.js';
import { type PackedGraph, packGraph, unpackGraph } from './graph/pack.js';
import { printGraph } from './graph/print.js';
import { verifyGraph } from './graph/verify.js';
import type { KernelProgram } from './kernel/kernel.js';
import { printProgram } from './kernel/print.js';
import { verifyProgram } from './kernel/verify.js';
import { type LlvmTarget, printLlvm } from './llvm/index.js';
import { NoOrder, type ScheduleOptions, schedule } from './schedule/index.js';
import { CompilerBug, SpecError } from './source.js';
import { reportStage, type StageName } from './trace.js';

/** A spec file as the compiler has read it. */
export interface SourceSpec {
  /** Its equations: as written, or derived from its arcs. */
  readonly graph: Graph;
  /** What the author stated: the same graph, unless that is a lattice. */
  readonly stated: Graph;
  /** Every file the spec consists of: its own, and what it imports. */
  readonly files: readonly { readonly path: string; readonly text: string }[];
}

/** The equations of a spec as JSON; `stated` only where they were derived. */
export interface PackedSpec {
  readonly graph: PackedGraph;
  readonly stated?: PackedGraph;
}

export interface CompiledSpec {
  readonly graph: Graph;
  readonly program: KernelProgram;
  /** A stand-alone module that opt and llc accept. */
  readonly llvm: string;
}

interface Stage<From, To> {
  readonly name: StageName;
  /** Why the stage is there, and why here. */
  readonly why: string;
  readonly run: (from: From) => To;
  readonly verify: (result: To) => void;
  readonly print: (result: To) => string;
  /** The spec's name, for reports. */
  readonly subject: (from: From, result: To) => string;
}

type ReadSpec = Omit<SourceSpec, 'stated'>;

/** Values for a spec's statics; those left out are the spec's own. */
export type Statics = Graph['statics'];

const read = (statics: Statics | undefined): Stage<string, ReadSpec> => ({
  name: 'graph',
  why: 'the equations, free of syntax: constants and helpers resolved, every expression typed and placed',
  run: (file) => readSpec(file, statics ? { statics } : {}),
  verify: ({ graph }) => verifyGraph(graph),
  print: ({ graph }) => printGraph(graph),
  subject: (_file, { graph }) => graph.name,
});

const derive: Stage<ReadSpec, SourceSpec> = {
  name: 'derived',
  why: 'arcs become recurrences, posteriors and gradients; after reading, so that they are equations like any others',
  run: ({ graph, files }) => {
    try {
      return { graph: deriveGraph(graph), stated: graph, files };
    } catch (error) {
      throw error instanceof DeriveProblem ? deriveDiagnostic(error, graph, files) : error;
    }
  },
  verify: ({ graph }) => verifyGraph(graph),
  print: ({ graph }) => printGraph(graph),
  subject: ({ graph }) => graph.name,
};

const restore: Stage<PackedSpec, SourceSpec> = {
  name: 'derived',
  why: 'in place of the two before: equations that were read earlier, so that the parser need not be loaded',
  run: (packed) => {
    const graph = unpackGraph(packed.graph);
    return { graph, stated: packed.stated ? unpackGraph(packed.stated) : graph, files: [] };
  },
  verify: ({ graph }) => verifyGraph(graph),
  print: ({ graph }) => printGraph(graph),
  subject: (_packed, { graph }) => graph.name,
};

const best = (targets: string | undefined): Stage<SourceSpec, SourceSpec> => ({
  name: 'derived',
  why: 'in the place of the loss, where the best path is asked for: the same lattice with max for the sum over paths',
  run: ({ stated, files }) => {
    if (!stated.lattice) throw new CompilerBug('derive', `${stated.name} states no lattice, so it has no best path`);
    return { graph: bestPathGraph({ ...stated, lattice: stated.lattice }, targets), stated, files };
  },
  verify: ({ graph }) => verifyGraph(graph),
  print: ({ graph }) => printGraph(graph),
  subject: ({ graph }) => graph.name,
});

const plan = (options: ScheduleOptions): Stage<SourceSpec, KernelProgram> => ({
  name: 'kernels',
  why: 'how the equations are computed: what is stored, what runs after what, what runs side by side',
  run: ({ graph, files }) => {
    try {
      return schedule(graph, options);
    } catch (error) {
      throw error instanceof NoOrder ? noOrderDiagnostic(error, graph, files) : error;
    }
  },
  verify: verifyProgram,
  print: printProgram,
  subject: ({ graph }) => graph.name,
});

const spell = (target: LlvmTarget): Stage<KernelProgram, string> => ({
  name: 'llvm',
  why: 'the kernels in the words of a machine with vectors of a given width',
  run: (program) => printLlvm(program, target),
  // LLVM's own verifier runs when the text is parsed.
  verify: () => {},
  print: (text) => text,
  subject: (program) => program.name,
});

function runStage<From, To>(stage: Stage<From, To>, from: From): To {
  const start = performance.now();
  const result = stage.run(from);
  stage.verify(result);
  reportStage(stage.subject(from, result), {
    name: stage.name,
    milliseconds: performance.now() - start,
    text: () => stage.print(result),
  });
  return result;
}

/**
 * Reads a spec file and derives what it leaves to be derived.
 * @throws SpecError for a mistake in it, with its place; StaticsError for statics that it cannot have
 */
export const compileToGraph = (file: string, statics?: Statics): SourceSpec =>
  runStage(derive, runStage(read(statics), file));

/**
 * A spec from what `packSpec` made of it. It has neither files nor places to show mistakes in.
 * @throws CompilerBug for what `packSpec` did not make
 */
export const restoreSpec = (packed: PackedSpec): SourceSpec => runStage(restore, packed);

/** What a spec says, for another time or another thread. */
export const packSpec = ({ graph, stated }: SourceSpec): PackedSpec => ({
  graph: packGraph(graph),
  ...(stated !== graph && { stated: packGraph(stated) }),
});

/**
 * The best path through a spec's lattice, as the equations of a spec: its loss is minus the path's score.
 * @param targets the int input whose elements a path spells, if there is one
 */
export const compileToBestPath = (spec: SourceSpec, targets: string | undefined): SourceSpec =>
  runStage(best(targets), spec);

/** Schedules a spec for given sizes. @throws SpecError where a recurrence has no possible order of cells. */
export const compileToKernels = (spec: SourceSpec, options: ScheduleOptions): KernelProgram =>
  runStage(plan(options), spec);

/** Prints kernels as LLVM IR. */
export const compileToLlvm = (program: KernelProgram, target: LlvmTarget): string => runStage(spell(target), program);

/** All stages for a CPU. @throws SpecError for a mistake in the spec. */
export function compile(spec: SourceSpec, options: ScheduleOptions & LlvmTarget): CompiledSpec {
  const program = compileToKernels(spec, options);
  return { graph: spec.graph, program, llvm: compileToLlvm(program, options) };
}

function deriveDiagnostic(
  { code, message, hint, at }: DeriveProblem,
  graph: Graph,
  files: SourceSpec['files'],
): SpecError {
  const origin = graph.origins.get(at.id)?.[0] ?? { file: files[0]?.path ?? graph.name, line: 1, column: 1, length: 1 };
  return new SpecError({ code, message, hint, origin, text: textOf(origin.file, files) });
}

const textOf = (file: string, files: SourceSpec['files']): string =>
  files.find(({ path }) => path === file || path.endsWith(file))?.text ?? '';

/** A recurrence without an order is the author's mistake: shown in the author's line. */
function noOrderDiagnostic(problem: NoOrder, graph: Graph, files: SourceSpec['files']): SpecError {
  const { recurrence, reads, reason } = problem;
  const origin = reads.find((candidate) => candidate.origin)?.origin ?? graph.fieldOrigins.get(recurrence);
  const place = origin ?? { file: files[0]?.path ?? graph.name, line: 1, column: 1, length: 1 };
  const text = textOf(place.file, files);
  if (reason === 'rank') {
    return new SpecError({
      code: 'recurrence-rank',
      message: `${recurrence} is a recurrence over more than two indices, which cannot be scheduled yet`,
      origin: place,
      text,
      hint: 'Write it over one or two indices; further indices can be reductions inside of the cell, or recurrences of their own.',
    });
  }
  if (reason === 'domains') {
    return new SpecError({
      code: 'recurrence-domains',
      message: `${recurrence} and the recurrences it reads depend on each other, but their domains cannot be laid over each other`,
      origin: place,
      text,
      hint: 'Give them the same number of indices, with extents that differ by a constant at most, such as [T, U + 1] and [T, U].',
    });
  }
  const distinct = [...new Set(reads.map((each) => each.text))];
  const where = distinct.slice(0, 3).join(' and at ');
  return new SpecError({
    code: 'recurrence-order',
    message:
      distinct.length > 0
        ? `${recurrence} reads itself at ${where}: no order of cells can satisfy ${distinct.length > 1 ? 'all of them' : 'that'}`
        : `${recurrence} and the recurrences it reads need each other within one cell`,
    origin: place,
    text,
    hint: 'Read only cells that come earlier in one direction, such as (t - 1, u) and (t, u - 1), or write a second recurrence that runs the other way.',
  });
}
