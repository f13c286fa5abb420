/**
 * Source files as syntax trees, and places in them. The only use made of TypeScript is its parser: no program
 * is created and nothing is type-checked, because loading the standard library's types alone takes longer than
 * everything else the compiler does. Type checking is the author's editor's work.
 */
import { existsSync, readFileSync, realpathSync, statSync } from 'node:fs';
import { dirname, isAbsolute, relative, resolve, sep } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { ts } from 'ts-morph';
import type { Origin } from '../graph/graph.js';
import { SpecError } from '../source.js';
import { TS } from './typescript.js';

/** As messages show it: relative to the working directory when inside it, with forward slashes. */
export function displayPath(path: string): string {
  const local = relative(process.cwd(), path);
  const shown = local === '' || local.startsWith('..') || isAbsolute(local) ? path : local;
  return sep === '/' ? shown : shown.split(sep).join('/');
}

/** The place of a node, without the comments before it. Nodes of several lines are marked on their first line. */
export function originOf(node: ts.Node): Origin {
  const file = node.getSourceFile();
  const start = node.getStart(file);
  const { line, character } = file.getLineAndCharacterOfPosition(start);
  return {
    file: displayPath(file.fileName),
    line: line + 1,
    column: character + 1,
    length: Math.max(1, node.getEnd() - start),
  };
}

export function specError(code: string, node: ts.Node, message: string, hint: string): SpecError {
  return new SpecError({ code, origin: originOf(node), text: node.getSourceFile().text, message, hint });
}

/** What TypeScript's parser lets pass and its checker, which does not run here, would refuse. */
function checkGrammar(node: ts.Node): void {
  const hint = 'This is not TypeScript yet: correct the syntax here.';
  if (TS.isVariableDeclarationList(node)) {
    if (node.declarations.hasTrailingComma || node.declarations.length === 0) {
      throw specError('syntax', node.declarations.at(-1) ?? node, 'the declaration after the comma is missing', hint);
    }
    const isConst = (node.flags & TS.NodeFlags.Const) !== 0;
    const isAmbient =
      TS.isVariableStatement(node.parent) &&
      node.parent.modifiers?.some(({ kind }) => kind === TS.SyntaxKind.DeclareKeyword);
    const empty = node.declarations.find(({ initializer }) => initializer === undefined);
    if (isConst && !isAmbient && empty && TS.isVariableStatement(node.parent)) {
      throw specError(
        'syntax',
        empty,
        `the const ${empty.name.getText()} has no value`,
        'Give it one: const name = ...;',
      );
    }
  }
  if (TS.isArrowFunction(node)) {
    const file = node.getSourceFile();
    const arrow = node.equalsGreaterThanToken;
    if (file.text.slice(arrow.pos, arrow.getStart(file)).includes('\n')) {
      throw specError('syntax', arrow, '=> is on a line of its own', 'Write it on the line of the parameters.');
    }
  }
  TS.forEachChild(node, checkGrammar);
}

/** Parsed files by absolute path: each file is read once, however often the equations are evaluated. */
export class Sources {
  private readonly files = new Map<string, ts.SourceFile>();

  /**
   * @throws SpecError for a syntax error, as TypeScript's parser words it.
   * @throws Error of node:fs when the file cannot be read.
   */
  load(path: string): ts.SourceFile {
    const known = this.files.get(path);
    if (known) return known;
    const text = readFileSync(path, 'utf8');
    const file = TS.createSourceFile(path, text, TS.ScriptTarget.ES2022, true);
    // Not in the public types, but the only way to a parser's errors without creating a program.
    const [first] = (file as unknown as { parseDiagnostics?: ts.DiagnosticWithLocation[] }).parseDiagnostics ?? [];
    if (first) {
      const { line, character } = file.getLineAndCharacterOfPosition(first.start);
      throw new SpecError({
        code: 'syntax',
        origin: { file: displayPath(path), line: line + 1, column: character + 1, length: Math.max(1, first.length) },
        text,
        message: TS.flattenDiagnosticMessageText(first.messageText, ' ').replace(/\.$/, ''),
        hint: 'This is not TypeScript yet: correct the syntax here, or just before.',
      });
    }
    checkGrammar(file);
    this.files.set(path, file);
    return file;
  }

  /** Every file loaded so far, in order of first use. */
  list(): { path: string; text: string }[] {
    return [...this.files.values()].map((file) => ({ path: file.fileName, text: file.text }));
  }
}

/** The folder of this package's package.json: two levels above the sources, three above the built files. */
const packageRoot = (() => {
  let folder = dirname(fileURLToPath(import.meta.url));
  while (!existsSync(resolve(folder, 'package.json')) && dirname(folder) !== folder) folder = dirname(folder);
  return folder;
})();

const real = (path: string): string => (existsSync(path) ? realpathSync(path) : path);

/** What an import specifier means, seen from a file. */
export type Resolution =
  | { kind: 'vocabulary' }
  | { kind: 'file'; path: string }
  | { kind: 'package' }
  | { kind: 'missing' };

/** './x.js' means x.ts, as in TypeScript; folders mean their index file. */
export function resolveImport(specifier: string, from: string): Resolution {
  if (specifier === 'trellis-jit/dsl') return { kind: 'vocabulary' };
  if (!specifier.startsWith('.') && !isAbsolute(specifier)) return { kind: 'package' };
  const target = resolve(dirname(real(from)), specifier);
  // The package ships specs/ and dist/ but not dsl/, so a relative import of it need not exist on disk.
  for (const dsl of [resolve(packageRoot, 'dsl'), resolve(packageRoot, 'dist/dsl')]) {
    if (target === real(dsl) || target.startsWith(real(dsl) + sep)) return { kind: 'vocabulary' };
  }
  const stem = target.replace(/\.([cm]?)js$/, '');
  const letter = /\.([cm])js$/.exec(target)?.[1] ?? '';
  const candidates = [
    ...(stem === target ? [target, `${target}.ts`, `${target}.mts`, `${target}.js`] : [`${stem}.${letter}ts`, target]),
    resolve(target, 'index.ts'),
    resolve(target, 'index.js'),
  ];
  const path = candidates.find((candidate) => existsSync(candidate) && statSync(candidate).isFile());
  return path && /\.[cm]?[jt]s$/.test(path) ? { kind: 'file', path } : { kind: 'missing' };
}

/** Names bound by an identifier or a destructuring pattern, each with the node that binds it. */
export function boundNames(name: ts.BindingName): ts.Identifier[] {
  if (TS.isIdentifier(name)) return [name];
  return name.elements.flatMap((element) => (TS.isOmittedExpression(element) ? [] : boundNames(element.name)));
}
