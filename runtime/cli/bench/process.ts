/** Runs jobs in processes of their own. */
import { fork } from 'node:child_process';
import { join } from 'node:path';
import { packageRoot } from '../../package.js';
import type { Message } from './child.js';
import type { CompileAnswer, CompileJob, CompileTimes, Job, Measured, MeasureJob } from './report.js';

/** The command's hidden word for a child. */
export const childCommand = 'bench-job';

type Progress = (text: string) => void;

/** @throws what the job threw, by name and message. */
export const measureApart = async (job: MeasureJob, progress: Progress): Promise<Measured> =>
  (await runApart(job, progress)).value as Measured;

/** A start as a user's process has it, with the cache folder as it is. */
export async function compileApart(job: CompileJob): Promise<CompileTimes> {
  const { value, stderr } = await runApart(job, () => {});
  const { ready, build } = value as CompileAnswer;
  const stages: Record<string, number> = {};
  for (const [, name, time] of stderr.matchAll(stageLine)) {
    // The kernels without gradients are compiled as well, after those that are timed.
    if (name !== undefined) stages[name] ??= Number(time);
  }
  const of = (names: readonly string[]) => names.reduce((sum, name) => sum + (stages[name] ?? 0), 0);
  return {
    loading: Math.max(0, ready - of(whileReading)),
    stages,
    backend: Math.max(0, build - of(Object.keys(stages).filter((name) => !whileReading.includes(name)))),
    total: ready + build,
  };
}

/** What TRELLIS_TIME prints: 'trellis: rnnt: graph    12.3 ms'. */
const stageLine = /^trellis: \S+: (\S+) +(\d+\.\d+) ms$/gm;
/** The stages that run before a loss is ready. */
const whileReading = ['graph', 'derived'];

function runApart(job: Job, progress: Progress): Promise<{ value: Measured | CompileAnswer; stderr: string }> {
  const timed = job.kind === 'compile';
  return new Promise((resolve, reject) => {
    const child = fork(join(packageRoot(), 'bin', 'trellis.js'), [childCommand], {
      execArgv: [],
      stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
      env: timed ? { ...process.env, TRELLIS_TIME: '1' } : process.env,
    });
    let stderr = '';
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      stderr += text;
      // Notices of the library are the user's to see.
      if (!timed) process.stderr.write(text);
    });
    let answer: Message | undefined;
    let sent = false;
    child.on('message', (message: Message) => {
      if (message.kind !== 'progress') answer = message;
      else if (sent) progress(message.text);
      else {
        sent = true;
        child.send(job);
      }
    });
    child.on('error', reject);
    child.on('close', (code, signal) => {
      if (answer?.kind === 'answer') resolve({ value: answer.value, stderr });
      else if (answer?.kind === 'error') reject(revive(answer));
      else {
        const how = signal === null ? `with exit code ${code}` : `by ${signal}`;
        const said = stderr.trim().split('\n').slice(-3).join('\n');
        reject(new Error(`the process that was to ${job.kind} ended ${how}${said === '' ? '' : `:\n${said}`}`));
      }
    });
  });
}

/** The error again: whose mistake it is goes by its name. */
function revive({ name, code, message }: Message & { kind: 'error' }): Error {
  return Object.assign(new Error(message), { name, ...(code === undefined ? {} : { code }) });
}
