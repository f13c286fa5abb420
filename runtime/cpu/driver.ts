/** Compiles, caches and calls the parallel driver; fills in its plans. */
import type { CacheStore } from '../cache-store.js';
import { driverIr, launchLayout, MOST_THREADS, phaseLayout, planLayout } from './driver-ir.js';
import type { LlvmJit } from './jit.js';
import type { NativeFunction } from './llvm-c.js';

/** One kernel of a phase and how its tasks are cut. */
export interface Launch {
  readonly kernel: bigint;
  readonly tasks: number;
  /** Tasks a thread takes at a time, at least 1. */
  readonly grain: number;
}

/** Bytes of a plan with so many phases and launches, a multiple of 64. */
export const planBytes = (phases: number, launches: number): number =>
  Math.ceil((planLayout.bytes + phases * phaseLayout.bytes + launches * launchLayout.bytes) / 64) * 64;

/**
 * Writes a plan into memory at a 64-byte boundary. `words` views that memory, whose address is `address`.
 * Returns the largest number of chunks in a phase: more threads than that are of no use.
 */
export function writePlan(
  words: BigUint64Array,
  address: bigint,
  plan: { args: bigint; abort: bigint; threads: number; phases: readonly (readonly Launch[])[] },
): number {
  const phasesAt = planLayout.bytes;
  let launchAt = phasesAt + plan.phases.length * phaseLayout.bytes;
  let most = 0;
  plan.phases.forEach((launches, i) => {
    const phaseAt = phasesAt + i * phaseLayout.bytes;
    let total = 0;
    words[(phaseAt + phaseLayout.launches) / 8] = address + BigInt(launchAt);
    for (const { kernel, tasks, grain } of launches) {
      const chunks = Math.ceil(tasks / grain);
      words[(launchAt + launchLayout.kernel) / 8] = kernel;
      words[(launchAt + launchLayout.tasks) / 8] = BigInt(tasks);
      words[(launchAt + launchLayout.grain) / 8] = BigInt(grain);
      words[(launchAt + launchLayout.chunks) / 8] = BigInt(chunks);
      launchAt += launchLayout.bytes;
      total += chunks;
    }
    words[(phaseAt + phaseLayout.chunks) / 8] = BigInt(total);
    words[(phaseAt + phaseLayout.next) / 8] = 0n;
    most = Math.max(most, total);
  });
  words[planLayout.args / 8] = plan.args;
  words[planLayout.abort / 8] = plan.abort;
  words[planLayout.threads / 8] = BigInt(Math.max(1, Math.min(plan.threads, most, MOST_THREADS)));
  words[planLayout.phases / 8] = address + BigInt(phasesAt);
  words[planLayout.phaseCount / 8] = BigInt(plan.phases.length);
  words.fill(0n, planLayout.present / 8, planLayout.bytes / 8);
  return most;
}

/** The compiled driver. */
export interface Driver {
  /** Runs the plan at an address on the calling thread and its helpers. 0: done, 1: the abort flag was set. */
  readonly run: NativeFunction;
}

const drivers = new WeakMap<LlvmJit, Driver>();

/** Its text, and under what it is kept. */
function source(jit: LlvmJit): { readonly text: string; readonly key: string } {
  const text = driverIr();
  return { text, key: `driver\n${jit.fingerprint}\n${text}` };
}

/** The driver for a JIT's host, compiled at first use, or taken from a cache of objects. */
export function driverFor(jit: LlvmJit, cache?: CacheStore): Driver {
  let driver = drivers.get(jit);
  if (!driver) {
    const { text, key } = source(jit);
    let object = cache?.get(key)?.payload;
    if (!object) {
      object = jit.compile(text, { name: 'driver.ll' }).object;
      cache?.set(key, { kind: 'driver' }, object);
    }
    driver = linked(jit, object);
  }
  return driver;
}

/** Has the driver ready for `driverFor`, compiling it off the event loop's thread where there is none. */
export async function prepareDriver(jit: LlvmJit, cache: CacheStore): Promise<void> {
  if (drivers.has(jit)) return;
  const { text, key } = source(jit);
  const known = cache.get(key)?.payload;
  const object = known ?? (await jit.compileAsync(text, { name: 'driver.ll' })).object;
  if (!known) cache.set(key, { kind: 'driver' }, object);
  if (!drivers.has(jit)) linked(jit, object);
}

function linked(jit: LlvmJit, object: Uint8Array): Driver {
  // Never disposed of: it is a few kilobytes, and calls may be running until the process ends.
  const driver = { run: jit.load(object).func('trellis_run', 'int', ['void *']) };
  drivers.set(jit, driver);
  return driver;
}

/** At most so many asynchronous calls run at a time; the rest wait here, holding no memory. */
const MOST_CALLS = 8;
let calls = 0;
const waiting: (() => void)[] = [];

/** Resolves when the call may start; `leaveQueue` must follow. */
export async function enterQueue(): Promise<void> {
  if (calls >= MOST_CALLS) await new Promise<void>((resolve) => waiting.push(resolve));
  else calls++;
}

/** Hands the place to the next in line. */
export function leaveQueue(): void {
  const next = waiting.shift();
  if (next) next();
  else calls--;
}
