/** What tells one version of the compiler from another: a hash of its code, so that there is no version number to forget. */
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex');

let compilerHash: string | undefined;

/** Changes whenever the compiler does: what another version of it made is never used. */
export function compilerFingerprint(): string {
  compilerHash ??= fingerprintOf(join(dirname(fileURLToPath(import.meta.url)), '..'));
  return compilerHash;
}

/** Hash of the names and contents of the compiler's code below a folder that holds `compiler/` and `dsl/`. */
export function fingerprintOf(root: string): string {
  const files: string[] = [];
  const visit = (folder: string): void => {
    for (const entry of readdirSync(join(root, folder), { withFileTypes: true })) {
      const path = `${folder}/${entry.name}`;
      if (entry.isDirectory()) visit(path);
      else if (/\.(js|ts)$/.test(entry.name) && !entry.name.endsWith('.d.ts')) files.push(path);
    }
  };
  for (const folder of ['compiler', 'dsl']) visit(folder);
  const hash = createHash('sha256');
  for (const file of files.sort()) hash.update(`${file}\n`).update(readFileSync(join(root, file)));
  return hash.digest('hex');
}
