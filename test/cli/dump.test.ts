/** What dumps write, and where: the same text under the same name, whether the command or the environment asks. */
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { stageFile, stageNames } from '../../compiler/trace.js';
import { testLlvm } from '../lanes.js';
import { callTrellis, spawnTrellis, temporaryFolder } from './helpers.js';

const folder = temporaryFolder();

test('files are named after the spec, with the suffix that tools expect', () => {
  expect(stageNames.map((stage) => stageFile('rnnt', stage))).toEqual([
    'rnnt-1-graph.txt',
    'rnnt-2-derived.txt',
    'rnnt-3-kernels.txt',
    'rnnt-4-llvm.ll',
    'rnnt-5-llvm-opt.ll',
    'rnnt-6-asm.s',
    'rnnt-7-wgsl.wgsl',
  ]);
});

describe('--out beside TRELLIS_DUMP and TRELLIS_TIME', () => {
  testLlvm('every stage is computed once; both write the same', async () => {
    const [asked, traced] = [join(folder, 'asked'), join(folder, 'traced')];
    const { code, stdout, stderr } = await spawnTrellis(['dump', 'monotonic', '--out', asked], {
      env: { TRELLIS_DUMP: traced, TRELLIS_TIME: '1' },
    });
    expect(code).toBe(0);
    const files = stageNames.map((stage) => stageFile('monotonic', stage));
    expect(stdout.trim().split('\n')).toEqual(files.map((file) => join(asked, file)));
    expect(readdirSync(asked).sort()).toEqual(files);
    // The runtime's own stages are none of the compiler's.
    expect(readdirSync(traced).sort()).toEqual(files.slice(0, 4));
    for (const file of files.slice(0, 4))
      expect(readFileSync(join(traced, file), 'utf8')).toBe(readFileSync(join(asked, file), 'utf8'));
    const timed = [...stderr.matchAll(/^trellis: monotonic: (\S+) +[\d.]+ ms$/gm)].map((match) => match[1]);
    expect(timed).toEqual(['graph', 'derived', 'kernels', 'llvm']);
  });

  test('a spec that has a name other than its file goes by its name', async () => {
    const [home, traced] = [join(folder, 'elsewhere'), join(folder, 'traced-elsewhere')];
    mkdirSync(home);
    writeFileSync(
      join(home, 'file.ts'),
      `import { defineLoss, f32 } from 'trellis-jit/dsl';
export default defineLoss({ name: 'first', inputs: { steps: f32('N', 'V') } }, ({ steps }) => ({ loss: steps(0, 0), gradients: {} }));
`,
    );
    const words = ['dump', join(home, 'file.ts'), '--stage', 'llvm', '--target', 'avx2'];
    const { code } = await spawnTrellis(words, { env: { TRELLIS_DUMP: traced } });
    expect(code).toBe(0);
    expect(readdirSync(traced).sort()).toEqual([
      'first-1-graph.txt',
      'first-2-derived.txt',
      'first-3-kernels.txt',
      'first-4-llvm.ll',
    ]);
  });
});

describe('--dtype', () => {
  test.each([
    ['avx2', 'fpext <8 x half>'],
    ['neon', 'fpext <4 x half>'],
    // Without instructions for it: integer arithmetic, and no function of a runtime library.
    ['sse', 'zext <4 x i16>'],
  ])('float16 for %s', async (target, conversion) => {
    const { stdout } = await callTrellis(
      ...['dump', 'rnnt', '--stage', 'llvm', '--target', target, '--dtype', 'acts=float16'],
    );
    expect(stdout).toContain('input acts: f16');
    expect(stdout).toContain('output grad_acts: f16');
    expect(stdout).toContain(conversion);
    if (target === 'sse') expect(stdout).not.toMatch(/x half>|(fpext|fptrunc) \w+ .* half/);
  });

  test('WGSL has float16 and no bfloat16', async () => {
    const words = ['dump', 'rnnt', '--stage', 'wgsl', '--dtype'];
    expect((await callTrellis(...words, 'acts=float16')).stdout).toContain('array<vec4<f16>>');
    const { code, stderr } = await callTrellis(...words, 'acts=bfloat16');
    expect({ code, stderr }).toEqual({ code: 2, stderr: 'error: --dtype: WGSL has no type for bfloat16\n' });
  });
});
