/** Lattices said a second time, without the language: every path from start to end is listed. */

/** An arc of a small lattice: its log-weights are given node by node. */
export interface ListedArc {
  readonly step: readonly number[];
  /** Log-weight at a node; undefined where the arc does not exist. */
  readonly weightAt: (node: readonly number[]) => number | undefined;
  readonly final: boolean;
}

export interface ListedLattice {
  readonly nodes: readonly number[];
  readonly start: readonly number[];
  readonly end: readonly number[];
  readonly arcs: readonly ListedArc[];
}

export interface ListedPaths {
  readonly paths: number;
  readonly logLik: number;
  /** By arc, then by node, the indices joined by commas; nodes that no path leaves by the arc are absent. */
  readonly posteriors: readonly ReadonlyMap<string, number>[];
}

/** @throws Error above 200 000 paths */
export function listPaths({ nodes, start, end, arcs }: ListedLattice): ListedPaths {
  interface Path {
    readonly logWeight: number;
    readonly taken: readonly (readonly [arc: number, node: string])[];
  }
  const found: Path[] = [];
  const isNode = (x: readonly number[]): boolean => x.every((at, axis) => at >= 0 && at < (nodes[axis] as number));
  const isEnd = (x: readonly number[]): boolean => x.every((at, axis) => at === end[axis]);
  const walk = (x: readonly number[], logWeight: number, taken: Path['taken']): void => {
    if (isEnd(x)) {
      found.push({ logWeight, taken });
      if (found.length > 200_000) throw new Error('more than 200000 paths');
      return;
    }
    for (const [k, { step, weightAt, final }] of arcs.entries()) {
      const to = x.map((at, axis) => at + (step[axis] as number));
      const weight = isNode(to) || (final && isEnd(to)) ? weightAt(x) : undefined;
      if (weight !== undefined) walk(to, logWeight + weight, [...taken, [k, x.join()]]);
    }
  };
  if (isNode(start)) walk(start, 0, []);

  const posteriors = arcs.map(() => new Map<string, number>());
  const high = found.reduce((best, { logWeight }) => Math.max(best, logWeight), Number.NEGATIVE_INFINITY);
  if (high === Number.NEGATIVE_INFINITY) return { paths: found.length, logLik: high, posteriors };
  const total = found.reduce((sum, { logWeight }) => sum + Math.exp(logWeight - high), 0);
  for (const { logWeight, taken } of found) {
    const share = Math.exp(logWeight - high) / total;
    for (const [k, node] of taken) {
      const map = posteriors[k] as Map<string, number>;
      map.set(node, (map.get(node) ?? 0) + share);
    }
  }
  return { paths: found.length, logLik: high + Math.log(total), posteriors };
}
