/** What is measured: one spec at one shape on one device, with its tensors made and its kernels built. */
import type { Batch, Device, DeviceSpec, PhaseTime, Runner } from '../../device.js';
import { type OpenSpec, SpecKernels } from '../../kernels.js';
import { Loss } from '../../loss.js';
import type { SpecSignature } from '../../signature.js';
import type { MeasureJob } from './report.js';
import { type RealInput, smallCall } from './tensors.js';

export interface Subject {
  readonly signature: SpecSignature;
  readonly inputs: readonly RealInput[];
  /** Each returns milliseconds of one run; with the job's threads where no number is given. */
  lossAndGradient(threads?: number): Promise<number>;
  loss(): Promise<number>;
  /** Reading every real input once, and writing every gradient once. */
  floor(threads?: number): Promise<{ read: number; write: number }>;
  /** Whether a number of threads means anything to it. */
  readonly threaded: boolean;
  /** One more run of the loss with its gradient, in parts: by phases, or where `phased` is false by kernels alone. */
  profile(): Promise<readonly PhaseTime[]>;
  readonly phased: boolean;
  readonly addedBytes: number | null;
  /** Tensors, costs and gradients for whoever wants to compare. */
  results(): Promise<Results>;
}

/** By name; a gradient is `grad_` and the name of its input. */
export type Results = Readonly<
  Record<string, { readonly data: Float32Array | Float64Array | Int32Array; readonly shape: readonly number[] }>
>;

/** What a call came to on its way to the device. */
interface Captured {
  readonly runner: Runner;
  readonly batch: Batch;
}

/**
 * A loss as callers have it, which shows the checked batches that its calls become: running one again is the call
 * without its checks, which is what `milliseconds` of a result tells as well.
 */
export class CapturingLoss {
  readonly loss: Loss;
  #latest: Captured | undefined;

  private constructor(device: Device, spec: DeviceSpec, job: MeasureJob) {
    const capturing: DeviceSpec = {
      signature: spec.signature,
      prepare: async (shapeClass) => {
        const runner = await spec.prepare(shapeClass);
        return {
          source: runner.source,
          run: (batch) => {
            this.#latest = { runner, batch };
            return runner.run(batch);
          },
        };
      },
    };
    const open: OpenSpec = { device, spec: capturing };
    const kernels = new SpecKernels({ open: async () => open, openSync: () => open });
    const { threads, cacheDir, params } = job;
    const settings = { device: device.name, reduction: 'sum', infeasible: 'inf', threads, cacheDir } as const;
    this.loss = Loss.over(kernels, settings, params);
  }

  static async open(device: Device, job: MeasureJob): Promise<CapturingLoss> {
    const spec = await device.open(job.spec, {
      cacheDir: job.cacheDir,
      notice: (line) => process.stderr.write(`${line}\n`),
    });
    return new CapturingLoss(device, spec, job).#ready();
  }

  async #ready(): Promise<this> {
    await this.loss.ready();
    return this;
  }

  /** What the latest call ran. */
  get latest(): Captured {
    if (this.#latest === undefined) throw new Error('no call has been made');
    return this.#latest;
  }

  /** Builds the kernels, or loads them, by a call that touches no large memory. */
  async build({ sizes, params }: MeasureJob): Promise<void> {
    const tensors = smallCall(this.loss.signature, sizes, params);
    await this.loss.forward(tensors, { grads: true });
    await this.loss.forward(tensors, { grads: false });
  }
}

/** Milliseconds of running a batch again. */
export async function timeRun({ runner, batch }: Captured, threads = batch.threads): Promise<number> {
  const again = { ...batch, threads };
  const start = performance.now();
  await runner.run(again);
  return performance.now() - start;
}
