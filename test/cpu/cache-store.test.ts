import { spawn } from 'node:child_process';
import {
  chownSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { CacheStore, defaultCacheDirectory } from '../../runtime/cache-store.js';

let root: string;
let directory: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'trellis-cache-'));
  directory = join(root, 'made', 'on', 'demand');
});
afterEach(() => {
  vi.unstubAllEnvs();
  rmSync(root, { recursive: true });
});

const fresh = (maxBytes?: number): CacheStore => new CacheStore({ directory, ...(maxBytes ? { maxBytes } : {}) });
const files = (): string[] => readdirSync(directory).map((name) => join(directory, name));
const bytes = (...values: number[]): Uint8Array => Uint8Array.from(values);

test('what is stored comes back: at once, and in the next process', () => {
  const store = fresh();
  expect(store.isEmpty).toBe(true);
  expect(store.get('key')).toBeNull();
  store.set('key', { version: 1, names: ['a', 'ä'] }, bytes(1, 2, 3));
  expect(store.isEmpty).toBe(false);
  expect(fresh().isEmpty).toBe(false);
  expect(store.get('key')).toEqual({ metadata: { version: 1, names: ['a', 'ä'] }, payload: bytes(1, 2, 3) });
  expect(store.stats).toEqual({
    directory,
    memoryHits: 1,
    diskHits: 0,
    misses: 1,
    writes: 1,
    rejected: 0,
    evicted: 0,
    note: null,
  });
  const next = fresh();
  expect(next.get('key')).toEqual({ metadata: { version: 1, names: ['a', 'ä'] }, payload: bytes(1, 2, 3) });
  expect(next.get('another key')).toBeNull();
  expect(next.stats).toMatchObject({ diskHits: 1, misses: 1 });
  store.set('key', null, bytes());
  expect(fresh().get('key')).toEqual({ metadata: null, payload: bytes() });
  expect(files()).toHaveLength(1);
  if (process.platform !== 'win32') expect(statSync(directory).mode & 0o077).toBe(0);
});

test('keys are whole texts: long ones, and ones that differ in their last character', () => {
  const long = 'graph\n'.repeat(50_000);
  fresh().set(`${long}a`, 'a', bytes(1));
  fresh().set(`${long}b`, 'b', bytes(2));
  expect(fresh().get(`${long}a`)?.metadata).toBe('a');
  expect(fresh().get(`${long}b`)?.metadata).toBe('b');
  expect(fresh().get(long)).toBeNull();
});

test('every damaged byte makes a miss, and the next write repairs the file', () => {
  fresh().set('key', { a: 1 }, bytes(1, 2, 3, 4));
  const [file] = files();
  const good = readFileSync(file!);
  for (let at = 0; at < good.length; at++) {
    const bad = Buffer.from(good);
    bad[at]! ^= 1;
    writeFileSync(file!, bad);
    const store = fresh();
    expect(store.get('key')).toBeNull();
    expect(store.stats).toMatchObject({ rejected: 1, misses: 1 });
  }
  for (const length of [0, 1, 20, 60, good.length - 1]) {
    writeFileSync(file!, good.subarray(0, length));
    expect(fresh().get('key')).toBeNull();
  }
  const store = fresh();
  expect(store.get('key')).toBeNull();
  store.set('key', { a: 1 }, bytes(1, 2, 3, 4));
  expect(fresh().get('key')?.payload).toEqual(bytes(1, 2, 3, 4));
});

test("a file of another key under this key's name is a miss", () => {
  fresh().set('one', 1, bytes(1));
  const [one] = files();
  fresh().set('two', 2, bytes(2));
  const two = files().find((file) => file !== one)!;
  writeFileSync(one!, readFileSync(two));
  const store = fresh();
  expect(store.get('one')).toBeNull();
  expect(store.stats.rejected).toBe(1);
  expect(store.get('two')?.metadata).toBe(2);
});

