/**
 * Windows for the pruned loss: which label positions each frame keeps, from the posteriors of a cheap loss over all of them
 * (Kuang et al., "Pruned RNN-T for fast, memory-efficient ASR training", arXiv 2206.13236).
 */
import { addSize, sizeConst, sizeSymbol } from '../compiler/graph/size.js';
import { describe, InputError } from './errors.js';
import { checkOptionNames } from './options.js';
import type { SpecSignature } from './signature.js';
import type { Tensor, TensorLike } from './tensor.js';
import { checkLengths, checkShapes, convertInputs } from './validate.js';

/** Posteriors of the arcs at every node, [B, T, U + 1] each, as `forward(..., { posteriors: true })` of `additive` returns them. */
export interface PruningPosteriors {
  /** Of staying at (t, u): the blank. */
  readonly stay: TensorLike;
  /** Of emitting label u at frame t. */
  readonly emit: TensorLike;
}

export interface PruneOptions {
  /**
   * Width of the windows: how many label positions each frame keeps. At least 1, and such that the windows, rising by at most S - 1 from frame
   * to frame, can get from position 0 to all labels: (S - 1) T >= U for each utterance's own T and U.
   */
  readonly S: number;
  /** [B], frames of each utterance. Default: all of T. */
  readonly actLens?: TensorLike;
  /** [B], labels of each utterance. Default: all of U. */
  readonly labelLens?: TensorLike;
}

/** What is checked of the arguments is what a spec with these inputs would have checked. */
const signature: SpecSignature = {
  name: 'pruneRanges',
  doc: '',
  inputs: ['stay', 'emit'].map((name) => ({
    name,
    element: 'f32' as const,
    dims: [sizeSymbol('T'), addSize(sizeSymbol('U'), sizeConst(1))],
  })),
  lengths: [
    { size: 'T', argument: 'actLens' },
    { size: 'U', argument: 'labelLens' },
  ],
  params: [],
  gradients: [],
};

const optionNames = ['S', 'actLens', 'labelLens'] as const;

/**
 * The first label position of each frame's window of S, for the input `ranges` of the `pruned` loss.
 *
 * At each frame but the last the window is where blanks have the most posterior, less that of the label that enters the window from below;
 * at the last one it ends at the last position. Then windows are made to start at 0, not to go back, and to rise by S - 1 at most, so that
 * there is a path through them from the start to the end. No gradient goes through the choice.
 * @param posteriors of staying and emitting at each node; other posteriors beside them are ignored
 * @returns [B, T]; over an utterance's padding the window of its last frame
 * @throws InputError for tensors that do not fit each other, lengths out of range, and an S that is too narrow for an utterance
 */
export function pruneRanges(posteriors: PruningPosteriors, options: PruneOptions): Tensor<Int32Array> {
  const { S, ...lengthArguments } = checkOptionNames('options', options, optionNames) as Record<string, unknown>;
  if (typeof S !== 'number' || !Number.isInteger(S) || S < 1) {
    const code = S === undefined ? 'missing' : 'range';
    const problem = S === undefined ? 'is missing' : `is ${describe(S)}`;
    throw new InputError({ code, argument: 'S', problem, value: S, allowed: 'an integer of at least 1' });
  }
  if (typeof posteriors !== 'object' || posteriors === null) {
    const allowed = '{ stay, emit }, the posteriors of a loss with such arcs';
    throw new InputError({
      code: 'type',
      argument: 'posteriors',
      problem: `is ${describe(posteriors)}`,
      value: posteriors,
      allowed,
    });
  }
  const { stay, emit } = posteriors;
  const given = Object.fromEntries(Object.entries(lengthArguments).filter(([, value]) => value !== undefined));
  const args = { stay, emit, ...given };
  const shapes = checkShapes(signature, args);
  const lengths = checkLengths(signature, args, shapes);
  const { B } = shapes;
  const [T, U] = [shapes.sizes.T as number, shapes.sizes.U as number];
  const inputs = convertInputs(signature, shapes, lengths, {}, { name: 'reference', reals: 'f64' });
  const data = new Int32Array(B * T);
  for (let b = 0; b < B; b++) {
    const [frames, labels] = [lengths.actLens?.[b] as number, lengths.labelLens?.[b] as number];
    checkWidth(S, frames, labels, b);
    const rows = (name: string): Node => {
      const values = inputs[name] as Float64Array;
      return (t, u) => values[(b * T + t) * (U + 1) + u] as number;
    };
    data.set(windowsOf(rows('stay'), rows('emit'), { S, T: frames, U: labels }), b * T);
    data.fill(Math.max(0, labels + 1 - S), b * T + frames, (b + 1) * T);
  }
  return { data, shape: [B, T] };
}

function checkWidth(S: number, T: number, U: number, b: number): void {
  if (T === 0 || (S - 1) * T >= U) return;
  const least = Math.ceil(U / T) + 1;
  throw new InputError({
    code: 'range',
    argument: 'S',
    problem: `is ${S}, too narrow for sample ${b}: ${T} windows that rise by at most ${S - 1} each do not reach its ${U} labels`,
    value: S,
    allowed: `at least ${least} for it`,
  });
}

type Node = (t: number, u: number) => number;

/** The starts of one utterance's windows. */
function windowsOf(stay: Node, emit: Node, { S, T, U }: { S: number; T: number; U: number }): Int32Array {
  const last = Math.max(0, U + 1 - S);
  const starts = new Int32Array(T).fill(last);
  for (let t = 0; t < T - 1; t++) starts[t] = bestWindow(stay, emit, t, S, last);
  // Not to go back: what a later window starts at bounds the earlier ones.
  for (let t = T - 2; t >= 0; t--) starts[t] = Math.min(starts[t] as number, starts[t + 1] as number);
  // To rise by S - 1 at most: earlier ones are raised to what later ones need, and none beyond what can be reached from 0.
  for (let t = T - 2; t >= 0; t--) starts[t] = Math.max(starts[t] as number, (starts[t + 1] as number) - (S - 1));
  for (let t = 0; t < T; t++) starts[t] = Math.min(starts[t] as number, (S - 1) * t);
  return starts;
}

/** Of equals the lowest. Windows from 0 to `last` end at the last position; where `last` is 0 there is no choice. */
function bestWindow(stay: Node, emit: Node, t: number, S: number, last: number): number {
  if (last === 0) return 0;
  let inside = 0;
  for (let u = 0; u < S; u++) inside += stay(t, u);
  let [best, most] = [0, inside];
  for (let start = 1; start <= last; start++) {
    inside += stay(t, start + S - 1) - stay(t, start - 1);
    const score = inside - emit(t, start - 1);
    if (score > most) [best, most] = [start, score];
  }
  return best;
}
