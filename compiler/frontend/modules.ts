/** Modules of one spec: the names each declares, and what importing one of its exports means. */
import type { ts } from 'ts-morph';
import type { SpecError } from '../source.js';
import { didYouMean, listWords } from './suggest.js';
import { boundNames, resolveImport, type Sources, specError } from './syntax.js';
import { TS } from './typescript.js';
import { Scope } from './values.js';
import { vocabulary } from './vocabulary.js';

/** Where an export's value comes from. */
type Export =
  | { readonly kind: 'local'; readonly name: string }
  | { readonly kind: 'expression'; readonly node: ts.Expression }
  | { readonly kind: 'from'; readonly node: ts.Node; readonly specifier: string; readonly name: string };

/** What an import leads to: an export of a file, a word of the vocabulary, or all of a module. */
export type Found =
  | { readonly module: Module; readonly found: Exclude<Export, { kind: 'from' }> }
  | { readonly word: string }
  | { readonly namespace: string; readonly node: ts.Node };

export interface Module {
  readonly file: ts.SourceFile;
  readonly scope: Scope;
  readonly exports: ReadonlyMap<string, Export>;
  /** `export * from './x.js'`: specifiers and where they stand. */
  readonly stars: readonly { readonly specifier: string; readonly node: ts.Node }[];
}

const isExported = (node: ts.Statement, kind = TS.SyntaxKind.ExportKeyword): boolean =>
  TS.canHaveModifiers(node) && (TS.getModifiers(node) ?? []).some((modifier) => modifier.kind === kind);

const isDeclareOnly = (node: ts.Statement): boolean =>
  TS.isInterfaceDeclaration(node) || TS.isTypeAliasDeclaration(node) || isExported(node, TS.SyntaxKind.DeclareKeyword);

const specifierOf = (node: ts.Expression): string => (TS.isStringLiteralLike(node) ? node.text : '');

/** 'let' or 'var' of a declaration list that is not const; undefined for const. */
export function mutableKeyword(list: ts.VariableDeclarationList): string | undefined {
  if (list.flags & TS.NodeFlags.Const) return undefined;
  return list.flags & TS.NodeFlags.Let ? 'let' : 'var';
}

export class Modules {
  private readonly known = new Map<string, Module>();
  constructor(private readonly sources: Sources) {}

  load(path: string): Module {
    const known = this.known.get(path);
    if (known) return known;
    const module = readModule(this.sources.load(path));
    this.known.set(path, module);
    // Now that it is known: what it imports may import it.
    this.checkImports(module);
    return module;
  }

  /**
   * Running a file as TypeScript loads all that it imports, whether it is used or not, so all of it must be there.
   * Imports of types alone load nothing.
   */
  private checkImports({ file, exports, stars }: Module): void {
    for (const star of stars) this.follow(star.specifier, star.node);
    for (const own of exports.values()) if (own.kind === 'from') this.follow(own.specifier, own.node);
    const types = namesOfTypes(file);
    for (const statement of file.statements) {
      if (!TS.isImportDeclaration(statement)) continue;
      const clause = statement.importClause;
      const specifier = specifierOf(statement.moduleSpecifier);
      if (!clause) this.follow(specifier, statement.moduleSpecifier);
      if (!clause || clause.isTypeOnly) continue;
      const check = (local: string, name: string, node: ts.Node): void => {
        if (!types.has(local)) this.checkImport(specifier, name, node);
      };
      if (clause.name) check(clause.name.text, 'default', clause.name);
      const bindings = clause.namedBindings;
      if (bindings && TS.isNamespaceImport(bindings)) check(bindings.name.text, '*', bindings.name);
      if (bindings && TS.isNamedImports(bindings)) {
        for (const element of bindings.elements) {
          if (!element.isTypeOnly) check(element.name.text, (element.propertyName ?? element.name).text, element);
        }
      }
    }
  }

  private checkImport(specifier: string, name: string, node: ts.Node): void {
    if (name === '*') {
      this.follow(specifier, node);
      return;
    }
    const found = this.find(specifier, name, node);
    if (!found) this.missingExport(specifier, name, node);
    if ('word' in found && !vocabulary.has(found.word)) throw unknownWord(found.word, specifier, node);
  }

