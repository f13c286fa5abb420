/** How the commands speak: tables and JSON on stdout, progress and mistakes on stderr. */
import pc from 'picocolors';
import { UsageError } from './usage.js';

/** Colours for stderr, which may be a terminal when stdout is a pipe. */
const errorColors = pc.createColors(pc.isColorSupported && process.stderr.isTTY === true);

export function print(text: string): void {
  process.stdout.write(text.endsWith('\n') ? text : `${text}\n`);
}

/** One JSON object on one line. Numbers that JSON cannot say are the strings "inf", "-inf" and "nan". */
export function printJson(value: unknown): void {
  print(JSON.stringify(value, (_key, entry: unknown) => (typeof entry === 'number' ? jsonNumber(entry) : entry)));
}

export function jsonNumber(value: number): number | 'inf' | '-inf' | 'nan' {
  if (Number.isFinite(value)) return value;
  return Number.isNaN(value) ? 'nan' : value > 0 ? 'inf' : '-inf';
}

/** A table without lines: columns under a head, two spaces apart. */
export async function printTable(head: readonly string[], rows: readonly (readonly string[])[]): Promise<void> {
  const { default: Table } = await import('cli-table3');
  const none = '';
  const table = new Table({
    head: head.map((title) => pc.bold(title)),
    chars: {
      ...{ top: none, 'top-mid': none, 'top-left': none, 'top-right': none },
      ...{ bottom: none, 'bottom-mid': none, 'bottom-left': none, 'bottom-right': none },
      ...{ left: none, 'left-mid': none, mid: none, 'mid-mid': none, right: none, 'right-mid': none },
      middle: '  ',
    },
    style: { head: [], border: [], 'padding-left': 0, 'padding-right': 0 },
  });
  table.push(...rows.map((row) => [...row]));
  print(
    table
      .toString()
      .split('\n')
      .map((line) => line.trimEnd())
      .join('\n'),
  );
}

/** Milliseconds for people: '0.42 ms', '35.3 ms', '1.2 s'. */
export function formatMilliseconds(milliseconds: number): string {
  if (milliseconds >= 1000) return `${(milliseconds / 1000).toFixed(1)} s`;
  return `${milliseconds.toPrecision(milliseconds >= 100 ? 4 : 3)} ms`;
}

/** A number for people: so many significant digits, no trailing zeros. */
export function formatNumber(value: number, digits = 10): string {
  return Number.isFinite(value) ? String(Number(value.toPrecision(digits))) : String(jsonNumber(value));
}

/** Costs for a column: as many decimals for all as give the largest eight digits, and the points below each other. */
export function formatCosts(costs: readonly number[]): string[] {
  const largest = Math.max(0, ...costs.filter(Number.isFinite).map(Math.abs));
  const decimals = largest === 0 ? 0 : Math.max(0, 7 - Math.floor(Math.log10(largest)));
  const texts = costs.map((cost) => {
    if (!Number.isFinite(cost)) return String(jsonNumber(cost));
    return decimals <= 12 ? cost.toFixed(decimals) : cost.toPrecision(8);
  });
  const width = Math.max(...texts.filter((_, i) => Number.isFinite(costs[i])).map((text) => text.length), 0);
  return texts.map((text, i) =>
    costs[i] === Number.POSITIVE_INFINITY ? `${text.padStart(width)} (no path)` : text.padStart(width),
  );
}

/**
 * Waits for work and, where stderr is a terminal, shows that it goes on. The line is there from the start, as work that
 * keeps this thread busy would not let it appear later, and is wiped before anything else is written.
 */
export async function withProgress<Result>(text: string, work: () => Promise<Result>): Promise<Result> {
  if (process.stderr.isTTY !== true) return work();
  const start = performance.now();
  const show = (clock: string) => process.stderr.write(`\r\u001b[K${errorColors.dim(`${text}...${clock}`)}`);
  show('');
  const timer = setInterval(() => show(` ${((performance.now() - start) / 1000).toFixed(1)} s`), 100);
  try {
    return await work();
  } finally {
    clearInterval(timer);
    process.stderr.write('\r\u001b[K');
  }
}

/**
 * For long work of several subjects, told as 'subject: what is being done': on a terminal one line that changes, elsewhere a
 * line for each new subject.
 */
export function progressLine(): { show: (text: string) => void; wipe: () => void } {
  if (process.stderr.isTTY === true) {
    return {
      show: (text) => process.stderr.write(`\r\u001b[K${text}...`),
      wipe: () => process.stderr.write('\r\u001b[K'),
    };
  }
  let subject = '';
  return {
    show: (text) => {
      const [now = ''] = text.split(':');
      if (now !== subject) process.stderr.write(`measuring ${now}\n`);
      subject = now;
    },
    wipe: () => {},
  };
}

/** The message of a failure on stderr, and the exit code for it: 2 for usage and input, 1 for the rest. */
export function report(error: unknown): 1 | 2 {
  const failure = error instanceof Error ? error : new Error(String(error));
  const usage = isUsersMistake(failure);
  process.stderr.write(`${errorColors.red('error:')} ${failure.message.trimEnd()}\n`);
  if (!usage && process.env.TRELLIS_DEBUG) process.stderr.write(`${failure.stack}\n`);
  return usage ? 2 : 1;
}

/**
 * Known by name, not by class: a spec may come from another copy of the package, and naming the classes here would
 * load the library for every `--help`.
 */
function isUsersMistake(error: Error): boolean {
  if (error instanceof UsageError || error.name === 'InputError' || error.name === 'SpecError') return true;
  // A spec file that cannot be run, or is none, comes as a TrellisError with this code.
  return error.name === 'TrellisError' && (error as { code?: unknown }).code === 'spec';
}
