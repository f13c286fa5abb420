/**
 * Where a stored equation's cells live. A two-axis equation that takes part in a wavefront h is stored skewed: one
 * step of the wavefront is contiguous. With `line` the axis that is solved for (its coefficient in h is 1) and
 * `lane` the other one, cell x lives in row (h . x) mod extent(line), column x[lane]: for a fixed column the rows
 * are a permutation, so the skewed tensor takes exactly as much memory as the plain one.
 */
import type { SizeExpr } from '../graph/graph.js';
import type { Equation } from './equations.js';
import type { Wavefront } from './hyperplane.js';

export interface Skew {
  readonly line: 0 | 1;
  readonly lane: 0 | 1;
  /** Coefficients with h[line] = 1. */
  readonly h: readonly [number, number];
}

export interface Layout {
  readonly equation: Equation;
  /** Absent: row-major over the axes. */
  readonly skew?: Skew;
}

/** The skew that makes steps of a wavefront contiguous; its sign does not matter, steps may run either way. */
export function skewOf({ h }: Wavefront): Skew | undefined {
  if (h.length !== 2) return undefined;
  const line = Math.abs(h[0]!) === 1 ? 0 : 1;
  const sign = h[line]!;
  // + 0 turns -0 into 0.
  return { line, lane: line === 0 ? 1 : 0, h: [h[0]! * sign + 0, h[1]! * sign + 0] };
}

export const sameSkew = (a: Skew | undefined, b: Skew | undefined): boolean =>
  a === b || (!!a && !!b && a.line === b.line && a.h[0] === b.h[0] && a.h[1] === b.h[1]);

/** Padded extents in storage order. */
export function storageExtents({ equation, skew }: Layout): readonly SizeExpr[] {
  return skew ? [equation.domain[skew.line]!, equation.domain[skew.lane]!] : equation.domain;
}

/** For dumps: 'alpha[(t + u) mod T][u]'. */
export function describeLayout({ equation, skew }: Layout, extent: string): string {
  const names = equation.axes.map((axis) => axis.name);
  if (!skew) return `${equation.name}[${names.join('][')}]`;
  const [line, lane] = [names[skew.line]!, names[skew.lane]!];
  const k = skew.h[skew.lane]!;
  if (k === 0) return `${equation.name}[${line}][${lane}]`;
  const sum = `${line} ${k < 0 ? '-' : '+'} ${Math.abs(k) === 1 ? '' : `${Math.abs(k)} * `}${lane}`;
  return `${equation.name}[(${sum}) mod ${extent}][${lane}]`;
}
