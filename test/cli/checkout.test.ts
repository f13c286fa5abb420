/** What a checkout's own settings take in, and what they leave out. */
import { copyFileSync, mkdirSync, writeFileSync } from 'node:fs';
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
