/**
 * Dimension texts such as 'U+1' or '2*U+1': affine combinations of size names with integer coefficients.
 * The compiler's sizes have the same form, so that a dimension means the same to it and to the reference.
 */

/** constant + sum of coefficient * size. No coefficient is zero; names are in sorted order. */
export interface Dim {
  readonly constant: number;
  readonly terms: Readonly<Record<string, number>>;
}

interface Token {
  readonly kind: 'integer' | 'name' | 'symbol';
  readonly text: string;
  /** 1-based position in the text. */
  readonly column: number;
}

const allowed = "allowed are sums and differences of integers, size names and integer * size, like 'U+1' or '2*U-3'";

function dimError(text: string, problem: string): Error {
  return new Error(`dimension ${JSON.stringify(text)}: ${problem}; ${allowed}`);
}

function tokenise(text: string): Token[] {
  const pattern = /\s*(?:(\d+)|([A-Za-z_$][\w$]*)|([+\-*]))/y;
  const tokens: Token[] = [];
  const end = text.trimEnd().length;
  while (pattern.lastIndex < end) {
    const from = pattern.lastIndex;
    const match = pattern.exec(text);
    if (match === null) {
      const at = from + (text.slice(from).length - text.slice(from).trimStart().length);
      throw dimError(text, `unexpected ${JSON.stringify(text.charAt(at))} at position ${at + 1}`);
    }
    const body = match[1] ?? match[2] ?? match[3] ?? '';
    const kind = match[1] !== undefined ? 'integer' : match[2] !== undefined ? 'name' : 'symbol';
    tokens.push({ kind, text: body, column: pattern.lastIndex - body.length + 1 });
  }
  return tokens;
}

/**
 * Reads a dimension text.
 * @throws Error naming the text, the position and what is allowed there.
 */
export function parseDim(text: string): Dim {
  const tokens = tokenise(text);
  const terms = new Map<string, number>();
  let constant = 0;
  let at = 0;

  const expected = (what: string): Error => {
    const token = tokens[at];
    if (token === undefined) return dimError(text, `${what} is missing at the end`);
    return dimError(text, `expected ${what} but found ${JSON.stringify(token.text)} at position ${token.column}`);
  };
  const integer = (token: Token): number => {
    const value = Number(token.text);
    if (!Number.isSafeInteger(value)) throw dimError(text, `the integer ${token.text} is too large`);
    return value;
  };

  /** integer | name | integer '*' name | name '*' integer */
  const term = (sign: 1 | -1): void => {
    const first = tokens[at];
    if (first === undefined || first.kind === 'symbol') throw expected('an integer or a size name');
    at++;
    let factor = first.kind === 'integer' ? integer(first) : 1;
    let name = first.kind === 'name' ? first.text : undefined;
    if (tokens[at]?.text === '*') {
      at++;
      const second = tokens[at];
      if (second === undefined || second.kind === 'symbol') throw expected('an integer or a size name after *');
      if (second.kind === 'name' && name !== undefined) {
        throw dimError(text, `${name} * ${second.text} multiplies two sizes`);
      }
      at++;
      if (second.kind === 'integer') factor *= integer(second);
      else name = second.text;
    }
    if (name === undefined) constant += sign * factor;
    else terms.set(name, (terms.get(name) ?? 0) + sign * factor);
  };

  let sign: 1 | -1 = 1;
  if (tokens[0]?.text === '-') {
    sign = -1;
    at++;
  }
  term(sign);
  while (at < tokens.length) {
    const operator = tokens[at]?.text;
    if (operator !== '+' && operator !== '-') throw expected("'+' or '-'");
    at++;
    term(operator === '-' ? -1 : 1);
  }
  const sorted = [...terms].filter(([, factor]) => factor !== 0).sort(([a], [b]) => (a < b ? -1 : 1));
  return { constant, terms: Object.fromEntries(sorted) };
}

/**
 * Value of a dimension for given sizes. It may be negative (U-1 at U = 0), which every reader takes as an empty range.
 * @throws Error when a size has no value.
 */
export function evalDim(dim: Dim, sizes: Readonly<Record<string, number>>): number {
  let total = dim.constant;
  for (const [name, factor] of Object.entries(dim.terms)) {
    const value = sizes[name];
    if (value === undefined)
      throw new Error(`size ${name} has no value; sizes given: ${Object.keys(sizes).join(', ')}`);
    total += factor * value;
  }
  return total;
}
