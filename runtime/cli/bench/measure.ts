/** The rounds of one shape: loss with gradient, loss alone and the floor follow each other, since machines are shared and noisy. */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import type { PhaseTime } from '../../device.js';
import { writeNpy } from '../npy.js';
import {
  type KernelReport,
  type Measured,
  type MeasureJob,
  type Summary,
  summarize,
  type ThreadReport,
} from './report.js';
import type { Subject } from './subject.js';
import { bytesMoved, tensorBytes } from './tensors.js';

/** First touches of memory, first starts of threads. */
const WARM_UP = 3;
/** Where the time decides: fewer say nothing about the spread, more say nothing new. */
const FEWEST = 5;
const MOST = 101;
/** Rounds for the kernels' own times, which only say where the time goes. */
const MOST_PROFILES = 15;
/** Rounds through the numbers of threads. */
const MOST_THREAD_ROUNDS = 31;

export async function measure(job: MeasureJob, progress: (text: string) => void): Promise<Measured> {
  progress('making tensors');
  const subject =
    job.device === 'cpu'
      ? await (await import('./cpu.js')).openCpu(job)
      : await (await import('./gpu.js')).openGpu(job);
  progress('warming up');
  let latest = 0;
  for (let round = 0; round < WARM_UP; round++) latest = (await oneRound(subject)).total;
  const rounds = job.rounds ?? Math.min(MOST, Math.max(FEWEST, Math.floor((job.seconds * 1000) / latest)));

  const times: Round[] = [];
  for (let round = 0; round < rounds; round++) {
    progress(`round ${round + 1} of ${rounds}`);
    times.push(await oneRound(subject));
  }
  const profiles = [];
  for (let round = 0; round < Math.min(rounds, MOST_PROFILES); round++) {
    progress(`kernels, round ${round + 1}`);
    profiles.push(await subject.profile());
  }
  const threads = await measureThreads(subject, job, rounds, progress);
  if (job.saveTo !== undefined) {
    progress('writing tensors');
    await save(subject, job.saveTo);
  }

  const of = (value: (round: Round) => number): Summary => summarize(times.map(value));
  const milliseconds = {
    lossAndGradient: of(({ full }) => full),
    loss: of(({ score }) => score),
    floor: of(floorOf),
    read: of(({ read }) => read),
  };
  const bytes = bytesMoved(subject.inputs);
  const speed = (moved: number, { median }: Summary): number => moved / median / 1e6;
  return {
    sizes: job.sizes,
    rounds,
    bytes,
    milliseconds,
    ratio: {
      lossAndGradient: of((round) => round.full / floorOf(round)),
      loss: of(({ score, read }) => score / read),
    },
    gigabytesPerSecond: {
      lossAndGradient: speed(bytes.lossAndGradient, milliseconds.lossAndGradient),
      loss: speed(bytes.loss, milliseconds.loss),
      floor: speed(bytes.lossAndGradient, milliseconds.floor),
    },
    ...summarizeProfiles(profiles, subject.phased),
    threads,
    tensorBytes: tensorBytes(subject.inputs),
    addedBytes: subject.addedBytes,
  };
}

interface Round {
  readonly full: number;
  readonly score: number;
  /** Reading every real input once. */
  readonly read: number;
  /** Reading those with a gradient a second time, and writing the gradients. */
  readonly rest: number;
  /** All of it, with what is between. */
  readonly total: number;
}

const floorOf = ({ read, rest }: Pick<Round, 'read' | 'rest'>): number => read + rest;

async function oneRound(subject: Subject): Promise<Round> {
  const start = performance.now();
  const full = await subject.lossAndGradient();
  const score = await subject.loss();
  const floor = await measureFloor(subject);
  return { full, score, ...floor, total: performance.now() - start };
}

async function measureFloor(subject: Subject, threads?: number): Promise<Pick<Round, 'read' | 'rest'>> {
  const { read, write } = await subject.floor(threads);
  const all = subject.inputs.reduce((sum, { count }) => sum + count, 0);
  const again = subject.inputs.reduce((sum, { count, gradient }) => sum + (gradient ? count : 0), 0);
  return { read, rest: (read * again) / all + write };
}

/** One thread, two, four and so on up to the job's, in turns. */
async function measureThreads(
  subject: Subject,
  { threads: most, rounds: told, seconds }: MeasureJob,
  usual: number,
  progress: (text: string) => void,
): Promise<ThreadReport[]> {
  if (!subject.threaded || most === 1) return [];
  const counts = [1];
  while (2 * counts.at(-1)! < most) counts.push(2 * counts.at(-1)!);
  counts.push(most);
  const times: { full: number; floor: number }[][] = counts.map(() => []);
  const begin = performance.now();
  const enough = (round: number): boolean =>
    round >= Math.min(usual, MOST_THREAD_ROUNDS) ||
    (told === undefined && round >= FEWEST && performance.now() - begin > 1000 * seconds);
  for (let round = -1; round < 0 || !enough(round); round++) {
    progress(`threads, round ${Math.max(1, round + 1)}`);
    for (const [n, threads] of counts.entries()) {
      const full = await subject.lossAndGradient(threads);
      const floor = floorOf(await measureFloor(subject, threads));
      if (round >= 0) times[n]!.push({ full, floor });
    }
  }
  const [alone] = times;
  return counts.map((threads, n) => {
    const rounds = times[n]!;
    return {
      threads,
      milliseconds: summarize(rounds.map(({ full }) => full)),
      floor: summarize(rounds.map(({ floor }) => floor)),
      gain: summarize(rounds.map(({ full }, round) => alone![round]!.full / full)),
      floorGain: summarize(rounds.map(({ floor }, round) => alone![round]!.floor / floor)),
    };
  });
}

function summarizeProfiles(
  profiles: readonly (readonly PhaseTime[])[],
  phased: boolean,
): { kernels: KernelReport[]; phases: Summary[] } {
  const parts = profiles[0] ?? [];
  const over = (p: number, value: (part: PhaseTime) => number): Summary =>
    summarize(profiles.map((profile) => value(profile[p] as PhaseTime)));
  return {
    phases: phased ? parts.map((_, p) => over(p, ({ milliseconds }) => milliseconds)) : [],
    kernels: parts.flatMap(({ kernels }, p) =>
      kernels.map(({ kernel }, k) => ({
        kernel,
        phase: phased ? p + 1 : null,
        milliseconds: over(p, (part) => part.kernels[k]?.milliseconds ?? 0),
      })),
    ),
  };
}

async function save(subject: Subject, folder: string): Promise<void> {
  mkdirSync(folder, { recursive: true });
  for (const [name, { data, shape }] of Object.entries(await subject.results())) {
    await writeNpy(join(folder, `${name}.npy`), data, shape);
  }
}
