#!/usr/bin/env python3
"""Computes the polynomial coefficients in compiler/kernel/coefficients.ts and prints that file.

    pip install mpmath && python3 scripts/minimax.py > compiler/kernel/coefficients.ts && npx biome format --write compiler/kernel

Method: the Remez exchange algorithm in 50-digit arithmetic. For a function f and a weight w it finds the polynomial P of
a given degree that minimises max |w (f - P)| over an interval, starting from Chebyshev nodes and moving the nodes to the
extrema of the error until the error is level. Each coefficient is then rounded to the working precision, and the largest
weighted error after rounding is printed beside the table: it is the approximation's share of the error, to which the
rounding of the evaluation adds (the tests bound the sum).
"""
import struct
from mpmath import mp, mpf, matrix, lu_solve, exp, log, log1p, expm1, sqrt, atanh, cos, pi, polyval, factorial

mp.dps = 50


def remez(f, w, low, high, degree, sweeps=12):
    """Coefficients, lowest degree first."""
    count = degree + 2
    nodes = [(low + high) / 2 - (high - low) / 2 * cos(pi * i / (count - 1)) for i in range(count)]
    for _ in range(sweeps):
        a = matrix(count, count)
        b = matrix(count, 1)
        for i, x in enumerate(nodes):
            for j in range(degree + 1):
                a[i, j] = x ** j
            a[i, degree + 1] = (-1) ** i / w(x)
            b[i] = f(x)
        solution = lu_solve(a, b)
        poly = [solution[j] for j in range(degree + 1)]
        error = lambda x: w(x) * (f(x) - polyval(poly[::-1], x))
        # New nodes: the extreme of the error between each two sign changes, found on a fine Chebyshev-like grid.
        grid = [(low + high) / 2 - (high - low) / 2 * cos(pi * i / 1500) for i in range(1501)]
        values = [error(x) for x in grid]
        extremes = []
        for x, e in zip(grid, values):
            if extremes and (e > 0) == (extremes[-1][1] > 0):
                if abs(e) > abs(extremes[-1][1]):
                    extremes[-1] = (x, e)
            else:
                extremes.append((x, e))
        while len(extremes) > count:
            extremes.pop(0 if abs(extremes[0][1]) < abs(extremes[-1][1]) else -1)
        if len(extremes) < count:
            break
        nodes = [x for x, _ in extremes]
        sizes = [abs(e) for _, e in extremes]
        if max(sizes) / min(sizes) < mpf('1.001'):
            break
    return poly


def rounded(value, bits):
    if bits == 64:
        return float(value)
    return struct.unpack('f', struct.pack('f', float(value)))[0]


def table(name, doc, f, w, ranges, degrees):
    """One polynomial for each precision. `ranges`: the interval, or what gives it for 32 and for 64 bits."""
    print(f'/** {doc} */')
    print(f'export const {name} = {{')
    for bits, degree in ((32, degrees[0]), (64, degrees[1])):
        if degree is None:
            continue
        low, high = ranges(bits) if callable(ranges) else ranges
        poly = [rounded(c, bits) for c in remez(f, w, mpf(low), mpf(high), degree)]
        worst = max(abs(w(x) * (f(x) - polyval([mpf(c) for c in poly[::-1]], x)))
                    for x in [mpf(low) + (mpf(high) - mpf(low)) * i / 4000 for i in range(4001)])
        print(f'  // degree {degree}, largest relative error 2^{float(log(worst, 2)):.1f}')
        print(f'  f{bits}: [')
        for c in poly:
            print(f'    {c!r},')
        print('  ],')
    print('} as const;')
    print()


def away(x):
    """The quotients below are 0/0 at 0; this close to it the series' error is far below 50 digits' worth of interest."""
    return x if abs(x) > mpf('1e-12') else mpf('1e-12')


def exp_tail(r):
    return sum((r ** i / factorial(i + 2) for i in range(40)), mpf(0))


def log_tail(f):
    f = away(f)
    return (log1p(f) - f + f ** 2 / 2) / f ** 3


def atanh_tail(z):
    z = away(z)
    s = sqrt(z)
    return (2 * atanh(s) / s - 2) / z


