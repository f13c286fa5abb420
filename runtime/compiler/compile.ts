/** The compiler as the runtime calls it: on this thread, or in the worker. */
import { compile, compileToGraph, restoreGraph, type SourceSpec } from '../../compiler/compile.js';
import { type PackedGraph, packGraph } from '../../compiler/graph/pack.js';
import { SpecError } from '../../compiler/source.js';
import { signatureOfGraph } from '../signature.js';
import type { CompileOptions, PreparedProgram, SpecOutline } from './protocol.js';

/** Reads a spec. @throws SpecError for a mistake in it. */
export function outline(file: string): SpecOutline {
  const { graph, files } = compileToGraph(file);
  return { signature: signatureOfGraph(graph), files, graph: packGraph(graph) };
}

/**
 * Goes on from a spec's equations as they were read. A mistake that shows only now is shown in the author's file, which is
 * read again for it: a packed graph does not know its places.
 * @returns what `further` makes of it, and the files where they were read again
 */
export function goOn<T>(
  file: string,
  packed: PackedGraph,
  further: (source: SourceSpec) => T,
): { readonly value: T; readonly reread?: SpecOutline['files'] } {
  try {
    return { value: further(restoreGraph(packed)) };
  } catch (error) {
    if (!(error instanceof SpecError)) throw error;
    const source = compileToGraph(file);
    return { value: further(source), reread: source.files };
  }
}

/** Compiles a spec that was read to LLVM IR text. @throws SpecError for a mistake in it. */
export function prepare(file: string, packed: PackedGraph, options: CompileOptions): PreparedProgram {
  const { value, reread } = goOn(file, packed, (source) => compile(source, options));
  const { program, llvm } = value;
  const phases = program.phases.map((phase) => phase.map((kernel) => ({ ...kernel, doc: [], body: [] })));
  return { plan: { ...program, phases }, llvm, ...(reread && { reread }) };
}
