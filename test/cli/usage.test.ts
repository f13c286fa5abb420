/** Command lines that cannot be used: exit code 2, the reason on stderr, nothing on stdout, and no file written. */
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { callTrellis, example, temporaryFolder, writeNumpy } from './helpers.js';

const folder = temporaryFolder();
const file = (name: string): string => join(folder, name);
const big = (name: string): string => join(example('published-big'), name);
const acts = big('acts.npy');
const labels = big('labels.npy');
const grads = file('grads.npy');
const tensors = ['--acts', acts, '--labels', labels, '--grads', grads, '--device', 'reference'];

const ints = (name: string, shape: number[], values: number[]): string =>
  writeNumpy(file(name), { descr: '<i8', shape, data: BigInt64Array.from(values, BigInt) });
const floats = (name: string, shape: number[]): string => {
  const size = shape.reduce((product, extent) => product * extent, 1);
  return writeNumpy(file(name), { descr: '<f4', shape, data: new Float32Array(size) });
};
writeFileSync(file('text.npy'), 'not an array at all');
writeFileSync(file('no-loss.ts'), 'export const nothing = 1;\n');
writeFileSync(
  file('wrong.ts'),
  `import { defineLoss, f32 } from 'trellis-jit/dsl';
export default defineLoss({ name: 'wrong', inputs: { acts: f32('T', 'V') } }, ({ acts, T }) => ({
  loss: Math.cbrt(acts(T - 1, 0)),
  gradients: {},
}));
`,
);

