/** `trellis bench`: how fast a loss is on this machine, beside how fast the machine moves its tensors. */
import os from 'node:os';
import type { Command } from 'commander';
import type { SpecSignature } from '../signature.js';
import type { BenchDevice, BenchReport } from './bench/report.js';
import { collect, putOnce, readNumber, readPositiveInteger, splitPair } from './options.js';
import { print, printJson, printTable, progressLine } from './output.js';
import { Reported, UsageError } from './usage.js';

interface BenchCommandOptions {
  spec: string;
  device: string;
  threads?: string;
  rounds?: string;
  seconds?: string;
  param?: string[];
  save?: string;
  json?: string | true;
}

/** The shapes that papers and other implementations report, (B, T, U, V). */
const usualShapes = [
  ...[1, 16, 32, 64].map((B) => [B, 150, 40, 28]),
  ...[1, 4, 16].map((B) => [B, 150, 20, 5000]),
  [8, 200, 50, 1024],
  ...[1, 4].map((B) => [B, 1500, 300, 50]),
  [2, 4000, 400, 128],
];

const devices = ['cpu', 'webgpu'] as const;

export function addBench(trellis: Command): void {
  trellis
    .command('bench')
    .summary('measure a loss beside the memory speed of this machine')
    .description(
      'Measures the loss with its gradient, the loss alone, and how fast this machine reads and writes tensors of ' +
        'the same size, in turns within one process; a process of its own for each shape. Takes some seconds a shape.',
    )
    .argument('[shapes...]', 'B,T,U,V each (default: those that are usual in papers, two minutes)')
    .option('--spec <spec>', 'a name from "trellis list", or a path to a spec file', 'rnnt')
    .option('--device <name>', `where to compute: ${devices.join(' or ')}`, 'cpu')
    .option('--threads <n>', 'threads on the CPU, for the loss and for the floor (default: one for each core)')
    .option('--rounds <n>', 'rounds for each shape (default: what fits into --seconds, from 5 to 101)')
    .option('--seconds <n>', 'time for the rounds of each shape (default: 3)')
    .option('--param <name=value>', 'a parameter of the spec; repeatable', collect)
    .option('--save <folder>', 'keep the tensors, our costs and gradients, a folder of .npy files for each shape')
    .option('--json [file]', 'write one JSON object to a file; without a file print it, and nothing else')
    .addHelpText(
      'after',
      `
What is measured, in medians over the rounds with the quartiles behind them:
  loss + gradient  a call, without checking its arguments and without compiling
  floor            reading the real inputs twice and writing their gradients once, past the caches: what a loss over a
                   softmax has to move, 12 bytes for each logit. Measured by loops that do nothing else
  loss alone       without any gradient
  one read         its floor: reading the inputs once, 4 bytes for each logit
  ratio            the median of each round's ratio: 1 is as fast as memory allows. Below 1 is possible where the tensors
                   fit into the caches
  adds             by how much the peak of the process rose in a call, beyond the tensors (inputs and gradients)
  kernels          each phase of the compiled program by itself, and its kernels by themselves where there are several
  threads          one, two, four and so on up to --threads, in rounds of their own; the floor is memory's, which they share
  cold, warm       what a fresh process waits for before its first call: compiling, or the cache on disk

A spec whose sizes have other names takes them in this order: B, those that vary between utterances, the others; give
shapes then. What does not fit into free memory is left out, and the table says so.

The exit code is 0 where something was measured, 1 where nothing could be, 2 for what cannot be used.

Examples:
  $ trellis bench
  $ trellis bench 8,200,50,1024 --threads 1
  $ trellis bench 4,150,20,5000 --spec monotonic --rounds 31
  $ trellis bench 8,200,50,1024 --device webgpu
  $ trellis bench --json bench.json
  $ trellis bench 8,200,50,1024 --json | jq '.shapes[0].ratio.lossAndGradient.median'`,
    )
    .action(runBenchCommand);
  trellis
    .command('bench-job', { hidden: true })
    .description('What "trellis bench" runs in processes of their own.')
    .action(async () => {
      if (process.send === undefined) throw new UsageError('bench-job is started by "trellis bench" alone');
      await (await import('./bench/child.js')).serve();
    });
}

