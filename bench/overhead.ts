/**
 * What a call costs beside its arithmetic: calls with next to nothing to compute, (B, T, U, V) = (1, 2, 2, 5), kernels ready.
 *
 *   npx tsx bench/overhead.ts [--rounds n] [--json]
 */
import { pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import Table from 'cli-table3';
import { RNNTLoss } from '../runtime/index.js';

/** One way of calling: microseconds a call. */
export interface Overhead {
  readonly call: string;
  readonly lowerQuartile: number;
  readonly median: number;
  readonly upperQuartile: number;
}

/** Calls before the measured ones, until the JavaScript engine has compiled what they run. */
const WARM_UP = 3000;

/** Times `rounds` calls of each kind, one by one, on the cpu device. @throws TrellisError without a usable libLLVM */
export async function measureOverhead(rounds = 5000): Promise<Overhead[]> {
  const [B, T, U, V] = [1, 2, 2, 5];
  const acts = {
    data: Float32Array.from({ length: B * T * (U + 1) * V }, (_, i) => Math.sin(3 * i)),
    shape: [B, T, U + 1, V],
  };
  const labels = { data: Int32Array.of(1, 2), shape: [B, U] };
  const [actLens, labelLens] = [Int32Array.of(T), Int32Array.of(U)];
  const loss = new RNNTLoss({ device: 'cpu' });
  const calls: [string, () => unknown][] = [
    ['forwardSync', () => loss.forwardSync(acts, labels, actLens, labelLens)],
    ['forwardSync, score only', () => loss.forwardSync(acts, labels, actLens, labelLens, { grads: false })],
    ['forward', () => loss.forward(acts, labels, actLens, labelLens)],
    ['forward, score only', () => loss.forward(acts, labels, actLens, labelLens, { grads: false })],
  ];
  const measured: Overhead[] = [];
  for (const [call, run] of calls) {
    const times: number[] = [];
    for (let round = -WARM_UP; round < rounds; round++) {
      const start = performance.now();
      const result = run();
      // Awaiting what is no promise would cost the synchronous calls a turn of the queue.
      if (result instanceof Promise) await result;
      if (round >= 0) times.push(1000 * (performance.now() - start));
    }
    times.sort((a, b) => a - b);
    const at = (part: number): number => times[Math.floor(part * (times.length - 1))] ?? Number.NaN;
    measured.push({ call, lowerQuartile: at(0.25), median: at(0.5), upperQuartile: at(0.75) });
  }
  return measured;
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const { values } = parseArgs({
    options: { rounds: { type: 'string', default: '5000' }, json: { type: 'boolean', default: false } },
  });
  const measured = await measureOverhead(Number(values.rounds));
  if (values.json) process.stdout.write(`${JSON.stringify(measured, null, 2)}\n`);
  else {
    const table = new Table({
      head: ['call', 'lower quartile', 'median', 'upper quartile'],
      style: { head: [], border: [], compact: true },
    });
    const us = (value: number): string => `${value.toFixed(1)} us`;
    for (const { call, lowerQuartile, median, upperQuartile } of measured)
      table.push([call, us(lowerQuartile), us(median), us(upperQuartile)]);
    process.stdout.write(`${table}\n`);
  }
}
