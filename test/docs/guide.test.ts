/** The reports of `trellis check` that the guide shows are those that the command prints for the guide's files. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { findLibLlvm } from '../../runtime/cpu/libllvm.js';
import { callTrellis } from '../cli/helpers.js';
import { readPage } from './markdown.js';

const folder = mkdtempSync(join(tmpdir(), 'trellis-guide-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const { blocks } = readPage('docs/guide.md');
const reports = blocks.flatMap((block, n) =>
  block.words.check === undefined ? [] : [[`line ${block.line}`, n] as const],
);
const noLlvm = 'missing' in findLibLlvm() && !process.env.TRELLIS_REQUIRE?.includes('llvm');

/** How close float32 comes and how long it takes is the machine's business. Lines are wrapped by their length, so that goes too. */
const general = (text: string): string =>
  text
    .replace(/\s+/g, ' ')
    .replace(/(costs|gradients) (within \S+?|all the same)(?=[,; ])/g, '$1 ~')
    .replace(/within \d\S*?(?=[,; ])/g, 'within ~')
    .replace(/in [\d.]+ m?s\b/g, 'in ~')
    // Central differences have some nine digits.
    .replace(/(\d\.\d{6})\d+/g, '$1')
    .trim();

describe.each(reports)('the report at %s', (_, n) => {
  test.skipIf(noLlvm)('is what trellis check prints', async () => {
    const block = blocks[n] as (typeof blocks)[number];
    const name = block.words.check as string;
    const source = blocks.slice(0, n).findLast(({ words }) => words.file === name);
    // A file of its own for each state: what was compiled before is not asked.
    const file = join(folder, `${n}-${name}`);
    writeFileSync(file, `${source?.text}\n`);
    const { code, stdout, stderr } = await callTrellis('check', file, '--no-cache');
    expect(stderr).toBe('');
    expect(general(stdout.replaceAll(file, `./${name}`))).toBe(general(block.text));
    expect(code).toBe(/^failed/m.test(block.text) ? 1 : 0);
  });
});

test('the guide shows a failing report, and one where nothing disagrees', () => {
  const texts = reports.map(([, n]) => blocks[n]?.text ?? '');
  expect(texts.some((text) => /checks failed/.test(text))).toBe(true);
  expect(texts.some((text) => /Nothing disagrees/.test(text))).toBe(true);
});
