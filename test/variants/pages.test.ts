/** Every spec has a page that states its inputs, parameters and defaults as they are, and is short enough to be read at once. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';
import { describe, expect, test } from 'vitest';
import { specOf } from './samples.js';

const root = fileURLToPath(new URL('../../', import.meta.url));
const names = readdirSync(join(root, 'specs')).map((file) => file.replace(/\.ts$/, ''));
const pageOf = (name: string): string => readFileSync(join(root, 'docs/losses', `${name}.md`), 'utf8');

/** Lines with code on them: everything but comments and what is empty. */
function codeLines(text: string): number {
  const file = ts.createSourceFile('spec.ts', text, ts.ScriptTarget.ES2022);
  const scanner = ts.createScanner(ts.ScriptTarget.ES2022, true, ts.LanguageVariant.Standard, text);
  const lines = new Set<number>();
  while (scanner.scan() !== ts.SyntaxKind.EndOfFileToken) {
    const [first, last] = [scanner.getTokenStart(), scanner.getTokenEnd()].map(
      (position) => file.getLineAndCharacterOfPosition(position).line,
    ) as [number, number];
    for (let line = first; line <= last; line++) lines.add(line);
  }
  return lines.size;
}

/** First two cells of each row of a page's tables. */
const tableRows = (page: string): string[][] =>
  [...page.matchAll(/^\| `(\w+)` \| ([^|]*) \|/gm)].map((match) => [match[1] as string, match[2] as string]);

describe.each(names)('%s', async (name) => {
  const { definition } = await specOf(name);

  test('its page names its inputs, parameters and statics', () => {
    const expected = [
      ...Object.entries(definition.inputs).map(([input, { element, dims }]) => [
        input,
        `[${['B', ...dims].join(', ')}] ${element === 'f32' ? 'float32' : 'int'}`,
      ]),
      ...Object.entries(definition.params).map(([param, value]) => [param, String(value)]),
      ...Object.entries(definition.statics).map(([key, value]) => [
        key,
        Array.isArray(value) ? `[${value.join(', ')}]` : String(value),
      ]),
    ];
    expect(tableRows(pageOf(name))).toEqual(expected);
  });
  test('has at most 40 lines of code', () => {
    expect(codeLines(readFileSync(join(root, 'specs', `${name}.ts`), 'utf8'))).toBeLessThanOrEqual(40);
  });
});

test('the index of losses names every page, and all links lead somewhere', () => {
  const pages = readdirSync(join(root, 'docs/losses'));
  const linksOf = (page: string): string[] =>
    [...page.matchAll(/\]\(([^)]+)\)/g)].map((match) => match[1] as string).filter((link) => !link.startsWith('http'));
  expect(linksOf(pageOf('README'))).toEqual(expect.arrayContaining(names.map((name) => `${name}.md`)));
  expect(pages.sort()).toEqual(['README.md', ...names.map((name) => `${name}.md`)].sort());
  for (const file of pages) {
    const path = join(root, 'docs/losses', file);
    const broken = linksOf(readFileSync(path, 'utf8')).filter((link) => !existsSync(join(dirname(path), link)));
    expect(broken, file).toEqual([]);
  }
});
