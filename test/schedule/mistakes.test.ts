/** Recurrences that cannot be ordered: found by the scheduler, shown in the author's line. */
import { readdirSync } from 'node:fs';
import { relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { compileToGraph, compileToKernels } from '../../compiler/compile.js';
import { SpecError } from '../../compiler/source.js';

const folder = fileURLToPath(new URL('./mistakes/', import.meta.url));

test.each(readdirSync(folder))('%s', (name) => {
  const spec = compileToGraph(folder + name);
  let error: unknown;
  try {
    compileToKernels(spec, { sizes: { V: 8 }, lattice: 'f64', gradients: true });
  } catch (thrown) {
    error = thrown;
  }
  expect(error).toBeInstanceOf(SpecError);
  const { message, code } = error as SpecError;
  // Paths are relative to the folder the tests run in.
  expect(message).toContain(relative(process.cwd(), folder + name));
  expect({ code, message }).toMatchSnapshot();
});
