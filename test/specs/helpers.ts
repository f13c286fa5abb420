/** What jumps.ts imports: constants and helpers that are resolved and inlined. */
import { type Input, logSumExp } from 'trellis-jit/dsl';

const step = 0.25;
export const penalty = (n: number): number => n * step;

export function logSoftmax(acts: Input<3>, V: number, t: number, u: number, v: number): number {
  const logZ = logSumExp(V, (k) => acts(t, u, k));
  return acts(t, u, v) - logZ;
}
