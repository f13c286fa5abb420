import type { LossModule } from 'trellis-jit/browser';

/**
 * RNN-T with a weight at each node, whose gradient is the posterior of passing there, negated.
 * Arguments: acts: float [B, T, U+1, V], bias: float [B, T, U+1], labels: int [B, U], actLens: int [B], labelLens: int [B].
 * Parameters: blank = 0.
 * Sizes: V = 28. Gradients: bias.
 */
export declare const visits: LossModule;

export default visits;
