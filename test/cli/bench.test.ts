/** `trellis bench`: what it refuses, what it reports of a small shape, and the chart and tables made of a report. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { drawRatios } from '../../bench/chart.js';
import { fillSections, section } from '../../bench/docs.js';
import { peersTable } from '../../bench/peers/peers.js';
import { compileToGraph, compileToKernels } from '../../compiler/compile.js';
import {
  type BenchReport,
  isMeasured,
  type Measured,
  type MeasureJob,
  summarize,
} from '../../runtime/cli/bench/report.js';
import { CapturingLoss } from '../../runtime/cli/bench/subject.js';
import { kernelsTable, threadsTable, timesTable } from '../../runtime/cli/bench/table.js';
import { bytesMoved, drawInts, logits, realInputs, shapeNames, tensorBytes } from '../../runtime/cli/bench/tensors.js';
import { readNpy } from '../../runtime/cli/npy.js';
import { loadDevice } from '../../runtime/device.js';
import { findSpec, loadLoss } from '../../runtime/index.js';
import { signatureOfGraph } from '../../runtime/signature.js';
import { missing } from '../gpu/gpu.js';
import { describeLlvm } from '../lanes.js';
import { callTrellis, root, spawnTrellis, temporaryFolder } from './helpers.js';

const folder = temporaryFolder();
const signature = (spec: string) => signatureOfGraph(compileToGraph(findSpec(spec)).graph);

describe('what cannot be used', () => {
  test.each<[string, string[], RegExp]>([
    ['a shape of three', ['8,200,50'], /8,200,50: a shape of rnnt is 4 positive integers, B,T,U,V/],
    ['a size of zero', ['8,0,50,1024'], /8,0,50,1024: a shape of rnnt is 4 positive integers/],
    ['no number', ['8,200,fifty,1024'], /8,200,fifty,1024: a shape of rnnt/],
    ['too small a shape', ['1,4,2,3'], /1,4,2,3: the largest input has 36 elements.*at least 16384/],
    ['an unknown device', ['8,200,50,1024', '--device', 'reference'], /--device reference: expected cpu or webgpu/],
    ['rounds that are none', ['--rounds', '0'], /--rounds: 0 is not an integer of at least 1/],
    ['rounds and seconds', ['--rounds', '3', '--seconds', '1'], /--rounds and --seconds: give one/],
    ['no time', ['--seconds', '-1'], /--seconds: -1 is not a time/],
    ['endless time', ['--seconds', 'inf'], /--seconds: inf is not a time/],
    ['threads that are no count', ['--threads', 'two'], /--threads: "two" is not a number/],
    ['an unknown spec', ['--spec', 'rnnnt'], /rnnnt.*not a shipped spec.*did you mean "rnnt"/s],
    ['an unknown parameter', ['--param', 'blanc=0'], /blanc is not a parameter of rnnt.*did you mean "blank"/s],
    [
      'a parameter out of range',
      ['8,200,50,1024', '--param', 'blank=1024'],
      /blank is 1024; allowed: integers from 0 to 1023/,
    ],
    [
      'no shape where the usual ones mean nothing',
      ['--spec', 'pruned'],
      /the sizes of pruned are not B,T,U,V: give shapes, B,T,U,S,V/,
    ],
    ['a file in no folder', ['--json', join(folder, 'none', 'b.json')], /--json: cannot write/],
    ['tensors from a GPU', ['--device', 'webgpu', '--save', folder], /--save: only of the cpu device/],
  ])('%s', async (_what, words, reason) => {
    const { code, stdout, stderr } = await callTrellis('bench', ...words);
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
    expect(stderr).toMatch(reason);
  });

  test('the process of its own is not for people', async () => {
    const { code, stderr } = await spawnTrellis(['bench-job']);
    expect(code).toBe(2);
    expect(stderr).toMatch(/started by "trellis bench" alone/);
    expect((await callTrellis('--help')).stdout).not.toContain('bench-job');
  });
});

describe('tensors', () => {
  test('sizes are named B first, then those that vary, then those that are shared', () => {
    expect(shapeNames(signature('rnnt'))).toEqual(['B', 'T', 'U', 'V']);
    expect(shapeNames(signature('pruned'))).toEqual(['B', 'T', 'U', 'S', 'V']);
  });

  test('the model counts 12 bytes for each logit, 4 for the loss alone', () => {
    const inputs = realInputs(signature('rnnt'), { B: 2, T: 30, U: 9, V: 64 });
    const N = 2 * 30 * 10 * 64;
    expect(bytesMoved(inputs)).toEqual({ lossAndGradient: 12 * N, loss: 4 * N });
    expect(tensorBytes(inputs)).toBe(8 * N);
    // Two inputs, each with its gradient.
    const both = realInputs(signature('additive'), { B: 2, T: 30, U: 9, V: 64 });
    expect(bytesMoved(both)).toEqual({ lossAndGradient: 12 * 2 * 40 * 64, loss: 4 * 2 * 40 * 64 });
  });

  test('equal seeds draw equal tensors, other seeds others; symbols avoid the blank, also one counted from the end', () => {
    const sizes = { B: 3, T: 8, U: 5, V: 9 };
    const draw = (seed: number) => drawInts(signature('rnnt'), sizes, {}, seed).inputs.labels!.data;
    expect(draw(1)).toEqual(draw(1));
    expect(draw(1)).not.toEqual(draw(2));
    expect([...draw(1)].every((label) => label > 0 && label < 9)).toBe(true);
    const last = drawInts(signature('rnnt'), { ...sizes, B: 50 }, { blank: -1 }, 1);
    expect(Math.max(...last.inputs.labels!.data)).toBe(7);
    expect(last.lengths).toEqual({ actLens: new Int32Array(50).fill(8), labelLens: new Int32Array(50).fill(5) });
    const [whole, halves] = [new Float32Array(64), new Float32Array(64)];
    logits(7)(whole);
    const next = logits(7);
    next(halves.subarray(0, 32));
    next(halves.subarray(32));
    expect(halves).toEqual(whole);
    expect([Math.min(...whole) >= -2, Math.max(...whole) < 2]).toEqual([true, true]);
  });

  test('quartiles lie between neighbours', () => {
    expect(summarize([4])).toEqual({ median: 4, lower: 4, upper: 4 });
    expect(summarize([4, 1, 3, 2])).toEqual({ median: 2.5, lower: 1.75, upper: 3.25 });
  });
});

/** A report as a run makes it, with two shapes measured and one left out. */
function reportOf(...ratios: number[]): BenchReport {
  const at = (median: number) => ({ median, lower: median * 0.9, upper: median * 1.1 });
  const measured = ratios.map(
    (ratio, n): Measured => ({
      sizes: { B: n + 1, T: 20, U: 9, V: 64 },
      rounds: 5,
      bytes: { lossAndGradient: 12e6, loss: 4e6 },
      milliseconds: { lossAndGradient: at(3 * ratio), loss: at(ratio), floor: at(3), read: at(1) },
      ratio: { lossAndGradient: at(ratio), loss: at(ratio + 1) },
      gigabytesPerSecond: { lossAndGradient: 4 / ratio, loss: 4 / ratio, floor: 4 },
      kernels: [
        { kernel: 'rows', phase: 1, milliseconds: at(1) },
        { kernel: 'beta', phase: 2, milliseconds: at(0.5) },
        { kernel: 'alpha', phase: 2, milliseconds: at(0.25) },
      ],
      phases: [at(1), at(0.6)],
      threads: [
        { threads: 1, milliseconds: at(6 * ratio), floor: at(4), gain: at(1), floorGain: at(1) },
        { threads: 2, milliseconds: at(3 * ratio), floor: at(3), gain: at(2), floorGain: at(1.333) },
      ],
      tensorBytes: 8e6,
      addedBytes: 1e6,
    }),
  );
  return {
    date: '2026-01-02T03:04:05.000Z',
    version: '0.1.0',
    fromSource: true,
    machine: { processor: 'P', cores: 2, memoryBytes: 2 ** 34, platform: 'linux x64', node: '20', backend: 'L' },
    ...{ spec: 'rnnt', device: 'cpu', dtype: 'float32', threads: 2, params: {}, compiles: [] },
    shapes: [...measured, { sizes: { B: 99, T: 20, U: 9, V: 64 }, skipped: 'needs 900.0 GiB of memory' }],
  };
}

