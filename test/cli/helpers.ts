/** Runs the command, as a process of its own or in this one, and writes the `.npy` files it reads. */
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, vi } from 'vitest';
import { main } from '../../runtime/cli/main.js';

export const root = fileURLToPath(new URL('../..', import.meta.url));
export const example = (name: string): string => join(root, 'examples', name);

export interface Outcome {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** A folder that goes when the tests of this file are done. */
export function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'trellis-cli-'));
  afterAll(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** `trellis words...` as a user's shell runs it. */
export function spawnTrellis(
  words: readonly string[],
  options: { cwd?: string; env?: NodeJS.ProcessEnv } = {},
): Promise<Outcome> {
  const { cwd = root, env = {} } = options;
  return new Promise((resolve) => {
    execFile(
      process.execPath,
      [join(root, 'bin', 'trellis.js'), ...words],
      { cwd, env: { ...process.env, NO_COLOR: '1', ...env }, maxBuffer: 2 ** 26 },
      (error, stdout, stderr) => {
        const code = error === null ? 0 : typeof error.code === 'number' ? error.code : -1;
        resolve({ code, stdout, stderr });
      },
    );
  });
}

/** The same without a new process: for tables of many command lines. */
export async function callTrellis(...words: string[]): Promise<Outcome> {
  let [stdout, stderr] = ['', ''];
  const out = vi.spyOn(process.stdout, 'write').mockImplementation((text) => {
    stdout += String(text);
    return true;
  });
  const err = vi.spyOn(process.stderr, 'write').mockImplementation((text) => {
    stderr += String(text);
    return true;
  });
  try {
    return { code: await main(words), stdout, stderr };
  } finally {
    out.mockRestore();
    err.mockRestore();
  }
}

export interface NumpyFile {
  /** As NumPy spells it: '<f4', '<i8', '>f4', '|b1'. */
  readonly descr: string;
  readonly shape: readonly number[];
  readonly data: ArrayBufferView;
  readonly fortran?: boolean;
  /** Major version of the format; 2 has a longer length field. */
  readonly version?: 1 | 2;
}

/** The bytes that numpy.save writes, put together here so that reader and writer are not tested against each other. */
export function numpyBytes({ descr, shape, data, fortran = false, version = 1 }: NumpyFile): Buffer {
  const tuple = shape.length === 1 ? `(${shape[0]},)` : `(${shape.join(', ')})`;
  const text = `{'descr': '${descr}', 'fortran_order': ${fortran ? 'True' : 'False'}, 'shape': ${tuple}, }`;
  const before = version === 1 ? 10 : 12;
  const padded = `${text}${' '.repeat(63 - ((before + text.length) % 64))}\n`;
  const head = Buffer.alloc(before);
  head.write('\x93NUMPY', 'latin1');
  head[6] = version;
  if (version === 1) head.writeUInt16LE(padded.length, 8);
  else head.writeUInt32LE(padded.length, 8);
  return Buffer.concat([
    head,
    Buffer.from(padded, 'latin1'),
    Buffer.from(data.buffer, data.byteOffset, data.byteLength),
  ]);
}

export function writeNumpy(path: string, file: NumpyFile): string {
  writeFileSync(path, numpyBytes(file));
  return path;
}
