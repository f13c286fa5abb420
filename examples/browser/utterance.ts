/** A made-up utterance: what a joint network might say of a spoken sentence, spelled letter by letter. */

export interface Utterance {
  readonly text: string;
  readonly frames: number;
  readonly vocabulary: number;
  /** [1, T, U + 1, V] */
  readonly acts: Float32Array;
  /** [1, U] */
  readonly labels: Int32Array;
}

/** Index 0 is the blank. */
const symbols = ' abcdefghijklmnopqrstuvwxyz';

/** A generator of random numbers with a seed (mulberry32), so that the page shows the same picture every time. */
function randomFrom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

/**
 * @param text letters and spaces
 * @param sharpness from 0, the network knows nothing of time, to 1, it is sure of every letter's place
 */
export function makeUtterance(text: string, frames: number, sharpness: number): Utterance {
  const random = randomFrom(7);
  const labels = Int32Array.from(text, (letter) => symbols.indexOf(letter) + 1);
  const [U, V] = [labels.length, symbols.length + 1];
  // When each letter is spoken: spaces are pauses, and speech has no even pace.
  const pace = Array.from(text, (letter) => (letter === ' ' ? 2 : 0.7 + 0.8 * random()));
  const total = pace.reduce((sum, each) => sum + each, 0);
  let spoken = 0;
  const centres = pace.map((each) => {
    spoken += each;
    return ((spoken - each / 2) / total) * frames;
  });
  const acts = new Float32Array(frames * (U + 1) * V);
  let at = 0;
  for (let t = 0; t < frames; t++) {
    for (let u = 0; u <= U; u++) {
      const due = u < U ? Math.tanh((t - centres[u]!) / 3) : -1;
      for (let v = 0; v < V; v++) acts[at + v] = 1.5 * (random() - 0.5);
      acts[at]! += 3 - 5 * sharpness * due;
      if (u < U) acts[at + labels[u]!]! += 2.5 + 5 * sharpness * due;
      at += V;
    }
  }
  return { text, frames, vocabulary: V, acts, labels };
}
