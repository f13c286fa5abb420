/**
 * Elements of outputs for utterances with long paths (see LONG_PATH in lower.ts). Those that an equation singles out are computed
 * whole and in the lattice's precision, and where rows are not worked on in blocks, as on GPUs, everything times a power of two.
 */
import { reductionsIn } from '../graph/free.js';
import type { Expr, IndexRef } from '../graph/graph.js';
import { atPoint, fromStored, type Point, takeApart } from './elements.js';
import type { Equation } from './equations.js';
import { lanePrecision, mayBeLong, type ProgramContext } from './lower.js';
import { SCALE, scaled } from './scaling.js';

/** An output's elements, another way. */
export interface LongElements {
  /** What is computed. It has `sum` in it. */
  readonly body: Expr;
  /** What that is to be multiplied by. */
  readonly factor: number;
  /** What differs between the elements of a row. */
  readonly sum: Expr;
  /** `sum` at elements that are not singled out; undefined where it is 0. */
  readonly dense: Expr | undefined;
  /** All of `sum` at elements that are. */
  readonly singled: readonly { readonly at: Expr; readonly element: Expr }[];
}

/** How elements are computed where rows are not worked on in blocks; undefined where there are no long paths, or nothing is done about them. */
export function longElements(equation: Equation, context: ProgramContext): LongElements | undefined {
  const { axes, domain } = equation;
  if (context.blocks || axes.length < 2 || !mayBeLong(domain.slice(0, -1), context)) return undefined;
  const larger = scaled(equation.body, context.builder);
  const body = larger ?? equation.body;
  const factor = larger ? 1 / SCALE : 1;
  const plain = larger && { body, factor, sum: body, dense: body, singled: [] };
  const [row, element] = axes.slice(-2) as [IndexRef, IndexRef];
  if (reductionsIn(body).length > 0 || lanePrecision([body], element, context) !== 'f32') return plain;
  const { sum, dense, points } = takeApart(body, element, row, context.builder);
  if (points.length === 0) return plain;
  const singled = points.map((point) => ({ at: point.at, element: wholeElement(point, sum, equation, context) }));
  return { body, factor, sum, dense, singled };
}

/** All of the element at a point: what is stored of a row is read from there, and the rest from the inputs' rows. */
export function wholeElement(point: Point, sum: Expr, { axes }: Equation, context: ProgramContext): Expr {
  const { builder, graph, layouts } = context;
  const stored = [...layouts.values()].map((layout) => layout.equation);
  return fromStored(atPoint(sum, axes.at(-1)!, point, graph, builder), axes.slice(0, -1), stored, builder);
}
