/**
 * Half precision against float32, in one process and interleaved: loss and gradient of the same logits in the three types.
 *
 *   npx tsx bench/half.ts [B,T,U,V ...] [--threads n] [--rounds n] [--json]
 *
 * The half-size floor is that of `trellis bench` for tensors of half the bytes.
 */
import os from 'node:os';
import { parseArgs } from 'node:util';
import Table from 'cli-table3';
import { encodeHalf } from '../compiler/kernel/half.js';
import { FloorProbe } from '../runtime/cpu/floor.js';
import { LlvmJit } from '../runtime/cpu/jit.js';
import { alignedArray } from '../runtime/cpu/memory.js';
import { RNNTLoss } from '../runtime/index.js';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    threads: { type: 'string' },
    rounds: { type: 'string', default: '11' },
    json: { type: 'boolean', default: false },
  },
});
const shapes = (positionals.length > 0 ? positionals : ['8,200,50,1024', '4,150,20,5000']).map((text) =>
  text.split(',').map(Number),
);
const threads = values.threads === undefined ? os.availableParallelism() : Number(values.threads);
const rounds = Number(values.rounds);
const median = (numbers: readonly number[]): number =>
  [...numbers].sort((a, b) => a - b)[Math.floor(numbers.length / 2)]!;

const types = ['float32', 'float16', 'bfloat16'] as const;
const elements = { float32: 'f32', float16: 'f16', bfloat16: 'bf16' } as const;
/** Logits repeat after so many, because converting each of them here takes longer than all the losses. */
const PERIOD = 65_536;

const probe = new FloorProbe(new LlvmJit());
const rows = [];
for (const shape of shapes) {
  const [B, T, U, V] = shape as [number, number, number, number];
  const count = B * T * (U + 1) * V;
  let state = 1;
  const logits = Float32Array.from({ length: PERIOD }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 30 - 2;
  });
  const labels = { data: Int32Array.from({ length: B * U }, (_, i) => 1 + (i % (V - 1))), shape: [B, U] };
  const loss = new RNNTLoss({ device: 'cpu', threads });
  const subjects = types.map((type) => {
    const element = elements[type];
    const period = element === 'f32' ? logits : Uint16Array.from(logits, (x) => encodeHalf(element, x));
    const acts = alignedArray(element, count) as Float32Array | Uint16Array;
    for (let at = 0; at < count; at += PERIOD) acts.set(period.subarray(0, Math.min(PERIOD, count - at)), at);
    const dtype = type === 'float32' ? {} : { dtype: type };
    return {
      type,
      acts: { data: acts, shape: [B, T, U + 1, V], ...dtype },
      grads: alignedArray(element, count),
      times: [] as number[],
      scores: [] as number[],
    };
  });
  const floors: { whole: number[]; half: number[] } = { whole: [], half: [] };
  const source = subjects[0]!.acts.data as Float32Array;
  const target = subjects[0]!.grads as Float32Array;
  const half = Math.floor(count / 2);
  const lengths = [new Int32Array(B).fill(T), new Int32Array(B).fill(U)] as const;
  for (let round = -2; round < rounds; round++) {
    for (const { acts, grads, times, scores } of subjects) {
      const full = await loss.forward(acts, labels, ...lengths, { grads });
      const score = await loss.forward(acts, labels, ...lengths, { grads: false });
      if (round < 0) continue; // compiles, first touches of memory
      times.push(full.milliseconds);
      scores.push(score.milliseconds);
    }
    const whole = 2 * probe.read(source, threads) + probe.write(target, threads);
    const part = 2 * probe.read(source.subarray(0, half), threads) + probe.write(target.subarray(0, half), threads);
    if (round < 0) continue;
    floors.whole.push(whole);
    floors.half.push(part);
  }
  const base = subjects[0]!.times;
  for (const { type, times, scores } of subjects) {
    const own = type === 'float32' ? floors.whole : floors.half;
    rows.push({
      shape: `(${shape.join(',')})`,
      threads,
      type,
      lossAndGradient: median(times),
      ofFloat32: median(times.map((ms, i) => ms / base[i]!)),
      floor: median(own),
      ofFloor: median(times.map((ms, i) => ms / own[i]!)),
      loss: median(scores),
    });
  }
}

if (values.json) process.stdout.write(`${JSON.stringify(rows, null, 2)}\n`);
else {
  const head = [
    '(B,T,U,V)',
    'threads',
    'acts and gradient',
    'loss + gradient',
    'of float32',
    'floor',
    'of floor',
    'loss',
  ];
  const table = new Table({ head, style: { head: [], border: [], compact: true } });
  const ms = (value: number): string => `${value.toFixed(2)} ms`;
  for (const row of rows) {
    table.push([
      row.shape,
      row.threads,
      row.type,
      ms(row.lossAndGradient),
      row.ofFloat32.toFixed(2),
      ms(row.floor),
      row.ofFloor.toFixed(2),
      ms(row.loss),
    ]);
  }
  process.stdout.write(`${table}\n`);
}
