/** The scripts around the suite: when packages are installed anew, and what the check script counts. */
import { spawnSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { describe, expect, test } from 'vitest';
import { root, temporaryFolder } from './helpers.js';

const folder = temporaryFolder();

describe('whyInstall', async () => {
  const { whyInstall } = (await import(pathToFileURL(join(root, 'scripts', 'setup.mjs')).href)) as {
    whyInstall: (folder?: string) => string | null;
  };
  type Packages = Record<string, { version: string; optional?: boolean }>;
  const wanted: Packages = {
    '': { version: '0.1.0' },
    'node_modules/a': { version: '1.0.0' },
    'node_modules/@s/b': { version: '2.0.0' },
    'node_modules/other-platform': { version: '3.0.0', optional: true },
  };
  let count = 0;
  function checkout(present: Packages | null): string {
    const path = join(folder, `checkout-${count++}`);
    mkdirSync(join(path, 'node_modules'), { recursive: true });
    writeFileSync(join(path, 'package-lock.json'), JSON.stringify({ packages: wanted }));
    if (present) writeFileSync(join(path, 'node_modules', '.package-lock.json'), JSON.stringify({ packages: present }));
    return path;
  }
  const a = { 'node_modules/a': { version: '1.0.0' } };
  const b = { 'node_modules/@s/b': { version: '2.0.0' } };

  test.each<[string, Packages | null, string | null]>([
    ['nothing is installed', null, 'node_modules is missing'],
    ['all is there, but for another platform', { ...a, ...b }, null],
    ['a package is missing', a, '@s/b 2.0.0 is not installed'],
    ['a package is old', { ...b, 'node_modules/a': { version: '0.9.0' } }, 'a is 0.9.0, package-lock.json says 1.0.0'],
  ])('%s', (_what, present, why) => {
    expect(whyInstall(checkout(present))).toBe(why);
  });

  test('this checkout is as package-lock.json says', () => {
    expect(whyInstall()).toBe(null);
  });
});

describe('count-tests', () => {
  let count = 0;
  const result = (status: string) => ({ status, fullName: `a ${status} test` });
  function report(passed: number, failed: number, pending: number, unloaded = false): string {
    const path = join(folder, `report-${count++}.json`);
    const assertionResults = [
      ...Array.from({ length: passed }, () => result('passed')),
      ...Array.from({ length: failed }, () => result('failed')),
      ...Array.from({ length: pending }, () => result('pending')),
    ];
    const testResults = [
      { name: 'x.test.ts', status: failed > 0 ? 'failed' : 'passed', assertionResults },
      ...(unloaded ? [{ name: 'y.test.ts', status: 'failed', message: 'no such module', assertionResults: [] }] : []),
    ];
    const numbers = { numPassedTests: passed, numFailedTests: failed, numPendingTests: pending, numTodoTests: 0 };
    writeFileSync(path, JSON.stringify({ ...numbers, testResults }));
    return path;
  }

  test.each<[string, () => string[], string, number]>([
    ['all passed', () => [report(3, 0, 0), report(4, 0, 0)], '7 passed, 0 failed', 0],
    ['some skipped', () => [report(3, 0, 2)], '3 passed, 0 failed, 2 skipped', 0],
    ['one failed', () => [report(3, 1, 0), '--', 'npm test'], '3 passed, 1 failed', 1],
    ['a file that cannot be loaded', () => [report(3, 0, 0, true)], '3 passed, 1 failed', 1],
    ['another step failed', () => [report(3, 0, 0), '--', 'lint', 'types'], '3 passed, 2 failed', 1],
    ['the suite crashed after its report', () => [report(3, 0, 0), '--', 'npm test'], '3 passed, 1 failed', 1],
    ['no report', () => [report(3, 0, 0), join(folder, 'none.json')], '3 passed, 1 failed', 1],
    ['no tests at all', () => [report(0, 0, 0)], '0 passed, 0 failed', 1],
  ])('%s', (_what, words, last, code) => {
    const run = spawnSync(process.execPath, [join(root, 'scripts', 'count-tests.mjs'), ...words()], {
      encoding: 'utf8',
    });
    expect(run.stdout.trim().split('\n').at(-1)).toBe(last);
    expect(run.status).toBe(code);
  });
});
