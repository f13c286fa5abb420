/**
 * Loss and gradient against the memory floor, in one process and interleaved, because machines are shared and noisy:
 *
 *   npm run bench -- [B,T,U,V ...] [--threads n] [--rounds n] [--json]
 *
 * Floor: reading acts twice and writing the gradient once, at the speed measured in the same minute with the same threads.
 */
import os from 'node:os';
import { parseArgs } from 'node:util';
import Table from 'cli-table3';
import { FloorProbe } from '../runtime/cpu/floor.js';
import { LlvmJit } from '../runtime/cpu/jit.js';
import { alignedArray } from '../runtime/cpu/memory.js';
import { RNNTLoss } from '../runtime/index.js';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    threads: { type: 'string' },
    rounds: { type: 'string', default: '15' },
    json: { type: 'boolean', default: false },
  },
});
const shapes = (positionals.length > 0 ? positionals : ['8,200,50,1024']).map((text) => text.split(',').map(Number));
const threads = values.threads === undefined ? os.availableParallelism() : Number(values.threads);
const rounds = Number(values.rounds);

const median = (numbers: readonly number[]): number =>
  [...numbers].sort((a, b) => a - b)[Math.floor(numbers.length / 2)]!;
const spread = (numbers: readonly number[]): number => {
  const sorted = [...numbers].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length * 0.75)]! - sorted[Math.floor(sorted.length * 0.25)]!;
};

const probe = new FloorProbe(new LlvmJit());
const rows = [];
for (const shape of shapes) {
  const [B, T, U, V] = shape as [number, number, number, number];
  const count = B * T * (U + 1) * V;
  const acts = alignedArray('f32', count);
  const grads = alignedArray('f32', count);
  // Uniform logits in [-2, 2) from a linear congruential generator: fast, and the same every time.
  let state = 1;
  for (let i = 0; i < count; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    acts[i] = state / 2 ** 30 - 2;
  }
  const labels = Int32Array.from({ length: B * U }, (_, i) => 1 + (i % (V - 1)));
  const args = [
    { data: acts, shape: [B, T, U + 1, V] },
    { data: labels, shape: [B, U] },
    new Int32Array(B).fill(T),
    new Int32Array(B).fill(U),
  ] as const;
  const loss = new RNNTLoss({ device: 'cpu', threads });
  // Compile with one frame, so that what the big calls add is theirs and not the compiler's.
  const first = { data: acts.subarray(0, (U + 1) * V), shape: [1, 1, U + 1, V] };
  await loss.forward(first, { data: labels.subarray(0, U), shape: [1, U] }, [1], [U], {
    grads: new Float32Array((U + 1) * V),
  });
  grads.fill(0);
  const before = process.memoryUsage().rss;
  const times: { full: number[]; score: number[]; floor: number[]; read: number[] } = {
    full: [],
    score: [],
    floor: [],
    read: [],
  };
  for (let round = -2; round < rounds; round++) {
    const full = await loss.forward(...args, { grads });
    const score = await loss.forward(...args, { grads: false });
    const floor = probe.measure(acts, grads, threads);
    if (round < 0) continue; // first touches of memory, first compiles
    times.full.push(full.milliseconds);
    times.score.push(score.milliseconds);
    times.floor.push(floor.lossAndGradient);
    times.read.push(floor.read);
  }
  rows.push({
    shape: `(${shape.join(',')})`,
    threads,
    lossAndGradient: median(times.full),
    lossAndGradientSpread: spread(times.full),
    floor: median(times.floor),
    ratio: median(times.full.map((ms, i) => ms / times.floor[i]!)),
    loss: median(times.score),
    read: median(times.read),
    lossRatio: median(times.score.map((ms, i) => ms / times.read[i]!)),
    addedMemoryMiB: Math.max(0, process.resourceUsage().maxRSS * 1024 - before) / 2 ** 20,
    tensorsMiB: (2 * count * 4) / 2 ** 20,
  });
}

if (values.json) process.stdout.write(`${JSON.stringify(rows, null, 2)}\n`);
else {
  const table = new Table({
    head: [
      '(B,T,U,V)',
      'threads',
      'loss + gradient',
      'floor',
      'ratio',
      'loss alone',
      'one read',
      'ratio',
      'peak memory',
      'acts + gradient',
    ],
    style: { head: [], border: [], compact: true },
  });
  const ms = (value: number): string => `${value.toFixed(2)} ms`;
  for (const row of rows) {
    table.push([
      row.shape,
      row.threads,
      `${ms(row.lossAndGradient)} (+-${(row.lossAndGradientSpread / 2).toFixed(2)})`,
      ms(row.floor),
      row.ratio.toFixed(2),
      ms(row.loss),
      ms(row.read),
      row.lossRatio.toFixed(2),
      `${row.addedMemoryMiB.toFixed(0)} MiB`,
      `${row.tensorsMiB.toFixed(0)} MiB`,
    ]);
  }
  process.stdout.write(`${table}\n`);
}
