/** `trellis check`: is a spec right, and does every device compute it? For the author of a loss. */
import type { Command } from 'commander';
import pc from 'picocolors';
import type { CheckItem, CheckReport, Finding, Status } from '../check/index.js';
import { collect, putOnce, readNumber, readPositiveInteger, splitPair } from './options.js';
import { formatMilliseconds, formatNumber, print, printJson } from './output.js';
import { Reported, UsageError } from './usage.js';

interface CheckCommandOptions {
  device?: string[];
  seed?: string;
  cases?: string;
  param?: string[];
  size?: string[];
  seconds?: string;
  cache: boolean;
  json?: boolean;
}

export function addCheck(trellis: Command): void {
  trellis
    .command('check')
    .summary('check that a spec is right and that devices compute it')
    .description(
      'Checks a spec on small random ragged batches, and on one long one, and says in words what was compared,\n' +
        'what disagrees and where. For the author of a loss. Takes some seconds.',
    )
    .argument('<spec>', 'a name from "trellis list", or a path to a spec file')
    .option('--device <name>', 'a device to check; repeatable (default: reference, and cpu where libLLVM is)', collect)
    .option('--seed <n>', 'another seed draws other utterances; the report names it', '1')
    .option('--cases <n>', 'random utterances for each check', '40')
    .option('--param <name=value>', 'a parameter of the spec; repeatable (default: what the spec says)', collect)
    .option('--size <name=value>', 'a size that the batch shares, such as V; repeatable (default: small)', collect)
    .option('--seconds <n>', 'begin nothing new after this long; what is left out is named', '60')
    .option('--no-cache', 'compile anew, and keep nothing on disk')
    .option('--json', 'print one JSON object: passed, items with id, status and findings, seed, params and more')
    .addHelpText(
      'after',
      `
What is compared:
  the spec run as TypeScript  with the graph that the compiler reads from it
  the loss, arcs' posteriors  with the list of all paths of small lattices (a spec that states arcs)
  the gradient                with central differences of the loss, in float64
  every device                with float64, costs and gradients, on ragged batches, mild, wide and masked
  the smallest lattices       no frame, one frame, no label, no path, everything masked
  every device                with itself: NaN in the padding, two runs, one thread and all
  compiled code               with float64 over a thousand frames

A gradient that is meant not to be the derivative of the loss must fail the third: FastEmit and clamps do that. Where
arcs say so by their scale, they are compared with what the scales ask for. Equations cannot say; set the parameter
to 0 for the check (--param fastemitLambda=0), and the report says if that helps.

The exit code is 0 where nothing disagrees, 1 where something does, and 2 where the spec is refused.

Examples:
  $ trellis check rnnt
  $ trellis check ./my-loss.ts --seed 7 --cases 200
  $ trellis check ./my-loss.ts --param price=0.5 --size V=12 --device reference
  $ trellis check ./my-loss.ts --json | jq .passed`,
    )
    .action(runCheck);
}

async function runCheck(spec: string, options: CheckCommandOptions): Promise<void> {
  const params: Record<string, number> = {};
  for (const pair of options.param ?? []) {
    const [name, text] = splitPair(pair, '--param', 'number');
    putOnce(params, name, readNumber(text, `--param ${name}`), '--param');
  }
  const sizes: Record<string, number> = {};
  for (const pair of options.size ?? []) {
    const [name, text] = splitPair(pair, '--size', 'number');
    const size = readPositiveInteger(text, `--size ${name}`);
    if (size > 10_000)
      throw new UsageError(`--size ${name}: ${size} is more than 10000, which float64 is too slow for`);
    putOnce(sizes, name, size, '--size');
  }
  const seed = readNumber(options.seed ?? '1', '--seed');
  if (!Number.isSafeInteger(seed) || seed < 0)
    throw new UsageError(`--seed: ${options.seed} is not an integer of at least 0`);
  const cases = readPositiveInteger(options.cases ?? '40', '--cases');
  if (cases > 10_000) throw new UsageError(`--cases: ${cases} is more than 10000`);
  const seconds = readNumber(options.seconds ?? '60', '--seconds');
  if (!(seconds > 0)) throw new UsageError(`--seconds: ${options.seconds} is not a time`);
  const registry = await import('../device.js');
  // An assertion may only be called by a name whose type is written out.
  const checkDeviceName: (name: unknown) => asserts name is string = registry.checkDeviceName;
  await import('../devices.js');
  for (const device of options.device ?? []) {
    if (device === 'auto') throw new UsageError('--device auto: name the devices to check, or none for all there are');
    checkDeviceName(device);
  }

  const { checkSpec } = await import('../check/index.js');
  const wipe = process.stderr.isTTY === true;
  let report: CheckReport;
  try {
    report = await checkSpec(spec, {
      ...(options.device === undefined ? {} : { devices: options.device }),
      seed,
      cases,
      params,
      sizes,
      seconds,
      ...(options.cache ? {} : { cacheDir: false as const }),
      ...(wipe ? { progress: (text: string) => process.stderr.write(`\r\u001b[K${text}...`) } : {}),
    });
  } finally {
    if (wipe) process.stderr.write('\r\u001b[K');
  }
  if (options.json) printJson(report);
  else printReport(spec, report, options);
  // The report has said it all.
  if (!report.passed) throw new Reported();
}

