/** Kernels to LLVM IR text. */
export { printLlvm } from './module.js';
export type { LlvmTarget } from './types.js';
