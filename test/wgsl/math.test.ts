/** The primitives in f32 and as Doubles against Math: errors over random samples, and special values. */
import { expect } from 'vitest';
import type { KExpr, KernelProgram } from '../../compiler/kernel/kernel.js';
import { type PrimitiveName, primitives } from '../../dsl/primitives.js';
import * as k from '../kernel/helpers.js';
import { randomFrom } from '../specs.js';
import { describe, test } from './lane.js';
import { compileGpu } from './run.js';

type Precision = 'f32' | 'f64';
const names = Object.keys(primitives) as PrimitiveName[];
const { i, v, size } = k;

/** out[p][n] = primitive p of (a[n], b[n]). */
function allPrimitives(precision: Precision): KernelProgram {
  const element = precision;
  const operand = (name: string): KExpr => k.load(name, precision, v('n'));
  return k.program(
    k.sizes('N'),
    [
      k.buffer('input', 'a', element, size('N')),
      k.buffer('input', 'b', element, size('N')),
      k.buffer('output', 'out', element, i(names.length), size('N')),
    ],
    [
      k.kernel('primitives', {}, [
        k.lanes(
          'n',
          k.to(size('N')),
          names.map((name, row) => {
            const args = primitives[name].arity === 1 ? [operand('a')] : [operand('a'), operand('b')];
            return k.store('out', k.add(k.mul(i(row), size('N')), v('n')), k.prim(precision, name, ...args));
          }),
          { precision },
        ),
      ]),
    ],
  );
}

const compiled = {
  f32: compileGpu(allPrimitives('f32'), { subgroups: false, workgroupSize: 64 }),
  f64: compileGpu(allPrimitives('f64'), { subgroups: false, workgroupSize: 64 }),
};

/** Results by primitive, and what is exact for the operands as they were given to the GPU. */
async function apply(precision: Precision, a: number[], b: number[]) {
  const make =
    precision === 'f32'
      ? (values: number[]) => Float32Array.from(values)
      : (values: number[]) => Float64Array.from(values);
  const N = a.length;
  const [left, right, out] = [make(a), make(b), make(new Array(names.length * N).fill(12345))];
  const { run } = await compiled[precision];
  await run(
    new Map([
      ['a', left],
      ['b', right],
      ['out', out],
    ]),
    new Map([['N', N]]),
  );
  return (name: PrimitiveName) =>
    a.map((_, n) => ({
      a: left[n]!,
      b: right[n]!,
      got: out[names.indexOf(name) * N + n]!,
      exact: primitives[name].f64(left[n]!, right[n]!),
    }));
}

const random = randomFrom(7);
const spread = (low: number, high: number): number[] =>
  Array.from({ length: 4000 }, (_, n) =>
    n % 4 === 0
      ? low + (high - low) * random()
      : n % 4 === 1
        ? (random() - 0.5) * 2.2
        : n % 4 === 2
          ? (random() - 0.5) * 2 ** (-random() * 40)
          : (low + (high - low) * random()) * random() ** 6,
  ).map((x) => Math.min(Math.max(x, low), high));

/** By primitive: the range of operands; error allowed relative to the result, or absolute. */
const bounds: Record<
  Precision,
  Partial<Record<PrimitiveName, { from: number; to: number; relative?: number; absolute?: number }>>
