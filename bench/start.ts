/**
 * How long commands of the packed package take from start to end, in an empty folder, with and without compiled kernels on disk:
 *
 *   npm run bench:start [-- --json start.json]
 *
 * The tensors are so small that nearly all of it is start-up. Packs and installs the package first, which takes a while.
 */
import { spawnSync } from 'node:child_process';
import { mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { summarize } from '../runtime/cli/bench/report.js';
import type { TextTable } from '../runtime/cli/bench/table.js';
import { withTemporaryFolder } from '../runtime/cli/bench/temporary.js';
import { formatMilliseconds, printTable } from '../runtime/cli/output.js';

const root = fileURLToPath(new URL('..', import.meta.url));
const windows = process.platform === 'win32';
const bin = join('node_modules', 'trellis-jit', 'bin', 'trellis.js');
const tensors = ['acts', 'labels'].flatMap((name) => [
  `--${name}`,
  join(root, 'examples', 'published-big', `${name}.npy`),
]);

/** What is timed: as one would type it, and what that runs. */
const commands = [
  { text: `node ${bin} loss rnnt ...`, words: [process.execPath, bin, 'loss', 'rnnt', ...tensors], compiles: true },
  { text: 'npx trellis loss rnnt ...', words: ['npx', 'trellis', 'loss', 'rnnt', ...tensors], compiles: true },
  { text: `node ${bin} list`, words: [process.execPath, bin, 'list'], compiles: false },
  { text: 'npx trellis --version', words: ['npx', 'trellis', '--version'], compiles: false },
] as const;

export interface StartReport {
  readonly date: string;
  /** Medians of milliseconds; `cold` of those that compile: with an empty cache folder. */
  readonly commands: readonly { readonly text: string; readonly cold?: number; readonly warm: number }[];
}

/** @throws Error where the package cannot be packed, installed or run */
export const measureStart = (rounds = 5): Promise<StartReport> =>
  withTemporaryFolder('trellis-start-', async (folder) => {
    const cache = join(folder, 'cache');
    const app = join(folder, 'app');
    const run = (cwd: string, [command, ...words]: readonly string[]): number => {
      const start = performance.now();
      const { status, stderr } = spawnSync(command as string, words, {
        ...{ cwd, encoding: 'utf8', shell: windows },
        env: { ...process.env, TRELLIS_CACHE_DIR: cache },
      });
      if (status !== 0) throw new Error(`${command} ${words.join(' ')} failed: ${stderr}`);
      return performance.now() - start;
    };
    run(root, ['npm', 'pack', '--pack-destination', folder]);
    const tarball = readdirSync(folder).find((name) => name.endsWith('.tgz')) as string;
    mkdirSync(app);
    writeFileSync(join(app, 'package.json'), JSON.stringify({ name: 'app', private: true, type: 'module' }));
    run(app, ['npm', 'install', '--no-audit', '--no-fund', '--loglevel=error', join(folder, tarball)]);
    const median = (words: readonly string[], before: () => void): number =>
      summarize(
        Array.from({ length: rounds }, () => {
          before();
          return run(app, words);
        }),
      ).median;
    const empty = () => rmSync(cache, { recursive: true, force: true });
    return {
      date: new Date().toISOString(),
      commands: commands.map(({ text, words, compiles }) => ({
        text,
        // Cold first: its last run leaves the cache filled.
        ...(compiles ? { cold: median(words, empty) } : {}),
        warm: median(words, () => {}),
      })),
    };
  });

export const startTable = ({ commands: measured }: StartReport): TextTable => ({
  head: ['command', 'cold', 'warm'],
  rows: measured.map(({ text, cold, warm }) => [
    text,
    cold === undefined ? '' : formatMilliseconds(cold),
    formatMilliseconds(warm),
  ]),
});

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { values } = parseArgs({ options: { json: { type: 'string' } } });
  const report = await measureStart();
  if (values.json !== undefined) writeFileSync(values.json, `${JSON.stringify(report, null, 1)}\n`);
  const { head, rows } = startTable(report);
  await printTable(head, rows);
}
