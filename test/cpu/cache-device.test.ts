/** The cache on disk as losses use it: processes side by side, damage, folders that cannot be used, specs that change. */
import { spawn } from 'node:child_process';
import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { loadLoss, RNNTLoss, SpecError } from 'trellis-jit';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { fingerprintOf } from '../../runtime/fingerprint.js';
import { describeLlvm, llvmMissing } from '../lanes.js';

let root: string;
let cache: string;
beforeEach(() => {
  root = realpathSync(mkdtempSync(join(tmpdir(), 'trellis-device-cache-')));
  cache = join(root, 'cache');
});
afterEach(() => rmSync(root, { recursive: true }));

const here = (path: string): string => fileURLToPath(new URL(path, import.meta.url));
const entries = (): string[] => readdirSync(cache).map((name) => join(cache, name));

interface Called {
  readonly cost: number;
  readonly hash: string;
  readonly source: 'compiled' | 'disk';
  /** Stages of the compiler that ran, in order. */
  readonly stages: readonly string[];
}

/** One call in a process of its own. */
function call(spec: string, V: number, before = ''): Promise<Called> {
  const command = `${before} exec "$0" --import tsx "$1" "$2" "$3"`;
  const words = ['-c', command, process.execPath, here('./cache-call.ts'), spec, String(V)];
  const env = { ...process.env, TRELLIS_CACHE_DIR: cache, TRELLIS_TIME: '1' };
  const child = spawn('sh', words, { env });
  let [out, err] = ['', ''];
  child.stdout.on('data', (data) => (out += data));
  child.stderr.on('data', (data) => (err += data));
  return new Promise((resolve, reject) => {
    child.on('close', (code) => {
      const stages = [...err.matchAll(/^trellis: \S+: (\w+)/gm)].map((match) => match[1]!);
      if (code === 0) resolve({ ...(JSON.parse(out) as Omit<Called, 'stages'>), stages });
      else reject(new Error(err));
    });
  });
}

describe.skipIf(llvmMissing !== undefined || process.platform === 'win32')('processes', () => {
  test('eight that start at once on a cold cache agree in every bit, and leave one entry for each key', async () => {
    const results = await Promise.all(Array.from({ length: 8 }, () => call('rnnt', 7)));
    expect(new Set(results.map(({ hash }) => hash)).size).toBe(1);
    expect(results[0]!.cost).toBeGreaterThan(0);
    // What the spec says, the driver, and the kernels; nothing temporary.
    expect(entries()).toHaveLength(3);
    for (const name of readdirSync(cache)) expect(name).toMatch(/^[0-9a-f]{64}\.bin$/);
    // All three are whole: a ninth needs no compiler.
    const next = await call('rnnt', 7);
    expect(next).toEqual({ ...results[0], source: 'disk', stages: [] });
  });

  test('another V of a spec that was read once is compiled without reading it', async () => {
    const spec = join(root, 'own.ts');
    cpSync(here('../../specs/rnnt.ts'), spec);
    const goingOn = ['derived', 'kernels', 'llvm', 'object'];
    expect((await call(spec, 7)).stages).toEqual(['graph', 'derived', ...goingOn]);
    const other = await call(spec, 8);
    expect(other.stages).toEqual(goingOn);
    writeFileSync(spec, `${readFileSync(spec, 'utf8')}\n// a word more\n`);
    const changed = await call(spec, 8);
    expect(changed.stages).toEqual(['graph', 'derived', ...goingOn]);
    expect(changed.hash).toBe(other.hash);
  });

  test('where files can hold but a kilobyte, as on a full disk, calls go on and leave nothing half-written', async () => {
    mkdirSync(cache);
    // Without the signal a write past the limit fails like one on a full disk, in the middle of a file.
    const full = await call('rnnt', 7, "trap '' XFSZ; ulimit -f 1;");
    expect(full.source).toBe('compiled');
    expect(entries()).toEqual([]);
    expect((await call('rnnt', 7)).hash).toBe(full.hash);
  });
});

const acts = { data: Float32Array.from({ length: 24 }, (_, i) => Math.cos(i)), shape: [1, 2, 3, 4] };
const labels = [[1, 2]];

