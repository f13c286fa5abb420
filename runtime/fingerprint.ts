/** What tells one version of the compiler from another: a hash of its code, so that there is no version number to forget. */
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex');

let compilerHash: string | undefined;

/** Changes whenever the compiler does: what another version of it made is never used. */
export function compilerFingerprint(): string {
  if (compilerHash === undefined) {
    const root = join(dirname(fileURLToPath(import.meta.url)), '..');
    const files: string[] = [];
    const visit = (folder: string): void => {
      for (const entry of readdirSync(folder, { withFileTypes: true })) {
        const path = join(folder, entry.name);
        if (entry.isDirectory()) visit(path);
        else if (/\.(js|ts)$/.test(entry.name) && !entry.name.endsWith('.d.ts')) files.push(path);
      }
    };
    for (const folder of ['compiler', 'dsl']) visit(join(root, folder));
    const hash = createHash('sha256');
    for (const file of files.sort()) hash.update(readFileSync(file));
    compilerHash = hash.digest('hex');
  }
  return compilerHash;
}
