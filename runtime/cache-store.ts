/**
 * Blobs that outlive the process: compiled objects by the full text they were made from.
 *
 * A file holds its whole key, so a hash collision or a file from elsewhere is a miss and never the wrong code; a checksum
 * tells torn and damaged files. Whatever goes wrong with the disk, calls go on with what is kept in memory.
 */
import { createHash, randomBytes } from 'node:crypto';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import envPaths from 'env-paths';

export type JsonValue =
  | null
  | boolean
  | number
  | string
  | readonly JsonValue[]
  | { readonly [name: string]: JsonValue };

export interface CacheEntry {
  readonly metadata: JsonValue;
  readonly payload: Uint8Array;
}

export interface CacheStoreOptions {
  /** Where; default: TRELLIS_CACHE_DIR, else the user's cache folder. `false`: in memory only. */
  readonly directory?: string | false;
  /** Bytes on disk before the least recently used files go; default 256 MiB. */
  readonly maxBytes?: number;
}

export interface CacheStoreStats {
  /** null: in memory only. */
  readonly directory: string | null;
  readonly memoryHits: number;
  readonly diskHits: number;
  readonly misses: number;
  readonly writes: number;
  /** Files that were there but damaged or not this key's; each was counted as a miss as well. */
  readonly rejected: number;
  readonly evicted: number;
  /** Why the disk is not used, or not written; null while all is well. */
  readonly note: string | null;
}

/** First bytes of a file; the digit is the format's version. */
const MAGIC = Buffer.from('TRELLIS1');
const CHECKSUM_BYTES = 32;
const LENGTHS_BYTES = 12;
const HEADER_BYTES = MAGIC.length + CHECKSUM_BYTES + LENGTHS_BYTES;
/** Files of this store, and temporary ones that a killed process left: those begin with the same name. */
const FILE_NAME = /^[0-9a-f]{64}\.bin/;
const MEMORY_BYTES = 64 * 2 ** 20;

const sha256 = (data: string | Uint8Array): Buffer => createHash('sha256').update(data).digest();

/** The folder that is used where none is named. */
export function defaultCacheDirectory(): string {
  return process.env.TRELLIS_CACHE_DIR || envPaths('trellis-jit', { suffix: '' }).cache;
}

/**
 * The file is there whole or not at all, whatever other processes do: it is written beside its place and then moved there. No
 * fsync: after a crash of the machine the checksum finds what is torn.
 */
function putFile(path: string, data: Uint8Array): void {
  const beside = `${path}.${process.pid}-${randomBytes(6).toString('hex')}`;
  try {
    writeFileSync(beside, data, { mode: 0o600, flag: 'wx' });
    renameSync(beside, path);
  } catch (error) {
    rmSync(beside, { force: true });
    throw error;
  }
}

/** With the folders above it. Node's own `recursive` never ends where a parent is there and says that it is not, as /proc does. */
export function makeFolder(path: string): void {
  if (existsSync(path)) return;
  if (!existsSync(dirname(path))) makeFolder(dirname(path));
  try {
    mkdirSync(path, { mode: 0o700 });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error; // another process was faster
  }
}

function encode(key: string, entry: CacheEntry): Buffer {
  const parts = [Buffer.from(key), Buffer.from(JSON.stringify(entry.metadata)), entry.payload];
  const lengths = Buffer.alloc(LENGTHS_BYTES);
  for (const [i, part] of parts.entries()) lengths.writeUInt32LE(part.length, 4 * i);
  const body = Buffer.concat([lengths, ...parts]);
  return Buffer.concat([MAGIC, sha256(body), body]);
}

/** null for a file that is damaged, of another format or of another key. */
function decode(file: Buffer, key: string): CacheEntry | null {
  if (file.length < HEADER_BYTES || !file.subarray(0, MAGIC.length).equals(MAGIC)) return null;
  const body = file.subarray(MAGIC.length + CHECKSUM_BYTES);
  if (!sha256(body).equals(file.subarray(MAGIC.length, MAGIC.length + CHECKSUM_BYTES))) return null;
  const [keyLength, metadataLength, payloadLength] = [0, 4, 8].map((at) => body.readUInt32LE(at)) as [
    number,
    number,
    number,
  ];
  const metadataAt = LENGTHS_BYTES + keyLength;
  const payloadAt = metadataAt + metadataLength;
  if (payloadAt + payloadLength !== body.length) return null;
  if (body.toString('utf8', LENGTHS_BYTES, metadataAt) !== key) return null;
  try {
    const metadata = JSON.parse(body.toString('utf8', metadataAt, payloadAt)) as JsonValue;
    return { metadata, payload: new Uint8Array(body.subarray(payloadAt)) };
  } catch {
    return null;
  }
}

export class CacheStore {
  readonly #directory: string | null;
  readonly #maxBytes: number;
  /** In order of use, the oldest first. */
  readonly #memory = new Map<string, CacheEntry>();
  #memoryBytes = 0;
  #counts = { memoryHits: 0, diskHits: 0, misses: 0, writes: 0, rejected: 0, evicted: 0 };
  #note: string | null = null;

