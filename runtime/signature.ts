/**
 * What the loss module must know of a spec to check a call: its arguments, not its equations.
 * A compiled graph has it, and so has the header of a spec that runs as plain TypeScript; both give the
 * same struct, so that a mistake gets the same message on every device.
 */
import type { Graph, InputDecl, LengthDecl, ParamDecl, SizeExpr } from '../compiler/graph/graph.js';
import { evalSize, sizeSymbol } from '../compiler/graph/size.js';
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
}

/** The signature of a compiled spec. Plain data: it may be written to a cache as JSON. */
export function signatureOfGraph(graph: Graph): SpecSignature {
  const { name, doc, inputs, lengths, params } = graph;
  return { name, doc, inputs, lengths, params, gradients: Object.keys(graph.gradients) };
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
