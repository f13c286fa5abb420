/**
 * The names of WebGPU's types that the package's declarations use. A program may have these types from its browser library (lib.dom
 * of recent TypeScript), from @webgpu/types, or not at all, and the first two cannot be had together. So the declarations refer to
 * neither: an interface merges with whichever is there, and stands alone where none is.
 */
declare global {
  interface GPU {}
  interface GPUAdapter {}
  interface GPUAdapterInfo {}
  interface GPUBindGroupLayout {}
  /** With what tells it from an array, as all its declarations have it. */
  interface GPUBuffer {
    readonly size: number;
    readonly usage: number;
  }
  interface GPUCommandEncoder {}
  interface GPUComputePipeline {}
  interface GPUDevice {}
}

export {};