test('where the folder cannot be made, memory serves and a note says so', () => {
  writeFileSync(join(root, 'file'), '');
  const store = new CacheStore({ directory: join(root, 'file', 'below') });
  expect(store.get('key')).toBeNull();
  store.set('key', 1, bytes(1));
  expect(store.get('key')?.payload).toEqual(bytes(1));
  expect(store.stats.note).toMatch(/ENOTDIR|EEXIST/);
  expect(store.stats).toMatchObject({ writes: 0, memoryHits: 1, misses: 1 });
});

test.runIf(process.getuid)("another user's folder is not used", () => {
  fresh().set('key', 1, bytes(1));
  const store = fresh();
  // Root may give the folder away; anyone else has to pretend to be another.
  if (process.getuid?.() === 0) chownSync(directory, 12345, 12345);
  else vi.spyOn(process, 'getuid').mockReturnValue(12345);
  const found = store.get('key');
  store.set('more', 1, bytes(1));
  vi.restoreAllMocks();
  expect(found).toBeNull();
  expect(files()).toHaveLength(1);
  expect(store.stats.note).toMatch(/^the folder belongs to another user \(uid \d+\), so it is not used$/);
});

test('in memory only', () => {
  const store = new CacheStore({ directory: false });
  store.set('key', 1, bytes(1));
  expect(store.get('key')?.metadata).toBe(1);
  expect(store.stats).toMatchObject({ directory: null, writes: 0, note: null });
  store.clear();
  expect(store.get('key')).toBeNull();
});

test('the oldest go when the disk has its fill; a use keeps a file young; files of others stay', () => {
  const store = fresh(25_000);
  const payload = new Uint8Array(10_000);
  store.set('old', 1, payload);
  writeFileSync(join(directory, 'README'), 'not ours');
  const [old] = files();
  store.set('older', 2, payload);
  const older = files().find((file) => file.endsWith('.bin') && file !== old)!;
  utimesSync(older, 1000, 1000);
  utimesSync(old!, 2000, 2000);
  expect(fresh().get('older')?.metadata).toBe(2); // now the younger of the two
  store.set('new', 3, payload);
  expect(store.stats.evicted).toBe(1);
  expect(fresh().get('old')).toBeNull();
  expect(fresh().get('older')?.metadata).toBe(2);
  expect(fresh().get('new')?.metadata).toBe(3);
  store.clear();
  expect(readdirSync(directory)).toEqual(['README']);
});

describe('where', () => {
  test('TRELLIS_CACHE_DIR', () => {
    vi.stubEnv('TRELLIS_CACHE_DIR', directory);
    expect(defaultCacheDirectory()).toBe(directory);
    expect(new CacheStore().stats.directory).toBe(directory);
  });
  test("else the user's cache folder", () => {
    vi.stubEnv('TRELLIS_CACHE_DIR', '');
    expect(defaultCacheDirectory()).toMatch(/trellis-jit/);
  });
});

test('eight processes at once read nothing torn', async () => {
  const script = fileURLToPath(new URL('./cache-child.ts', import.meta.url));
  const child = (seed: number): Promise<{ right: number; wrong: number }> =>
    new Promise((resolve, reject) => {
      const process_ = spawn(process.execPath, ['--import', 'tsx', script, directory, String(seed)]);
      let out = '';
      let err = '';
      process_.stdout.on('data', (data) => (out += data));
      process_.stderr.on('data', (data) => (err += data));
      process_.on('close', (code) => (code === 0 ? resolve(JSON.parse(out)) : reject(new Error(err))));
    });
  const results = await Promise.all(Array.from({ length: 8 }, (_, seed) => child(seed)));
  expect(results.reduce((sum, { wrong }) => sum + wrong, 0)).toBe(0);
  expect(results.reduce((sum, { right }) => sum + right, 0)).toBeGreaterThan(100);
  expect(files()).toHaveLength(5);
});
