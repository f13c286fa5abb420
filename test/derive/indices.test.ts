/** Reads turned around leave indices that a person would have written. */
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { compileToGraph, printGraph } from '../../compiler/index.js';

const derived = (name: string): string =>
  printGraph(compileToGraph(fileURLToPath(new URL(`../../specs/${name}.ts`, import.meta.url))).graph);

test('what is taken away and added again is left out', () => {
  // acts(t, u - ranges(t), v) is read, so position s is read at u = s + ranges(t).
  expect(derived('pruned')).toContain('stayPosterior(t, s + ranges(t))');
  // acts(t, row - 1, v) is read, so position u is read at row u + 1.
  expect(derived('wildcard')).toContain('emitPosterior(t, u + 1)');
  for (const name of ['pruned', 'wildcard', 'constrained', 'tdt']) {
    const text = derived(name);
    expect(text).not.toMatch(/- -\d|0 - |\+ 1 - 1|- 1 \+ 1|\+ 0\b/);
  }
});

test('what is summed over for every cell is as little as it can be', () => {
  const text = derived('ctc');
  // States share their labels by twos, and of blanks there is one sum for a frame.
  expect(text).toContain('sum(U + 1, (s) => -(v === labels(s - 1) ? d_acts(t + 1, s) : 0))');
  expect(text).toMatch(/v === blank\s+\? sum\(2 \* U \+ 2/);
  expect(text).toContain('const d_acts = field([T + 1, U + 1]');
  expect(text).not.toContain('floorDiv(2 * s');
});
