/** The functions that printed modules may use, and how a module gets those it needs, in the order they need each other. */
import { doubleFunctions } from './double.js';
import { singleFunctions } from './single.js';

export interface LibraryFunction {
  readonly name: string;
  /** The WGSL function, with a comment that says what it gives. */
  readonly text: string;
}

const parts = ['x', 'y', 'z', 'w'] as const;

/** Name of the function that does four neighbours at once. */
export const fourfold = (name: string): string => `${name}_x4`;

/** A function of f32 on each component of vec4<f32>, so that every lane gets the same bits as alone. */
function fourfoldOf({ name, text }: LibraryFunction): LibraryFunction[] {
  const [, list, result] = /\bfn \w+\((\w+: f32(?:, \w+: f32)*)\) -> (f32|bool) /.exec(text) ?? [];
  if (list === undefined) return [];
  const args = list.split(', ').map((each) => each.split(':')[0]!);
  const calls = parts.map((part) => `${name}(${args.map((arg) => `${arg}.${part}`).join(', ')})`);
  const signature = `fn ${fourfold(name)}(${args.map((arg) => `${arg}: vec4<f32>`).join(', ')}) -> vec4<${result}>`;
  return [{ name: fourfold(name), text: `${signature} {\n  return vec4<${result}>(${calls.join(', ')});\n}` }];
}

const library = new Map(
  [...singleFunctions, ...singleFunctions.flatMap(fourfoldOf), ...doubleFunctions].map((entry) => [entry.name, entry]),
);

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
