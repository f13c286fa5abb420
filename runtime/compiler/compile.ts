/** The compiler as the runtime calls it: on this thread, or in the worker. */
import {
  compile,
  compileToBestPath,
  compileToGraph,
  type PackedSpec,
  packSpec,
  restoreSpec,
  type SourceSpec,
} from '../../compiler/compile.js';
import { SpecError } from '../../compiler/source.js';
import { signatureOfGraph, targetsOf } from '../signature.js';
import type { CompileOptions, PreparedProgram, SpecOutline, WantedSpec } from './protocol.js';

/** Reads a spec. @throws SpecError for a mistake in it, StaticsError for statics it cannot have */
export function outline({ file, statics }: WantedSpec): SpecOutline {
  const source = compileToGraph(file, statics);
  const { graph, stated, files } = source;
  return { signature: signatureOfGraph(graph, stated), files, equations: packSpec(source) };
}

/** The best path through a spec's lattice, spelling its targets. */
export const bestPathOf = (source: SourceSpec): SourceSpec => compileToBestPath(source, targetsOf(source.graph)?.input);

/**
 * Goes on from a spec's equations as they were read. A mistake that shows only now is shown in the author's file, which is
 * read again for it: packed equations do not know their places.
 * @returns what `further` makes of it, and the files where they were read again
 */
export function goOn<T>(
  { file, statics }: WantedSpec,
  equations: PackedSpec,
  further: (source: SourceSpec) => T,
): { readonly value: T; readonly reread?: SpecOutline['files'] } {
  try {
    return { value: further(restoreSpec(equations)) };
  } catch (error) {
    if (!(error instanceof SpecError)) throw error;
    const source = compileToGraph(file, statics);
    return { value: further(source), reread: source.files };
  }
}

/** Compiles a spec that was read to LLVM IR text. @throws SpecError for a mistake in it. */
export function prepare(wanted: WantedSpec, equations: PackedSpec, options: CompileOptions): PreparedProgram {
  const { value, reread } = goOn(wanted, equations, (source) =>
    compile(options.bestPath ? bestPathOf(source) : source, options),
  );
  const { program, llvm } = value;
  const phases = program.phases.map((phase) => phase.map((kernel) => ({ ...kernel, doc: [], body: [] })));
  return { plan: { ...program, phases }, llvm, ...(reread && { reread }) };
}
