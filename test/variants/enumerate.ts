/** The sum over all paths of a lattice by walking every one of them, in float64: slow, and with nothing to get wrong. */

export type Node = readonly number[];

export interface Step {
  readonly to: Node | 'end';
  readonly logWeight: number;
}

/** A lattice as a test states it, on its own: what leaves a node. */
export interface Lattice {
  readonly start: Node;
  readonly from: (node: Node) => readonly Step[];
}

const most = 200_000;

/** -log of the sum over all paths from the start to the end; +Infinity where there is none. */
export function lossByPaths({ start, from }: Lattice): number {
  const paths: number[] = [];
  const walk = (node: Node, logWeight: number): void => {
    for (const step of from(node)) {
      if (step.logWeight === Number.NEGATIVE_INFINITY) continue;
      const total = logWeight + step.logWeight;
      if (step.to !== 'end') walk(step.to, total);
      else if (paths.push(total) > most) throw new Error(`more than ${most} paths: take a smaller lattice`);
    }
  };
  walk(start, 0);
  return -logSum(paths);
}

export function logSum(terms: readonly number[]): number {
  const top = Math.max(...terms);
  if (!Number.isFinite(top)) return top;
  return top + Math.log(terms.reduce((sum, term) => sum + Math.exp(term - top), 0));
}

/** Log-softmax of a row. What is log 0 stays so, also where the whole row is. */
export function logSoftmax(row: readonly number[]): number[] {
  const total = logSum(row);
  return row.map((logit) => (logit === Number.NEGATIVE_INFINITY ? logit : logit - total));
}
