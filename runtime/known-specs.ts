/**
 * What is known of a spec without reading it: its arguments and its equations, as an earlier reading left them. The
 * shipped specs are read when the package is built, and lie beside the code; others once per machine, and lie in the cache.
 *
 * Both hold only while every file of the spec is what it was, and for the version of the compiler that read it.
 */
import { readFileSync, realpathSync } from 'node:fs';
import { basename, join, relative, sep } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { PackedSpec } from '../compiler/compile.js';
import type { CacheStore, JsonValue } from './cache-store.js';
import { outline } from './compiler/compile.js';
import type { SpecOutline, WantedSpec } from './compiler/protocol.js';
import { outlineAsync } from './compiler/service.js';
import type { DeviceOptions } from './device.js';
import { compilerFingerprint, sha256 } from './fingerprint.js';
import { packageRoot } from './package.js';
import type { SpecSignature } from './signature.js';

interface FileHash {
  /** Absolute. */
  readonly path: string;
  readonly hash: string;
}

/** A spec as it was read. */
export interface KnownSpec {
  readonly signature: SpecSignature;
  /** The files it is made of. */
  readonly files: readonly FileHash[];
  readonly equations: PackedSpec;
}

/** Hash of all the source there is to a spec. */
export const sourceHash = (files: KnownSpec['files']): string =>
  sha256(files.map(({ path, hash }) => `${path} ${hash}`).join('\n'));

export const hashesOf = (files: SpecOutline['files']): KnownSpec['files'] =>
  files.map(({ path, text }) => ({ path, hash: sha256(text) }));

/** A spec that is known, or is read now, off the event loop's thread. @throws SpecError for a mistake in it. */
export async function openSpec(wanted: WantedSpec, store: CacheStore): Promise<KnownSpec> {
  return recall(wanted, store) ?? remember(wanted, store, await outlineAsync(wanted));
}

/** The same on this thread. */
export function openSpecSync(wanted: WantedSpec, store: CacheStore): KnownSpec {
  return recall(wanted, store) ?? remember(wanted, store, outline(wanted));
}

/** Whose stages are to be seen is read anew. */
const wantsStages = (): boolean => Boolean(process.env.TRELLIS_DUMP);

function recall(wanted: WantedSpec, store: CacheStore): KnownSpec | undefined {
  if (wantsStages()) return undefined;
  // Shipped specs are read with their own statics.
  const prebuilt = Object.keys(wanted.statics).length === 0 ? shipped(wanted.file) : undefined;
  return prebuilt ?? fromStore(wanted, store);
}

/** A spec as a device was asked for it. */
export const wantedSpec = (file: string, { statics = {} }: Pick<DeviceOptions, 'statics'>): WantedSpec => ({
  file,
  statics,
});

/** A line of a key; none for the spec's own statics. */
export const staticsKey = (statics: WantedSpec['statics']): string => {
  const given = Object.entries(statics).sort(([a], [b]) => (a < b ? -1 : 1));
  return given.length === 0 ? '' : `\n${JSON.stringify(given)}`;
};

const recordKey = ({ file, statics }: WantedSpec): string =>
  `spec\n${compilerFingerprint()}\n${file}\n${sha256(readFileSync(file, 'utf8'))}${staticsKey(statics)}`;

function fromStore(wanted: WantedSpec, store: CacheStore): KnownSpec | undefined {
  const entry = store.get(recordKey(wanted));
  const known = entry?.metadata as unknown as KnownSpec | undefined;
  return known && isUnchanged(known) ? known : undefined;
}

function remember(wanted: WantedSpec, store: CacheStore, { signature, files, equations }: SpecOutline): KnownSpec {
  const known: KnownSpec = { signature, files: hashesOf(files), equations };
  store.set(recordKey(wanted), known as unknown as JsonValue, new Uint8Array(0));
  return known;
}

function isUnchanged({ files }: KnownSpec): boolean {
  try {
    return files.every(({ path, hash }) => sha256(readFileSync(path, 'utf8')) === hash);
  } catch {
    return false; // a file it imported is gone: reading the spec will say so
  }
}

/** What the build writes for a shipped spec. Paths are relative to the package, with slashes. */
interface Prebuilt extends KnownSpec {
  readonly compiler: string;
}

/** Beside the built code; a checkout has none, where sources change. */
export const prebuiltFolder = fileURLToPath(new URL('../graphs/', import.meta.url));

const prebuiltFile = (spec: string, folder: string): string => join(folder, `${basename(spec, '.ts')}.json`);

/**
 * The record of a shipped spec, if the package was built with one and neither the spec nor the compiler was changed since.
 * @param file absolute path of the spec
 */
export function shipped(file: string, folder = prebuiltFolder): KnownSpec | undefined {
  const root = packageRoot();
  if (!file.startsWith(join(root, 'specs') + sep)) return undefined;
  let prebuilt: Prebuilt;
  try {
    prebuilt = JSON.parse(readFileSync(prebuiltFile(file, folder), 'utf8')) as Prebuilt;
  } catch {
    return undefined; // a checkout, or a damaged package: reading the spec gives the same
  }
  const { compiler, signature, files, equations } = prebuilt;
  if (compiler !== compilerFingerprint()) return undefined;
  // As a reading names them, so that what was compiled of either serves both.
  const known = {
    signature,
    equations,
    files: files.map(({ path, hash }) => ({ path: realPath(join(root, path)), hash })),
  };
  return isUnchanged(known) ? known : undefined;
}

function realPath(path: string): string {
  try {
    return realpathSync(path);
  } catch {
    return path;
  }
}

/** The text and name of a shipped spec's record, for the build. @throws SpecError */
export function prebuild(file: string, folder: string): { readonly path: string; readonly text: string } {
  const { signature, files, equations } = outline({ file, statics: {} });
  const root = realpathSync(packageRoot());
  const relativePath = (path: string): string => relative(root, path).split(sep).join('/');
  const prebuilt: Prebuilt = {
    compiler: compilerFingerprint(),
    signature,
    files: hashesOf(files).map(({ path, hash }) => ({ path: relativePath(path), hash })),
    equations,
  };
  return { path: prebuiltFile(file, folder), text: JSON.stringify(prebuilt) };
}
