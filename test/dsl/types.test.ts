import { fileURLToPath } from 'node:url';
import ts from 'typescript';
import { expect, test } from 'vitest';

const root = fileURLToPath(new URL('../../', import.meta.url));

/** Diagnostics of files of this repository under its own tsconfig, as text. */
function diagnose(files: readonly string[]): string[] {
  const config = ts.readConfigFile(`${root}tsconfig.json`, ts.sys.readFile);
  const { options } = ts.parseJsonConfigFileContent(config.config, ts.sys, root);
  expect(options.strict && options.noUncheckedIndexedAccess).toBe(true);
  const program = ts.createProgram(
    files.map((file) => root + file),
    { ...options, noEmit: true },
  );
  return ts.getPreEmitDiagnostics(program).map((diagnostic) => {
    const at = diagnostic.file?.getLineAndCharacterOfPosition(diagnostic.start ?? 0);
    return `${diagnostic.file?.fileName}:${(at?.line ?? 0) + 1} ${ts.flattenDiagnosticMessageText(diagnostic.messageText, '\n')}`;
  });
}

test('specs type-check, and the mistakes listed in types.ts do not', () => {
  expect(diagnose(['specs/rnnt.ts', 'specs/monotonic.ts', 'test/dsl/types.ts'])).toEqual([]);
});
