/** `trellis build`: what it writes, what it says, and what it refuses. */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { expect, test } from 'vitest';
import type { LossModule } from '../../runtime/browser/module.js';
import { callTrellis, spawnTrellis, temporaryFolder } from '../cli/helpers.js';

const folder = temporaryFolder();
const load = (path: string): Promise<Record<string, LossModule>> => import(pathToFileURL(path).href);

test('writes a module without imports, and its types', async () => {
  const out = join(folder, 'deep', 'losses.js');
  const { code, stdout, stderr } = await spawnTrellis(['build', 'rnnt', 'rnnt-normalized', '--out', out]);
  expect([code, stderr]).toEqual([0, '']);
  expect(stdout).toMatch(/^rnnt: any V, loss and gradients, \d+ WGSL modules\nrnntNormalized: any V, /);
  const text = readFileSync(out, 'utf8');
  expect(text).not.toMatch(/^\s*(import|.*require\()/m);
  const modules = await load(out);
  expect(Object.keys(modules).sort()).toEqual(['rnnt', 'rnntNormalized']);
  expect(modules.rnnt!.signature.inputs.map(({ name }) => name)).toEqual(['acts', 'labels']);
  expect(modules.rnnt!.programs.map(({ gradients, target }) => [gradients, target.subgroups])).toEqual([
    [true, true],
    [true, false],
    [false, true],
    [false, false],
  ]);
  const declarations = readFileSync(join(folder, 'deep', 'losses.d.ts'), 'utf8');
  expect(declarations).toContain("import type { LossModule } from 'trellis-jit/browser';");
  expect(declarations).toContain('export declare const rnntNormalized: LossModule;');
  expect(declarations).toContain(
    'acts: float [B, T, U+1, V], labels: int [B, U], actLens: int [B], labelLens: int [B]',
  );

  // The same command writes the same bytes.
  const again = join(folder, 'again.js');
  await spawnTrellis(['build', 'rnnt', 'rnnt-normalized', '--out', again]);
  expect(readFileSync(again, 'utf8')).toBe(text);
});

test('one loss is the default export as well; sizes and the score alone can be chosen', async () => {
  const out = join(folder, 'one.mjs');
  const { code, stdout } = await callTrellis('build', 'rnnt', '--size', 'V=500,any', '--no-grads', '--out', out);
  expect(code).toBe(0);
  expect(stdout).toMatch(/^rnnt: V = 500 or any, loss, /);
  const { default: module, rnnt } = await load(out);
  expect(module).toBe(rnnt);
  expect(rnnt!.programs.map(({ sizes, gradients }) => [sizes.V, gradients])).toEqual([
    [500, false],
    [500, false],
    [undefined, false],
    [undefined, false],
  ]);
  expect(readFileSync(join(folder, 'one.d.mts'), 'utf8')).toContain('export default rnnt;');
});

test('text that JavaScript would read in a template is written so that it comes back as it was', async () => {
  const spec = join(folder, 'odd-name.ts');
  writeFileSync(
    spec,
    `import { defineLoss, f32, field, sum } from 'trellis-jit/dsl';
export default defineLoss(
  { name: 'delete', doc: 'Sum \`of\` \${all} */ rows', inputs: { acts: f32('T', 'V') } },
  ({ acts, T, V }) => {
    const row = field([T], (t) => sum(V, (v) => acts(t, v)));
    return { loss: sum(T, (t) => row(t)), gradients: { acts: field([T, V], (t, v) => 1 + 0 * acts(t, v)) } };
  },
);
`,
  );
  const out = join(folder, 'odd.js');
  const { code, stderr } = await callTrellis('build', spec, '--out', out);
  expect([code, stderr]).toEqual([0, '']);
  const { _delete: module } = await load(out);
  expect(module!.signature.doc).toBe(`Sum \`of\` \${all} */ rows`);
  expect(module!.texts.every((text) => text.includes('@compute'))).toBe(true);
});

test.each([
  [['rnnt', '--out', 'losses.ts'], '--out losses.ts: expected a file name that ends in .js or .mjs'],
  [['rnnt'], "required option '--out <file>' not specified"],
  [['rnnt', '--size', 'T=5', '--out', 'x.js'], '--size T: no size that utterances share has this name; there are: V'],
  [['rnnt', '--size', 'V=0', '--out', 'x.js'], '--size V: 0 is not an integer of at least 1'],
  [['rnnt', '--size', 'V', '--out', 'x.js'], '--size V: expected name=n'],
  [['rnnt', '--size', 'V=2', '--size', 'V=3', '--out', 'x.js'], '--size: V is given twice'],
  [['rnnt', './specs/rnnt.ts', '--out', 'x.js'], 'two of the specs would be exported as rnnt'],
  [['rnn', '--out', 'x.js'], '"rnn" is not a shipped spec (did you mean "rnnt"?)'],
])('refuses %j', async (words, message) => {
  const { code, stdout, stderr } = await callTrellis('build', ...words);
  expect(stderr).toContain(message);
  expect([code, stdout]).toEqual([2, '']);
  expect(existsSync('x.js')).toBe(false);
});

test('a mistake in a spec is shown, and nothing is written', async () => {
  const spec = join(folder, 'wrong.ts');
  writeFileSync(
    spec,
    `import { defineLoss, f32 } from 'trellis-jit/dsl';
export default defineLoss({ name: 'wrong', inputs: { acts: f32('T') } }, ({ acts }) => ({ loss: acts(0, 1), gradients: {} }));
`,
  );
  const out = join(folder, 'wrong.js');
  const { code, stderr } = await callTrellis('build', 'rnnt', spec, '--out', out);
  expect(code).toBe(2);
  expect(stderr).toMatch(/wrong\.ts:2:\d+ .*acts/);
  expect(existsSync(out)).toBe(false);
});
