/** Runs once, around the whole suite: the last words of a run that skipped a lane say what was skipped, and what to type. */
import { findLibLlvm } from '../runtime/cpu/libllvm.js';

export function teardown(): void {
  const found = findLibLlvm();
  if ('path' in found) return;
  process.stderr.write(`\nSKIPPED: every test of native code (the cpu device). ${found.missing}; ${found.advice}\n`);
}
