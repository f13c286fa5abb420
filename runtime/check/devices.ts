/** Checks of devices, through the same calls that users make: against float64, at the edges, and against themselves. */
import { evalSize } from '../../compiler/graph/size.js';
import '../devices.js';
import { loadLoss } from '../load.js';
import type { Loss, LossResult } from '../loss.js';
import type { DeviceChoice } from '../options.js';
import { type DrawnBatch, drawVarying, sizeNames, slice, utteranceOf } from './draw.js';
import { closeness } from './float64.js';
import { type CheckItem, Comparison } from './report.js';
import { printSizes, type Subject } from './subject.js';

/** Costs as the tests hold devices to them; gradients by the largest element of the utterance. */
const costs = { absolute: 1e-5, relative: 1e-5 };
const gradientError = 1e-5;

export class DeviceUnderTest {
  private constructor(
    readonly name: string,
    private readonly subject: Subject,
    private readonly cacheDir: string | false | undefined,
    private readonly loss: Loss,
  ) {}

  /** @throws TrellisError where the machine lacks what the device needs */
  static async open(name: string, subject: Subject, cacheDir: string | false | undefined): Promise<DeviceUnderTest> {
    const device = new DeviceUnderTest(name, subject, cacheDir, await load(name, subject, cacheDir));
    return device;
  }

  async run(batch: DrawnBatch, threads?: number): Promise<LossResult> {
    const loss = threads === undefined ? this.loss : await load(this.name, this.subject, this.cacheDir, threads);
    return loss.forward({ ...batch.inputs, ...batch.lengths });
  }
}

function load(name: string, subject: Subject, cacheDir: string | false | undefined, threads?: number): Promise<Loss> {
  return loadLoss(subject.file, {
    device: name as DeviceChoice,
    reduction: 'none',
    params: subject.given,
    ...(cacheDir === undefined ? {} : { cacheDir }),
    ...(threads === undefined ? {} : { threads }),
  });
}

/** Costs and gradients of a batch against float64. */
function compareBatch(subject: Subject, comparison: Tallied, batch: DrawnBatch, result: LossResult): void {
  for (const [b, sizes] of batch.own.entries()) {
    const exact = subject.exact(utteranceOf(batch, b));
    comparison.costs.number(exact.loss, result.costs.data[b] as number, { sizes, what: 'the cost', cell: [] });
    for (const [name, { data, shape }] of Object.entries(exact.gradients)) {
      const actual = result.gradients[name];
      if (actual === undefined) throw new Error(`the ${result.device} device returns no gradient of ${name}`);
      // An utterance's gradient is as good as its largest element: each is the difference of sums that cancel.
      const largest = data.reduce((most, value) => Math.max(most, Math.abs(value)), 1);
      const own = slice(actual.data, actual.shape, b, shape);
      comparison.gradients.arrays(data, own, shape, { sizes, what: `the gradient of ${name}` }, largest);
    }
  }
}

interface Tallied {
  readonly costs: Comparison;
  readonly gradients: Comparison;
}

const tally = (device: string): Tallied => ({
  costs: new Comparison(['float64', device], costs),
  gradients: new Comparison(['float64', device], { absolute: gradientError, relative: 0 }),
});

function judged(id: string, title: string, all: Tallied, done: string, advice: readonly string[]): CheckItem {
  const findings = [...all.costs.findings, ...all.gradients.findings];
  const failed = all.costs.disagreeing + all.gradients.disagreeing > 0;
  return {
    id,
    title,
    status: failed ? 'failed' : 'passed',
    summary: `${done}; costs ${closeness(all.costs.worst)}, gradients ${closeness(all.gradients.worst)}`,
    findings,
    advice: failed ? advice : [],
  };
}

const orReport =
  'If the checks in float64 passed, the spec is right and the device computes it badly: please report it with the file and the seed. Where numbers are huge, look for differences of large numbers in the equations, which float32 inputs cannot carry.';

export async function checkAgreement(
  subject: Subject,
  device: DeviceUnderTest,
  expired: () => boolean,
): Promise<CheckItem> {
  const all = tally(device.name);
  const random = subject.random(3);
  let done = 0;
  const kinds = [{ scale: 1 }, { scale: 8 }, { scale: 2, masked: 0.15 }];
  for (let n = 0; done < subject.cases && !expired(); n++) {
    const count = Math.min(4, subject.cases - done);
    const batch = subject.draw(subject.drawSizes(random, count), { random, ...kinds[n % kinds.length] });
    compareBatch(subject, all, batch, await device.run(batch));
    done += count;
  }
  return judged(
    `agreement-${device.name}`,
    `costs and gradients of the ${device.name} device against float64`,
    all,
    `${done} utterances in ragged batches, mild, wide and masked inputs`,
    [orReport],
  );
}

