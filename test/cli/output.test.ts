/** Numbers and headings as people read them. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { formatCosts, formatNumber } from '../../runtime/cli/output.js';
import { listSpecs } from '../../runtime/index.js';
import { loadDefinition } from '../../runtime/reference/load.js';
import { callTrellis, temporaryFolder, writeNumpy } from './helpers.js';

describe('costs in a column', () => {
  test.each<[string, number[], string[]]>([
    ['eight digits of the largest', [4.280652889616656, 3.93843707855852], ['4.2806529', '3.9384371']],
    ['points below each other', [1429.495283, 902.258167, 0], ['1429.4953', ' 902.2582', '   0.0000']],
    ['large ones have no decimals', [123456789.5, 2.25], ['123456790', '        2']],
    ['small ones keep theirs', [1.23456789e-9], ['1.2345679e-9']],
    ['no path', [Infinity, 4.280652889616656, 0.25], ['      inf (no path)', '4.2806529', '0.2500000']],
    ['no path at all', [Infinity, Infinity], ['inf (no path)', 'inf (no path)']],
    ['not a number', [Number.NaN, 1.5], ['      nan', '1.5000000']],
    ['nothing but zeros', [0, 0], ['0', '0']],
    ['no utterance', [], []],
  ])('%s', (_what, costs, texts) => {
    expect(formatCosts(costs)).toEqual(texts);
  });

  test('one number: no trailing zeros', () => {
    expect([8.2190899683, 0.5, 1e-12, 123456.789123, Infinity].map((value) => formatNumber(value, 8))).toEqual([
      '8.21909',
      '0.5',
      '1e-12',
      '123456.79',
      'inf',
    ]);
  });
});

describe('what a spec says of itself', () => {
  test.each(listSpecs())('$name: the list says what its header says', ({ path, doc }) => {
    expect(doc).toBe(loadDefinition(path).doc);
  });

  test('a spec without doc has no dangling colon; an utterance without a path is called that', async () => {
    const folder = temporaryFolder();
    const file = join(folder, 'quiet.ts');
    writeFileSync(
      file,
      `import { defineLoss, f32 } from 'trellis-jit/dsl';
export default defineLoss({ name: 'quiet', inputs: { steps: f32('N') }, lengths: { N: 'lens' } }, ({ steps, N }) => ({ loss: -steps(N - 1), gradients: {} }));
`,
    );
    const steps = writeNumpy(join(folder, 's.npy'), { descr: '<f4', shape: [2, 1], data: Float32Array.of(-0.5, -2) });
    const lens = writeNumpy(join(folder, 'n.npy'), { descr: '<i4', shape: [2], data: Int32Array.of(0, 1) });
    const words = ['loss', file, '--input', `steps=${steps}`, '--lengths', `lens=${lens}`, '--device', 'reference'];
    const { code, stdout, stderr } = await callTrellis(...words, '--reduction', 'sum');
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    const lines = stdout.split('\n');
    expect(lines[0]).toBe('quiet');
    expect(lines[1]).toBe('  loss     inf  (reduction sum, 1 of 2 without a path)');
    expect(lines.slice(-3)).toEqual(['0          0        inf (no path)', '1          1  2.0000000', '']);
  });
});
