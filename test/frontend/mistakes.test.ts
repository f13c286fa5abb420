/**
 * One wrong spec per class of mistake, in mistakes/. The second line of each says the error's code and the text that
 * must be marked; the whole message is kept in the snapshot.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { readSpec } from '../../compiler/frontend/index.js';
import { SpecError } from '../../compiler/source.js';

const folder = 'test/frontend/mistakes';
const files = readdirSync(folder).filter((file) => /\.ts(\.txt)?$/.test(file));

function mistake(file: string): SpecError {
  try {
    readSpec(`${folder}/${file}`);
  } catch (error) {
    if (error instanceof SpecError) return error;
    throw error;
  }
  throw new Error(`${file} was read without an error`);
}

/** What the caret marks, up to the end of its line. */
function marked(text: string, { line, column, length }: SpecError['origin']): string {
  return text.split('\n')[line - 1]!.slice(column - 1, column - 1 + length);
}

describe('wrong specs', () => {
  test('are here', () => expect(files.length).toBeGreaterThan(80));
  test.each(files)('%s', (file) => {
    const error = mistake(file);
    const text = readFileSync(`${folder}/${file}`, 'utf8');
    const [, code, place] = /^\/\/ ([\w-]+): (.*)$/.exec(text.split('\n')[1]!)!;
    expect(error.message).toMatchSnapshot();
    expect({ code: error.code, place: marked(text, error.origin) }).toEqual({ code, place });
  });
});

test('every kind of mistake has a wrong spec', () => {
  const codes = new Set<string>();
  const source = 'compiler/frontend';
  for (const file of readdirSync(source)) {
    const text = readFileSync(`${source}/${file}`, 'utf8');
    for (const [, code] of text.matchAll(/(?:fail|specError)\(\s*(?:[^'`;]*?,\s*)?'([a-z]+(?:-[a-z]+)*)',/g))
      codes.add(code!);
  }
  const seen = new Set(files.map((file) => mistake(file).code));
  expect(codes.size).toBeGreaterThan(40);
  expect([...codes].filter((code) => !seen.has(code))).toEqual([]);
});