/** Every combination of very small sizes, with ordinary inputs, and with inputs that are all log 0. */
export async function checkEdges(
  subject: Subject,
  devices: readonly DeviceUnderTest[],
  expired: () => boolean,
): Promise<CheckItem> {
  const { varying } = sizeNames(subject.signature);
  let corners: Record<string, number>[] = [{}];
  for (const [n, size] of varying.entries()) {
    const values = n === 0 ? [0, 1, 2, 5] : [0, 1, 4];
    corners = corners.flatMap((corner) => values.map((value) => ({ ...corner, [size]: value })));
  }
  corners = corners.slice(0, 64);
  const random = subject.random(4);
  const ordinary = subject.draw(corners, { random });
  const barren = subject.draw(corners, { random, masked: 1 });
  const all = tally('device');
  const graph = new Comparison(['TypeScript', 'compiled graph'], { absolute: 1e-9, relative: 1e-9 });
  const nans = { ordinary: [] as string[], barren: [] as string[] };
  let pathless = 0;
  for (const [kind, batch] of [
    ['ordinary', ordinary],
    ['barren', barren],
  ] as const) {
    const unclear = new Set<number>();
    for (const [b, sizes] of batch.own.entries()) {
      const utterance = utteranceOf(batch, b);
      const loss = subject.score(utterance);
      if (Number.isNaN(loss)) {
        nans[kind].push(printSizes(sizes));
        unclear.add(b);
        continue;
      }
      if (loss === Number.POSITIVE_INFINITY) pathless++;
      graph.number(loss, subject.evaluate(utterance).loss, { sizes, what: 'the loss', cell: [] });
    }
    for (const device of devices) {
      if (expired() || unclear.size > 0) break;
      compareBatch(subject, all, batch, await device.run(batch));
    }
  }
  const item = judged(
    'edges',
    'the smallest lattices (no frames, one frame, no labels, no path), and inputs that are all log 0',
    { costs: all.costs, gradients: all.gradients },
    `${2 * corners.length} utterances, ${pathless} without a path`,
    [orReport],
  );
  const advice = [...item.advice];
  const findings = [...graph.findings, ...item.findings];
  if (nans.ordinary.length > 0) {
    advice.unshift(
      `The loss is NaN at ${nans.ordinary.slice(0, 3).join(', at ')}. An utterance without a path costs +Infinity, log 0 negated; a difference of two infinities is NaN, so choose with ?: before subtracting.`,
    );
  }
  if (nans.barren.length > 0) {
    advice.push(
      `Where all real inputs are -Infinity the loss is NaN (at ${nans.barren[0]}), for -Infinity minus -Infinity. If inputs may be masked so far, write x === -Infinity ? -Infinity : x - z, or use logSoftmax, which does.`,
    );
  }
  const failed = item.status === 'failed' || graph.disagreeing > 0 || nans.ordinary.length > 0;
  return { ...item, findings, advice, status: failed ? 'failed' : nans.barren.length > 0 ? 'note' : 'passed' };
}

/** Whether two results are the same in every bit; the first difference as words. */
function difference(a: LossResult, b: LossResult): string | undefined {
  for (const [what, left, right] of [
    ['costs', a.costs, b.costs] as const,
    ...Object.keys(a.gradients).map((name) => [`gradient of ${name}`, a.gradients[name], b.gradients[name]] as const),
  ]) {
    const [x, y] = [left?.data ?? [], right?.data ?? []];
    for (let i = 0; i < x.length; i++) {
      if (!Object.is(x[i], y[i])) return `${what}, element ${i}: ${x[i]} and ${y[i]}`;
    }
  }
  return undefined;
}

