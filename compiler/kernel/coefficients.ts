/**
 * Polynomial coefficients of the mathematical functions, lowest degree first. Written by scripts/minimax.py
 * (Remez exchange in 50-digit arithmetic, coefficients then rounded to the working precision); do not edit by hand.
 */

/** P in expm1(r) = r + r^2 P(r) for |r| <= ln(2)/2, least relative error of expm1 (its weight held above 0.1). */
export const expTail = {
  // degree 4, largest relative error 2^-25.8
  f32: [0.4999999701976776, 0.1666654348373413, 0.04166720062494278, 0.008366533555090427, 0.0013882520142942667],
  // degree 9, largest relative error 2^-55.1
  f64: [
    0.5000000000000002, 0.16666666666666596, 0.04166666666660144, 0.008333333333388798, 0.001388888892537625,
    0.00019841269713919034, 2.480151139005756e-5, 2.7557416902699384e-6, 2.762395405116585e-7, 2.504957375429419e-8,
  ],
} as const;

/** P in log(1 + f) = f - f^2/2 + f^3 P(f) for sqrt(1/2) <= 1 + f <= sqrt(2). Used in f32, where it saves a division. */
export const logTail = {
  // degree 7, largest relative error 2^-27.2
  f32: [
    0.3333333134651184, -0.2500081956386566, 0.20001226663589478, -0.16623356938362122, 0.14201757311820984,
    -0.13160182535648346, 0.1276157945394516, -0.07634500414133072,
  ],
} as const;

/** P in 2 atanh(s) = 2 s + s^3 P(s^2) for |s| <= 3 - 2 sqrt(2): log of a number between sqrt(1/2) and sqrt(2). */
export const atanhTail = {
  // degree 6, largest relative error 2^-59.3
  f64: [
    0.6666666666666734, 0.3999999999941638, 0.2857142874201525, 0.22222198610643162, 0.1818356241873249,
    0.15314098372004997, 0.14795480631004496,
  ],
} as const;

/** The same P for 0 <= s <= 1/3: log(1 + y) for 0 <= y <= 1, without reduction. */
export const atanhWide = {
  // degree 4, largest relative error 2^-30.7
  f32: [0.6666667461395264, 0.39998888969421387, 0.2861659526824951, 0.21430741250514984, 0.24289557337760925],
  // degree 10, largest relative error 2^-58.7
  f64: [
    0.6666666666666667, 0.3999999999999406, 0.2857142857249729, 0.2222222212642545, 0.18181823161794713,
    0.15384453027470915, 0.13336787175185547, 0.11716153895373523, 0.10971194119425136, 0.06999479046556598,
    0.16459032332884,
  ],
} as const;

/** e^r for |r| <= ln(2)/2, to the precision of a step of a lattice: see logAddExp in compiler/llvm/math.ts. */
export const expShort = {
  // degree 7, largest relative error 2^-34.5
  f64: [
    0.9999999999615977, 1.0000000002436464, 0.500000010471287, 0.16666665123492214, 0.04166622492125388,
    0.008333561350571658, 0.0013948217438044005, 0.000197751349121757,
  ],
} as const;

/** P in log(1 + y) = y P(y) for 0 <= y <= 1, to the same precision and without a division. */
export const log1pShort = {
  // degree 11, largest relative error 2^-33.0
  f64: [
    0.9999999998819966, -0.4999999650067339, 0.3333316024019908, -0.24996613372725462, 0.19965303183018762,
    -0.16452874754693353, 0.13426543778361383, -0.1012436848711014, 0.06400777022283238, -0.030172474670786466,
    0.009080940169054025, -0.0012805959886872042,
  ],
} as const;

/** ln 2 in two parts: `high` has so few bits that a whole number of the exponent range times it is exact. */
export const ln2 = {
  f32: { high: 0.693115234375, low: 3.194618329871446e-5 },
  f64: { high: 0.6931471805592082, low: 7.371002565167799e-13 },
} as const;