  /**
   * The module that an import names, or 'vocabulary'.
   * @throws SpecError when there is none, at the import.
   */
  follow(specifier: string, node: ts.Node): Module | 'vocabulary' {
    const resolution = resolveImport(specifier, node.getSourceFile().fileName);
    switch (resolution.kind) {
      case 'vocabulary':
        return 'vocabulary';
      case 'file':
        return this.load(resolution.path);
      case 'package':
        throw specError(
          'unresolved-import',
          node,
          `'${specifier}' is a package, and a spec cannot use packages`,
          "Import the vocabulary from 'trellis-jit/dsl', and constants and helpers by relative path, e.g. './helpers.js'.",
        );
      case 'missing':
        throw specError(
          'unresolved-import',
          node,
          `'${specifier}' does not lead to a TypeScript file`,
          'Check the path: it is relative to the importing file, and ./x.js means x.ts beside it.',
        );
    }
  }

  /** Finds an export, through re-exports. */
  find(specifier: string, name: string, node: ts.Node): Found | undefined {
    const module = this.follow(specifier, node);
    return module === 'vocabulary' ? { word: name } : this.findIn(module, name, new Set());
  }

  findIn(module: Module, name: string, visited: Set<Module>): Found | undefined {
    if (visited.has(module)) return undefined;
    visited.add(module);
    const own = module.exports.get(name);
    if (own?.kind === 'from') {
      if (own.name === '*') return { namespace: own.specifier, node: own.node };
      const next = this.follow(own.specifier, own.node);
      return next === 'vocabulary' ? { word: own.name } : this.findIn(next, own.name, visited);
    }
    if (own) return { module, found: own };
    if (name === 'default') return undefined;
    for (const star of module.stars) {
      const next = this.follow(star.specifier, star.node);
      if (next === 'vocabulary') continue;
      const found = this.findIn(next, name, visited);
      if (found) return found;
    }
    return undefined;
  }

  /** Names that `import * as` shows. */
  exportNames(module: Module): string[] {
    return [...module.exports.keys()].filter((name) => name !== 'default');
  }

  missingExport(specifier: string, name: string, node: ts.Node): never {
    const module = this.follow(specifier, node);
    const names = module === 'vocabulary' ? [] : this.exportNames(module);
    throw specError(
      'unknown-import',
      node,
      `'${specifier}' does not export ${name}`,
      didYouMean(name, names, `It exports ${listWords(names)}.`),
    );
  }
}

/** A word that the vocabulary does not have. */
export const unknownWord = (name: string, specifier: string, node: ts.Node): SpecError =>
  specError(
    'unknown-import',
    node,
    `the vocabulary (${specifier}) has no word ${name}`,
    didYouMean(name, vocabulary, `The words are ${listWords([...vocabulary])}.`),
  );

/** Names that a file uses as types. An import of such a name, if it is used in no other way, is gone when it runs. */
function namesOfTypes(file: ts.SourceFile): ReadonlySet<string> {
  const names = new Set<string>();
  const visit = (node: ts.Node): void => {
    if (TS.isTypeReferenceNode(node) || TS.isTypeQueryNode(node)) {
      let root: ts.EntityName = TS.isTypeReferenceNode(node) ? node.typeName : node.exprName;
      while (TS.isQualifiedName(root)) root = root.left;
      names.add(root.text);
    }
    TS.forEachChild(node, visit);
  };
  visit(file);
  return names;
}

