/** Processes that used the GPU end by themselves, without a crash, without a word, and without having disposed of anything. */
import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { missing } from './gpu.js';

const script = fileURLToPath(new URL('./exit-child.ts', import.meta.url));

interface Ending {
  readonly code: number | null;
  readonly signal: string | null;
  readonly out: string;
  readonly err: string;
}

function runToItsEnd(way: string): Promise<Ending> {
  return new Promise((resolve, reject) => {
    // Killed after a while: one that hangs is reported by its signal.
    const child = spawn(process.execPath, ['--expose-gc', '--import', 'tsx', script, way], {
      timeout: 60_000,
      killSignal: 'SIGKILL',
    });
    let [out, err] = ['', ''];
    child.stdout.on('data', (data) => (out += data));
    child.stderr.on('data', (data) => (err += data));
    child.on('error', reject);
    child.on('close', (code, signal) => resolve({ code, signal, out, err }));
  });
}

const ways: Record<string, string> = {
  plain: 'computed\n',
  pending: 'computed\nand again\n',
  collected: 'computed\n',
  destroy: 'computed\n',
  exit: 'computed\n',
  'exit-busy': 'computed\n',
};

describe.skipIf(missing !== undefined)('a process ends by itself', () => {
  test.each(Object.entries(ways))(
    '%s, four times',
    async (way, expected) => {
      for (let round = 0; round < 2; round++) {
        for (const ending of await Promise.all([runToItsEnd(way), runToItsEnd(way)])) {
          expect(ending, ending.err).toMatchObject({ code: 0, signal: null, out: expected });
        }
      }
    },
    240_000,
  );
});