async function runBenchCommand(words: string[], options: BenchCommandOptions): Promise<void> {
  // `--json 8,200,50,1024`: no file is called that.
  const jsonIsShape = typeof options.json === 'string' && /^[\d,]+$/.test(options.json);
  const texts = jsonIsShape ? [options.json as string, ...words] : words;
  const jsonFile = typeof options.json === 'string' && !jsonIsShape ? options.json : undefined;
  const device = options.device as BenchDevice;
  if (!devices.includes(device)) throw new UsageError(`--device ${options.device}: expected ${devices.join(' or ')}`);
  if (options.rounds !== undefined && options.seconds !== undefined) {
    throw new UsageError('--rounds and --seconds: give one of them');
  }
  if (options.save !== undefined && device !== 'cpu') throw new UsageError('--save: only of the cpu device');
  const rounds = options.rounds === undefined ? {} : { rounds: readPositiveInteger(options.rounds, '--rounds') };
  const seconds = readNumber(options.seconds ?? '3', '--seconds');
  if (!(seconds > 0 && seconds < Number.POSITIVE_INFINITY)) {
    throw new UsageError(`--seconds: ${options.seconds} is not a time`);
  }
  const threads =
    options.threads === undefined ? os.availableParallelism() : readPositiveInteger(options.threads, '--threads');
  const params: Record<string, number> = {};
  for (const pair of options.param ?? []) {
    const [name, text] = splitPair(pair, '--param', 'number');
    putOnce(params, name, readNumber(text, `--param ${name}`), '--param');
  }
  if (jsonFile !== undefined) {
    const { checkWritable } = await import('./npy.js');
    await checkWritable(jsonFile, '--json');
  }

  const { openSpec } = await import('./stages.js');
  const { findSpec } = await import('../specs.js');
  const { signature } = await openSpec(options.spec);
  const shapes = await readShapes(signature, texts, params);
  const { runBench } = await import('./bench/run.js');
  const line = progressLine();
  let report: BenchReport;
  try {
    report = await runBench({
      ...{ spec: findSpec(options.spec), signature, shapes, device, params, threads, seconds, seed: 1 },
      ...rounds,
      ...(options.save === undefined ? {} : { saveTo: options.save }),
      progress: line.show,
    });
  } finally {
    line.wipe();
  }
  if (jsonFile !== undefined) {
    const { writeFile } = await import('node:fs/promises');
    await writeFile(jsonFile, `${JSON.stringify(report, null, 1)}\n`);
  }
  if (options.json !== undefined && jsonFile === undefined) printJson(report);
  else await printReport(report);
  const { isMeasured } = await import('./bench/report.js');
  if (!report.shapes.some(isMeasured)) throw new Reported();
}

/** Sizes of each shape by name. @throws UsageError for shapes that the spec does not take, InputError for parameters */
export async function readShapes(
  signature: SpecSignature,
  texts: readonly string[],
  params: Readonly<Record<string, number>>,
): Promise<Record<string, number>[]> {
  const { realInputs, shapeNames } = await import('./bench/tensors.js');
  const { CELL } = await import('../cpu/floor.js');
  const { resolveParams } = await import('../params.js');
  const names = shapeNames(signature);
  const order = names.join(',');
  if (texts.length === 0 && order !== 'B,T,U,V') {
    throw new UsageError(`the sizes of ${signature.name} are not B,T,U,V: give shapes, ${order} each`);
  }
  const given = texts.map((text) => text.split(',').map((word) => (/^\d+$/.test(word.trim()) ? Number(word) : 0)));
  return (texts.length === 0 ? usualShapes : given).map((values, n) => {
    const text = texts[n] ?? values.join(',');
    if (values.length !== names.length || !values.every((size) => Number.isSafeInteger(size) && size >= 1)) {
      throw new UsageError(`${text}: a shape of ${signature.name} is ${names.length} positive integers, ${order}`);
    }
    const sizes = Object.fromEntries(names.map((name, axis) => [name, values[axis] as number]));
    resolveParams(signature, params, sizes);
    const largest = Math.max(0, ...realInputs(signature, sizes).map(({ count }) => count));
    if (largest < CELL) {
      throw new UsageError(
        `${text}: the largest input has ${largest} elements, too few to measure memory with; at least ${CELL} are needed`,
      );
    }
    return sizes;
  });
}

async function printReport(report: BenchReport): Promise<void> {
  const { compileTable, kernelsTable, machineText, threadsTable, timesTable } = await import('./bench/table.js');
  const sections = [
    ['', timesTable(report)],
    ['Where the time of the loss with its gradient goes', kernelsTable(report)],
    ['What more threads gain', threadsTable(report)],
    ['Before the first call of a process', compileTable(report)],
  ] as const;
  print(`${report.spec} on ${machineText(report)}`);
  for (const [title, { head, rows }] of sections) {
    if (rows.length === 0) continue;
    print(title === '' ? '' : `\n${title}`);
    await printTable(head, rows);
  }
}
