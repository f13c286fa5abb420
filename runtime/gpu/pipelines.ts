/** Compute pipelines, by the full text of their module: one build in flight per text, made without blocking. */
import type { WgslKernel } from '../../compiler/wgsl/types.js';
import { TrellisError } from '../errors.js';
import type { GpuSession } from './session.js';

export interface Pipeline {
  readonly pipeline: GPUComputePipeline;
  readonly layout: GPUBindGroupLayout;
}

export class PipelineCache {
  readonly #built = new Map<string, Promise<Pipeline>>();

  constructor(private readonly session: GpuSession) {}

  get size(): number {
    return this.#built.size;
  }

  /** @throws TrellisError 'device-error' with the line of the text that the GPU's compiler refuses */
  get(kernel: WgslKernel): Promise<Pipeline> {
    // Access is part of the key: a layout follows from it, and the module's text need not tell it.
    const key = `${kernel.bindings.map(({ binding, access }) => `${binding}${access}`).join()}\n${kernel.code}`;
    let building = this.#built.get(key);
    if (building === undefined) {
      building = this.#build(kernel);
      this.#built.set(key, building);
      // What failed is forgotten: after an internal error another try may succeed.
      building.catch(() => this.#built.delete(key));
    }
    return building;
  }

  async #build(kernel: WgslKernel): Promise<Pipeline> {
    const { session } = this;
    const { device } = session;
    const what = `kernel ${kernel.name}`;
    if (kernel.bindings.length > session.limits.storageBuffers) {
      throw new TrellisError(
        'not-supported',
        `${what} reads and writes ${kernel.bindings.length} buffers, but ${session.name} lets a kernel have ${session.limits.storageBuffers}`,
      );
    }
    const made = session.guard(what, () => {
      const layout = device.createBindGroupLayout({
        entries: [
          { binding: 0, visibility: 4, buffer: { type: 'uniform' } },
          ...kernel.bindings.map(({ binding, access }) => ({
            binding,
            visibility: 4, // compute
            buffer: { type: access === 'read' ? ('read-only-storage' as const) : ('storage' as const) },
          })),
        ],
      });
      const module = device.createShaderModule({ label: kernel.name, code: kernel.code });
      const creation = device
        .createComputePipelineAsync({
          label: kernel.name,
          layout: device.createPipelineLayout({ bindGroupLayouts: [layout] }),
          compute: { module },
        })
        .then(
          (pipeline) => ({ pipeline }),
          (error: unknown) => ({ error }),
        );
      return { layout, module, creation };
    });
    const { layout, module, creation } = made.result;
    const outcome = await creation;
    const problem = await made.problem;
    if ('pipeline' in outcome && problem === undefined) return { pipeline: outcome.pipeline, layout };
    await session.settleLoss();
    if (session.lost !== undefined) throw session.lost;
    throw (
      (await refusal(module, kernel)) ??
      problem ??
      session.explain(what, 'error' in outcome ? outcome.error : undefined)
    );
  }
}

/** What the compiler of the GPU has against a module, shown in its line. */
async function refusal(module: GPUShaderModule, kernel: WgslKernel): Promise<TrellisError | undefined> {
  const { messages } = await module.getCompilationInfo();
  const first = messages.find(({ type }) => type === 'error');
  if (first === undefined) return undefined;
  const line = kernel.code.split('\n')[first.lineNum - 1] ?? '';
  const caret = `${' '.repeat(Math.max(0, first.linePos - 1))}^`;
  return new TrellisError(
    'device-error',
    `kernel ${kernel.name}, line ${first.lineNum}: ${first.message}\n  ${line}\n  ${caret}`,
  );
}
