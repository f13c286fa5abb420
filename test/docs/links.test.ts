/** Every link of the documentation leads somewhere: to a file that is there, and to a heading that is in it. */
import { existsSync, readdirSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { describe, expect, test } from 'vitest';
import { anchorOf, linksOf, readPage, root } from './markdown.js';

const pages = [
  'README.md',
  'examples/README.md',
  ...readdirSync(join(root, 'docs'))
    .filter((name) => name.endsWith('.md'))
    .map((name) => `docs/${name}`),
];

describe.each(pages)('%s', (path) => {
  const page = readPage(path);

  test('links', () => {
    const broken = linksOf(page).filter(({ target }) => {
      if (/^https?:/.test(target)) return false;
      const [file = '', anchor] = target.split('#');
      const full = file === '' ? join(root, path) : join(root, dirname(path), file);
      if (!existsSync(full)) return true;
      if (anchor === undefined) return false;
      const headings = readPage(relative(root, full)).prose.filter(({ text }) => /^#+ /.test(text));
      return !headings.some(({ text }) => anchorOf(text.replace(/^#+ /, '')) === anchor);
    });
    expect(broken).toEqual([]);
  });

  test('paths of sources that it names', () => {
    const named = page.prose.flatMap(({ line, text }) =>
      [...text.matchAll(/`((?:dsl|compiler|runtime|specs|test|scripts|examples|docs|bench)\/[\w./-]*)`/g)].map(
        (match) => ({ line, target: match[1] as string }),
      ),
    );
    expect(
      named.filter(({ target }) => !existsSync(join(root, target)) && !/^examples\/generated/.test(target)),
    ).toEqual([]);
  });
});

test('the index of docs/ names every page', () => {
  const listed = linksOf(readPage('docs/README.md')).map(({ target }) => target);
  const there = readdirSync(join(root, 'docs')).filter((name) => name.endsWith('.md') && name !== 'README.md');
  expect(listed).toEqual(expect.arrayContaining(there));
});
