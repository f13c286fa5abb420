/** The compiler as a library: `trellis-jit/compiler`. Reads spec files, prints every stage; runs nothing. */
export {
  type CompiledSpec,
  compile,
  compileToGraph,
  compileToKernels,
  compileToLlvm,
  type SourceSpec,
  type Statics,
} from './compile.js';
export type { Graph } from './graph/graph.js';
export { printGraph } from './graph/print.js';
export type { KernelProgram } from './kernel/kernel.js';
export { printProgram } from './kernel/print.js';
export type { LlvmTarget } from './llvm/index.js';
export { type ScheduleOptions, schedule } from './schedule/index.js';
export { CompilerBug, SpecError, StaticsError } from './source.js';
