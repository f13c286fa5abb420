/** The arguments of a spec as the command line explains them, and the sizes that tensors give it. */
import type { SizeExpr } from '../../compiler/graph/graph.js';
import { printSize } from '../../compiler/graph/size.js';
import type { SpecSignature } from '../signature.js';
import { UsageError } from './usage.js';

/** 'U+1', in one word as specs write it. */
const dimText = (dim: SizeExpr): string => printSize(dim).replaceAll(' ', '');

/** 'acts: float [B, T, U+1, V], labels: int [B, U]' */
export function describeInputs(signature: SpecSignature): string {
  const kinds = { f32: 'float', i32: 'int' };
  return signature.inputs
    .map(({ name, element, dims }) => `${name}: ${kinds[element]} [${['B', ...dims.map(dimText)].join(', ')}]`)
    .join(', ');
}

/** The size that makes `dim` equal to `extent`: U = 2 where U+1 is 3. Null where several sizes are in it or none fits. */
export function solveSize(dim: SizeExpr, extent: number): { name: string; value: number } | null {
  const [only, ...others] = Object.entries(dim.terms);
  if (!only || others.length > 0) return null;
  const [name, factor] = only;
  const value = (extent - dim.constant) / factor;
  return Number.isInteger(value) && value >= 0 ? { name, value } : null;
}

/** B and the padded sizes, as the tensors' shapes say. What does not fit together is left to the loss to refuse. */
export function sizesOf(
  signature: SpecSignature,
  inputs: Readonly<Record<string, { readonly shape: readonly number[] }>>,
): Record<string, number> {
  const sizes: Record<string, number> = {};
  for (const { name, dims } of signature.inputs) {
    const shape = inputs[name]?.shape;
    if (!shape || shape.length !== dims.length + 1) continue;
    sizes.B ??= shape[0] as number;
    for (const [axis, dim] of dims.entries()) {
      const solved = solveSize(dim, shape[axis + 1] as number);
      if (solved) sizes[solved.name] ??= solved.value;
    }
  }
  return sizes;
}

/** Reads '8,200,51,1024' as the shape of a spec's first real input and gives the sizes in it, with B. */
export function sizesOfShape(signature: SpecSignature, text: string): Record<string, number> {
  const shape = text.split(',').map((word) => (word.trim() === '' ? Number.NaN : Number(word)));
  const first = signature.inputs.find((input) => input.element === 'f32');
  const wanted = first ? ['B', ...first.dims.map(dimText)].join(',') : 'B';
  if (!shape.every((size) => Number.isSafeInteger(size) && size >= 1)) {
    throw new UsageError(`--shape ${text}: expected positive integers apart by commas: ${wanted}`);
  }
  if (!first || shape.length !== first.dims.length + 1) {
    throw new UsageError(
      `--shape ${text}: ${first?.name ?? signature.name} of the spec ${signature.name} has the shape ${wanted}`,
    );
  }
  return sizesOf(signature, { [first.name]: { shape } });
}
