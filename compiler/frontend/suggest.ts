/** "Did you mean": the nearest of some names, when one is near enough to be a slip of the fingers. */

/** Edits (insert, delete, replace, swap neighbours) from a to b. */
function distance(a: string, b: string): number {
  let beforeLast: number[] = [];
  let last = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const same = a[i - 1] === b[j - 1];
      let best = Math.min(row[j - 1]! + 1, last[j]! + 1, last[j - 1]! + (same ? 0 : 1));
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1])
        best = Math.min(best, beforeLast[j - 2]! + 1);
      row.push(best);
    }
    beforeLast = last;
    last = row;
  }
  return last[b.length]!;
}

/** The nearest name, or undefined when none is near. Case counts half. */
export function nearest(name: string, names: Iterable<string>): string | undefined {
  let best: string | undefined;
  let least = Math.max(1, Math.floor(name.length / 3)) + 0.5;
  for (const candidate of new Set(names)) {
    const exact = distance(name, candidate);
    const folded = distance(name.toLowerCase(), candidate.toLowerCase());
    const cost = (exact + folded) / 2;
    if (cost > 0 && cost < least && cost < candidate.length) {
      least = cost;
      best = candidate;
    }
  }
  return best;
}

/** 'Did you mean alpha?' or the fallback. */
export function didYouMean(name: string, names: Iterable<string>, otherwise: string): string {
  const near = nearest(name, names);
  return near ? `Did you mean ${near}?` : otherwise;
}

/** 'a, b and c'. */
export function listWords(words: readonly string[]): string {
  if (words.length <= 1) return words[0] ?? 'none';
  return `${words.slice(0, -1).join(', ')} and ${words[words.length - 1]}`;
}
