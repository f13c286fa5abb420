/**
 * Specs with a word or two changed: each is read into a graph that holds together, or refused by a SpecError that
 * points into the file. Anything else (a crash, a CompilerBug) is a hole in the front end.
 */
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { readSpec } from '../../compiler/frontend/index.js';
import { printGraph } from '../../compiler/graph/print.js';
import { verifyGraph } from '../../compiler/graph/verify.js';
import { SpecError } from '../../compiler/source.js';

const texts = ['specs', 'test/specs']
  .flatMap((folder) => readdirSync(folder).map((file) => readFileSync(`${folder}/${file}`, 'utf8')))
  .filter((text) => text.includes('export default defineLoss('))
  // Without comments, so that every change counts.
  .map((text) => text.replace(/\/\*[\s\S]*?\*\//g, '').replace(/\/\/.*$/gm, ''));
const tokens = texts.map((text) => text.match(/\s+|\w+|'[^']*'|=>|===|!==|&&|\|\||[^\s\w]/g)!);
const extras = [
  '0.5',
  't',
  'u',
  'v',
  'T',
  'acts',
  'alpha',
  '?.',
  'let',
  'null',
  '[',
  ']',
  '{}',
  'true',
  '-',
  '*',
  'exp',
  '...',
  'this',
  '',
];

const kinds = [/^\s/, /^[A-Za-z_]/, /^\d/, /^'/, /^[-+*/]$/, /^([<>]|[!=]==|&&|\|\|)$/];
const kindOf = (word: string): number => kinds.findIndex((kind) => kind.test(word));

const change = fc.record({
  at: fc.nat(),
  from: fc.nat(),
  kind: fc.constantFrom('delete', 'replace', 'swap', 'copy', 'extra'),
});

test('changed specs are read or refused, never stumbled over', () => {
  const folder = mkdtempSync(join(tmpdir(), 'trellis-fuzz-'));
  const file = join(folder, 'spec.ts');
  let [read, refused] = [0, 0];
  try {
    const property = fc.property(
      fc.nat(tokens.length - 1),
      fc.array(change, { minLength: 1, maxLength: 2 }),
      (which, changes) => {
        const words = [...tokens[which]!];
        for (const { at, from, kind } of changes) {
          const i = at % words.length;
          // Another word of the same kind, so that most changes get past the parser.
          let j = from % words.length;
          while (kindOf(words[j]!) !== kindOf(words[i]!)) j = (j + 1) % words.length;
          const [a, b] = [words[i]!, words[j]!];
          if (kind === 'delete') words[i] = '';
          else if (kind === 'copy') words.splice(i, 0, a);
          else if (kind === 'extra') words[i] = extras[from % extras.length]!;
          else words[i] = b;
          if (kind === 'swap') words[j] = a;
        }
        writeFileSync(file, words.join(''));
        try {
          const { graph } = readSpec(file);
          verifyGraph(graph);
          printGraph(graph);
          read++;
        } catch (error) {
          if (!(error instanceof SpecError)) throw error;
          expect(error.origin.line).toBeLessThanOrEqual(words.join('').split('\n').length);
          expect(error.hint).not.toBe('');
          refused++;
        }
      },
    );
    fc.assert(property, { numRuns: Number(process.env.TRELLIS_FUZZ_RUNS ?? 300) });
  } finally {
    rmSync(folder, { recursive: true });
  }
  expect(read).toBeGreaterThan(10);
  expect(refused).toBeGreaterThan(10);
});