describe('tables and chart', () => {
  test('a shape that was left out says why; kernels of one phase share a row', () => {
    const report = reportOf(1.5, 2.25);
    const times = timesTable(report);
    expect(times.rows.map((row) => [row[0], row[1], row[3]])).toEqual([
      ['(1, 20, 9, 64)', '4.50 ms (4.05 to 4.95)', '1.50'],
      ['(2, 20, 9, 64)', '6.75 ms (6.08 to 7.43)', '2.25'],
      ['(99, 20, 9, 64)', 'left out: needs 900.0 GiB of memory', ''],
    ]);
    expect(times.rows.every((row) => row.length === times.head.length)).toBe(true);
    expect(kernelsTable(report).rows.slice(0, 2)).toEqual([
      ['(1, 20, 9, 64)', 'rows', '1.00 ms', '63 %'],
      ['', 'beta 0.500 ms, alpha 0.250 ms', '0.600 ms', '37 %'],
    ]);
  });

  test('threads are compared with one of them', () => {
    expect(threadsTable(reportOf(1.5)).rows).toEqual([
      ['(1, 20, 9, 64)', '1', '9.00 ms (8.10 to 9.90)', '', '4.00 ms', ''],
      ['', '2', '4.50 ms (4.05 to 4.95)', '2.00', '3.00 ms', '1.33'],
    ]);
  });

  test('the chart is well-formed SVG with a bar for each ratio, as long as it says', () => {
    const svg = drawRatios(reportOf(1.5, 2.25));
    checkNesting(svg);
    expect(svg).toMatch(/^<svg [^>]*xmlns="http:\/\/www\.w3\.org\/2000\/svg"/);
    for (const text of ['1.50', '2.50', '2.25', '3.25', '(2, 20, 9, 64)', 'loss alone', 'prefers-color-scheme: dark']) {
      expect(svg).toContain(text);
    }
    expect(svg).not.toContain('(99');
    const [, marks = ''] = svg.split('aria-label="bar"');
    const [drawn = ''] = marks.split('aria-label="rule"');
    const bars = [...drawn.matchAll(/<rect [^>]*?width="([\d.]+)"/g)].map(([, width]) => Number(width));
    const [one] = bars;
    expect(bars.map((width) => (1.5 * width) / (one as number)).map((ratio) => ratio.toFixed(2))).toEqual([
      ...['1.50', '2.50', '2.25', '3.25'],
    ]);
  });

  test('sections of a page are replaced, and only those', () => {
    const page = 'before\n<!-- times -->\nold\n<!-- end of times -->\nafter\n';
    const text = section('Measured.', { head: ['a', 'b'], rows: [['1', '2']] });
    const filled =
      'before\n<!-- times -->\nMeasured.\n\n| a | b |\n| --- | --- |\n| 1 | 2 |\n<!-- end of times -->\nafter\n';
    expect(fillSections(page, { times: text })).toBe(filled);
    expect(fillSections(filled, { times: text })).toBe(filled);
    expect(() => fillSections(page, { memory: text })).toThrow(/no section between <!-- memory -->/);
  });

  test('other implementations stand below ours, with how many times our time they take', () => {
    const at = (median: number) => ({ median, lower: median, upper: median });
    const other = {
      version: '1',
      lossAndGradient: at(45),
      loss: at(3),
      rounds: 3,
      costError: 1e-7,
      gradientError: 2e-5,
    };
    const peers = { '(1, 20, 9, 64)': { other, gone: { missing: 'no such module' } } };
    expect(peersTable({ ours: reportOf(1.5), peers }).rows).toEqual([
      ['(1, 20, 9, 64)', 'Trellis', '4.50 ms', '', '1.50 ms', '', ''],
      ['', 'other', '45.0 ms', '10.0', '3.00 ms', '2.0', '2.0e-5'],
      ['', 'gone', 'no such module', '', '', '', ''],
    ]);
  });
});

