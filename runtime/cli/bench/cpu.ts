/** The cpu device to measure: tensors in aligned memory, the floor by two loops of its own kind, the peak of the process. */
import { readFileSync, writeFileSync } from 'node:fs';
import type { PhaseTime } from '../../device.js';
import { loadDevice } from '../../device.js';
import '../../devices.js';
import { CELL, FloorProbe } from '../../cpu/floor.js';
import { LlvmJit } from '../../cpu/jit.js';
import { alignedArray } from '../../cpu/memory.js';
import type { MeasureJob } from './report.js';
import { CapturingLoss, type Results, type Subject, timeRun } from './subject.js';
import { drawInts, logits, type RealInput, realInputs } from './tensors.js';

interface Held extends RealInput {
  readonly data: Float32Array;
}

export async function openCpu(job: MeasureJob): Promise<Subject> {
  const device = await loadDevice('cpu', (line) => process.stderr.write(`${line}\n`));
  const capturing = await CapturingLoss.open(device, job);
  const { loss } = capturing;
  const { signature } = loss;
  const ints = drawInts(signature, job.sizes, job.params, job.seed);
  const next = logits(job.seed);
  const inputs: Held[] = realInputs(signature, job.sizes).map((input) => {
    const data = alignedArray('f32', input.count);
    next(data);
    return { ...input, data };
  });
  const differentiated = inputs.filter(({ gradient }) => gradient);
  const [only, ...others] = differentiated;
  // Touched now, so that its pages count as the tensor's and not as what a call adds.
  const own = only !== undefined && others.length === 0 ? alignedArray('f32', only.count).fill(0) : undefined;
  const probe = new FloorProbe(new LlvmJit());
  await capturing.build(job);

  const bundle = {
    ...ints.inputs,
    ...ints.lengths,
    ...Object.fromEntries(inputs.map(({ name, data, shape }) => [name, { data, shape: [...shape] }])),
  };
  const before = watchPeak();
  await loss.forward(bundle, { grads: own ?? true });
  const full = capturing.latest;
  const after = peakBytes();
  // Gradients of several inputs are new arrays of the call: tensors, and nothing that it adds.
  const made = own === undefined ? differentiated.reduce((sum, { count }) => sum + 4 * count, 0) : 0;
  await loss.forward(bundle, { grads: false });
  const score = capturing.latest;
  const gradients = full.batch.out.gradients as Readonly<Record<string, Float32Array>>;

  const targets = differentiated.map(({ name }) => gradients[name] as Float32Array);
  // As many threads as the loss has: what starting them takes, both have to pay.
  const read = (threads: number): number => inputs.reduce((sum, { data }) => sum + probe.read(data, threads), 0);
  const write = (threads: number): number => targets.reduce((sum, data) => sum + probe.write(data, threads), 0);
  /** Tensors of less than a cell are not measured; their bytes count at the others' speed. */
  const measured = (tensors: readonly RealInput[]): number => {
    const all = tensors.reduce((sum, { count }) => sum + count, 0);
    const large = tensors.reduce((sum, { count }) => sum + (count >= CELL ? count : 0), 0);
    return large === 0 ? 0 : all / large;
  };
  return {
    signature,
    inputs,
    lossAndGradient: (threads) => timeRun(full, threads),
    loss: () => timeRun(score),
    floor: async (threads = job.threads) => ({
      read: read(threads) * measured(inputs),
      write: write(threads) * measured(differentiated),
    }),
    threaded: true,
    phased: true,
    profile: async (): Promise<readonly PhaseTime[]> => full.runner.profile?.(full.batch) ?? [],
    addedBytes: before === null || after === null ? null : Math.max(0, after - before - made),
    results: async (): Promise<Results> => {
      const { costs } = await loss.forward(bundle, { grads: own ?? true });
      const grads = capturing.latest.batch.out.gradients as Readonly<Record<string, Float32Array>>;
      return {
        ...ints.inputs,
        ...Object.fromEntries(
          Object.entries(ints.lengths).map(([name, data]) => [name, { data, shape: [data.length] }]),
        ),
        ...Object.fromEntries(inputs.map(({ name, data, shape }) => [name, { data, shape }])),
        costs,
        ...Object.fromEntries(
          differentiated.map(({ name, shape }) => [`grad_${name}`, { data: grads[name] as Float32Array, shape }]),
        ),
      };
    },
  };
}

/** A line of /proc/self/status in bytes; null where there is no such file. */
function statusBytes(field: string): number | null {
  try {
    const found = new RegExp(`^${field}:\\s+(\\d+) kB$`, 'm').exec(readFileSync('/proc/self/status', 'utf8'));
    return found ? Number(found[1]) * 1024 : null;
  } catch {
    return null;
  }
}

/** The largest the process has been. Not resourceUsage's maxRSS, which a process inherits from the one that started it. */
const peakBytes = (): number | null => statusBytes('VmHWM');

/** Begins a peak at the present size, and returns that size. */
function watchPeak(): number | null {
  try {
    // Linux sets VmHWM back to the present size.
    writeFileSync('/proc/self/clear_refs', '5');
  } catch {
    // Then the peak so far is the baseline: in a process that has compiled nothing it is little more than the size.
    return peakBytes();
  }
  return statusBytes('VmRSS');
}
