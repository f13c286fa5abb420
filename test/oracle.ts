/**
 * What the transducer losses are, said a second and a third time, in float64 and without the language or the compiler:
 * by listing every path (small lattices), and by dynamic programming. Tests hold the two against each other and every
 * device against them.
 */

/** 'rnnt': a label goes from (t, u) to (t, u + 1), the last symbol is a blank. 'monotonic': a label goes to (t + 1, u + 1), either may be last. */
export type Topology = 'rnnt' | 'monotonic';

/** One utterance. */
export interface Problem {
  readonly topology: Topology;
  readonly T: number;
  readonly U: number;
  readonly V: number;
  /** Dense [T, U + 1, V] logits; -Infinity is allowed. */
  readonly acts: ArrayLike<number>;
  /** [U] */
  readonly labels: ArrayLike<number>;
  readonly blank: number;
  /** FastEmit's lambda. Default 0. */
  readonly lambda?: number;
  /** Bound of each gradient element; 0 or less is off. Default 0. */
  readonly clamp?: number;
  /** True: acts are log-probabilities, taken as they are, and the gradient is with respect to those. Default false. */
  readonly normalized?: boolean;
}

export interface Answer {
  /** -(1 + lambda) log P; +Infinity where there is no path. */
  readonly loss: number;
  /** Dense [T, U + 1, V]; all zero where there is no path. */
  readonly grads: Float64Array;
}

/** Of each row of logits: the largest, and the sum of exp(logit - largest). */
interface Rows {
  readonly high: Float64Array;
  readonly sum: Float64Array;
}

/** A problem's logits do not change, so each row is summed once. */
const rowsOf = new WeakMap<Problem, Rows>();

function summed(problem: Problem): Rows {
  const known = rowsOf.get(problem);
  if (known !== undefined) return known;
  const { T, U, V, acts } = problem;
  const high = new Float64Array(T * (U + 1)).fill(Number.NEGATIVE_INFINITY);
  const sum = new Float64Array(T * (U + 1));
  for (let row = 0; row < high.length; row++) {
    let largest = Number.NEGATIVE_INFINITY;
    for (let v = 0; v < V; v++) largest = Math.max(largest, acts[row * V + v] as number);
    let total = 0;
    for (let v = 0; v < V; v++) total += Math.exp((acts[row * V + v] as number) - largest);
    high[row] = largest;
    sum[row] = total;
  }
  const rows = { high, sum };
  rowsOf.set(problem, rows);
  return rows;
}

/** Log-probability of symbol k at row (t, u). Impossible symbols have -Infinity even in a row of nothing else. */
function logProb(problem: Problem, t: number, u: number, k: number): number {
  const { U, V, acts } = problem;
  const row = t * (U + 1) + u;
  if (k < 0 || k >= V) return Number.NEGATIVE_INFINITY;
  const logit = acts[row * V + k] as number;
  if (logit === Number.NEGATIVE_INFINITY || problem.normalized) return logit;
  const { high, sum } = summed(problem);
  // The maximum first: logit - high is exact where both are huge.
  return logit - (high[row] as number) - Math.log(sum[row] as number);
}

/** Posteriors of the two arcs out of each node, [T, U + 1]. */
interface Posteriors {
  readonly logP: number;
  readonly stayed: Float64Array;
  readonly emitted: Float64Array;
}

/** The gradient through the softmax, FastEmit, then the clamp. */
function answer(problem: Problem, { logP, stayed, emitted }: Posteriors): Answer {
  const { T, U, V, labels, blank, lambda = 0, clamp = 0 } = problem;
  const grads = new Float64Array(T * (U + 1) * V);
  const loss = -(1 + lambda) * logP;
  if (logP === Number.NEGATIVE_INFINITY) return { loss: Number.POSITIVE_INFINITY, grads };
  for (let t = 0; t < T; t++) {
    for (let u = 0; u <= U; u++) {
      const node = t * (U + 1) + u;
      const stay = stayed[node] as number;
      const emit = (1 + lambda) * (emitted[node] as number);
      for (let v = 0; v < V; v++) {
        let g = problem.normalized ? 0 : Math.exp(logProb(problem, t, u, v)) * (stay + emit);
        if (v === blank) g -= stay;
        if (u < U && v === labels[u]) g -= emit;
        grads[node * V + v] = clamp > 0 ? Math.min(clamp, Math.max(-clamp, g)) : g;
      }
    }
  }
  return { loss, grads };
}

/** An arc of the lattice, or undefined where it may not be taken. */
interface Arc {
  readonly logWeight: number;
  readonly t: number;
  readonly u: number;
}

function stayArc(problem: Problem, t: number, u: number): Arc | undefined {
  const { topology, T, U, blank } = problem;
  // Without a last blank of its own an RNN-T path that arrives at time T too early is lost.
  if (topology === 'rnnt' && t === T - 1 && u < U) return undefined;
  return { logWeight: logProb(problem, t, u, blank), t: t + 1, u };
}

function emitArc(problem: Problem, t: number, u: number): Arc | undefined {
  const { topology, U, labels } = problem;
  if (u >= U) return undefined;
  return { logWeight: logProb(problem, t, u, labels[u] as number), t: topology === 'rnnt' ? t : t + 1, u: u + 1 };
}