  constructor(options: CacheStoreOptions = {}) {
    this.#directory = options.directory === false ? null : (options.directory ?? defaultCacheDirectory());
    this.#maxBytes = options.maxBytes ?? 256 * 2 ** 20;
  }

  get stats(): CacheStoreStats {
    return { directory: this.#directory, ...this.#counts, note: this.#note };
  }

  /** Whether nothing at all has been stored, by this process or another. */
  get isEmpty(): boolean {
    return this.#memory.size === 0 && !this.#names().some((name) => FILE_NAME.test(name));
  }

  /** What was stored under exactly this key, or null. Never throws. */
  get(key: string): CacheEntry | null {
    const kept = this.#memory.get(key);
    if (kept) {
      this.#memory.delete(key);
      this.#memory.set(key, kept);
      this.#counts.memoryHits++;
      return kept;
    }
    const found = this.#read(key);
    if (found) {
      this.#counts.diskHits++;
      this.#remember(key, found);
    } else this.#counts.misses++;
    return found;
  }

  /** Stores an entry, replacing any with this key. Never throws: where the disk refuses, `stats.note` says why. */
  set(key: string, metadata: JsonValue, payload: Uint8Array): void {
    const entry = { metadata, payload };
    this.#remember(key, entry);
    if (this.#directory === null) return;
    try {
      const data = encode(key, entry);
      makeFolder(this.#directory);
      if (!this.#isOurs()) return;
      putFile(this.#file(key), data);
      this.#counts.writes++;
      this.#evict();
    } catch (error) {
      this.#note = `not written to disk: ${(error as Error).message}`;
    }
  }

  /** Forgets everything, in memory and on disk. */
  clear(): void {
    this.#memory.clear();
    this.#memoryBytes = 0;
    for (const { path } of this.#files()) rmSync(path, { force: true });
  }

  #file(key: string): string {
    return join(this.#directory ?? '', `${sha256(key).toString('hex')}.bin`);
  }

  #read(key: string): CacheEntry | null {
    if (this.#directory === null || !this.#isOurs()) return null;
    const path = this.#file(key);
    let data: Buffer;
    try {
      data = readFileSync(path);
    } catch (error) {
      const { code, message } = error as NodeJS.ErrnoException;
      if (code !== 'ENOENT') this.#note = `not read from disk: ${message}`;
      return null;
    }
    const entry = decode(data, key);
    if (!entry) {
      this.#counts.rejected++;
      return null; // the next `set` replaces the file
    }
    try {
      const now = new Date();
      utimesSync(path, now, now); // eviction goes by last use
    } catch {
      // a read-only cache is a good cache
    }
    return entry;
  }

  /** Objects are code that will run here, so another user's folder is not taken from. A missing folder is ours to make. */
  #isOurs(): boolean {
    if (this.#directory === null || !process.getuid) return true;
    try {
      const { uid } = statSync(this.#directory);
      if (uid === process.getuid() || uid === 0) return true;
      this.#note = `the folder belongs to another user (uid ${uid}), so it is not used`;
      return false;
    } catch {
      return true;
    }
  }

  #remember(key: string, entry: CacheEntry): void {
    this.#memoryBytes += entry.payload.length - (this.#memory.get(key)?.payload.length ?? 0);
    this.#memory.delete(key);
    this.#memory.set(key, entry);
    for (const [oldest, { payload }] of this.#memory) {
      if (this.#memoryBytes <= MEMORY_BYTES || oldest === key) break;
      this.#memory.delete(oldest);
      this.#memoryBytes -= payload.length;
    }
  }

  #names(): string[] {
    if (this.#directory === null) return [];
    try {
      return readdirSync(this.#directory);
    } catch {
      return []; // no folder, no files
    }
  }

  #files(): { path: string; size: number; used: number }[] {
    const files: { path: string; size: number; used: number }[] = [];
    for (const name of this.#names()) {
      if (!FILE_NAME.test(name)) continue;
      const path = join(this.#directory ?? '', name);
      try {
        const found = statSync(path);
        // A folder of such a name is nobody's entry: it is neither read nor removed.
        if (found.isFile()) files.push({ path, size: found.size, used: found.mtimeMs });
      } catch {
        // another process has just replaced or removed it
      }
    }
    return files;
  }

  #evict(): void {
    const files = this.#files().sort((a, b) => a.used - b.used);
    let total = files.reduce((sum, { size }) => sum + size, 0);
    for (const { path, size } of files) {
      if (total <= this.#maxBytes) break;
      rmSync(path, { force: true });
      this.#counts.evicted++;
      total -= size;
    }
  }
}

const stores = new Map<string | false | undefined, CacheStore>();

/** The store of a folder (undefined: the user's): one per process, as it also remembers in memory what it read. */
export function storeFor(directory: string | false | undefined): CacheStore {
  let store = stores.get(directory);
  if (!store) {
    store = new CacheStore(directory === undefined ? {} : { directory });
    stores.set(directory, store);
  }
  return store;
}
