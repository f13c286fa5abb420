/**
 * The names of WebGPU's types that the package's declarations use. A program may have these types from its browser library (lib.dom
 * of recent TypeScript), from @webgpu/types, or not at all, and the first two cannot be had together. So the declarations refer to
 * neither: an empty interface merges with whichever is there, and stands alone where none is.
 */
declare global {
  interface GPU {}
  interface GPUAdapter {}
  interface GPUAdapterInfo {}
  interface GPUBindGroupLayout {}
  interface GPUBuffer {}
  interface GPUCommandEncoder {}
  interface GPUComputePipeline {}
  interface GPUDevice {}
}

export {};
