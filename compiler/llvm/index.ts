/** Kernels to LLVM IR text. */
export { printLlvm } from './module.js';
export type { HalfInstructions, LlvmTarget } from './types.js';