const colour: Record<Status, (text: string) => string> = {
  passed: pc.green,
  failed: pc.red,
  note: pc.yellow,
  skipped: pc.dim,
};

function printReport(spec: string, report: CheckReport, options: CheckCommandOptions): void {
  const { items, seed, cases, params, sizes } = report;
  const settings = Object.entries({ ...sizes, ...params }).map(([name, value]) => `${name}=${formatNumber(value)}`);
  print(`${report.spec}, stated by its ${report.form}: ${cases} utterances, seed ${seed}, ${settings.join(' ')}`);
  print('');
  for (const item of items) print(itemText(item));
  print('');
  const failed = items.filter(({ status }) => status === 'failed').length;
  const time = formatMilliseconds(report.milliseconds);
  if (failed === 0) {
    const done = items.filter(({ status }) => status === 'passed').length;
    const left = items.filter(({ summary }) => summary.startsWith('left out')).length;
    const rest = left === 0 ? '' : `; ${left} ${left === 1 ? 'was' : 'were'} left out`;
    print(`Nothing disagrees: ${done} checks passed in ${time}${rest}.`);
    return;
  }
  const given = [
    ...(options.param ?? []).map((pair) => ` --param ${pair}`),
    ...(options.size ?? []).map((pair) => ` --size ${pair}`),
    ...(options.device ?? []).map((name) => ` --device ${name}`),
  ];
  print(
    `${failed} of ${items.length} checks failed. The same again: trellis check ${spec} --seed ${seed} --cases ${cases}${given.join('')}`,
  );
}

const indent = '        ';

function itemText({ title, status, summary, findings, advice }: CheckItem): string {
  const lines = [`${colour[status](status.padEnd(7))} ${title}`, ...wrap(summary)];
  for (const finding of findings) lines.push(...findingText(finding));
  for (const text of advice) lines.push(...wrap(text, status === 'failed' ? '-> ' : ''));
  return lines.join('\n');
}

function findingText({ sizes, what, cell, values }: Finding): string[] {
  const at = Object.entries(sizes).map(([name, value]) => `${name}=${value}`);
  const width = Math.max(...values.map(([who]) => who.length));
  return [
    `${indent}${what}${cell.length === 0 ? '' : ` at (${cell.join(', ')})`}, in an utterance of ${at.join(' ')}`,
    ...values.map(([who, value]) => `${indent}  ${who.padEnd(width)}  ${formatNumber(value)}`),
  ];
}

/** Lines of at most some hundred columns, so that a report reads well where it is pasted. */
function wrap(text: string, mark = ''): string[] {
  const lines: string[] = [];
  let line = '';
  for (const word of text.split(' ')) {
    if (line !== '' && indent.length + mark.length + line.length + 1 + word.length > 104) {
      lines.push(line);
      line = word;
    } else line = line === '' ? word : `${line} ${word}`;
  }
  lines.push(line);
  return lines.map((each, n) => `${indent}${n === 0 ? mark : ' '.repeat(mark.length)}${each}`);
}