/**
 * Sums over the list of all paths. Their number grows like a binomial coefficient: T + U up to about 12.
 * @throws Error above 200 000 paths
 */
export function enumeratePaths(problem: Problem): Answer & { readonly paths: number } {
  const { T, U } = problem;
  interface Path {
    readonly logWeight: number;
    /** Node index, negative minus one for an emission. */
    readonly arcs: readonly number[];
  }
  const paths: Path[] = [];
  const walk = (t: number, u: number, logWeight: number, arcs: readonly number[]): void => {
    if (t === T) {
      if (u === U) paths.push({ logWeight, arcs });
      if (paths.length > 200_000) throw new Error(`more than 200000 paths at T=${T}, U=${U}`);
      return;
    }
    const node = t * (U + 1) + u;
    const stay = stayArc(problem, t, u);
    if (stay !== undefined) walk(stay.t, stay.u, logWeight + stay.logWeight, [...arcs, node]);
    const emit = emitArc(problem, t, u);
    if (emit !== undefined) walk(emit.t, emit.u, logWeight + emit.logWeight, [...arcs, -node - 1]);
  };
  // An RNN-T path ends with a blank of a real frame; the monotonic lattice has one empty path where there are no frames.
  if (T > 0 || problem.topology === 'monotonic') walk(0, 0, 0, []);

  const high = paths.reduce((best, path) => Math.max(best, path.logWeight), Number.NEGATIVE_INFINITY);
  const stayed = new Float64Array(T * (U + 1));
  const emitted = new Float64Array(T * (U + 1));
  let logP = Number.NEGATIVE_INFINITY;
  if (high > Number.NEGATIVE_INFINITY) {
    let total = 0;
    for (const { logWeight } of paths) total += Math.exp(logWeight - high);
    logP = high + Math.log(total);
    for (const { logWeight, arcs } of paths) {
      const share = Math.exp(logWeight - high) / total;
      for (const arc of arcs) {
        if (arc >= 0) stayed[arc] = (stayed[arc] as number) + share;
        else emitted[-arc - 1] = (emitted[-arc - 1] as number) + share;
      }
    }
  }
  return { ...answer(problem, { logP, stayed, emitted }), paths: paths.length };
}

/**
 * The same by dynamic programming: backward, the log-probability of every way to the end; then forward, the probability
 * of each node under the posterior, which divides at every node in the ratio of what lies behind its two arcs.
 */
export function dynamicProgram(problem: Problem): Answer {
  const { T, U, topology } = problem;
  const width = U + 1;
  const behind = new Float64Array((T + 1) * width).fill(Number.NEGATIVE_INFINITY);
  if (T > 0 || topology === 'monotonic') behind[T * width + U] = 0;
  const through = (arc: Arc | undefined): number =>
    arc === undefined ? Number.NEGATIVE_INFINITY : arc.logWeight + (behind[arc.t * width + arc.u] as number);
  for (let t = T - 1; t >= 0; t--) {
    for (let u = U; u >= 0; u--) {
      const stay = through(stayArc(problem, t, u));
      const emit = through(emitArc(problem, t, u));
      const high = Math.max(stay, emit);
      behind[t * width + u] =
        high === Number.NEGATIVE_INFINITY ? high : high + Math.log(Math.exp(stay - high) + Math.exp(emit - high));
    }
  }
  const stayed = new Float64Array(T * width);
  const emitted = new Float64Array(T * width);
  const visits = new Float64Array((T + 1) * width);
  visits[0] = 1;
  for (let t = 0; t < T; t++) {
    for (let u = 0; u <= U; u++) {
      const node = t * width + u;
      const here = visits[node] as number;
      if (here === 0 || behind[node] === Number.NEGATIVE_INFINITY) continue;
      for (const [arc, into] of [
        [stayArc(problem, t, u), stayed],
        [emitArc(problem, t, u), emitted],
      ] as const) {
        if (arc === undefined) continue;
        const flow = here * Math.exp(through(arc) - (behind[node] as number));
        into[node] = flow;
        visits[arc.t * width + arc.u] = (visits[arc.t * width + arc.u] as number) + flow;
      }
    }
  }
  return answer(problem, { logP: behind[0] as number, stayed, emitted });
}

/**
 * Derivative of f at each element of x, by central differences with step h: error of order h^2 plus rounding / h.
 * Elements that are not finite give 0.
 */
export function centralDifferences(f: (x: Float64Array) => number, x: ArrayLike<number>, h = 1e-5): Float64Array {
  const moved = Float64Array.from(x);
  return Float64Array.from(x, (value, i) => {
    if (!Number.isFinite(value)) return 0;
    moved[i] = value + h;
    const above = f(moved);
    moved[i] = value - h;
    const below = f(moved);
    moved[i] = value;
    return (above - below) / (2 * h);
  });
}

/** Largest |a[i] - b[i]|; NaN when any difference is NaN, as for equal infinities. */
export function largestError(a: ArrayLike<number>, b: ArrayLike<number>): number {
  if (a.length !== b.length) throw new Error(`arrays of ${a.length} and ${b.length} elements are compared`);
  let worst = 0;
  for (let i = 0; i < a.length; i++) worst = Math.max(worst, Math.abs((a[i] as number) - (b[i] as number)));
  return worst;
}
