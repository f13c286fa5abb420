/** The process that does one job: a fresh one each time, so that its peak of memory and its start are its own. */
import type { CompileAnswer, CompileJob, Job, Measured } from './report.js';

/** What a child says to the process that started it. */
export type Message =
  | { readonly kind: 'progress'; readonly text: string }
  | { readonly kind: 'answer'; readonly value: Measured | CompileAnswer }
  | { readonly kind: 'error'; readonly name: string; readonly code: unknown; readonly message: string };

/** Does the one job that comes over the channel, answers, and lets go of it. */
export async function serve(): Promise<void> {
  // Nobody is waiting any more.
  process.once('disconnect', () => process.exit());
  const job = await new Promise<Job>((resolve) => {
    process.once('message', (message) => resolve(message as Job));
    say({ kind: 'progress', text: 'started' });
  });
  try {
    const progress = (text: string) => void say({ kind: 'progress', text });
    const value =
      job.kind === 'compile' ? await compile(job) : await (await import('./measure.js')).measure(job, progress);
    await say({ kind: 'answer', value });
  } catch (error) {
    const { name, message, code } = error as Error & { code?: unknown };
    await say({ kind: 'error', name, message, code });
  }
  process.disconnect();
}

const say = (message: Message): Promise<void> =>
  new Promise((resolve) => {
    process.send?.(message, () => resolve());
  });

/** What a program that uses the library waits for before its first result. Its stages go to stderr, where TRELLIS_TIME puts them. */
async function compile({ spec, device, params, sizes, threads, cacheDir }: CompileJob): Promise<CompileAnswer> {
  const start = performance.now();
  const { loadLoss } = await import('../../index.js');
  const loss = await loadLoss(spec, { device, params, threads, cacheDir });
  const ready = performance.now() - start;
  const { smallCall } = await import('./tensors.js');
  const tensors = smallCall(loss.signature, sizes, params);
  await loss.forward(tensors, { grads: true });
  const build = loss.cache.compileMilliseconds;
  // So that the process which measures finds both and compiles nothing.
  await loss.forward(tensors, { grads: false });
  return { ready, build };
}
