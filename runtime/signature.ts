/**
 * What the loss module must know of a spec to check a call: its arguments, not its equations.
 * A compiled graph has it, and so has the header of a spec that runs as plain TypeScript; both give the
 * same struct, so that a mistake gets the same message on every device.
 */
import { readsIn } from '../compiler/graph/free.js';
import type { Expr, Graph, IndexRef, InputDecl, LengthDecl, ParamDecl, SizeExpr } from '../compiler/graph/graph.js';
import { evalSize, printSize, sizeSymbol } from '../compiler/graph/size.js';
import { parseDim } from '../dsl/dims.js';
import type { LossDefinition } from '../dsl/types.js';

export interface SpecSignature {
  readonly name: string;
  readonly doc: string;
  /** In the order of forward()'s arguments. */
  readonly inputs: readonly InputDecl[];
  /** Arguments that follow the inputs. */
  readonly lengths: readonly LengthDecl[];
  readonly params: readonly ParamDecl[];
  /** Names of the inputs that the spec gives a gradient for. */
  readonly gradients: readonly string[];
  /** Of a spec that states arcs: what posteriors and alignments need to know. */
  readonly lattice?: LatticeSignature;
}

export interface LatticeSignature {
  /** Extents of the nodes. */
  readonly nodes: readonly SizeExpr[];
  /** Where paths begin: int expressions of sizes and parameters. */
  readonly start: readonly Expr[];
  /** Which index of a node counts frames. */
  readonly timeAxis: number;
  /** In the order in which a best path numbers them. `frame`: the first frame of the arc, counted from the time of the node it leaves. */
  readonly arcs: readonly { readonly name: string; readonly step: readonly number[]; readonly frame: number }[];
  /** Names of the posteriors: the arcs' and 'occupancy'. */
  readonly posteriors: readonly string[];
}

/**
 * The signature of a compiled spec. Plain data: it may be written to a cache as JSON.
 * @param graph its equations
 * @param stated what its author stated: the lattice, if those are derived
 */
export function signatureOfGraph(graph: Graph, stated: Graph = graph): SpecSignature {
  const { name, doc, inputs, lengths, params } = graph;
  const signature = { name, doc, inputs, lengths, params, gradients: Object.keys(graph.gradients) };
  if (!stated.lattice) return signature;
  const { axes, nodes, start, arcs } = stated.lattice;
  const time = timeOf(signature, nodes);
  return {
    ...signature,
    lattice: {
      nodes,
      start,
      timeAxis: time.axis,
      arcs: arcs.map(({ name, step, weight }) => ({
        name,
        step,
        frame: frameOf(weight, axes[time.axis]!, time.size, inputs),
      })),
      posteriors: Object.keys(graph.perNode ?? {}),
    },
  };
}

/** Time is what grows with a length other than the targets'. */
function timeOf(
  signature: Pick<SpecSignature, 'inputs' | 'lengths'>,
  nodes: readonly SizeExpr[],
): { readonly axis: number; readonly size: string | undefined } {
  const target = targetsOf(signature)?.size;
  const sizes = signature.lengths.map(({ size }) => size).filter((size) => size !== target);
  const axis = Math.max(
    0,
    nodes.findIndex(({ terms }) => sizes.some((size) => terms[size] !== undefined)),
  );
  return { axis, size: sizes.find((size) => nodes[axis]?.terms[size] !== undefined) };
}

/** Where a weight looks its frame up, as against its node's time t: -1 for acts(t - 1, v), 0 where it says nothing of the kind. */
function frameOf(weight: Expr, time: IndexRef, size: string | undefined, inputs: readonly InputDecl[]): number {
  for (const { source, indices } of readsIn(weight)) {
    const input = inputs.find(({ name, element }) => name === source && element === 'f32');
    const at = indices[input?.dims.findIndex((dim) => printSize(dim) === size) ?? -1];
    if (at === time) return 0;
    if (at?.op !== 'prim' || (at.name !== 'add' && at.name !== 'sub')) continue;
    const [index, by] = at.args;
    if (index === time && by?.op === 'const') return at.name === 'add' ? by.value : -by.value;
  }
  return 0;
}

/**
 * What a path spells: the first int input with an axis that varies between utterances, that axis, and the argument that says how long it is.
 * Reductions by target length go by it, and so do alignments.
 */
export function targetsOf({
  inputs,
  lengths,
}: Pick<SpecSignature, 'inputs' | 'lengths'>):
  | { readonly input: string; readonly size: string; readonly argument: string }
  | undefined {
  for (const input of inputs) {
    if (input.element !== 'i32') continue;
    for (const dim of input.dims) {
      const decl = lengths.find(({ size }) => dim.terms[size] !== undefined);
      if (decl !== undefined) return { input: input.name, ...decl };
    }
  }
  return undefined;
}

/**
 * The signature as far as a header tells it. How an int input is used is not in the header, so its range is
 * known only where it is plain: an input that names a parameter it must avoid is an index into the one size
 * that all utterances share, and that parameter is an index as well.
 * Which gradients there are is not in the header either: the equations are run once, all sizes 1.
 */
export function signatureOfHeader(definition: LossDefinition): SpecSignature {
  const lengths = Object.entries(definition.lengths).map(([size, argument]) => ({ size, argument }));
  const varying = new Set(lengths.map(({ size }) => size));
  const dims = Object.entries(definition.inputs).map(([name, input]) => ({ name, dims: input.dims.map(parseDim) }));
  const fixed = new Set(dims.flatMap(({ dims }) => dims.flatMap((dim) => Object.keys(dim.terms))));
  for (const size of varying) fixed.delete(size);
  const [only] = fixed;
  const below: { below?: SizeExpr } = fixed.size === 1 && only !== undefined ? { below: sizeSymbol(only) } : {};
  const avoided = new Set(Object.values(definition.inputs).flatMap((input) => input.not ?? []));
  return {
    name: definition.name,
    doc: definition.doc,
    inputs: Object.entries(definition.inputs).map(([name, input], n) => ({
      name,
      element: input.element,
      dims: dims[n]?.dims ?? [],
      ...(input.not === undefined ? {} : { not: input.not, ...below }),
    })),
    lengths,
    params: Object.entries(definition.params).map(([name, value]) =>
      avoided.has(name)
        ? { name, type: 'int' as const, default: value, ...below }
        : { name, type: 'real' as const, default: value },
    ),
    gradients: gradientsOf(definition, [
      ...varying,
      ...dims.flatMap(({ dims }) => dims.flatMap((dim) => Object.keys(dim.terms))),
    ]),
  };
}

function gradientsOf(definition: LossDefinition, sizeNames: readonly string[]): string[] {
  const sizes = Object.fromEntries(sizeNames.map((name) => [name, 1]));
  const inputs = Object.fromEntries(
    Object.entries(definition.inputs).map(([name, input]) => {
      const extents = input.dims.map((dim) => Math.max(0, evalSize(parseDim(dim), sizes)));
      return [name, { data: new Float64Array(extents.reduce((product, extent) => product * extent, 1)) }];
    }),
  );
  return Object.keys(definition.evaluate({ inputs, sizes }).gradients);
}
