/** The log-softmax over the last index of an input or field, or over a part of it. */
import { declareCells, shapeOf } from './fields.js';
import { logSumExp, logZero } from './math.js';
import type { Field, Indices, Input, LogProbabilities, SoftmaxRank } from './types.js';

export interface SoftmaxOptions {
  /** Where the part begins. Default: 0. */
  readonly from?: number;
}

/**
 * Log-probabilities of logits: `logSoftmax(acts, V)(t, u, v)` is acts(t, u, v) - logSumExp over the last index. A logit of
 * -Infinity has probability 0 even in a row of nothing else. Only one number per row is kept.
 * @param logits an input or field of two to four indices
 * @param extent how many values of the last index take part: v in [0, extent). Others read as -Infinity
 * @param options `from`: the first of them, so that v stands for logits(t, u, from + v)
 * @throws Error outside of a loss's body, and for an extent that is no integer
 */
export function logSoftmax<R extends SoftmaxRank>(
  logits: Input<R> | Field<R>,
  extent: number,
  options: SoftmaxOptions = {},
): LogProbabilities<R> {
  const { from = 0 } = options;
  if (!Number.isInteger(from)) throw new Error(`logSoftmax(..., { from: ${from} }): from is an integer`);
  if (!Number.isInteger(extent)) {
    throw new Error(`logSoftmax(..., ${extent}): the extent is ${extent}; it must be an integer, such as V`);
  }
  const { rank } = logits;
  if (!(rank >= 2 && rank <= 4)) throw new Error(`logSoftmax needs two to four indices, and these logits have ${rank}`);
  const cell = logits as unknown as (...indices: readonly number[]) => number;
  const rows = shapeOf(logits).slice(0, -1);
  const logZ = declareCells('field', rows, 'logZ', (...row) => logSumExp(extent, (v) => cell(...row, from + v)));
  const read = (...indices: readonly number[]): number => {
    const row = indices.slice(0, -1);
    const last = indices.at(-1) as number;
    if (indices.length === rank && !(last >= 0 && last < extent)) return logZero;
    // Log 0 comes first: it stays so where the whole row is log 0.
    const logit = cell(...row, from + last);
    return logit === logZero ? logZero : logit - logZ(...row);
  };
  return Object.assign(read as (...indices: Indices<R>) => number, { kind: 'logSoftmax' as const, rank });
}
