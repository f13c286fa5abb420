/**
 * Compiling without blocking the event loop: one worker thread per process, started when it is first needed, stopped
 * when it has been idle for a while, and never a reason for the process to stay alive.
 */
import { Worker } from 'node:worker_threads';
import type { PackedSpec } from '../../compiler/compile.js';
import { SpecError, StaticsError } from '../../compiler/source.js';
import type { Answer, CompileOptions, PreparedProgram, Request, SpecOutline, WantedSpec } from './protocol.js';

/** After so long without work the thread, with the parser it has loaded, is given back. */
const IDLE_MILLISECONDS = 10_000;

interface Waiting {
  readonly resolve: (value: SpecOutline | PreparedProgram) => void;
  readonly reject: (error: unknown) => void;
}

let worker: Worker | undefined;
let idle: NodeJS.Timeout | undefined;
let nextId = 0;
const waiting = new Map<number, Waiting>();

/** As `outline` in compile.ts. @throws SpecError, StaticsError */
export const outlineAsync = (wanted: WantedSpec): Promise<SpecOutline> =>
  ask({ kind: 'outline', wanted }) as Promise<SpecOutline>;

/** As `prepare` in compile.ts. @throws SpecError */
export const prepareAsync = (
  wanted: WantedSpec,
  equations: PackedSpec,
  options: CompileOptions,
): Promise<PreparedProgram> => ask({ kind: 'prepare', wanted, equations, options }) as Promise<PreparedProgram>;

/** Starts the thread ahead of the first question, which is sure to come: it takes as long to start as many a compile takes. */
export function startCompiler(): void {
  if (worker) return;
  started();
  rest();
}

function ask(request: Request): Promise<SpecOutline | PreparedProgram> {
  const id = nextId++;
  const thread = started();
  return new Promise((resolve, reject) => {
    waiting.set(id, { resolve, reject });
    // A caller is waiting now: the process must not end before the answer.
    thread.ref();
    thread.postMessage({ id, request });
  });
}

function started(): Worker {
  clearTimeout(idle);
  if (worker) return worker;
  const entry = import.meta.url.endsWith('.ts') ? './worker-from-source.mjs' : './worker.js';
  const thread = new Worker(new URL(entry, import.meta.url), { execArgv: [] });
  thread.unref();
  thread.on('message', (answer: Answer) => settle(answer));
  thread.on('error', (error) => fail(thread, error));
  thread.on('exit', (code) => fail(thread, new Error(`the compiler's thread ended with code ${code}`)));
  worker = thread;
  return thread;
}

function settle(answer: Answer): void {
  const caller = waiting.get(answer.id);
  waiting.delete(answer.id);
  if (waiting.size === 0) rest();
  if (!caller) return;
  if ('value' in answer) caller.resolve(answer.value);
  else if ('specError' in answer) caller.reject(new SpecError(answer.specError));
  else if ('staticsError' in answer) {
    const { given, problem, allowed } = answer.staticsError;
    caller.reject(new StaticsError(given, problem, allowed));
  } else {
    const error = new Error(answer.message);
    if (answer.stack !== undefined) error.stack = answer.stack;
    caller.reject(error);
  }
}

/** Nothing to do: the process may end now, and the thread soon. */
function rest(): void {
  const thread = worker;
  thread?.unref();
  clearTimeout(idle);
  idle = setTimeout(() => {
    if (worker !== thread || waiting.size > 0) return;
    worker = undefined;
    void thread?.terminate();
  }, IDLE_MILLISECONDS);
  idle.unref();
}

function fail(thread: Worker, error: Error): void {
  if (worker === thread) worker = undefined;
  else return; // it was sent home
  for (const { reject } of waiting.values()) reject(error);
  waiting.clear();
}