print('''/**
 * Polynomial coefficients of the mathematical functions, lowest degree first. Written by scripts/minimax.py
 * (Remez exchange in 50-digit arithmetic, coefficients then rounded to the working precision); do not edit by hand.
 */
// biome-ignore-all lint/suspicious/noApproximativeNumericConstant: the table of powers of two has sqrt(2) in it
''')
half = log(2) / 2 + mpf('1e-4')
table('expTail', 'P in expm1(r) = r + r^2 P(r) for |r| <= ln(2)/2, least relative error of expm1 (its weight held above 0.1).',
      exp_tail, lambda r: max(abs(away(r) ** 2 / expm1(away(r))), mpf(0.1)), (-half, half), (4, 9))
table('logTail', 'P in log(1 + f) = f - f^2/2 + f^3 P(f) for sqrt(1/2) <= 1 + f <= sqrt(2). Used in f32, where it saves a division.',
      log_tail, lambda f: max(abs(away(f) ** 3 / log1p(away(f))), mpf(0.01)), (sqrt(mpf(0.5)) - 1, sqrt(mpf(2)) - 1), (7, None))
table('atanhTail', 'P in 2 atanh(s) = 2 s + s^3 P(s^2) for |s| <= 3 - 2 sqrt(2): log of a number between sqrt(1/2) and sqrt(2).',
      atanh_tail, lambda z: away(z) / (atanh_tail(z) * away(z) + 2), (0, (3 - 2 * sqrt(mpf(2))) ** 2), (None, 6))
table('atanhWide', 'The same P for 0 <= s <= 1/3: log(1 + y) for 0 <= y <= 1, without reduction.',
      atanh_tail, lambda z: away(z) / (atanh_tail(z) * away(z) + 2), (0, mpf(1) / 9), (4, 10))

table('expShort', 'e^r for |r| <= ln(2)/2, to the precision of a step of a lattice: see logAddExp in compiler/llvm/math.ts.',
      exp, lambda r: 1 / exp(r), (-half, half), (None, 7))
steps = {32: 32, 64: 16}


def step(bits):
    size = log(2) / (2 * steps[bits]) + mpf('1e-6')
    return -size, size


def exp_step(r):
    return expm1(away(r)) / away(r)


table('expStep', 'P in e^r = 1 + r P(r) for |r| <= ln(2)/64 in f32 and ln(2)/32 in f64, beside a table of powers of two.',
      exp_step, lambda r: away(r) / exp(r), step, (1, 5))
table('expStepShort', 'The same P to the precision of expShort.', exp_step, lambda r: away(r) / exp(r), step, (None, 3))


def powers(bits, count):
    """Powers of two, rounded so that their relative errors cancel: what had one sign would add up in a sum, and over a lattice."""
    exact = [mpf(2) ** (mpf(j) / count) for j in range(count)]
    found = [mpf(rounded(x, bits)) for x in exact]
    ulp = mpf(2) ** (-23 if bits == 32 else -52)
    error = lambda j, value: value / exact[j] - 1
    while True:
        total = sum((error(j, found[j]) for j in range(count)), mpf(0))
        # The other neighbour, of those that are nearly as near; 1 itself stays.
        others = [(j, found[j] - (ulp if error(j, found[j]) > 0 else -ulp)) for j in range(1, count)]
        better = [(abs(y - exact[j]), j, y) for j, y in others if abs(total - error(j, found[j]) + error(j, y)) < abs(total)]
        if not better or min(better)[0] > ulp * mpf('0.65'):
            return found
        _, j, value = min(better)
        found[j] = value


print('/** That table: 2^(j / 32) in f32, 2^(j / 16) in f64. Some are rounded to the farther neighbour, so that errors cancel. */')
print('export const powersOfTwo = {')
for bits, count in steps.items():
    print(f'  f{bits}: [')
    for value in powers(bits, count):
        print(f'    {float(value)!r},')
    print('  ],')
print('} as const;')
print()

table('log1pShort', 'P in log(1 + y) = y P(y) for 0 <= y <= 1, to the same precision and without a division.',
      lambda y: log1p(away(y)) / away(y), lambda y: away(y) / log1p(away(y)), (0, 1), (None, 11))

print('/** ln 2 in two parts: `high` has so few bits that a whole number of the exponent range times it is exact. */')
print('export const ln2 = {')
for bits, high_bits in ((32, 14), (64, 40)):
    high = mpf(int(log(2) * 2 ** high_bits)) / 2 ** high_bits
    print(f'  f{bits}: {{ high: {float(high)!r}, low: {rounded(log(2) - high, bits)!r} }},')
print('} as const;')
