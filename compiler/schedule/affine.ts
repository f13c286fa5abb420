/**
 * Affine forms over named atoms, and a small prover of inequalities between them.
 *
 * An atom is anything an index may depend on linearly: an index variable, a size, an int parameter, a gathered
 * int. Everything the scheduler must know about indices (dependence distances, domain guards, strides) is a
 * question about such forms.
 */
import type { OperationName } from '../../dsl/primitives.js';
import type { CompareOp } from '../graph/graph.js';

/** constant + sum of coefficient * atom. Immutable. */
export class Affine {
  private constructor(
    readonly constant: number,
    /** No zero coefficients. */
    readonly terms: ReadonlyMap<string, number>,
  ) {}

  static readonly zero = new Affine(0, new Map());
  static constant(value: number): Affine {
    return new Affine(value, new Map());
  }
  static atom(name: string, coefficient = 1): Affine {
    return new Affine(0, coefficient === 0 ? new Map() : new Map([[name, coefficient]]));
  }
  /** An operation on affine forms; undefined where the result is none. */
  static of(name: OperationName, [a, b]: readonly Affine[]): Affine | undefined {
    if (name === 'neg' && a) return a.times(-1);
    if (!a || !b) return undefined;
    if (name === 'add') return a.plus(b);
    if (name === 'sub') return a.minus(b);
    if (name === 'mul' && b.isConstant) return a.times(b.constant);
    if (name === 'mul' && a.isConstant) return b.times(a.constant);
    if (name === 'floorDiv') return a.floorDiv(b.constant);
    return undefined;
  }

  plus(other: Affine, factor = 1): Affine {
    const terms = new Map(this.terms);
    for (const [name, k] of other.terms) {
      const sum = (terms.get(name) ?? 0) + k * factor;
      if (sum === 0) terms.delete(name);
      else terms.set(name, sum);
    }
    return new Affine(this.constant + other.constant * factor, terms);
  }
  minus(other: Affine): Affine {
    return this.plus(other, -1);
  }
  times(factor: number): Affine {
    return Affine.zero.plus(this, factor);
  }
  /** Divided and rounded down, where all coefficients are multiples: floor((2 u + 1) / 2) is u. */
  floorDiv(divisor: number): Affine | undefined {
    const terms = [...this.terms].map(([name, k]) => [name, k / divisor] as const);
    if (!terms.every(([, k]) => Number.isInteger(k))) return undefined;
    return new Affine(Math.floor(this.constant / divisor), new Map(terms));
  }
  offset(delta: number): Affine {
    return new Affine(this.constant + delta, this.terms);
  }
  coefficient(atom: string): number {
    return this.terms.get(atom) ?? 0;
  }
  get isConstant(): boolean {
    return this.terms.size === 0;
  }
  /** Replaces atoms by forms. */
  substitute(replacements: ReadonlyMap<string, Affine>): Affine {
    let result = Affine.constant(this.constant);
    for (const [name, k] of this.terms) result = result.plus(replacements.get(name) ?? Affine.atom(name), k);
    return result;
  }
  equals(other: Affine): boolean {
    const difference = this.minus(other);
    return difference.isConstant && difference.constant === 0;
  }
}

/** What is known about atoms: bounds that hold (several may), all inclusive; and forms known to be >= 0. */
export interface Facts {
  /** Bounds by atom. A bound may mention other atoms, but not in a cycle. */
  readonly bounds: ReadonlyMap<string, { readonly lower: readonly Affine[]; readonly upper: readonly Affine[] }>;
  readonly nonNegative?: readonly Affine[];
}

/**
 * Bounds of floor(form / divisor), as far as they are affine: from those of the form, with every atom that is not a multiple put at its own
 * bound. floor is monotone, so floor(s / 2) of an s up to 2 U + 1 is at most U.
 */
export function boundsOfQuotient(form: Affine, divisor: number, facts: Facts): { lower: Affine[]; upper: Affine[] } {
  const side = (sign: 1 | -1): Affine[] => {
    let forms = [form];
    for (const [name, k] of form.terms) {
      if (k % divisor === 0) continue;
      const known = facts.bounds.get(name);
      const bounds = known ? (k * sign > 0 ? known.upper : known.lower) : [];
      forms = forms.flatMap((each) => bounds.map((bound) => each.substitute(new Map([[name, bound]]))));
    }
    return forms.flatMap((each) => each.floorDiv(divisor) ?? []);
  };
  return { lower: side(-1), upper: side(1) };
}

/**
 * True only if form >= 0 follows from the facts. Eliminates bounded atoms one after the other, trying each of their
 * bounds; what is left must be a sum of non-negative things. Incomplete on purpose: an unproved guard costs a
 * comparison at run time, nothing else.
 */
export function provablyNonNegative(form: Affine, facts: Facts, depth = 8): boolean {
  if (eliminate(form, facts, depth)) return true;
  // One known inequality may be what is missing: form >= 0 follows from form - known >= 0.
  return (facts.nonNegative ?? []).some((known) => eliminate(form.minus(known), facts, depth));
}

function eliminate(form: Affine, facts: Facts, depth: number): boolean {
  if (form.isConstant) return form.constant >= 0;
  if (depth === 0) return false;
  for (const [name, k] of form.terms) {
    const known = facts.bounds.get(name);
    const candidates = known ? (k > 0 ? known.lower : known.upper) : [];
    for (const bound of candidates) {
      if (eliminate(form.substitute(new Map([[name, bound]])), facts, depth - 1)) return true;
    }
  }
  return false;
}

const negations = { eq: 'ne', ne: 'eq', lt: 'ge', ge: 'lt', gt: 'le', le: 'gt' } as const;

/** Whether a comparison of ints always or never holds, as far as that can be proved; `difference` is left - right. */
export function settled(op: CompareOp, difference: Affine, provable: (form: Affine) => boolean): boolean | undefined {
  const above = (form: Affine): boolean => provable(form.offset(-1));
  const negative = difference.times(-1);
  const truths: Record<CompareOp, () => boolean> = {
    ge: () => provable(difference),
    gt: () => above(difference),
    le: () => provable(negative),
    lt: () => above(negative),
    eq: () => difference.isConstant && difference.constant === 0,
    ne: () => above(difference) || above(negative),
  };
  if (truths[op]()) return true;
  return truths[negations[op]]() ? false : undefined;
}
