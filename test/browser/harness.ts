/** What test/browser/api.test.ts runs in the browser: calls on losses built ahead, and what came of them as plain data. */
import { type BrowserLossOptions, createLoss, type LossArgument, type LossModule } from 'trellis-jit/browser';
import { badInputs, goodCall } from '../runtime/bad-inputs.js';

export interface Failure {
  readonly name: string;
  readonly code: string | undefined;
  readonly argument: string | undefined;
  readonly message: string;
}

export interface Outcome {
  readonly loss: number[];
  readonly costs: number[];
  readonly grads: number[] | null;
  readonly gradsShape: readonly number[] | null;
  readonly device: string;
  readonly shapeClass: string;
}

/** A tensor as it comes from the test, which can send no typed arrays. */
export interface PlainTensor {
  readonly data: readonly number[];
  readonly shape: readonly number[];
}

export interface PlainBatch {
  readonly acts: PlainTensor;
  readonly labels: readonly (readonly number[])[];
  readonly actLens: readonly number[];
  readonly labelLens: readonly number[];
}

const failureOf = (reason: unknown): Failure => {
  const { name, message, code, argument } = reason as Error & { code?: string; argument?: string };
  return { name, code, argument, message };
};

async function failure(action: () => Promise<unknown>): Promise<Failure | 'no error'> {
  try {
    await action();
    return 'no error';
  } catch (reason) {
    return failureOf(reason);
  }
}

const tensorsOf = ({ acts, labels, ...lengths }: PlainBatch) => ({
  acts: { data: Float32Array.from(acts.data), shape: acts.shape },
  // No labels at all would be nested arrays without an inner axis.
  labels: { data: Int32Array.from(labels.flat()), shape: [labels.length, labels[0]?.length ?? 0] },
  ...lengths,
});

/** Posteriors by name, and where the best paths go; or the error. */
export async function paths(module: LossModule, batch: PlainBatch) {
  try {
    const loss = await createLoss(module);
    const { posteriors } = await loss.forward(tensorsOf(batch), { grads: false, posteriors: true });
    const { alignments } = await loss.align(tensorsOf(batch));
    return {
      posteriors: Object.fromEntries(
        Object.entries(posteriors ?? {}).map(([name, { data }]) => [name, Array.from(data)]),
      ),
      alignments: alignments.map(({ score, labels }) => ({ score, frames: labels.map(({ start }) => start) })),
    };
  } catch (reason) {
    return failureOf(reason);
  }
}

/** One call, or the error it ends with. */
export async function forward(
  module: LossModule,
  options: BrowserLossOptions,
  batch: PlainBatch,
  call: { grads?: boolean } = {},
): Promise<Outcome | Failure> {
  try {
    const loss = await createLoss(module, options);
    const result = await loss.forward(tensorsOf(batch), call);
    return {
      loss: [...result.loss.data],
      costs: [...result.costs.data],
      grads: result.grads === null ? null : [...result.grads.data],
      gradsShape: result.grads?.shape ?? null,
      device: result.device,
      shapeClass: result.shapeClass,
    };
  } catch (reason) {
    return failureOf(reason);
  }
}

/** The table of calls that must be refused: what was said instead of what should have been. */
export async function refusals(rnnt: LossModule): Promise<{ checked: number; wrong: [string, string, string][] }> {
  const loss = await createLoss(rnnt);
  const wrong: [string, string, string][] = [];
  // Options of the class RNNTLoss are not createLoss's.
  const table = badInputs.filter(({ options }) => options === undefined);
  for (const { name, tensors, call, message } of table) {
    const { acts, labels, actLens, labelLens } = { ...goodCall(), ...tensors };
    const args = [acts, labels, actLens, labelLens, call] as LossArgument[];
    const said = await failure(() => loss.forward(...args));
    const text = said === 'no error' ? said : said.message;
    if (text !== message) wrong.push([name, text, message]);
  }
  return { checked: table.length, wrong };
}

