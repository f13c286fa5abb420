/** What a checkout's own settings take in, and what they leave out. */
import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import ts from 'typescript';
import { expect, test } from 'vitest';
import { root, temporaryFolder } from './helpers.js';

test('the type check leaves out what examples generate, which is not in git', () => {
  const checkout = temporaryFolder();
  copyFileSync(join(root, 'tsconfig.json'), join(checkout, 'tsconfig.json'));
  mkdirSync(join(checkout, 'examples', 'generated', 'deep'), { recursive: true });
  for (const file of ['examples/mine.ts', 'examples/generated/made.ts', 'examples/generated/deep/made.ts'])
    writeFileSync(join(checkout, file), 'const wrong: number = "text";\n');
  const { config } = ts.readConfigFile(join(checkout, 'tsconfig.json'), ts.sys.readFile);
  const { fileNames } = ts.parseJsonConfigFileContent(config, ts.sys, checkout);
  expect(fileNames.map((file) => relative(checkout, file))).toEqual([join('examples', 'mine.ts')]);
});

test('the table of npm start fits 100 columns, and the README shows the one it prints', () => {
  const [, shown = ''] = /^`npm start` printed this .*:\n\n```text\n([\s\S]*?)```$/m.exec(
    readFileSync(join(root, 'README.md'), 'utf8'),
  ) as RegExpExecArray;
  const lines = shown.split('\n');
  expect(lines.filter((line) => line.length > 100)).toEqual([]);
  // Headings and legend, word for word.
  const source = readFileSync(join(root, 'examples/main.ts'), 'utf8');
  const [, head = ''] = /printTable\(\[(.*)\], rows\)/.exec(source) as RegExpExecArray;
  expect(lines[1]?.trim().split(/ +/)).toEqual([...head.matchAll(/'(\w+)'/g)].map((match) => match[1]));
  const [, legend = ''] = /print\(`\n([\s\S]*?)`\);/.exec(source) as RegExpExecArray;
  expect(shown).toContain(legend.replace(/\$\{.*\}/, 'cpu'));
});