/** Every element that begins ends, in order. */
function checkNesting(svg: string): void {
  const open: string[] = [];
  for (const [, closing, name, selfClosing] of svg.matchAll(/<(\/?)([A-Za-z]+)(?:[^<>"]|"[^"]*")*?(\/?)>/g)) {
    if (selfClosing === '/') continue;
    if (closing === '') open.push(name as string);
    else expect(open.pop()).toBe(name);
  }
  expect(open).toEqual([]);
  expect(svg.replace(/<[^>]*>/g, '')).not.toMatch(/[<>]|&(?!#|\w+;)/);
}

describeLlvm('a small shape on the cpu', () => {
  const words = ['2,20,9,64', '--rounds', '3', '--threads', '2'];

  test('the report adds up, and the table shows it', async () => {
    const file = join(folder, 'bench.json');
    const saved = join(folder, 'tensors');
    const { code, stdout, stderr } = await spawnTrellis(['bench', ...words, '--json', file, '--save', saved]);
    expect({ code, stderr }).toEqual({ code: 0, stderr: 'measuring (2, 20, 9, 64)\n' });
    const report = JSON.parse(readFileSync(file, 'utf8')) as BenchReport;
    expect(report).toMatchObject({ spec: 'rnnt', device: 'cpu', dtype: 'float32', threads: 2, params: {} });
    const [shape] = report.shapes.filter(isMeasured) as [Measured];
    const N = 2 * 20 * 10 * 64;
    expect(shape).toMatchObject({
      sizes: { B: 2, T: 20, U: 9, V: 64 },
      rounds: 3,
      bytes: { lossAndGradient: 12 * N, loss: 4 * N },
      tensorBytes: 8 * N,
    });
    const { milliseconds: ms, ratio, gigabytesPerSecond: speed } = shape;
    for (const summary of [...Object.values(ms), ...Object.values(ratio), ...shape.phases]) {
      expect(summary.lower).toBeGreaterThan(0);
      expect(summary.median).toBeGreaterThanOrEqual(summary.lower);
      expect(summary.upper).toBeGreaterThanOrEqual(summary.median);
    }
    expect(speed.lossAndGradient).toBeCloseTo((12 * N) / ms.lossAndGradient.median / 1e6, 9);
    expect(speed.floor).toBeCloseTo((12 * N) / ms.floor.median / 1e6, 9);

    const source = compileToGraph(findSpec('rnnt'));
    const { phases } = compileToKernels(source, { sizes: { V: 64 }, gradients: true, lattice: 'f64', blocks: true });
    const named = shape.kernels.map(({ kernel, phase }) => ({ kernel, phase }));
    expect(named).toEqual(phases.flatMap((phase, p) => phase.map(({ name }) => ({ kernel: name, phase: p + 1 }))));
    expect(shape.phases).toHaveLength(phases.length);

    expect(shape.threads.map(({ threads }) => threads)).toEqual([1, 2]);
    const [one, two] = shape.threads as [Measured['threads'][number], Measured['threads'][number]];
    expect([one.gain.median, one.floorGain.median]).toEqual([1, 1]);
    expect(two.gain.median).toBeGreaterThan(0);
    expect(two.floor.median).toBeGreaterThan(0);

    expect(report.compiles).toHaveLength(1);
    const [{ sizes, cold, warm }] = report.compiles as [BenchReport['compiles'][number]];
    expect(sizes).toEqual({ V: 64 });
    expect(Object.keys(cold.stages)).toEqual(['graph', 'derived', 'kernels', 'llvm']);
    const parts = [cold.loading, ...Object.values(cold.stages), cold.backend];
    expect(parts.every((time) => time > 0)).toBe(true);
    expect(parts.reduce((sum, time) => sum + time, 0)).toBeCloseTo(cold.total, 6);
    // Found on disk: no stage ran.
    expect(warm?.stages).toEqual({});
    expect(warm?.total).toBeLessThan(cold.total);

    expect(stdout).toContain(ratio.lossAndGradient.median.toFixed(2));
    for (const { kernel } of shape.kernels) expect(stdout).toContain(kernel);

    // What was saved is what was measured: the costs of those tensors.
    const read = (name: string) => readNpy(join(saved, '2x20x9x64', `${name}.npy`), name);
    const names = ['acts', 'labels', 'actLens', 'labelLens'];
    const tensors = Object.fromEntries(await Promise.all(names.map(async (name) => [name, await read(name)] as const)));
    const loss = await loadLoss('rnnt', { device: 'reference', reduction: 'sum' });
    const exact = await loss.forward(tensors);
    const [costs, grads] = [await read('costs'), await read('grad_acts')];
    // float32 rows, a float64 lattice: as in test/devices.
    for (const [b, cost] of exact.costs.data.entries())
      expect(Math.abs(Number(costs.data[b]) / cost - 1)).toBeLessThan(1e-5);
    const error = Math.max(...Array.from(exact.grads!.data, (value, i) => Math.abs(value - Number(grads.data[i]))));
    expect(error).toBeLessThan(1e-5);
  });

  test('kernels timed one by one leave the very gradient that the call does', async () => {
    const sizes = { B: 2, T: 20, U: 9, V: 64 };
    const job: MeasureJob = {
      kind: 'measure',
      spec: findSpec('rnnt'),
      device: 'cpu',
      ...{ params: {}, sizes, threads: 2, cacheDir: join(folder, 'cache'), seconds: 1, seed: 1 },
    };
    const capturing = await CapturingLoss.open(await loadDevice('cpu', () => {}), job);
    const { inputs, lengths } = drawInts(capturing.loss.signature, sizes, {}, 1);
    const acts = { data: new Float32Array(2 * 20 * 10 * 64), shape: [2, 20, 10, 64] };
    logits(1)(acts.data);
    const grads = new Float32Array(acts.data.length);
    const { costs } = await capturing.loss.forward({ acts, ...inputs, ...lengths }, { grads });
    const { runner, batch } = capturing.latest;
    const [wholeGrads, wholeCosts] = [grads.slice(), Float64Array.from(costs.data)];
    grads.fill(Number.NaN);
    batch.out.loss.fill(Number.NaN);
    const phases = runner.profile!(batch);
    expect(grads).toEqual(wholeGrads);
    expect(batch.out.loss).toEqual(wholeCosts);
    expect(phases.every(({ kernels }) => kernels.length > 0)).toBe(true);
  });

  test('what does not fit into memory is left out, and then nothing was measured; --json before a shape prints the object alone', async () => {
    const { code, stdout, stderr } = await spawnTrellis(['bench', '--json', '4096,1500,300,50', '--spec', 'monotonic']);
    expect({ code, stderr }).toEqual({ code: 1, stderr: '' });
    const report = JSON.parse(stdout) as BenchReport;
    expect(report).toMatchObject({ spec: 'monotonic', compiles: [] });
    expect(report.shapes).toEqual([
      {
        sizes: { B: 4096, T: 1500, U: 300, V: 50 },
        skipped: expect.stringMatching(/^needs \d{3}\.\d GiB of memory, and \d+\.\d are free$/),
      },
    ]);
    expect(existsSync(join(root, '4096,1500,300,50'))).toBe(false);
  });
});

describe.skipIf(missing !== undefined)('a small shape on the GPU', () => {
  test('has times of the call, of copying, and of kernels where there are time stamps', async () => {
    const words = ['bench', '1,20,9,100', '--device', 'webgpu', '--rounds', '2', '--json'];
    const { code, stdout } = await spawnTrellis(words);
    expect(code).toBe(0);
    const report = JSON.parse(stdout) as BenchReport;
    const [shape] = report.shapes.filter(isMeasured) as [Measured];
    const N = 20 * 10 * 100;
    expect(shape).toMatchObject({
      rounds: 2,
      bytes: { lossAndGradient: 12 * N, loss: 4 * N },
      phases: [],
      addedBytes: null,
    });
    for (const { median } of Object.values(shape.milliseconds)) expect(median).toBeGreaterThan(0);
    expect(shape.milliseconds.floor.median).toBeGreaterThan(shape.milliseconds.read.median);
    const source = compileToGraph(findSpec('rnnt'));
    const { phases } = compileToKernels(source, { sizes: { V: 100 }, gradients: true, lattice: 'f64' });
    // Nothing is dispatched for long paths, of which there are none.
    const names = phases.flatMap((phase) => phase.map(({ name }) => name)).filter((name) => !name.endsWith('_long'));
    // Kernels that share a dispatch share its time.
    const told = shape.kernels.flatMap(({ kernel }) => kernel.split('+'));
    expect([[], [...names].sort()]).toContainEqual(told.sort());
    const [{ cold, warm }] = report.compiles as [BenchReport['compiles'][number]];
    expect(Object.keys(cold.stages)).toEqual(['graph', 'derived', 'kernels', 'wgsl']);
    expect(warm).toBeUndefined();
  });
});
