/** Kernels as WGSL: readable modules of one kernel or of several, from the same kernel IR that LLVM prints. */
export { lanesFor } from './abreast.js';
export { type KernelGroup, printWgsl } from './module.js';
export { fitTogether } from './together.js';
export {
  guaranteedStorageBuffers,
  joinDouble,
  splitDouble,
  type UniformField,
  type WgslKernel,
  type WgslProgram,
  type WgslTarget,
} from './types.js';