/** Collects names only; nothing is evaluated until it is read. */
function readModule(file: ts.SourceFile): Module {
  const scope = new Scope();
  const exports = new Map<string, Export>();
  const stars: { specifier: string; node: ts.Node }[] = [];
  const declare = (name: string, node: ts.Node, add: () => void): void => {
    if (scope.bindings.has(name)) {
      throw specError(
        'duplicate-name',
        node,
        `${name} is declared twice in this file`,
        'Give one of the two another name.',
      );
    }
    add();
  };
  for (const statement of file.statements) {
    if (isDeclareOnly(statement) || TS.isEmptyStatement(statement)) continue;
    if (TS.isImportDeclaration(statement)) {
      const clause = statement.importClause;
      if (!clause || clause.isTypeOnly) continue;
      const specifier = specifierOf(statement.moduleSpecifier);
      const add = (local: string, name: string, node: ts.Node): void =>
        declare(local, node, () => scope.bindings.set(local, { state: 'import', node, specifier, name }));
      if (clause.name) add(clause.name.text, 'default', clause.name);
      const bindings = clause.namedBindings;
      if (bindings && TS.isNamespaceImport(bindings)) add(bindings.name.text, '*', bindings.name);
      if (bindings && TS.isNamedImports(bindings)) {
        for (const element of bindings.elements) {
          if (!element.isTypeOnly) add(element.name.text, (element.propertyName ?? element.name).text, element);
        }
      }
    } else if (TS.isVariableStatement(statement)) {
      const keyword = mutableKeyword(statement.declarationList);
      for (const declaration of statement.declarationList.declarations) {
        for (const name of boundNames(declaration.name)) {
          declare(name.text, name, () =>
            scope.bindings.set(name.text, keyword ? { state: 'mutable', keyword } : { state: 'lazy', declaration }),
          );
          if (isExported(statement)) exports.set(name.text, { kind: 'local', name: name.text });
        }
      }
    } else if (TS.isFunctionDeclaration(statement)) {
      if (statement.name && statement.body) {
        const name = statement.name.text;
        declare(name, statement.name, () => scope.bind(name, { kind: 'closure', node: statement, scope, name }));
        if (isExported(statement)) {
          const isDefault = isExported(statement, TS.SyntaxKind.DefaultKeyword);
          exports.set(isDefault ? 'default' : name, { kind: 'local', name });
        }
      }
    } else if (TS.isExportAssignment(statement)) {
      exports.set('default', { kind: 'expression', node: statement.expression });
    } else if (TS.isExportDeclaration(statement)) {
      readExport(statement, exports, stars);
    } else if (TS.isClassDeclaration(statement) || TS.isEnumDeclaration(statement)) {
      const what = TS.isEnumDeclaration(statement) ? 'an enum' : 'a class';
      if (statement.name) scope.bindings.set(statement.name.text, { state: 'unsupported', what });
    }
  }
  return { file, scope, exports, stars };
}

function readExport(
  statement: ts.ExportDeclaration,
  exports: Map<string, Export>,
  stars: { specifier: string; node: ts.Node }[],
): void {
  if (statement.isTypeOnly) return;
  const specifier = statement.moduleSpecifier && specifierOf(statement.moduleSpecifier);
  const clause = statement.exportClause;
  if (!clause) {
    if (specifier !== undefined) stars.push({ specifier, node: statement.moduleSpecifier! });
  } else if (TS.isNamespaceExport(clause)) {
    exports.set(clause.name.text, { kind: 'from', node: clause, specifier: specifier ?? '', name: '*' });
  } else {
    for (const element of clause.elements) {
      if (element.isTypeOnly) continue;
      const name = (element.propertyName ?? element.name).text;
      exports.set(
        element.name.text,
        specifier === undefined ? { kind: 'local', name } : { kind: 'from', node: element, specifier, name },
      );
    }
  }
}

/** A spec's own top level holds declarations and its default export; anything else would be a program, not data. */
export function checkTopLevel(file: ts.SourceFile): void {
  for (const statement of file.statements) {
    const isDirective = TS.isExpressionStatement(statement) && TS.isStringLiteral(statement.expression);
    const isData =
      isDirective ||
      isDeclareOnly(statement) ||
      TS.isImportDeclaration(statement) ||
      TS.isVariableStatement(statement) ||
      TS.isFunctionDeclaration(statement) ||
      TS.isExportAssignment(statement) ||
      TS.isExportDeclaration(statement) ||
      TS.isEmptyStatement(statement);
    if (isData) continue;
    throw specError(
      'unsupported-statement',
      statement,
      'this statement would have to be executed, and a spec is read, never executed',
      'Keep to imports, const declarations, functions and export default defineLoss(...).',
    );
  }
}