/** Gradients in the caller's array and in place, and the bits of two runs. */
export async function outputs(
  rnnt: LossModule,
  batch: PlainBatch,
): Promise<{ same: boolean; own: boolean; inPlace: boolean; hits: number }> {
  const loss = await createLoss(rnnt);
  const first = await loss.forward(tensorsOf(batch));
  const second = await loss.forward(tensorsOf(batch));
  const equal = (a: ArrayLike<number>, b: ArrayLike<number>): boolean =>
    a.length === b.length && Array.from(a).every((value, n) => Object.is(value, b[n]));
  const grads = first.grads!.data;
  const array = new Float32Array(grads.length);
  const third = await loss.forward(tensorsOf(batch), { grads: array });
  const tensors = tensorsOf(batch);
  await loss.forward(tensors, { grads: 'in-place' });
  return {
    same: equal(grads, second.grads!.data) && equal(first.costs.data, second.costs.data),
    own: third.grads!.data === array && equal(array, grads),
    inPlace: equal(tensors.acts.data, grads),
    hits: loss.cache.hits,
  };
}

/** A call during which the device goes away, and the one after it. */
export async function loseDevice(
  rnnt: LossModule,
  batch: PlainBatch,
): Promise<{ lost: Failure | 'no error'; after: number[]; before: number[]; aborted: string }> {
  const { gpu } = (globalThis as unknown as { navigator: { gpu: GPU } }).navigator;
  const adapter = await gpu.requestAdapter();
  const gpuDevice = await adapter!.requestDevice();
  const loss = await createLoss(rnnt, { gpuDevice });
  const before = [...(await loss.forward(tensorsOf(batch))).costs.data];
  const lost = await failure(() => {
    const running = loss.forward(tensorsOf(batch));
    gpuDevice.destroy();
    return running;
  });
  const after = [...(await loss.forward(tensorsOf(batch))).costs.data];
  const controller = new AbortController();
  const running = loss.forward(tensorsOf(batch), { signal: controller.signal });
  controller.abort(new Error('enough'));
  const said = await failure(() => running);
  return { lost, before, after, aborted: said === 'no error' ? said : said.message };
}

/** Logits in GPU memory: the gradient stays there, and is what it is through host memory. */
export async function onGpu(
  rnnt: LossModule,
  batch: PlainBatch,
): Promise<{ apart: number; bytes: number; costs: number[] }> {
  const loss = await createLoss(rnnt);
  const expected = await loss.forward(tensorsOf(batch));
  const device = await loss.gpuDevice();
  const { acts, ...rest } = tensorsOf(batch);
  // STORAGE | COPY_DST, COPY_SRC; MAP_READ | COPY_DST
  const buffer = device.createBuffer({ size: acts.data.byteLength, usage: 0x80 | 0x8 | 0x4 });
  device.queue.writeBuffer(buffer, 0, acts.data);
  const result = await loss.forward({ acts: { data: buffer, shape: acts.shape }, ...rest });
  const grads = result.grads!.data as unknown as GPUBuffer;
  const staging = device.createBuffer({ size: acts.data.byteLength, usage: 0x1 | 0x8 });
  const encoder = device.createCommandEncoder();
  encoder.copyBufferToBuffer(grads, 0, staging, 0, acts.data.byteLength);
  device.queue.submit([encoder.finish()]);
  await staging.mapAsync(1);
  const values = new Float32Array(staging.getMappedRange());
  const wanted = expected.grads!.data as Float32Array;
  const apart = values.reduce((worst, value, n) => Math.max(worst, Math.abs(value - wanted[n]!)), 0);
  return { apart, bytes: grads.size, costs: [...result.costs.data] };
}

export async function sync(rnnt: LossModule, batch: PlainBatch): Promise<Failure | 'no error'> {
  const loss = await createLoss(rnnt);
  return failure(async () => loss.forwardSync(tensorsOf(batch)));
}

/** What `createLoss` says to what is no module. */
export const misuse = (value: unknown, options?: unknown): Promise<Failure | 'no error'> =>
  failure(() => createLoss(value as LossModule, options as BrowserLossOptions));
