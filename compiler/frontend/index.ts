/**
 * From a spec's file to its graph. A spec is data: its syntax is read, never executed, in the way Numba reads
 * Python. This folder alone uses ts-morph.
 */
import { realpathSync } from 'node:fs';
import { resolve } from 'node:path';
import type { FieldDecl, Graph, Origin } from '../graph/graph.js';
import { axisName, evaluateCell } from './arguments.js';
import { Context, NeedsInt } from './context.js';
import { checkCycles } from './cycles.js';
import { Evaluator } from './evaluator.js';
import { readHeader } from './header.js';
import { readLattice } from './lattice.js';
import { checkTopLevel, Modules } from './modules.js';
import { readOutputs } from './outputs.js';
import { originOf, Sources } from './syntax.js';
import { describe, hasKind, scalar } from './values.js';

export interface SpecReading {
  readonly graph: Graph;
  /** Every source file the graph depends on, the spec first. */
  readonly files: { path: string; text: string }[];
}

export interface ReadOptions {
  /** Values of the spec's statics that replace the ones in its header: the graph is specialised for them. */
  readonly statics?: Graph['statics'];
}

/**
 * Reads a spec and everything it imports.
 * @param file Path of a TypeScript file whose default export is `defineLoss(...)`; relative to the working directory.
 * @throws SpecError at the first mistake, with file, line, column, a code frame and a hint.
 * @throws StaticsError for statics that the spec does not declare, or of another kind than it declares.
 * @throws Error of node:fs when the file cannot be read.
 */
export function readSpec(file: string, options: ReadOptions = {}): SpecReading {
  const path = realpathSync(resolve(file));
  const sources = new Sources();
  checkTopLevel(sources.load(path));
  const intParams = new Set<string>();
  for (;;) {
    try {
      return { graph: readOnce(path, sources, intParams, options), files: sources.list() };
    } catch (error) {
      if (!(error instanceof NeedsInt)) throw error;
      // A use found a parameter to be an int. Reading again costs a millisecond or two; each round adds one at least.
      for (const name of error.params) intParams.add(name);
    }
  }
}

function readOnce(path: string, sources: Sources, intParams: ReadonlySet<string>, options: ReadOptions): Graph {
  const context: Context = new Context(intParams);
  const reader = new Evaluator(context, new Modules(sources));
  const { value: loss, node } = reader.defaultExport(path);
  if (!hasKind(loss, 'loss-form')) {
    context.fail(
      node,
      'not-a-loss',
      `the default export is ${describe(loss)}, not a loss`,
      'End the spec with: export default defineLoss({ name, inputs }, ({ ... }) => { ... });',
    );
  }
  const header = readHeader(context, loss, options.statics ?? {});
  const result = reader.apply(loss.body, [{ value: header.environment, node: loss.bodyNode }], loss.bodyNode, true);
  const stated = hasKind(result, 'lattice-form') ? result : undefined;
  const outputs = stated ? undefined : readOutputs(context, header, result, loss.bodyNode);

  const fields: FieldDecl[] = [];
  const fieldOrigins = new Map<string, Origin>();
  // Bodies come last: they may read any const of the loss, themselves and later fields included.
  for (const handle of context.fields) {
    const name = context.nameOf(handle);
    const axes = handle.domain.map((extent, i) => context.newIndex(axisName(handle.body, i), extent, false));
    const indices = axes.map((axis) => ({ value: scalar(axis), node: handle.bodyNode }));
    const { domain, outside } = handle;
    const body =
      handle.body.kind === 'made-cell'
        ? handle.body.cell(axes)
        : evaluateCell(reader, handle.body, indices, handle.bodyNode);
    fields.push({ name, kind: handle.recurrence ? 'recurrence' : 'field', domain, axes, body, outside, type: 'real' });
    fieldOrigins.set(name, originOf(handle.node));
  }
  checkCycles(context, fields, context.fields);
  const lattice = stated && readLattice(reader, stated);

  return {
    name: header.name,
    doc: header.doc,
    inputs: header.inputs.map((input) => {
      const below = input.element === 'i32' ? context.limitOf(input.name) : undefined;
      return below ? { ...input, below } : input;
    }),
    lengths: header.lengths,
    params: header.params.map((param) => {
      const below = param.type === 'int' ? context.limitOf(param.name) : undefined;
      return below ? { ...param, below } : param;
    }),
    statics: header.statics,
    fields,
    ...(outputs ?? { loss: lattice!.loss, gradients: {}, lattice: lattice! }),
    origins: context.builder.origins,
    fieldOrigins,
  };
}
