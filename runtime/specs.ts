/** Finds specs: the shipped ones by name, anybody's by path. */
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, didYouMean, InputError, listOf } from './errors.js';
import { packageRoot } from './package.js';
import { loadDefinition } from './reference/load.js';

export interface SpecInfo {
  readonly name: string;
  /** Absolute path of its source. */
  readonly path: string;
  /** One line from its header. */
  readonly doc: string;
}

const specsFolder = join(packageRoot(), 'specs');

function shippedNames(): string[] {
  return readdirSync(specsFolder)
    .filter((file) => file.endsWith('.ts') && !file.endsWith('.d.ts'))
    .map((file) => file.slice(0, -'.ts'.length))
    .sort();
}

/** The specs that come with the package. */
export function listSpecs(): SpecInfo[] {
  return shippedNames().map((name) => {
    const path = join(specsFolder, `${name}.ts`);
    return { name, path, doc: docOf(path) };
  });
}

/**
 * The doc of a spec's header. Where it is one plain string, as in the shipped specs, it is read off the text, since
 * running a spec first loads a TypeScript translator; else the spec is run.
 */
function docOf(path: string): string {
  const header = /^ {2,4}doc: '([^'\\\n]*)',$/m.exec(readFileSync(path, 'utf8'));
  return header?.[1] ?? loadDefinition(path).doc;
}

/**
 * The absolute path of a spec.
 * @param nameOrPath the name of a shipped spec ('rnnt'), or a path to a TypeScript file relative to the working folder, or a file: URL
 * @throws InputError when there is none, listing the shipped names
 */
export function findSpec(nameOrPath: unknown): string {
  const given = nameOrPath instanceof URL ? nameOrPath.href : nameOrPath;
  if (typeof given !== 'string' || given === '') {
    throw new InputError({
      code: 'type',
      argument: 'spec',
      problem: `is ${describe(nameOrPath)}`,
      value: nameOrPath,
      allowed: 'the name of a spec, or the path of a TypeScript file',
    });
  }
  const path = given.startsWith('file:') ? fileURLToPath(given) : resolve(given);
  const isName = /^[\w-]+$/.test(given);
  if (isName) {
    const shipped = join(specsFolder, `${given}.ts`);
    if (existsSync(shipped)) return shipped;
  } else if (existsSync(path)) {
    if (statSync(path).isFile()) return path;
    throw new InputError({
      code: 'spec',
      argument: 'spec',
      problem: `${path} is a folder`,
      value: given,
      allowed: 'a TypeScript file',
    });
  }
  const names = shippedNames();
  throw new InputError({
    code: 'spec',
    argument: 'spec',
    problem: isName
      ? `${describe(given)} is not a shipped spec${didYouMean(given, names)}`
      : `${describe(given)} is not a file (looked for ${path})`,
    value: given,
    allowed: `${listOf(names)}, or the path of a TypeScript file`,
  });
}