describe('the words', () => {
  test.each<[string, string[], RegExp]>([
    ['no command', [], /Usage: trellis/],
    ['an unknown command', ['lost'], /unknown command 'lost'[\s\S]*Did you mean/],
    ['an unknown option', ['list', '--jason'], /unknown option '--jason'[\s\S]*--json/],
    ['no spec', ['loss'], /missing required argument 'spec'/],
    ['two specs', ['loss', 'rnnt', 'monotonic'], /too many arguments/],
    ['an option without its value', ['loss', 'rnnt', '--acts'], /--acts <file>' argument missing/],
    [
      'an unknown reduction',
      ['loss', 'rnnt', ...tensors, '--reduction', 'average'],
      /reduction is "average".*mean_volume/,
    ],
    ['an unknown device', ['loss', 'rnnt', ...tensors, '--device', 'tpu'], /device is "tpu".*; allowed: auto, /],
    [
      'an unknown rule for infeasible',
      ['loss', 'rnnt', ...tensors, '--infeasible', 'skip'],
      /infeasible is "skip"; allowed: inf, zero or error/,
    ],
    [
      'threads that are no count',
      ['loss', 'rnnt', ...tensors, '--threads', '1.5'],
      /--threads: 1\.5 is not an integer of at least 1/,
    ],
    ['no threads at all', ['loss', 'rnnt', ...tensors, '--threads', '0'], /--threads: 0 is not/],
    [
      'a parameter without value',
      ['loss', 'rnnt', ...tensors, '--param', 'blank'],
      /--param blank: expected name=number/,
    ],
    [
      'a parameter that is no number',
      ['loss', 'rnnt', ...tensors, '--param', 'clamp=much'],
      /--param clamp: "much" is not a number/,
    ],
    ['NaN', ['loss', 'rnnt', ...tensors, '--clamp', 'nan'], /--clamp: "nan" is not a number/],
    [
      'a parameter twice',
      ['loss', 'rnnt', ...tensors, '--blank', '0', '--param', 'blank=1'],
      /--blank: blank is given twice/,
    ],
    ['an input twice', ['loss', 'rnnt', ...tensors, '--input', `acts=${acts}`], /--input: acts is given twice/],
    ['an input without file', ['loss', 'rnnt', ...tensors, '--input', 'acts='], /--input acts=: expected name=file/],
    [
      'a stage that is none',
      ['dump', 'rnnt', '--stage', 'soup'],
      /--stage soup: no such stage; there are graph, derived, kernels, llvm/,
    ],
    ['a target that is none', ['dump', 'rnnt', '--target', 'mmx'], /'mmx' is invalid[\s\S]*avx512/],
    [
      'a shape that is none',
      ['dump', 'rnnt', '--shape', '1,2,x,4'],
      /--shape 1,2,x,4: expected positive integers.*B,T,U\+1,V/,
    ],
    [
      'a shape of another rank',
      ['dump', 'rnnt', '--shape', '1,2,3'],
      /--shape 1,2,3: acts of the spec rnnt has the shape B,T,U\+1,V/,
    ],
  ])('%s', async (_what, words, message) => {
    const { code, stdout, stderr } = await callTrellis(...words);
    expect(stderr).toMatch(message);
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
    expect(existsSync(grads)).toBe(false);
  });
});

describe('the spec', () => {
  test.each<[string, string, RegExp]>([
    [
      'a name that is not shipped',
      'rnt',
      /"rnt" is not a shipped spec \(did you mean "rnnt"\?\); allowed: .*monotonic/,
    ],
    ['a path to nothing', './no-such-loss.ts', /"\.\/no-such-loss\.ts" is not a file/],
    ['a folder', folder, /is a folder/],
    ['a module without a loss', file('no-loss.ts'), /no-loss\.ts/],
  ])('%s', async (_what, spec, message) => {
    for (const words of [
      ['loss', spec, ...tensors],
      ['dump', spec],
    ]) {
      const { code, stdout, stderr } = await callTrellis(...words);
      expect(stderr).toMatch(message);
      expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
    }
  });

  test('a mistake in it is shown in its own line', async () => {
    const { code, stdout, stderr } = await callTrellis('dump', file('wrong.ts'));
    expect(stderr).toMatch(/wrong\.ts:3:\d+ /);
    expect(stderr).toContain('loss: Math.cbrt(acts(T - 1, 0))');
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
  });
});

describe('the files', () => {
  const rnnt = (...words: string[]): string[] => ['loss', 'rnnt', '--device', 'reference', '--grads', grads, ...words];
  test.each<[string, string[], RegExp]>([
    [
      'acts are missing',
      rnnt('--labels', labels),
      /the input acts of the spec rnnt is missing: give --acts <file>\. It takes acts: float \[B, T, U\+1, V\]/,
    ],
    ['both are missing', rnnt(), /acts, labels of the spec rnnt is missing: give --acts <file> --labels <file>/],
    [
      'an input that the spec does not have',
      rnnt('--acts', acts, '--labels', labels, '--input', `logits=${acts}`),
      /--input logits: the spec rnnt has no input logits; it takes acts/,
    ],
    [
      'a length that the spec does not have',
      rnnt('--acts', acts, '--labels', labels, '--lengths', `lens=${labels}`),
      /--lengths lens: the spec rnnt has no length argument lens; it has actLens, labelLens/,
    ],
    [
      'no such file',
      rnnt('--acts', file('none.npy'), '--labels', labels),
      /--acts: cannot read .*none\.npy: no such file/,
    ],
    [
      'not a .npy file',
      rnnt('--acts', file('text.npy'), '--labels', labels),
      /--acts: .*text\.npy is not a \.npy file/,
    ],
    [
      'gradients into a missing folder',
      ['loss', 'rnnt', '--acts', acts, '--labels', labels, '--grads', file('no/grads.npy')],
      /--grads: cannot write .*missing or not writable/,
    ],
    [
      'two files for one gradient',
      rnnt('--acts', acts, '--labels', labels, '--grads', file('more.npy')),
      /a file for the gradient of acts is given twice/,
    ],
    ['float labels', rnnt('--acts', acts, '--labels', floats('float-labels.npy', [2, 2])), /labels/],
    ['int acts', rnnt('--acts', ints('int-acts.npy', [2, 2], [1, 2, 1, 2]), '--labels', labels), /acts/],
    [
      'acts of a wrong rank',
      rnnt('--acts', floats('rank.npy', [4, 3, 3]), '--labels', labels),
      /acts.*\[B, T, U ?\+ ?1, V\]/,
    ],
    ['another batch', rnnt('--acts', acts, '--labels', ints('batch.npy', [3, 2], [1, 2, 1, 2, 1, 2])), /labels/],
    ['another U', rnnt('--acts', acts, '--labels', ints('u.npy', [2, 3], [1, 2, 1, 2, 1, 2])), /labels/],
    [
      'a label that is the blank',
      rnnt('--acts', acts, '--labels', ints('blank.npy', [2, 2], [1, 0, 1, 2])),
      /labels\[0\]\[1\] is 0.*blank/,
    ],
    [
      'a label past V',
      rnnt('--acts', acts, '--labels', ints('past.npy', [2, 2], [1, 2, 3, 2])),
      /labels\[1\]\[0\] is 3/,
    ],
    [
      'a length past T',
      rnnt('--acts', acts, '--labels', labels, '--act-lens', ints('t.npy', [2], [4, 5])),
      /actLens\[1\] is 5/,
    ],
    [
      'a negative length',
      rnnt('--acts', acts, '--labels', labels, '--act-lens', ints('t0.npy', [2], [-1, 4])),
      /actLens\[0\] is -1/,
    ],
    [
      'a label length past U',
      rnnt('--acts', acts, '--labels', labels, '--label-lens', ints('lu.npy', [2], [2, 3])),
      /labelLens\[1\] is 3/,
    ],
    ['a blank past V', rnnt('--acts', acts, '--labels', labels, '--blank', '3'), /blank is 3/],
    [
      'a parameter that the spec does not have',
      rnnt('--acts', acts, '--labels', labels, '--param', 'fastemit=1'),
      /fastemit is not a parameter of rnnt/,
    ],
    ['an infinite parameter', rnnt('--acts', acts, '--labels', labels, '--param', 'clamp=inf'), /clamp is Infinity/],
  ])('%s', async (_what, words, message) => {
    const { code, stdout, stderr } = await callTrellis(...words);
    expect(stderr).toMatch(message);
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
    expect(existsSync(grads)).toBe(false);
  });
});
