/**
 * Makes a ragged batch of realistic size and keeps it as `.npy` files: the same bytes on every machine, because the
 * numbers come from a seeded generator written out here.
 */
import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { writeNpy } from '../runtime/cli/npy.js';

export interface RaggedShape {
  readonly B: number;
  readonly T: number;
  readonly U: number;
  readonly V: number;
  readonly seed: number;
}

/** Mulberry32: 32 bits of state, uniform in [0, 1). */
export function generator(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/**
 * Writes acts [B, T, U+1, V] (logits of about unit variance), labels [B, U] (never 0, the blank), act-lens [B] and
 * label-lens [B] into the folder, unless they are there. The first utterance has full length, the others between
 * half and all of it.
 */
export async function makeRagged(folder: string, { B, T, U, V, seed }: RaggedShape): Promise<void> {
  if (existsSync(join(folder, 'label-lens.npy'))) return; // written last
  mkdirSync(folder, { recursive: true });
  const random = generator(seed);
  const acts = new Float32Array(B * T * (U + 1) * V);
  // The sum of three uniforms, shifted and scaled to mean 0 and variance 1, is near enough to a normal variable.
  for (let i = 0; i < acts.length; i++) acts[i] = (random() + random() + random() - 1.5) * 2;
  const labels = Int32Array.from({ length: B * U }, () => 1 + Math.floor(random() * (V - 1)));
  const length = (longest: number) => (b: number) => (b === 0 ? longest : Math.ceil(longest * (0.5 + 0.5 * random())));
  const actLens = Int32Array.from({ length: B }, (_, b) => length(T)(b));
  const labelLens = Int32Array.from({ length: B }, (_, b) => length(U)(b));
  await writeNpy(join(folder, 'acts.npy'), acts, [B, T, U + 1, V]);
  await writeNpy(join(folder, 'labels.npy'), labels, [B, U]);
  await writeNpy(join(folder, 'act-lens.npy'), actLens, [B]);
  await writeNpy(join(folder, 'label-lens.npy'), labelLens, [B]);
}
