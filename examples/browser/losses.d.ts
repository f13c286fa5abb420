import type { LossModule } from 'trellis-jit/browser';

/**
 * RNN-T: blanks move on in time, labels are emitted within a frame; FastEmit and clamp.
 * Arguments: acts: float [B, T, U+1, V], labels: int [B, U], actLens: int [B], labelLens: int [B].
 * Parameters: blank = 0, fastemitLambda = 0, clamp = 0.
 * Sizes: any V. Gradients: acts.
 */
export declare const rnnt: LossModule;

/**
 * Monotonic RNN-T: every symbol consumes a frame, either kind may be the last; FastEmit and clamp.
 * Arguments: acts: float [B, T, U+1, V], labels: int [B, U], actLens: int [B], labelLens: int [B].
 * Parameters: blank = 0, fastemitLambda = 0, clamp = 0.
 * Sizes: any V. Gradients: acts.
 */
export declare const monotonic: LossModule;
