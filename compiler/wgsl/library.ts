/** The functions that printed modules may use, and how a module gets those it needs, in the order they need each other. */
import { doubleFunctions } from './double.js';
import { singleFunctions } from './single.js';

export interface LibraryFunction {
  readonly name: string;
  /** The WGSL function, with a comment that says what it gives. */
  readonly text: string;
}

const library = new Map([...singleFunctions, ...doubleFunctions].map((entry) => [entry.name, entry]));

export const libraryNames: readonly string[] = [...library.keys()];

/** Texts of the functions that `code` calls, and of those they call, callees first. */
export function libraryFor(code: string): string[] {
  const found: string[] = [];
  const seen = new Set<string>();
  const visit = (text: string): void => {
    for (const [, name] of text.matchAll(/\b([a-z_0-9]+)\(/g)) {
      const entry = library.get(name!);
      if (!entry || seen.has(name!)) continue;
      seen.add(name!);
      visit(entry.text);
      found.push(entry.text);
    }
  };
  visit(code);
  return found;
}