> = {
  f32: {
    add: { from: -1e4, to: 1e4, relative: 2 ** -24 },
    mul: { from: -1e4, to: 1e4, relative: 2 ** -24 },
    div: { from: -1e4, to: 1e4, relative: 2.5 * 2 ** -23 },
    exp: { from: -20, to: 20, relative: 43 * 2 ** -23 },
    expm1: { from: -60, to: 60, relative: 4 * 2 ** -23 },
    log: { from: 1e-30, to: 1e6, relative: 4 * 2 ** -23 },
    log1p: { from: -0.9999, to: 1e6, relative: 4 * 2 ** -23 },
    sqrt: { from: 0, to: 1e6, relative: 4 * 2 ** -23 },
    tanh: { from: -30, to: 30, relative: 4 * 2 ** -23 },
    sigmoid: { from: -80, to: 80, relative: 4 * 2 ** -23 },
    softplus: { from: -80, to: 80, relative: 4 * 2 ** -23 },
    logAddExp: { from: -20, to: 20, absolute: 6e-6 },
  },
  f64: {
    add: { from: -1e4, to: 1e4, absolute: 2 ** -33 },
    sub: { from: -1e4, to: 1e4, absolute: 2 ** -33 },
    mul: { from: -1e4, to: 1e4, relative: 2 ** -44 },
    div: { from: -1e4, to: 1e4, relative: 2 ** -43 },
    exp: { from: -60, to: 60, relative: 2 ** -33 },
    expm1: { from: -60, to: 60, relative: 2e-7 },
    log: { from: 1e-30, to: 1e6, relative: 1e-8, absolute: 2 ** -32 },
    log1p: { from: -0.99, to: 1e6, relative: 2e-7 },
    sqrt: { from: 0, to: 1e6, relative: 2 ** -43 },
    tanh: { from: -30, to: 30, relative: 3e-7 },
    sigmoid: { from: -80, to: 80, relative: 2e-7 },
    softplus: { from: -80, to: 2000, absolute: 2 ** -33 },
    logAddExp: { from: -3000, to: 3000, absolute: 2 ** -33 },
  },
};

describe.each(['f32', 'f64'] as const)('%s', (precision) => {
  test.each(Object.entries(bounds[precision]))(
    '%s is within its bound',
    async (key, { from, to, relative, absolute }) => {
      const name = key as PrimitiveName;
      const results = await apply(precision, spread(from, to), spread(from, to));
      let largest = { relative: 0, absolute: 0 };
      for (const { got, exact, a, b } of results(name)) {
        if (!Number.isFinite(exact) || Math.abs(exact) > 4e29) continue;
        const difference = Math.abs(got - exact);
        expect(difference, `${name}(${a}, ${b})`).not.toBeNaN();
        // Results below the normal range may become 0.
        const share = difference / Math.max(Math.abs(exact), 1.2e-38 * 2 ** 24);
        largest = { relative: Math.max(largest.relative, share), absolute: Math.max(largest.absolute, difference) };
      }
      if (process.env.TRELLIS_TEST_ERRORS) console.log(precision, name, largest);
      if (relative !== undefined) expect(largest.relative).toBeLessThanOrEqual(relative);
      if (absolute !== undefined) expect(largest.absolute).toBeLessThanOrEqual(absolute);
    },
  );

  test('infinities and NaN', async () => {
    const [inf, nan] = [Number.POSITIVE_INFINITY, Number.NaN];
    const left = [inf, -inf, inf, -inf, inf, 3, -inf, nan, 3, nan, 0, -1, nan, inf, 0, 1, 1e35, -1e35, 2];
    const right = [2, 2, -inf, -inf, inf, -inf, 5, 1, nan, nan, 0, -1, -inf, nan, -inf, 0, 1, 1, inf];
    const results = await apply(precision, left, right);
    // 0 * Infinity is 0 and Infinity - Infinity of two float32 is 0; both are NaN on paper. 1e35 counts as Infinity.
    const counted = (x: number): number => (Math.abs(x) >= 5e29 ? Math.sign(x) * inf : x);
    for (const name of names) {
      for (const { a, b, got } of results(name)) {
        const exact = counted(primitives[name].f64(counted(a), counted(b)));
        const label = `${name}(${a}, ${b})`;
        const operandNaN = Number.isNaN(a) || (primitives[name].arity === 2 && Number.isNaN(b));
        if (Number.isNaN(exact) && !operandNaN) {
          // No number to compare with; Doubles do say NaN for Infinity - Infinity.
          if (precision === 'f64' && (name === 'add' || name === 'sub')) expect(got, label).toBeNaN();
        } else if (!Number.isFinite(exact)) expect(got, label).toBe(exact);
        else expect(Math.abs(got - exact), label).toBeLessThan(1e-5);
      }
    }
  });
});
