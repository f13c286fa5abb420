/** Kernels as WGSL: one readable module per kernel, from the same kernel IR that LLVM prints. */
export { printWgsl } from './module.js';
export {
  joinDouble,
  splitDouble,
  type UniformField,
  type WgslKernel,
  type WgslProgram,
  type WgslTarget,
} from './types.js';