export async function checkPadding(subject: Subject, device: DeviceUnderTest): Promise<CheckItem> {
  const drawn = (padding: number): DrawnBatch => {
    const random = subject.random(5);
    const sizes = [
      ...subject.drawSizes(random, 5),
      drawVarying(subject.signature, () => 0.99, { first: 8, others: 5 }),
    ];
    return subject.draw(sizes, { random, padding });
  };
  const [zeros, nans] = [drawn(0), drawn(Number.NaN)];
  const [plain, padded] = [await device.run(zeros), await device.run(nans)];
  const apart = difference(plain, padded);
  const dirty = Object.entries(padded.gradients).find(
    ([name, { data, shape }]) => paddingOf(nans, name, data, shape) !== 0,
  );
  const failed = apart !== undefined || dirty !== undefined;
  return {
    id: `padding-${device.name}`,
    title: `NaN in the padding, on the ${device.name} device`,
    status: failed ? 'failed' : 'passed',
    summary:
      apart === undefined
        ? dirty === undefined
          ? 'changes nothing, and the gradient is 0 there'
          : `the gradient of ${dirty[0]} is not 0 there`
        : `changes ${apart}`,
    findings: [],
    advice: failed
      ? ['A device must not look at what lies beyond an utterance: please report it with the file and the seed.']
      : [],
  };
}

/** Sum of the magnitudes of a gradient in the padding: all of it less what is within utterances; NaN where any is. */
function paddingOf(batch: DrawnBatch, name: string, data: ArrayLike<number>, shape: readonly number[]): number {
  let nonzero = 0;
  for (let i = 0; i < data.length; i++) if (data[i] !== 0) nonzero++;
  for (let b = 0; b < batch.B; b++) {
    const own = utteranceOf(batch, b).inputs[name]?.shape ?? [];
    for (const value of slice(data, shape, b, own)) if (value !== 0) nonzero--;
  }
  return nonzero;
}

/** Numbers that a long batch may hold: enough for several threads, and soon drawn. */
const mostNumbers = 2_000_000;

/** A batch of two utterances of so many frames, or of as many as are not too much with a large vocabulary. */
function longBatch(subject: Subject, frames: number, check: number): DrawnBatch {
  const { varying } = sizeNames(subject.signature);
  const long = (count: number): Record<string, number> =>
    Object.fromEntries(varying.map((size, n) => [size, n === 0 ? count : Math.round(Math.min(20, count / 4))]));
  const numbers = subject.signature.inputs.reduce((sum, { dims }) => {
    const extents = dims.map((dim) => evalSize(dim, { ...subject.shared, ...long(frames) }));
    return sum + extents.reduce((product, extent) => product * extent, 2);
  }, 0);
  const count = numbers <= mostNumbers ? frames : Math.max(1, Math.floor((frames * mostNumbers) / numbers));
  return subject.draw([long(count), long(Math.ceil(count * 0.8))], { random: subject.random(check) });
}

export async function checkDeterminism(subject: Subject, device: DeviceUnderTest): Promise<CheckItem> {
  // The reference is slow and has no threads.
  const batch = longBatch(subject, device.name === 'reference' ? 20 : 1000, 6);
  const first = await device.run(batch);
  const again = difference(first, await device.run(batch));
  const single = again ?? difference(first, await device.run(batch, 1));
  const apart = again ?? single;
  return {
    id: `determinism-${device.name}`,
    title: `two runs, and one thread against all, on the ${device.name} device`,
    status: apart === undefined ? 'passed' : 'failed',
    summary:
      apart === undefined
        ? `the same in every bit (${printSizes(batch.own[0] ?? {})})`
        : `${again === undefined ? 'one thread and all threads' : 'two runs'} differ: ${apart}`,
    findings: [],
    advice:
      apart === undefined
        ? []
        : ['Results must not depend on how work is shared out: please report it with the file and the seed.'],
  };
}

export async function checkLength(
  subject: Subject,
  device: DeviceUnderTest,
  secondsLeft: () => number,
): Promise<CheckItem> {
  const title = `precision at length, on the ${device.name} device`;
  const id = `length-${device.name}`;
  // Float64 takes its time, in proportion to the cells: a short one tells how long the long one will take.
  const trial = longBatch(subject, 80, 7);
  const start = performance.now();
  subject.exact(utteranceOf(trial, 0));
  const perFrame = (performance.now() - start) / 1000 / 80;
  const frames = Math.min(1000, Math.floor(secondsLeft() / 2 / perFrame / 2));
  if (frames < 100) {
    return {
      id,
      title,
      status: 'skipped',
      summary: 'float64 would take longer than there is time; see --seconds',
      findings: [],
      advice: [],
    };
  }
  const batch = longBatch(subject, frames, 7);
  const all = tally(device.name);
  const result = await device.run(batch);
  compareBatch(subject, all, batch, result);
  const sizes = batch.own.map(printSizes).join(' and ');
  const item = judged(id, title, all, sizes, [orReport]);
  if (item.status === 'failed' || result.costs.data.some(Number.isFinite)) return item;
  return { ...item, status: 'note', summary: `${sizes}: neither has a path, so there was nothing to be precise about` };
}
