/**
 * Our own mathematical functions against Math: errors in ulp over random samples, limits and special values.
 * In f32 Math's results count as exact; in f64 they are themselves up to 1 ulp off, so bounds are 1 ulp wider there.
 */
import { beforeAll, describe, expect, test } from 'vitest';
import { type PrimitiveName, primitives } from '../../dsl/primitives.js';
import { LlvmJit } from '../../runtime/cpu/jit.js';
import { describeLlvm } from '../lanes.js';
import { hostJit } from './run.js';
import { type Precision, PrimitiveRunner, randomNumbers, ulpError, ulpOf } from './ulp.js';

const count = 20000;
/** Bounds in ulp that compiler/llvm/math.ts states, and the sampled range of arguments in f64 and f32. */
const bounded: Partial<Record<PrimitiveName, { ulp: number; f64: [number, number]; f32: [number, number] }>> = {
  exp: { ulp: 2, f64: [-745, 710], f32: [-104, 89] },
  expm1: { ulp: 2, f64: [-60, 710], f32: [-60, 89] },
  log: { ulp: 2, f64: [0, 1e6], f32: [0, 1e6] },
  log1p: { ulp: 2, f64: [-1, 1e6], f32: [-1, 1e6] },
  tanh: { ulp: 3, f64: [-30, 30], f32: [-30, 30] },
  sigmoid: { ulp: 3, f64: [-745, 745], f32: [-104, 104] },
  softplus: { ulp: 2, f64: [-745, 745], f32: [-104, 104] },
};
const exactly: PrimitiveName[] = ['add', 'sub', 'mul', 'div', 'neg', 'min', 'max', 'abs', 'sqrt'];
const sizes = [128, 256, 512] as const;

function newArray(precision: Precision, values: readonly number[]): Float32Array | Float64Array {
  return precision === 'f32' ? Float32Array.from(values) : Float64Array.from(values);
}

/** The whole range, around 0, near 0 at all scales, and with a preference for the small end of the range. */
function samples(precision: Precision, [low, high]: readonly [number, number], seed: number) {
  const random = randomNumbers(seed);
  const draw = [
    () => low + (high - low) * random(),
    () => (random() - 0.5) * 2.2,
    () => (random() - 0.5) * 2 ** (-random() * 120),
    () => (low + (high - low) * random()) * random() ** 6,
  ];
  const values = Array.from({ length: count }, (_, i) => draw[i % draw.length]!());
  return newArray(
    precision,
    values.map((value) => Math.min(Math.max(value, low), high)),
  );
}

/** What logAddExp adds to the larger operand has 32 bits in f64: so much in ulp of the largest number that counts. */
function shortUlp(precision: Precision, exact: number, high: number): number {
  const added = exact - high;
  if (precision === 'f32' || !Number.isFinite(added)) return 0;
  return (2 ** -32 * added) / ulpOf(precision, Math.max(Math.abs(high), Math.abs(exact), added));
}

/** The host's vectors of each width and its scalars, and a machine without fused multiply-add. */
const configurations = [
  ...sizes.map((bits) => ({ title: `${bits} bits`, bits, scalar: false, jit: () => hostJit() })),
  { title: 'scalars', bits: 256, scalar: true, jit: () => hostJit() },
  ...(process.arch === 'x64'
    ? [{ title: 'SSE2', bits: 128, scalar: false, jit: () => new LlvmJit({ cpu: 'x86-64' }) } as const]
    : []),
] as const;

