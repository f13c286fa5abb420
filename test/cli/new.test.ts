/** `trellis new`: what it writes compiles, is right, and tests itself on the installed package; it overwrites nothing. */
import { execFile } from 'node:child_process';
import { cpSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { checkSpec } from '../../runtime/check/index.js';
import { readPage } from '../docs/markdown.js';
import { root, spawnTrellis, temporaryFolder } from './helpers.js';

const folder = temporaryFolder();

interface Ended {
  readonly code: number;
  readonly output: string;
}

function node(words: readonly string[], cwd: string): Promise<Ended> {
  return new Promise((resolve) => {
    const env = { ...process.env, TRELLIS_CACHE_DIR: join(folder, 'cache') };
    execFile(process.execPath, [...words], { cwd, env }, (error, stdout, stderr) => {
      resolve({ code: error === null ? 0 : Number(error.code ?? -1), output: stdout + stderr });
    });
  });
}

/** The package as npm would install it: compiled, with what `files` names, beside its dependencies. */
beforeAll(async () => {
  const home = join(folder, 'node_modules');
  const installed = join(home, 'trellis-jit');
  mkdirSync(installed, { recursive: true });
  const tsc = join(root, 'node_modules/typescript/bin/tsc');
  // Its types are checked elsewhere.
  const words = ['-p', 'tsconfig.build.json', '--noCheck', '--outDir', join(installed, 'dist')];
  const built = await node([tsc, ...words], root);
  expect(built).toEqual({ code: 0, output: '' });
  for (const entry of ['package.json', 'bin', 'specs'])
    cpSync(join(root, entry), join(installed, entry), { recursive: true });
  const { dependencies } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { dependencies: object };
  for (const name of Object.keys(dependencies)) {
    mkdirSync(dirname(join(home, name)), { recursive: true }); // a scope's folder
    symlinkSync(join(root, 'node_modules', name), join(home, name), 'junction');
  }
});

describe.each([
  ['arcs', []],
  ['equations', ['--equations']],
])('%s', (form, words) => {
  const name = `first_${form}`;

  test('writes a spec and a test, and says what to do next', async () => {
    const { code, stdout, stderr } = await spawnTrellis(['new', name, ...words], { cwd: folder });
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(readdirSync(folder)).toEqual(expect.arrayContaining([`${name}.ts`, `${name}.test.mjs`]));
    expect(stdout).toContain(`trellis check ./${name}.ts`);
    expect(stdout).toContain(`node --test ${name}.test.mjs`);
  });

  test('the spec is right', async () => {
    const report = await checkSpec(join(folder, `${name}.ts`), { devices: ['reference'], cases: 10 });
    expect(report).toMatchObject({ form, passed: true, spec: name });
    for (const { id, status, advice } of report.items) {
      expect({ id, status, advice }).toEqual({
        id,
        status: form === 'equations' && id === 'paths' ? 'skipped' : 'passed',
        advice: [],
      });
    }
  });

  test('its test passes on the installed package', async () => {
    const { code, output } = await node(['--test', `${name}.test.mjs`], folder);
    expect(output).toMatch(/pass 3/);
    expect(code).toBe(0);
  });

  test.each([
    ['the price', 'price * max(0, t - free)', 'price * max(0, t - free - 1)'],
    [
      'the blank',
      form === 'arcs' ? 'logp(t, u, blank), final' : 'acts(t, u, blank), logZ',
      form === 'arcs' ? 'logp(t, u, blank + 1), final' : 'acts(t, u, blank + 1), logZ',
    ],
  ])('and fails when %s of the spec is changed', async (_, piece, replacement) => {
    const home = join(folder, `changed-${form}`);
    mkdirSync(home, { recursive: true });
    const text = readFileSync(join(folder, `${name}.ts`), 'utf8');
    expect(text).toContain(piece);
    writeFileSync(join(home, `${name}.ts`), text.replace(piece, replacement));
    cpSync(join(folder, `${name}.test.mjs`), join(home, `${name}.test.mjs`));
    const { code, output } = await node(['--test', `${name}.test.mjs`], home);
    expect(code).toBe(1);
    expect(output).toMatch(/utterance 0, reference/);
  });
});

test('overwrites neither file, and writes none where one is in the way', async () => {
  const home = join(folder, 'taken');
  mkdirSync(home);
  writeFileSync(join(home, 'mine.test.mjs'), 'precious');
  const outcome = await spawnTrellis(['new', 'mine'], { cwd: home });
  expect(outcome).toEqual({
    code: 2,
    stdout: '',
    stderr: 'error: mine.test.mjs is there already, and stays as it is; choose another name\n',
  });
  expect(readdirSync(home)).toEqual(['mine.test.mjs']);
  expect(readFileSync(join(home, 'mine.test.mjs'), 'utf8')).toBe('precious');
});

test.each([
  ['my-loss', ' (did you mean "myLoss"?)'],
  ['my loss.ts', ' (did you mean "myLoss"?)'],
  ['../up', ' (did you mean "up"?)'],
  ['2nd', ' (did you mean "nd"?)'],
  ['_x', ' (did you mean "x"?)'],
  ['', ''],
])('%j cannot name a loss', async (name, suggestion) => {
  const home = join(folder, 'names');
  mkdirSync(home, { recursive: true });
  const { code, stderr } = await spawnTrellis(['new', name], { cwd: home });
  expect(code).toBe(2);
  expect(stderr).toBe(
    `error: ${JSON.stringify(name)} cannot name a loss${suggestion}; allowed: letters, digits and _, a letter first\n`,
  );
  expect(readdirSync(home)).toEqual([]);
});

test('the test that the guide shows passes for the loss that it shows', async () => {
  const home = join(folder, 'guide');
  mkdirSync(home);
  const { blocks } = readPage('docs/guide.md');
  for (const file of ['skim.ts', 'skim.test.mjs']) {
    const block = blocks.findLast(({ words }) => words.file === file);
    writeFileSync(join(home, file), `${block?.text}\n`);
  }
  const { code, output } = await node(['--test', 'skim.test.mjs'], home);
  expect(output).toMatch(/pass 1/);
  expect(code).toBe(0);
});
