/** Every usable libLLVM here, one a major version: the JIT's tests run with each. */
import { readdirSync, realpathSync } from 'node:fs';
import { join } from 'node:path';
import { type FoundLibrary, findLibLlvm, installHint, isLibLlvmName, usualFolders } from '../../runtime/cpu/libllvm.js';

export function usableLibraries(): FoundLibrary[] {
  const byMajor = new Map<number, FoundLibrary>();
  const consider = (env: Record<string, string | undefined>): void => {
    const found = findLibLlvm({ env });
    if ('missing' in found) return;
    const major = Number.parseInt(found.version, 10);
    if (!byMajor.has(major)) byMajor.set(major, found);
  };
  consider(process.env);
  for (const folder of usualFolders()) {
    let names: string[] = [];
    try {
      names = readdirSync(folder).filter(isLibLlvmName);
    } catch {
      continue;
    }
    for (const path of new Set(names.map((name) => join(folder, name)))) {
      try {
        consider({ TRELLIS_LIBLLVM: realpathSync(path) });
      } catch {
        // a dangling link
      }
    }
  }
  if (byMajor.size === 0) throw new Error(`these tests need libLLVM: ${installHint()}`);
  return [...byMajor.values()];
}
