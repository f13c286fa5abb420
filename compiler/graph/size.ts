/** Affine arithmetic on sizes: 'U+1', '2*U+1', 'T'. Values are immutable and structurally comparable. */
import type { SizeExpr } from './graph.js';

function make(constant: number, entries: Iterable<readonly [string, number]>): SizeExpr {
  const sorted = [...entries].filter(([, k]) => k !== 0).sort(([a], [b]) => (a < b ? -1 : 1));
  return { constant, terms: Object.fromEntries(sorted) };
}

export const sizeConst = (value: number): SizeExpr => make(value, []);
export const sizeSymbol = (name: string): SizeExpr => make(0, [[name, 1]]);

export function addSize(a: SizeExpr, b: SizeExpr): SizeExpr {
  const terms = new Map(Object.entries(a.terms));
  for (const [name, k] of Object.entries(b.terms)) terms.set(name, (terms.get(name) ?? 0) + k);
  return make(a.constant + b.constant, terms);
}

export function scaleSize(a: SizeExpr, factor: number): SizeExpr {
  return make(
    a.constant * factor,
    Object.entries(a.terms).map(([name, k]) => [name, k * factor] as const),
  );
}

export const subSize = (a: SizeExpr, b: SizeExpr): SizeExpr => addSize(a, scaleSize(b, -1));

export const sameSize = (a: SizeExpr, b: SizeExpr): boolean => printSize(a) === printSize(b);

/** As an author would write it: 'U + 1', '2 * U + 1', '4'. */
export function printSize(a: SizeExpr): string {
  let text = '';
  for (const [name, k] of Object.entries(a.terms)) {
    const magnitude = Math.abs(k) === 1 ? name : `${Math.abs(k)} * ${name}`;
    if (text === '') text = k < 0 ? `-${magnitude}` : magnitude;
    else text += k < 0 ? ` - ${magnitude}` : ` + ${magnitude}`;
  }
  if (text === '') return String(a.constant);
  if (a.constant === 0) return text;
  return `${text} ${a.constant < 0 ? '-' : '+'} ${Math.abs(a.constant)}`;
}

/** @throws RangeError when a size has no value. */
export function evalSize(a: SizeExpr, sizes: Readonly<Record<string, number>>): number {
  let total = a.constant;
  for (const [name, k] of Object.entries(a.terms)) {
    const value = sizes[name];
    if (value === undefined) throw new RangeError(`size ${name} has no value in evalSize(${printSize(a)})`);
    total += k * value;
  }
  return total;
}
