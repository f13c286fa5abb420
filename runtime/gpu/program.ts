/** What a launch on the GPU needs of a compiled program. Plain data: it can be written to a file and read in a browser. */
import type { BufferDecl, KernelProgram, ScalarDecl } from '../../compiler/kernel/kernel.js';
import type { WgslProgram } from '../../compiler/wgsl/types.js';

export interface GpuProgram {
  readonly name: string;
  readonly buffers: readonly BufferDecl[];
  readonly scalars: readonly ScalarDecl[];
  /** The kernels, and where each scalar lies in the uniform buffer. */
  readonly text: WgslProgram;
  /**
   * Text with windows onto large buffers, for an utterance that no binding holds, and the kernels as they are without.
   * Absent where only the text was kept; such an utterance is then refused.
   */
  readonly windowed?: () => { readonly original: KernelProgram; readonly text: WgslProgram };
}
