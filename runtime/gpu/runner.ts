/** Batches of one shape class on the GPU. Nothing here needs Node or the compiler. */
import type { WgslTarget } from '../../compiler/wgsl/types.js';
import type { Batch, Runner } from '../device.js';
import type { SpecSignature } from '../signature.js';
import type { HostArray } from './call.js';
import { GpuExecutor } from './executor.js';
import { interleave, packedInts, packedName } from './packing.js';
import type { GpuProgram } from './program.js';
import type { GpuHost, GpuSession } from './session.js';

/** Invocations of a workgroup at most: more would make barriers slower without adding work to most rows. */
const WORKGROUP = 256;

/** What text can be made for a session's device. */
function targetOf({ limits, subgroups }: GpuSession): WgslTarget {
  const workgroupSize = 2 ** Math.floor(Math.log2(Math.min(WORKGROUP, limits.invocations)));
  const { workgroupStorage: maxWorkgroupStorage, storageBuffers } = limits;
  return { subgroups, workgroupSize, maxWorkgroupStorage, storageBuffers };
}

export class GpuRunner implements Runner {
  readonly source = 'compiled';
  /** By target: after a loss, another adapter may have taken over. */
  readonly #executors = new Map<string, GpuExecutor>();

  constructor(
    private readonly signature: SpecSignature,
    /** The program with its text for a target. */
    private readonly programFor: (target: WgslTarget) => GpuProgram,
    private readonly host: GpuHost,
  ) {}

  /** @throws TrellisError */
  async prepare(): Promise<void> {
    await (await this.#executor()).prepare();
  }

  async #executor(): Promise<GpuExecutor> {
    const target = targetOf(await this.host.session());
    const key = JSON.stringify(target);
    let executor = this.#executors.get(key);
    if (executor === undefined) {
      executor = new GpuExecutor(this.programFor(target), this.host);
      this.#executors.set(key, executor);
    }
    return executor;
  }

  async run(batch: Batch): Promise<void> {
    const buffers: Record<string, HostArray | GPUBuffer> = {
      gradScale: batch.gradScale,
      loss: batch.out.loss,
    };
    for (const { name } of this.signature.inputs) buffers[name] = batch.gpuInputs?.[name] ?? batch.inputs[name]!;
    const { inputs, lengths } = this.signature;
    for (const { argument } of lengths) buffers[argument] = batch.lengths[argument]!;
    // As programs have them whose buffers are packed.
    const ints = packedInts(
      lengths.map(({ argument }) => argument),
      inputs.filter(({ element }) => element === 'i32').map(({ name, dims }) => [name, dims.length] as const),
    );
    if (ints.length > 1) {
      const arrays = ints.map((name) => buffers[name] as Int32Array);
      buffers[packedName(ints)] = interleave(arrays, batch.B);
    }
    const gradients = { ...batch.out.gradients, ...batch.out.gpuGradients };
    for (const [name, array] of Object.entries(gradients)) buffers[`grad_${name}`] = array;
    for (const [name, array] of Object.entries(batch.out.perNode ?? {})) buffers[`node_${name}`] = array;
    const scalars: Record<string, number> = { ...batch.params, B: batch.B };
    // Those that are compiled in have no scalar and are not looked at.
    for (const [size, value] of Object.entries(batch.sizes)) scalars[`${size}_max`] = value;
    await (await this.#executor()).run({ buffers, scalars, signal: batch.signal });
  }
}
