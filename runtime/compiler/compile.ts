/** The compiler as the runtime calls it: on this thread, or in the worker. */
import { compile, compileToBestPath, compileToGraph, type SourceSpec, type Statics } from '../../compiler/compile.js';
import { signatureOfGraph, targetsOf } from '../signature.js';
import type { CompileOptions, PreparedProgram, SpecOutline } from './protocol.js';

/** The latest spec read, since its outline is usually followed by a compile. */
let latest: { readonly key: string; readonly source: SourceSpec } | undefined;
const keyOf = (file: string, statics: Statics): string => JSON.stringify([file, statics]);

/** Reads a spec. @throws SpecError for a mistake in it, StaticsError for statics it cannot have */
export function outline(file: string, statics: Statics): SpecOutline {
  const source = compileToGraph(file, statics);
  latest = { key: keyOf(file, statics), source };
  return { signature: signatureOfGraph(source.graph, source.stated), files: source.files };
}

/** The best path through a spec's lattice, spelling its targets. */
export const bestPathOf = (source: SourceSpec): SourceSpec => compileToBestPath(source, targetsOf(source.graph)?.input);

/** Compiles a spec, as its files are now, to LLVM IR text. @throws SpecError for a mistake in it. */
export function prepare(file: string, options: CompileOptions): PreparedProgram {
  const { statics } = options;
  const read = latest?.key === keyOf(file, statics) ? latest.source : compileToGraph(file, statics);
  latest = undefined;
  const source = options.bestPath ? bestPathOf(read) : read;
  const { program, llvm } = compile(source, options);
  const phases = program.phases.map((phase) => phase.map((kernel) => ({ ...kernel, doc: [], body: [] })));
  return { files: source.files, plan: { ...program, phases }, llvm };
}
