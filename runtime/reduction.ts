/** Reductions over the batch: from costs [B] to the loss, and the factor each gives to a sample's gradient. */
import { describe, didYouMean, InputError, listOf } from './errors.js';

/**
 * none         the loss is the costs
 * sum          sum of the costs
 * mean         each cost divided by its target length (at least 1), then the mean over the batch
 * mean_batch   sum / B
 * mean_volume  sum / total target length (at least 1)
 */
export const reductionNames = ['none', 'sum', 'mean', 'mean_batch', 'mean_volume'] as const;
export type Reduction = (typeof reductionNames)[number];

/** @throws InputError for a name there is no reduction of. */
export function checkReduction(value: unknown): asserts value is Reduction {
  if ((reductionNames as readonly unknown[]).includes(value)) return;
  const hint = typeof value === 'string' ? didYouMean(value, reductionNames) : '';
  throw new InputError({
    code: 'option',
    argument: 'reduction',
    problem: `is ${describe(value)}${hint}`,
    value,
    allowed: listOf(reductionNames),
  });
}

/**
 * d loss / d cost[b]: what a sample's cost and gradient are multiplied by.
 * @param targets target length of each sample; undefined (as for a spec without targets) counts each as 1 for 'mean'
 */
export function reductionFactors(reduction: Reduction, B: number, targets: Int32Array | undefined): Float64Array {
  const factors = new Float64Array(B).fill(1);
  if (reduction === 'none' || reduction === 'sum') return factors;
  if (reduction === 'mean_batch') return factors.fill(1 / B);
  const lengths = targets ?? new Int32Array(B);
  if (reduction === 'mean') return factors.map((_, b) => 1 / (Math.max(lengths[b] ?? 0, 1) * B));
  // A batch without a single label has volume 0; dividing by 1 instead keeps its loss finite.
  const volume = lengths.reduce((sum, length) => sum + length, 0);
  return factors.fill(1 / Math.max(volume, 1));
}

/**
 * The reduced loss. Sums run over b in order, so that two runs agree in every bit.
 * Division comes last where one divisor serves all, as in the definitions above.
 */
export function reduceCosts(
  reduction: Exclude<Reduction, 'none'>,
  costs: Float64Array,
  targets: Int32Array | undefined,
): number {
  const B = costs.length;
  let total = 0;
  let volume = 0;
  for (let b = 0; b < B; b++) {
    const length = targets?.[b] ?? 0;
    total += (costs[b] ?? 0) / (reduction === 'mean' ? Math.max(length, 1) : 1);
    volume += length;
  }
  if (reduction === 'sum') return total;
  if (reduction === 'mean_volume') return total / Math.max(volume, 1);
  return total / B;
}
