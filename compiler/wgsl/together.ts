/**
 * Which kernels one module can hold. Those of one phase do not need each other, so one dispatch may run them side by side:
 * it takes as long as the longest of them rather than all of them together where each alone has too few tasks to fill a GPU.
 */
import type { Kernel, KernelProgram } from '../kernel/kernel.js';
import { storedBuffers } from './hazards.js';
import { buffersUsed } from './used.js';
import { findVectors, noVectors, type Vectors } from './vectors.js';

/** What a kernel needs to know of its buffers. */
export interface KernelUses {
  readonly used: ReadonlySet<string>;
  readonly stored: ReadonlySet<string>;
  readonly vectors: Vectors;
}

export function usesOf(program: KernelProgram, kernel: Kernel, vectors: boolean): KernelUses {
  return {
    used: buffersUsed(kernel),
    stored: storedBuffers(kernel.body),
    vectors: vectors ? findVectors(kernel, program.buffers) : noVectors,
  };
}

/**
 * Whether a module may hold all these kernels of one phase.
 * @param most storage buffers that a module can bind
 */
export function fitTogether(
  program: KernelProgram,
  kernels: readonly Kernel[],
  most: number,
  vectors: boolean,
): boolean {
  const uses = kernels.map((kernel) => usesOf(program, kernel, vectors));
  const all = new Set(uses.flatMap(({ used }) => [...used]));
  if (all.size > most) return false;
  // Single elements are never stored to a buffer bound by fours (see vectors.ts), and what one kernel stores no other touches.
  return [...all].every((buffer) => {
    const users = uses.filter(({ used }) => used.has(buffer));
    return users.length === 1 || !users.some(({ stored }) => stored.has(buffer));
  });
}
