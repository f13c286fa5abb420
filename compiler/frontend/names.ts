/** Names: what an identifier means where it stands, through consts, imports and the globals that the language has. */
import type { ts } from 'ts-morph';
import type { Context, Reader } from './context.js';
import { type Found, type Modules, unknownWord } from './modules.js';
import { bindPattern } from './statements.js';
import { didYouMean, listWords } from './suggest.js';
import { TS } from './typescript.js';
import { type ObjectValue, type Scope, staticObject, type Value } from './values.js';
import {
  constantWords,
  impureGlobals,
  mathConstants,
  mathFunctions,
  numberConstants,
  vocabulary,
} from './vocabulary.js';

const mathObject = staticObject(
  'Math',
  new Map<string, Value>([
    ...mathFunctions.map((name) => [name, { kind: 'builtin', name }] as const),
    ...Object.entries(mathConstants),
  ]),
);
const globals = new Map<string, Value>([
  ['Infinity', Number.POSITIVE_INFINITY],
  ['Math', mathObject],
  ['Number', staticObject('Number', new Map(Object.entries(numberConstants)))],
]);

export class Names {
  constructor(
    private readonly reader: Reader,
    private readonly modules: Modules,
  ) {}

  /** The value of an identifier. */
  name(node: ts.Identifier, scope: Scope): Value {
    const name = node.text;
    const owner = scope.owner(name);
    if (owner) return this.read(owner, name, node);
    const global = globals.get(name);
    if (global !== undefined) return global;
    const context: Context = this.reader.context;
    if (impureGlobals.has(name)) {
      context.fail(
        node,
        'impure',
        `${name} is outside of a spec's reach`,
        'A spec is equations: its value may depend on inputs, lengths and parameters only.',
      );
    }
    if (vocabulary.has(name)) {
      context.fail(
        node,
        'unknown-name',
        `${name} is not imported`,
        `Add it to the imports: import { ${name} } from 'trellis-jit/dsl';`,
      );
    }
    const called = TS.isCallExpression(node.parent) && node.parent.expression === node;
    const names = [...scope.names(), ...globals.keys(), ...vocabulary];
    context.fail(
      node,
      called ? 'unknown-function' : 'unknown-name',
      called ? `there is no function ${name}` : `there is nothing called ${name} here`,
      didYouMean(
        name,
        names,
        called
          ? `The language's own functions are ${listWords([...vocabulary].filter((word) => !(word in constantWords)))}.`
          : 'Names are those declared by const, by the header of defineLoss, or imported.',
      ),
    );
  }

  /** The value of a name in the scope that declares it. */
  private read(owner: Scope, name: string, node: ts.Node): Value {
    const binding = owner.bindings.get(name)!;
    const context: Context = this.reader.context;
    switch (binding.state) {
      case 'bound':
        return binding.value;
      case 'pending':
        return context.fail(
          node,
          'used-before-definition',
          `${name} is used before the line that defines it`,
          `Move the definition of ${name} above this line. (Only bodies of fields may look ahead.)`,
        );
      case 'evaluating':
        return context.fail(
          node,
          'used-before-definition',
          `${name} is defined by itself`,
          `Define ${name} without using it; values that depend on earlier cells are recurrences.`,
        );
      case 'mutable':
        return context.fail(
          node,
          'mutable-state',
          `${name} is declared with ${binding.keyword}, so its value may change`,
          `Declare ${name} with const. Equations cannot depend on mutable state.`,
        );
      case 'unsupported':
        return context.fail(
          node,
          'unsupported-expression',
          `${name} is ${binding.what}, which equations cannot use`,
          'Use consts and functions.',
        );
      case 'lazy': {
        for (const [other, entry] of owner.bindings) {
          if (entry.state === 'lazy' && entry.declaration === binding.declaration)
            owner.bindings.set(other, { state: 'evaluating' });
        }
        const { name: pattern, initializer } = binding.declaration;
        if (!initializer)
          return context.fail(
            node,
            'used-before-definition',
            `${name} has no value`,
            `Give ${name} a value where it is declared.`,
          );
        bindPattern(this.reader, owner, pattern, this.reader.evaluate(initializer, owner), initializer);
        return this.read(owner, name, node);
      }
      case 'import': {
        const value = this.imported(binding.specifier, binding.name, binding.node);
        owner.bind(name, value);
        return value;
      }
    }
  }

  private imported(specifier: string, name: string, node: ts.Node): Value {
    if (name === '*') return this.namespace(specifier, node);
    const found = this.modules.find(specifier, name, node);
    if (!found) return this.modules.missingExport(specifier, name, node);
    return this.found(found, node, specifier);
  }

  private found(what: Found, node: ts.Node, specifier: string): Value {
    if ('word' in what) return this.word(what.word, node, specifier);
    if ('namespace' in what) return this.namespace(what.namespace, what.node);
    const { module, found } = what;
    if (found.kind === 'expression') return this.reader.evaluate(found.node, module.scope);
    const owner = module.scope.owner(found.name);
    if (!owner)
      return this.reader.context.fail(
        module.file,
        'unknown-name',
        `there is nothing called ${found.name} to export`,
        'Declare it in this file.',
      );
    return this.read(owner, found.name, module.file);
  }

  private word(name: string, node: ts.Node, specifier: string): Value {
    const constant = constantWords[name];
    if (constant !== undefined) return constant;
    if (vocabulary.has(name)) return { kind: 'builtin', name };
    throw unknownWord(name, specifier, node);
  }

  private namespace(specifier: string, node: ts.Node): ObjectValue {
    const module = this.modules.follow(specifier, node);
    return {
      kind: 'object',
      what: `the module '${specifier}'`,
      get: (key) => {
        if (module === 'vocabulary') return vocabulary.has(key) ? this.word(key, node, specifier) : undefined;
        const found = this.modules.findIn(module, key, new Set());
        return found && this.found(found, node, specifier);
      },
      keys: () => (module === 'vocabulary' ? [...vocabulary] : this.modules.exportNames(module)),
      nodeOf: () => undefined,
    };
  }

  /** The default export of the spec's own file. */
  defaultExport(path: string): { value: Value; node: ts.Node } {
    const module = this.modules.load(path);
    const found = this.modules.findIn(module, 'default', new Set());
    const node = module.file.statements.find(TS.isExportAssignment)?.expression ?? module.file;
    if (!found) {
      return this.reader.context.fail(
        module.file,
        'no-default-export',
        'this file has no default export, so there is no loss in it',
        'End the spec with: export default defineLoss({ name, inputs }, ({ ... }) => { ... });',
      );
    }
    return { value: this.found(found, node, path), node };
  }
}
