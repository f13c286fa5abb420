/** The diagnostics that docs/language.md lists are those that the compiler gives, word for word. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { compileToGraph, compileToKernels, SpecError } from '../../compiler/index.js';
import { code, readPage, tableBelow } from './markdown.js';

const folder = mkdtempSync(join(tmpdir(), 'trellis-refusals-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const page = readPage('docs/language.md');
const usualHeader = `name: 'wrong', inputs: { acts: f32('T', 'U+1', 'V'), labels: i32('U') }, params: { blank: 0, scale: 0.5 }`;

/** A spec around one wrong piece: within the body, or instead of the header, or above everything. */
function specText(piece: string, place: 'body' | 'header' | 'file'): string {
  const header = place === 'header' ? piece : usualHeader;
  // What a file declares is looked at when it is used.
  const [, name] = /^export let (\w+)/.exec(piece) ?? [];
  const body = place === 'body' ? piece : name === undefined ? '' : `const used = field([T], (t) => ${name});`;
  const end = /\breturn \{/.test(body) ? '' : 'return { loss: logZ(0, 0), gradients: {} };';
  return `import { defineLoss, exp, f32, field, floorDiv, i32, logAddExp, logSumExp, recurrence, sum } from 'trellis-jit/dsl';
${place === 'file' ? piece : ''}
export default defineLoss({ ${header} }, ({ acts, ${place === 'header' ? '' : 'labels, T, U, V, blank, scale'} }) => {
  const logZ = field([${place === 'header' ? '1, 1' : 'T, U + 1'}], (t, u) => ${place === 'header' ? '1' : 'logSumExp(V, (v) => acts(t, u, v))'});
  ${body}
  ${end}
});
`;
}

function refusal(piece: string, place: 'body' | 'header' | 'file'): string {
  const file = join(folder, 'wrong.ts');
  writeFileSync(file, specText(piece, place));
  try {
    const spec = compileToGraph(file);
    compileToKernels(spec, { sizes: { V: 4 }, lattice: 'f64', gradients: true });
  } catch (error) {
    if (error instanceof SpecError) return `${error.problem} | ${error.hint}`;
    throw error;
  }
  return 'accepted';
}

describe.each([
  ['Refused in the body', 'body'],
  ['Refused in the header', 'header'],
  ['Refused in the file', 'file'],
] as const)('%s', (heading, place) => {
  test.each(tableBelow(page, heading).map(([wrong = '', problem = '', hint = '']) => [code(wrong), problem, hint]))(
    '%s',
    (wrong, problem, hint) => {
      const expected = `${problem} | ${hint}`.replaceAll('`', '');
      expect(refusal(wrong, place).replaceAll('`', '')).toBe(expected);
    },
  );
});