/** A loss that knows nothing yet but what is in the folder, though this process called another before. */
async function cost(cacheDir: string): Promise<{ cost: number; source: string | undefined }> {
  const loss = new RNNTLoss({ device: 'cpu', cacheDir });
  const { costs } = await loss.forward({ acts, labels });
  return { cost: costs.data[0]!, source: loss.cache.entries[0]?.source };
}

describeLlvm('damage', () => {
  const damages: [string, (file: string) => void][] = [
    ['empty', (file) => truncateSync(file, 0)],
    ['cut short', (file) => truncateSync(file, readFileSync(file).length - 1)],
    [
      'with a bit turned over',
      (file) => {
        const bytes = readFileSync(file);
        bytes[bytes.length - 100]! ^= 4;
        writeFileSync(file, bytes);
      },
    ],
    [
      'of another version of the format',
      (file) => writeFileSync(file, Buffer.concat([Buffer.from('TRELLIS0'), readFileSync(file).subarray(8)])),
    ],
    [
      'a folder',
      (file) => {
        rmSync(file);
        mkdirSync(file);
        writeFileSync(join(file, 'theirs'), 'not ours to remove');
      },
    ],
  ];
  test.each(damages)('every entry %s: all is compiled anew', async (_, damage) => {
    const good = await cost(cache);
    expect(good.source).toBe('compiled');
    for (const file of entries()) damage(file);
    // Another name for the folder is another store: nothing is remembered of the first.
    expect(await cost(`${cache}/.`)).toEqual(good);
    const isFolder = readdirSync(cache, { recursive: true }).some((name) => String(name).endsWith('theirs'));
    // Files are replaced; a folder stays where it is, and its entry is kept in memory only.
    expect(await cost(`${cache}/./.`)).toEqual({ ...good, source: isFolder ? 'compiled' : 'disk' });
  });
});

describeLlvm('folders that cannot be used', () => {
  test('below a file, in /proc: kernels are kept in memory', async () => {
    writeFileSync(join(root, 'file'), '');
    for (const folder of [join(root, 'file', 'below'), '/proc/trellis']) {
      const first = await cost(folder);
      expect(first.source).toBe('compiled');
      // In memory, another loss of this process finds them.
      expect(await cost(folder)).toEqual({ ...first, source: 'disk' });
    }
  });
});

describe('the version of the compiler', () => {
  test('is its code: any change of a file, a name or their number shows, a declaration does not', () => {
    for (const folder of ['compiler/graph', 'dsl']) mkdirSync(join(root, folder), { recursive: true });
    const write = (file: string, text: string): void => writeFileSync(join(root, file), text);
    write('compiler/graph/a.ts', 'one');
    write('dsl/b.js', 'two');
    const first = fingerprintOf(root);
    expect(first).toMatch(/^[0-9a-f]{64}$/);
    write('compiler/graph/a.d.ts', 'declares');
    expect(fingerprintOf(root)).toBe(first);
    write('compiler/graph/a.ts', 'onf');
    const changed = fingerprintOf(root);
    rmSync(join(root, 'compiler/graph/a.ts'));
    write('compiler/graph/c.ts', 'onf');
    const renamed = fingerprintOf(root);
    write('dsl/d.js', '');
    expect(new Set([first, changed, renamed, fingerprintOf(root)]).size).toBe(4);
  });
});

describeLlvm('mistakes', () => {
  test('one that shows only in the schedule has its place, also where the spec was not read again', async () => {
    const spec = join(root, 'both-ways.ts');
    cpSync(here('../schedule/mistakes/both-ways.ts'), spec);
    const messages: string[] = [];
    for (const cacheDir of [cache, `${cache}/.`]) {
      const loss = await loadLoss(spec, { device: 'cpu', cacheDir });
      const { inputs } = loss.signature;
      const tensors = Object.fromEntries(
        inputs.map(({ name, dims }) => [
          name,
          { data: new Float32Array(3 ** dims.length), shape: [1, ...dims.map(() => 3)] },
        ]),
      );
      const error = await loss.forward(tensors).catch((reason: unknown) => reason);
      expect(error).toBeInstanceOf(SpecError);
      messages.push((error as SpecError).message);
    }
    expect(messages[0]).toContain('both-ways.ts:');
    expect(messages[1]).toBe(messages[0]);
  });
});
