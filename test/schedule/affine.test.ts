import { describe, expect, test } from 'vitest';
import { Affine, boundsOfQuotient, type Facts, provablyNonNegative } from '../../compiler/schedule/affine.js';

const t = Affine.atom('t');
const u = Affine.atom('u');
const n = Affine.atom('n');
const T = Affine.atom('T');
const U = Affine.atom('U');
const zero = Affine.zero;

const facts: Facts = {
  bounds: new Map([
    ['T', { lower: [zero], upper: [] }],
    ['U', { lower: [zero], upper: [] }],
    ['t', { lower: [zero], upper: [T.offset(-1)] }],
    ['n', { lower: [zero], upper: [T.plus(U).offset(-1)] }],
    ['u', { lower: [zero, n.minus(T).offset(1)], upper: [U, n] }],
  ]),
};

describe('affine forms', () => {
  test('cancel, scale and substitute', () => {
    expect(t.plus(u).minus(t).equals(u)).toBe(true);
    expect(t.plus(u, 2).minus(u.times(2)).terms.has('u')).toBe(false);
    expect(
      n
        .minus(u)
        .substitute(new Map([['n', t.plus(u)]]))
        .equals(t),
    ).toBe(true);
    expect(t.offset(3).times(0).equals(zero)).toBe(true);
  });
});

describe('a quotient rounded down', () => {
  test('is affine where all coefficients are multiples', () => {
    expect(u.times(2).offset(3).floorDiv(2)!.equals(u.offset(1))).toBe(true);
    expect(u.times(-2).offset(-1).floorDiv(2)!.equals(u.times(-1).offset(-1))).toBe(true);
    expect(u.times(3).floorDiv(2)).toBeUndefined();
  });
  test('has the bounds of what is divided', () => {
    const s = Affine.atom('s');
    const known: Facts = { bounds: new Map([['s', { lower: [zero], upper: [U.times(2).offset(1)] }]]) };
    const bounds = boundsOfQuotient(s, 2, known);
    expect(bounds.lower.map((form) => form.equals(zero))).toEqual([true]);
    expect(bounds.upper.map((form) => form.equals(U))).toEqual([true]);
    const back = boundsOfQuotient(s.times(-1), 2, known);
    expect(back.lower.map((form) => form.equals(U.times(-1).offset(-1)))).toEqual([true]);
    // 3 does not divide 2 U + 1.
    expect(boundsOfQuotient(s, 3, known).upper).toEqual([]);
  });
});

describe('the prover', () => {
  test.each([
    ['t >= 0', t],
    ['t <= T - 1', T.offset(-1).minus(t)],
    ['a lane of a step lies above the first frame', n.minus(u)],
    ['and below the last', T.offset(-1).minus(n).plus(u)],
    ['T + U - 1 - n >= 0', T.plus(U).offset(-1).minus(n)],
    ['2 t + 3 >= 1', t.times(2).offset(2)],
  ])('finds %s', (_, form) => {
    expect(provablyNonNegative(form, facts)).toBe(true);
  });
  test.each([
    ['t >= 1', t.offset(-1)],
    ['u < U', U.offset(-1).minus(u)],
    ['T >= 1', T.offset(-1)],
    ['n - u >= 1', n.minus(u).offset(-1)],
    ['something unknown', Affine.atom('unknown')],
    ['t <= U', U.minus(t)],
  ])('does not claim %s', (_, form) => {
    expect(provablyNonNegative(form, facts)).toBe(false);
  });
  test('uses one known inequality where it is what is missing', () => {
    const given = { ...facts, nonNegative: [t.offset(-1)] };
    expect(provablyNonNegative(t.times(2).offset(-1), given)).toBe(true);
    expect(provablyNonNegative(t.offset(-2), given)).toBe(false);
  });
});
