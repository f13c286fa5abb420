/**
 * The TypeScript parser that ts-morph carries, loaded when the first spec is read. Loading takes a few tenths of a second,
 * which a process that finds its kernels compiled on disk never spends; and a synchronous call may have to load it
 * at once, which `import()` cannot do.
 */
import { createRequire } from 'node:module';
import type { ts } from 'ts-morph';

type TypeScript = typeof ts;

let loaded: TypeScript | undefined;

/** The parser's functions and enums, by their usual names. Its types come from `import type { ts } from 'ts-morph'`. */
export const TS: TypeScript = new Proxy({} as TypeScript, {
  get: (_, name) => {
    loaded ??= (createRequire(import.meta.url)('ts-morph') as { ts: TypeScript }).ts;
    return loaded[name as keyof TypeScript];
  },
});

/** A table over the parser's enums, made at first use for the same reason. */
export function lazily<T>(make: () => T): () => T {
  let made: { readonly value: T } | undefined;
  return () => {
    made ??= { value: make() };
    return made.value;
  };
}
