/** `trellis align`: what it prints, the JSON, the drawings, and what it refuses. */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { loadLoss } from '../../runtime/index.js';
import { callTrellis, spawnTrellis, temporaryFolder, writeNumpy } from './helpers.js';

const folder = temporaryFolder();
const file = (name: string): string => join(folder, name);

/** Two utterances whose labels are plain to see: each has its frame. */
const [B, T, U, V] = [2, 12, 3, 5];
const actLens = [12, 9];
const labelLens = [3, 2];
const labels = [3, 1, 4, 2, 2, 0];
const frames = [
  [2, 5, 9],
  [1, 6],
];
const acts = new Float32Array(B * T * (U + 1) * V);
for (let b = 0; b < B; b++)
  for (let t = 0; t < T; t++)
    for (let u = 0; u <= U; u++) {
      const symbol = frames[b]?.[u] === t ? labels[b * U + u]! : 0;
      acts[((b * T + t) * (U + 1) + u) * V + symbol] = 6;
    }
writeNumpy(file('acts.npy'), { descr: '<f4', shape: [B, T, U + 1, V], data: acts });
writeNumpy(file('labels.npy'), { descr: '<i4', shape: [B, U], data: Int32Array.from(labels) });
writeNumpy(file('t.npy'), { descr: '<i4', shape: [B], data: Int32Array.from(actLens) });
writeNumpy(file('u.npy'), { descr: '<i4', shape: [B], data: Int32Array.from(labelLens) });
const tensors = ['--acts', 'acts', '--labels', 'labels', '--act-lens', 't', '--label-lens', 'u'].map((word) =>
  word.startsWith('--') ? word : file(`${word}.npy`),
);
const align = (...words: string[]) => callTrellis('align', 'rnnt', ...tensors, '--device', 'reference', ...words);

test('prints the frames of every label', async () => {
  writeFileSync(file('tokens.txt'), '<blk> 0\nk 3\nae 1\nt 4\na 2\n');
  const { code, stdout, stderr } = await align('--tokens', file('tokens.txt'));
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  const rows = stdout.split('\n').map((line) => line.trim().split(/\s+/));
  expect(rows.filter(([n]) => /^\d$/.test(n ?? '')).map(([, ...row]) => row.slice(0, 4))).toEqual([
    ['3', 'k', '2', '2'],
    ['1', 'ae', '5', '5'],
    ['4', 't', '9', '9'],
    ['2', 'a', '1', '1'],
    ['2', 'a', '6', '6'],
  ]);
  const one = await align('--utterance', '1');
  expect(one.stdout).not.toContain('utterance 0 ');
  expect(one.stdout).toContain('utterance 1  score');
});

test('--json says all of it, as align() does', async () => {
  const { stdout } = await align('--json');
  const said = JSON.parse(stdout) as { scores: number[]; alignments: unknown[] };
  const loss = await loadLoss('rnnt', { device: 'reference' });
  const result = await loss.align({
    acts: { data: acts, shape: [B, T, U + 1, V] },
    labels: { data: Int32Array.from(labels), shape: [B, U] },
    actLens,
    labelLens,
  });
  expect(said.scores).toEqual([...result.scores.data]);
  expect(said.alignments).toEqual(JSON.parse(JSON.stringify(result.alignments)));
});

describe('--plot', () => {
  test('an SVG shows the labels, the path and the shades', async () => {
    writeFileSync(file('names.txt'), ['-', 'one', 'two', 'three', '<four>'].join('\n'));
    const words = ['--plot', file('a.svg'), '--tokens', file('names.txt')];
    expect(await align(...words)).toMatchObject({ code: 0, stderr: '' });
    const svg = readFileSync(file('a.svg'), 'utf8');
    expect(svg).toMatch(/^<\?xml[^>]*>\n<svg[^>]*xmlns="http:\/\/www.w3.org\/2000\/svg"/);
    for (const text of ['three', 'one', '&lt;four&gt;', 'rnnt, utterance 0: score', 'frame'])
      expect(svg).toContain(text);
    // 12 blanks and 3 labels: 15 nodes.
    expect(svg.match(/<circle/g)).toHaveLength(15);
    expect(svg.match(/<rect/g)!.length).toBeGreaterThan(14);
  });

  test('a PNG is one', async () => {
    expect(await align('--plot', file('b.png'), '--utterance', '1')).toMatchObject({ code: 0, stderr: '' });
    const bytes = readFileSync(file('b.png'));
    expect(bytes.subarray(1, 4).toString()).toBe('PNG');
    expect(bytes.length).toBeGreaterThan(2000);
  });

  test('a long lattice is drawn in few rectangles', async () => {
    const [frames, count] = [700, 200];
    writeNumpy(file('long.npy'), {
      descr: '<f4',
      shape: [1, frames, count + 1, 2],
      data: new Float32Array(frames * (count + 1) * 2),
    });
    writeNumpy(file('ones.npy'), { descr: '<i4', shape: [1, count], data: new Int32Array(count).fill(1) });
    const words = ['--acts', file('long.npy'), '--labels', file('ones.npy'), '--plot', file('long.svg')];
    expect(await callTrellis('align', 'rnnt', ...words)).toMatchObject({ code: 0 });
    expect(readFileSync(file('long.svg'), 'utf8').match(/<rect/g)!.length).toBeLessThan(240 * 120);
  });
});

test('no path, and a shell of its own', async () => {
  writeNumpy(file('none.npy'), { descr: '<i4', shape: [B], data: Int32Array.of(0, 9) });
  const words = ['align', 'monotonic', ...tensors, '--act-lens', file('none.npy'), '--device', 'reference'];
  const { code, stdout } = await spawnTrellis(words);
  expect(code).toBe(0);
  expect(stdout).toContain('utterance 0  no path');
  expect(stdout).toMatch(/utterance 1 {2}score -/);
});

test.each<[string, string[], RegExp]>([
  [
    'a drawing of another kind',
    ['--plot', file('a.pdf')],
    /--plot .*a\.pdf: expected a file name that ends in \.svg or \.png/,
  ],
  ['a folder that is not there', ['--plot', file('no/a.svg')], /--plot/],
  ['an utterance too far', ['--utterance', '2'], /--utterance 2: the batch has 2 utterances, 0 to 1/],
  ['an utterance that is no number', ['--utterance', 'x'], /--utterance/],
  ['tokens that are not there', ['--tokens', file('none.txt')], /--tokens .*none\.txt: ENOENT/],
])('refused: %s', async (_what, words, message) => {
  const { code, stdout, stderr } = await align(...words);
  expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
  expect(stderr).toMatch(message);
  expect(existsSync(file('a.pdf'))).toBe(false);
});

test('refused: a spec in equations', async () => {
  const { code, stderr } = await callTrellis('align', 'rnnt-equations', ...tensors, '--device', 'reference');
  expect(code).toBe(2);
  expect(stderr).toMatch(/rnnt-equations is written in equations: only a spec that states arcs/);
});
