/**
 * What this machine can run. Tests of native code are of the lane 'llvm': without libLLVM they are skipped, and the run
 * ends by saying so (see lanes-report.ts), or they fail where TRELLIS_REQUIRE, a list as in 'llvm,webgpu', names the lane.
 */
import { readdirSync, realpathSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'vitest';
import { type FoundLibrary, findLibLlvm, isLibLlvmName, usualFolders } from '../runtime/cpu/libllvm.js';

/** Whether TRELLIS_REQUIRE names the lane. */
export const required = (lane: string): boolean =>
  (process.env.TRELLIS_REQUIRE ?? '').split(',').some((name) => name.trim() === lane);

const found = findLibLlvm();

/** Why there is no native code here; undefined where there is. */
export const llvmMissing: string | undefined = 'missing' in found ? `${found.missing}; ${found.advice}` : undefined;

if (llvmMissing !== undefined && required('llvm')) {
  throw new Error(`TRELLIS_REQUIRE=${process.env.TRELLIS_REQUIRE} needs libLLVM: ${llvmMissing}`);
}

/** `describe` and `test` of what compiles or runs native code. Their bodies are read even where they are skipped. */
export const describeLlvm: ReturnType<typeof describe.skipIf> = describe.skipIf(llvmMissing !== undefined);
export const testLlvm: ReturnType<typeof test.skipIf> = test.skipIf(llvmMissing !== undefined);

/**
 * Every usable libLLVM of this machine, one a major version: the JIT's tests run with each. With TRELLIS_LIBLLVM only the one
 * it names. Where there is none, a stand-in whose tests are skipped but counted.
 */
export const libraries: readonly FoundLibrary[] = (() => {
  if ('missing' in found) return [{ path: '', version: 'missing', refused: [] }];
  const byMajor = new Map([[Number.parseInt(found.version, 10), found]]);
  const paths = process.env.TRELLIS_LIBLLVM ? [] : usualFolders().flatMap(librariesIn);
  for (const path of new Set(paths)) {
    const one = findLibLlvm({ env: { TRELLIS_LIBLLVM: path } });
    if ('missing' in one) continue;
    const major = Number.parseInt(one.version, 10);
    if (!byMajor.has(major)) byMajor.set(major, one);
  }
  return [...byMajor.values()];
})();

function librariesIn(folder: string): string[] {
  const resolved = (path: string): string[] => {
    try {
      return [realpathSync(path)];
    } catch {
      return []; // a dangling link
    }
  };
  try {
    return readdirSync(folder)
      .filter(isLibLlvmName)
      .flatMap((name) => resolved(join(folder, name)));
  } catch {
    return []; // not this distribution
  }
}
