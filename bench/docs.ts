/**
 * Measures what docs/performance.md shows, and writes its tables and its chart:
 *
 *   npm run bench:docs                                     all of ours
 *   npm run bench:docs -- --python peers/bin/python        and the other implementations (bench/peers)
 *   npm run bench:docs -- --report bench.json              ours as `trellis bench --json bench.json` found it
 *   npm run bench:docs -- --peers peers.json               the others as `npm run bench:peers -- --json peers.json` did
 *
 *   npm run bench:docs -- --start                          and the start of the packed package (bench/start.ts)
 *
 * Tables that nothing was measured for stay as they are.
 */
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import type { BenchReport } from '../runtime/cli/bench/report.js';
import {
  compileTable,
  kernelsTable,
  machineText,
  type TextTable,
  threadsTable,
  timesTable,
} from '../runtime/cli/bench/table.js';
import { withTemporaryFolder } from '../runtime/cli/bench/temporary.js';
import { drawRatios } from './chart.js';
import { type PeersReport, peersTable, peerVersions, runPeers } from './peers/peers.js';
import { measureStart, startTable } from './start.js';

const root = fileURLToPath(new URL('..', import.meta.url));

/** A table with the figures' date and machine before it. */
export function section(heading: string, { head, rows }: TextTable): string {
  const line = (cells: readonly string[]) => `| ${cells.join(' | ')} |`;
  return [heading, '', line(head), line(head.map(() => '---')), ...rows.map(line)].join('\n');
}

/**
 * A page with the text between `<!-- name -->` and `<!-- end of name -->` replaced, for each name.
 * @throws Error for a name that the page does not have
 */
export function fillSections(page: string, sections: Readonly<Record<string, string>>): string {
  let filled = page;
  for (const [name, text] of Object.entries(sections)) {
    const [begin, end] = [`<!-- ${name} -->\n`, `\n<!-- end of ${name} -->`];
    const [from, to] = [filled.indexOf(begin), filled.indexOf(end)];
    if (from < 0 || to < from) throw new Error(`the page has no section between ${begin.trim()} and ${end.trim()}`);
    filled = `${filled.slice(0, from + begin.length)}${text}${filled.slice(to)}`;
  }
  return filled;
}

const measuredOn = (report: BenchReport): string => `Measured ${report.date.slice(0, 10)} on ${machineText(report)}.`;

function ourSections(report: BenchReport): Record<string, string> {
  return {
    times: section(measuredOn(report), timesTable(report)),
    kernels: section(measuredOn(report), kernelsTable(report)),
    threads: section(measuredOn(report), threadsTable(report)),
    starts: section(measuredOn(report), compileTable(report)),
  };
}

async function readReport(file: string | undefined): Promise<BenchReport> {
  if (file !== undefined) return JSON.parse(readFileSync(file, 'utf8')) as BenchReport;
  return withTemporaryFolder('trellis-docs-', async (folder) => {
    const json = join(folder, 'bench.json');
    const words = [join(root, 'bin', 'trellis.js'), 'bench', '--json', json];
    execFileSync(process.execPath, words, { stdio: ['ignore', 'ignore', 'inherit'] });
    return JSON.parse(readFileSync(json, 'utf8')) as BenchReport;
  });
}

const commandsAsCode = ({ head, rows }: TextTable): TextTable => ({
  head,
  rows: rows.map(([command, ...times]) => [`\`${command}\``, ...times]),
});

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      report: { type: 'string' },
      peers: { type: 'string' },
      python: { type: 'string' },
      start: { type: 'boolean' },
    },
  });
  const report = await readReport(values.report);
  const peers =
    values.peers !== undefined
      ? (JSON.parse(readFileSync(values.peers, 'utf8')) as PeersReport)
      : values.python !== undefined
        ? await runPeers({
            ...{ python: values.python, shapes: [], threads: os.availableParallelism(), seconds: 2 },
            progress: () => {},
          })
        : undefined;
  const others = peers && {
    peers: section(`${measuredOn(peers.ours)} ${peerVersions(peers)}.`, peersTable(peers)),
  };
  const start = values.start === true ? await measureStart() : undefined;
  const packed = start && {
    packed: section(`Measured ${start.date.slice(0, 10)} on the same machine.`, commandsAsCode(startTable(start))),
  };
  const page = join(root, 'docs', 'performance.md');
  writeFileSync(page, fillSections(readFileSync(page, 'utf8'), { ...ourSections(report), ...others, ...packed }));
  writeFileSync(join(root, 'docs', 'performance.svg'), drawRatios(report));
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await main();
