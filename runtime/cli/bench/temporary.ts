/** A folder for the length of some work, also where that is broken off: tensors in it may be gigabytes. */
import { mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import { join } from 'node:path';

const signals = { SIGINT: 130, SIGTERM: 143 } as const;

/** Makes a folder, does the work, and removes the folder with all that is in it. */
export async function withTemporaryFolder<Result>(
  prefix: string,
  work: (folder: string) => Promise<Result>,
): Promise<Result> {
  const folder = mkdtempSync(join(os.tmpdir(), prefix));
  const remove = () => rmSync(folder, { recursive: true, force: true });
  const stops = Object.entries(signals).map(([signal, code]) => {
    const stop = () => {
      remove();
      process.exit(code);
    };
    process.once(signal, stop);
    return () => process.off(signal, stop);
  });
  try {
    return await work(folder);
  } finally {
    for (const release of stops) release();
    remove();
  }
}
