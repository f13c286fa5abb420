/**
 * The webgpu device on a machine with a GPU: numbers against golden cases and float64, then the time of each kernel by time stamps.
 *
 *   node --import tsx bench/gpu/main.ts [B,T,U,V ...] [--rounds n] [--software] [--json file]
 *
 * Needs a copy of the tree with its node_modules, Node and a Vulkan driver; no network. Exit code 1 when a number is off.
 */
import { writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { type AdapterSummary, adapterName, chooseAdapter, summarize } from '../../runtime/gpu/adapter.js';
import { openGpuDevice } from '../../runtime/gpu/device.js';
import type { KernelTime } from '../../runtime/gpu/session.js';
import { registerDevice } from '../../runtime/index.js';
import { copySpeed } from './copy.js';
import { checkNumbers } from './numbers.js';
import { timeShape } from './times.js';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    rounds: { type: 'string' },
    software: { type: 'boolean', default: false },
    json: { type: 'string' },
  },
});
const { software } = values;
const usual = software ? ['2,40,10,64'] : ['8,200,50,1024', '32,150,40,28', '4,1500,300,20', '8,200,50,4096'];
const shapes = positionals.length > 0 ? positionals : usual;
const rounds = Number(values.rounds ?? (software ? 3 : 20));

const adapter: AdapterSummary = summarize(await chooseAdapter({ software }));
const latest: { times: readonly KernelTime[] } = { times: [] };
const device = await openGpuDevice({
  software,
  profile: (times) => {
    latest.times = times;
  },
});
registerDevice('webgpu', { load: async () => device });
const gpu = await device.gpu.device();

console.log(`${adapterName(adapter)}${adapter.software ? ', which computes on the CPU: no times of a GPU' : ''}`);
console.log(`features used: ${['subgroups', 'timestamp-query'].filter((name) => gpu.features.has(name)).join(', ')}\n`);

const numbers = await checkNumbers();
for (const { name, cost, grad, holds } of numbers) {
  console.log(
    `${holds ? 'ok   ' : 'WRONG'}  ${name.padEnd(28)} cost ${cost.toExponential(1)}  gradient ${grad.toExponential(1)}`,
  );
}

const copy = await copySpeed(gpu, software ? 2 ** 24 : 2 ** 28, rounds);
console.log(`\ncopy on the device: ${(copy / 1e9).toFixed(1)} GB/s, read and written bytes together`);

const rows = [];
for (const text of shapes) {
  const shape = text.split(',').map(Number);
  if (shape.length !== 4 || !shape.every((n) => Number.isInteger(n) && n > 0))
    throw new Error(`${text}: expected B,T,U,V`);
  const row = await timeShape(device, shape as [number, number, number, number], rounds, () => latest.times);
  rows.push(row);
  console.log(
    `\n[B,T,U,V] = [${text}]: a call ${row.call.toFixed(3)} ms, its kernels ${row.kernelsTotal.toFixed(3)} ms (medians of ${rounds})`,
  );
  for (const { kernel, milliseconds, bytes, dispatches } of row.kernels) {
    const speed = bytes / (milliseconds / 1e3);
    const share = `${((100 * speed) / copy).toFixed(0)} % of copy`;
    console.log(
      `  ${kernel.padEnd(24)} ${milliseconds.toFixed(3).padStart(9)} ms  ${String(dispatches).padStart(3)} dispatches  ${(bytes / 1e6).toFixed(1).padStart(9)} MB  ${(speed / 1e9).toFixed(1).padStart(7)} GB/s  ${share}`,
    );
  }
}

if (values.json !== undefined) {
  const report = {
    date: new Date().toISOString(),
    node: process.version,
    adapter,
    numbers,
    copyBytesPerSecond: copy,
    rounds,
    shapes: rows,
  };
  writeFileSync(values.json, `${JSON.stringify(report, null, 2)}\n`);
}
process.exitCode = numbers.every(({ holds }) => holds) ? 0 : 1;
