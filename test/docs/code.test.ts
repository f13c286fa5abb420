/**
 * The code of the documentation, as it stands there. Blocks with a `file=` on their fence are written to disk and
 * type-checked; those with `run=yes` are run beside the files before them, and what they print must be the `output` block that
 * follows. Kernels and equations that a page shows must be what the compiler prints, up to left-out lines.
 */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { format } from 'node:util';
import ts from 'typescript';
import { afterAll, describe, expect, test, vi } from 'vitest';
import { compileToGraph, compileToKernels, compileToLlvm, printGraph, printProgram } from '../../compiler/index.js';
import { findLibLlvm } from '../../runtime/cpu/libllvm.js';
import { type CodeBlock, readPage, root } from './markdown.js';

const folder = mkdtempSync(join(tmpdir(), 'trellis-docs-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const pages = [
  'README.md',
  'docs/language.md',
  'docs/guide.md',
  'docs/first-spec.md',
  'docs/compiler.md',
  'docs/alignment.md',
  'docs/losses/pruned.md',
].map(readPage);

/** Files as they lie on a reader's disk after each block of a page: a block replaces an earlier one of its name. */
function stateAt(blocks: readonly CodeBlock[], n: number): CodeBlock[] {
  const latest = new Map(blocks.slice(0, n + 1).map((block) => [block.words.file, block]));
  latest.delete(undefined);
  return [...latest.values()];
}

/** Writes the state at block n to a folder of its own, since modules are loaded once. Returns the folder. */
function writeState(path: string, blocks: readonly CodeBlock[], n: number): string {
  const home = join(folder, `${path.replace(/\W/g, '-')}-${n}`);
  for (const block of stateAt(blocks, n)) {
    const file = join(home, block.words.file as string);
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, `${block.text}\n`);
  }
  return home;
}

const noLlvm = 'missing' in findLibLlvm() && !process.env.TRELLIS_REQUIRE?.includes('llvm');

describe.each(pages.map((page) => [page.path, page] as const))('%s', (path, { blocks }) => {
  const numbered = blocks.map((block, n) => [`line ${block.line}`, block, n] as const);
  const programs = numbered.filter(([, { words }]) => words.run !== undefined);
  const shown = numbered.filter(([, { words }]) => words.dump !== undefined);

  describe.each(programs)('the program at %s', (_, block, n) => {
    // `needs=cpu`: it names the compiled device.
    test.skipIf(block.words.needs === 'cpu' && noLlvm)('prints what the page says', async () => {
      const file = join(writeState(path, blocks, n), block.words.file as string);
      const printed: string[] = [];
      const log = vi.spyOn(console, 'log').mockImplementation((...args) => void printed.push(format(...args)));
      try {
        await import(/* @vite-ignore */ pathToFileURL(file).href);
      } finally {
        log.mockRestore();
      }
      const next = blocks[n + 1];
      expect(next?.words.output, 'the next block is its output').toBe('yes');
      expect(printed.join('\n')).toBe(next?.text);
    });
  });

  test('its files type-check under strict', () => {
    expect(typeErrors().filter((error) => error.startsWith(`${path}:`))).toEqual([]);
  });

  test.each(shown)('the compiler prints what is shown at %s', (_, { words, text }, n) => {
    const real = dump(words, writeState(path, blocks, n));
    let at = 0;
    for (const wanted of text.split('\n')) {
      if (wanted.trim() === '...' || wanted === '') continue;
      const found = real.indexOf(wanted, at);
      expect(found, `after line ${at} of the dump there is no line\n${wanted}`).toBeGreaterThanOrEqual(0);
      at = found + 1;
    }
  });
});

let errors: string[] | undefined;

/** What is wrong in the files of all pages, each with its place: one program for all, since most of the work is in what they import. */
function typeErrors(): string[] {
  errors ??= findTypeErrors();
  return errors;
}

function findTypeErrors(): string[] {
  const options: ts.CompilerOptions = {
    strict: true,
    noEmit: true,
    skipLibCheck: true,
    allowJs: true,
    target: ts.ScriptTarget.ES2022,
    lib: ['lib.es2023.d.ts'],
    module: ts.ModuleKind.NodeNext,
    moduleResolution: ts.ModuleResolutionKind.NodeNext,
    noUncheckedIndexedAccess: true,
    types: ['node'],
    typeRoots: [join(root, 'node_modules/@types')],
    paths: {
      'trellis-jit': [join(root, 'runtime/index.ts')],
      'trellis-jit/dsl': [join(root, 'dsl/index.ts')],
      'trellis-jit/compiler': [join(root, 'compiler/index.ts')],
    },
  };
  writeFileSync(join(folder, 'package.json'), '{ "type": "module" }');
  const places = new Map<string, string>();
  for (const { path, blocks } of pages) {
    for (const [n, { words, line }] of blocks.entries()) {
      if (words.file !== undefined) places.set(join(writeState(path, blocks, n), words.file), `${path}:${line}`);
    }
  }
  const program = ts.createProgram([...places.keys()], options);
  return [...places].flatMap(([file, place]) => {
    const source = program.getSourceFile(file) as ts.SourceFile;
    const found = [...program.getSyntacticDiagnostics(source), ...program.getSemanticDiagnostics(source)];
    return found.map(({ messageText }) => `${place} ${ts.flattenDiagnosticMessageText(messageText, ' ')}`);
  });
}

/** Lines of a stage's text; `spec=` is a shipped spec's name or a file of the page, `V=` what is compiled in. */
function dump({ dump: stage, spec = 'rnnt-equations', V = '1024' }: CodeBlock['words'], home: string): string[] {
  const source = compileToGraph(spec.endsWith('.ts') ? join(home, spec) : join(root, 'specs', `${spec}.ts`));
  if (stage === 'graph') return printGraph(source.graph).split('\n');
  const program = compileToKernels(source, { sizes: { V: Number(V) }, lattice: 'f64', blocks: true, gradients: true });
  if (stage === 'kernels') return printProgram(program).split('\n');
  return compileToLlvm(program, { vectorBits: 512 }).split('\n');
}

test('the diagnostic of the page on first specs', () => {
  const path = 'docs/first-spec.md';
  const { blocks } = readPage(path);
  const n = blocks.findIndex(({ words }) => words.refused !== undefined);
  const home = writeState(path, blocks, n);
  const file = join(home, 'punctual.ts');
  const text = readFileSync(file, 'utf8');
  writeFileSync(file, text.replace('emit(t, u - 1))', 'emit(u))'));
  expect(() => compileToGraph(file)).toThrow((blocks[n] as CodeBlock).text.replace(/^mine.punctual\.ts/, ''));
});

test('examples/call.ts is the first program of the README', () => {
  const { blocks } = readPage('README.md');
  expect(`${blocks.find(({ words }) => words.file === 'call.ts')?.text}\n`).toBe(
    readFileSync(join(root, 'examples/call.ts'), 'utf8'),
  );
});