describeLlvm.each(configurations)('$title', ({ bits, scalar, jit }) => {
  describe.each(['f32', 'f64'] as const)('%s', (precision) => {
    let runner: PrimitiveRunner;
    beforeAll(() => {
      runner = new PrimitiveRunner(precision, bits, jit());
    });
    const slack = precision === 'f64' ? 1 : 0;

    test.each(Object.entries(bounded))('%s is within its bound', (key, { ulp, ...ranges }) => {
      const name = key as PrimitiveName;
      const a = samples(precision, ranges[precision], 11);
      const out = runner.apply(name, a, a, scalar);
      let worst = { error: 0, x: 0, got: 0 };
      out.forEach((got, i) => {
        const x = a[i]!;
        const error = ulpError(precision, got, primitives[name].f64(x, x));
        if (!(error <= worst.error)) worst = { error, x, got };
      });
      expect(worst.error, `${name}(${worst.x}) = ${worst.got}`).toBeLessThanOrEqual(ulp + slack);
    });

    test('exp beyond its range is Infinity or 0, however far beyond', () => {
      const random = randomNumbers(31);
      const [low, exponents] = precision === 'f32' ? [88.73, 121.5] : [709.79, 1014.5];
      const sizes = Array.from({ length: count }, () => low * 2 ** (random() ** 2 * exponents));
      const a = newArray(
        precision,
        sizes.map((size, i) => (i % 2 === 0 ? size : -size)),
      );
      const wrong = [...runner.apply('exp', a, a, scalar)].flatMap((got, i) =>
        Object.is(got, i % 2 === 0 ? Number.POSITIVE_INFINITY : 0) ? [] : [`exp(${a[i]}) = ${got}`],
      );
      expect(wrong).toEqual([]);
    });

    test('logAddExp is within its bound', () => {
      const a = samples(precision, [-60, 60], 3);
      const b = samples(precision, [-60, 60], 5);
      const out = runner.apply('logAddExp', a, b, scalar);
      let worst = { excess: 0, a: 0, b: 0, got: 0 };
      out.forEach((got, i) => {
        const [x, y] = [a[i]!, b[i]!];
        const exact = primitives.logAddExp.f64(x, y);
        const high = Math.max(x, y);
        const error = ulpError(precision, got, exact, Math.max(Math.abs(high), exact - high));
        // In f64 the reference rounds the difference of the operands as well.
        const allowed = 2 + slack + (Math.abs(x - y) / 2) * (1 + slack) + shortUlp(precision, exact, high);
        if (!(error <= allowed) && !(error - allowed <= worst.excess))
          worst = { excess: error - allowed, a: x, b: y, got };
      });
      expect(worst.excess, `logAddExp(${worst.a}, ${worst.b}) = ${worst.got}`).toBe(0);
    });

    test.each(exactly)('%s is correctly rounded', (name) => {
      const a = samples(precision, [-50, 50], 21);
      const b = samples(precision, [-50, 50], 22);
      const out = runner.apply(name, a, b, scalar);
      const exact = newArray(
        precision,
        [...a].map((x, i) => primitives[name].f64(x, b[i]!)),
      );
      expect(out).toEqual(exact);
    });

    test('limits and special values are those of the definition', () => {
      const least = precision === 'f32' ? 2 ** -149 : 2 ** -1074;
      const largest = precision === 'f32' ? 3.4028234663852886e38 : Number.MAX_VALUE;
      const special = [
        0,
        1,
        -1,
        0.5,
        least,
        least * 3,
        1e-30,
        -1e-30,
        largest,
        -largest,
        1000,
        -1000,
        88.7,
        -87.4,
        709.7,
      ];
      const points = [...special, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, Number.NaN];
      const pairs = points.flatMap((x) => points.map((y) => [x, y] as const));
      const a = newArray(
        precision,
        pairs.map(([x]) => x),
      );
      const b = newArray(
        precision,
        pairs.map(([, y]) => y),
      );
      for (const name of Object.keys(primitives) as PrimitiveName[]) {
        const out = runner.apply(name, a, b, scalar);
        const wrong = pairs.flatMap((_, i) => {
          const [x, y, got] = [a[i]!, b[i]!, out[i]!];
          const exact = primitives[name].f64(x, y);
          const scale = name === 'logAddExp' ? Math.max(Math.abs(x), Math.abs(y)) : 0;
          const short = name === 'logAddExp' ? shortUlp(precision, exact, Math.max(x, y)) : 0;
          return ulpError(precision, got, exact, scale) <= 4 + short
            ? []
            : [`${name}(${x}, ${y}) = ${got}, not ${exact}`];
        });
        expect(wrong).toEqual([]);
      }
    });

    test('NaN stays NaN whatever its payload', () => {
      const a = precision === 'f32' ? new Float32Array(64) : new Float64Array(64);
      // Quiet NaNs with every low bit pattern that a shift could move into the exponent.
      if (precision === 'f32')
        new Uint32Array(a.buffer).forEach((_, i, words) => {
          words[i] = 0x7fc00000 + i * 0x3fff;
        });
      else
        new BigUint64Array(a.buffer).forEach((_, i, words) => {
          words[i] = 0x7ff8000000000000n + BigInt(i) * 0xfffn;
        });
      const ones = newArray(
        precision,
        Array.from({ length: 64 }, () => 1),
      );
      for (const name of Object.keys(primitives) as PrimitiveName[]) {
        expect([...runner.apply(name, a, ones, scalar)].every(Number.isNaN), name).toBe(true);
        if (primitives[name].arity === 2) {
          expect([...runner.apply(name, ones, a, scalar)].every(Number.isNaN), name).toBe(true);
        }
      }
    });
  });
});
