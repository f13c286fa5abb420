import { describe, expect, test } from 'vitest';
import {
  defineLoss,
  evaluateReference,
  exp,
  type Field1,
  type Field2,
  f32,
  field,
  floorDiv,
  i32,
  type LossDefinition,
  logAddExp,
  logSumExp,
  maxOver,
  minOver,
  recurrence,
  sum,
} from '../../dsl/index.js';
import monotonic from '../specs/monotonic-equations.js';
import rnnt from '../../specs/rnnt-equations.js';

const header = { name: 'given', inputs: { x: f32('T') } } as const;

/** A loss over x of T numbers, whose value is what the body computes. */
function scalar(compute: (x: (i: number) => number, T: number) => number): LossDefinition {
  return defineLoss({ name: 'scalar', inputs: { x: f32('T') } }, ({ x, T }) => ({
    loss: compute(x as (i: number) => number, T),
    gradients: {},
  }));
}

function run(definition: LossDefinition, x: readonly number[] = [1, 2, 3]): number {
  return evaluateReference(definition, { inputs: { x: { data: x } }, sizes: { T: x.length } }).loss;
}

/** Uniform logits: each symbol has probability 1 / V. */
function uniform(definition: LossDefinition, T: number, U: number, V: number) {
  return evaluateReference(definition, {
    inputs: { acts: { data: new Float32Array(T * (U + 1) * V) }, labels: { data: Array<number>(U).fill(1) } },
    sizes: { T, U, V },
  });
}

/** log of the binomial coefficient. */
function logChoose(n: number, k: number): number {
  let total = 0;
  for (let i = 1; i <= k; i++) total += Math.log((n - k + i) / i);
  return total;
}

describe('deep recurrences', () => {
  test('T = 4000 frames do not overflow the stack, and give the closed form', () => {
    const { loss, gradients } = uniform(rnnt, 4000, 2, 2);
    expect(loss).toBeCloseTo(4002 * Math.log(2) - logChoose(4001, 2), 7);
    expect(gradients.acts).toHaveLength(4000 * 3 * 2);
  });

  test('the monotonic lattice too', () => {
    expect(uniform(monotonic, 4000, 3, 2).loss).toBeCloseTo(4000 * Math.log(2) - logChoose(4000, 3), 7);
  });

  test('a chain through two recurrences and a plain field of 100 000 cells', () => {
    const T = 100_000;
    const definition = defineLoss({ name: 'chain', inputs: { x: f32('T') } }, ({ x, T: n }) => {
      const a: Field1 = recurrence([n], (t) => (t === 0 ? 0 : half(t - 1)), { outside: 0 });
      const b: Field1 = recurrence([n], (t) => a(t) + x(t));
      const half: Field1 = field([n], (t) => b(t));
      return { loss: b(n - 1), gradients: {} };
    });
    // `half` is declared after the cells that read it, but before the loss does.
    expect(run(definition, Array<number>(T).fill(1))).toBe(T);
  });
});

describe('cells that depend on themselves', () => {
  test('a recurrence that reads its own cell', () => {
    const definition = defineLoss({ name: 'self', inputs: { x: f32('T') } }, ({ T }) => {
      const gamma: Field2 = recurrence([T, 2], (t, u) => (t === 0 ? gamma(2, u) : gamma(t - 1, u)));
      return { loss: gamma(1, 1), gradients: {} };
    });
    expect(() => run(definition)).toThrow('cell (1, 1) of recurrence gamma depends on itself');
  });

  test('a cycle far longer than the stack is deep', () => {
    const definition = defineLoss({ name: 'ring', inputs: { x: f32('T') } }, ({ T }) => {
      const ring: Field1 = recurrence([T], (t) => ring(t === 0 ? T - 1 : t - 1));
      return { loss: ring(0), gradients: {} };
    });
    expect(() => run(definition, new Array(50_000).fill(0))).toThrow(
      /cell \(\d+\) of recurrence ring depends on itself/,
    );
  });

  test('a plain field that reads other cells of itself is told to be a recurrence', () => {
    const definition = defineLoss({ name: 'plain', inputs: { x: f32('T') } }, ({ T }) => {
      const running: Field1 = field([T], (t) => (t === 0 ? 0 : running(t - 1)));
      return { loss: running(2), gradients: {} };
    });
    expect(() => run(definition)).toThrow('declare running with recurrence(...)');
  });

  test('after an error the next run starts clean', () => {
    const failing = scalar((x) => {
      const f = field([3], (t) => {
        if (t === 0) throw new Error('from a cell');
        return x(t);
      });
      return sum(3, (t) => f(2 - t));
    });
    expect(() => run(failing)).toThrow('from a cell');
    expect(run(scalar((x, T) => sum(T, (t) => x(t))))).toBe(6);
  });
});

describe('reads', () => {
  test('outside: inputs and fields are log 0, int inputs -1, a field with `outside` that value', () => {
    const definition = defineLoss({ name: 'outside', inputs: { x: f32('T'), k: i32('T') } }, ({ x, k, T }) => {
      const plain = field([T], (t) => x(t));
      const zero = field([T], (t) => x(t), { outside: 0 });
      const cells: readonly number[] = [x(-1), x(T), x(k(T)), k(-1), plain(-1), plain(T), zero(T), zero(-1), zero(0)];
      const report = field([cells.length], (i) => cells[i] as number);
      return { loss: report(0), gradients: {} };
    });
    const result = evaluateReference(definition, {
      inputs: { x: { data: [5, 6] }, k: { data: [0, 1] } },
      sizes: { T: 2 },
    });
    const report = result.field('report');
    const none = Number.NEGATIVE_INFINITY;
    expect(report.domain.flatMap((n) => Array.from({ length: n }, (_, i) => report.at(i)))).toEqual([
      none,
      none,
      none,
      -1,
      none,
      none,
      0,
      0,
      5,
    ]);
  });

  test('wrong rank', () => {
    const anyRank = (f: unknown) => f as (...indices: number[]) => number;
    expect(() => run(scalar((x) => anyRank(x)(1, 2)))).toThrow('input x has 1 indices but is read with 2: x(1, 2)');
    const tooFew = defineLoss(header, () => {
      const grid = field([2, 2], () => 0);
      return { loss: anyRank(grid)(1), gradients: {} };
    });
    expect(() => run(tooFew)).toThrow('field grid has 2 indices but is read with 1: grid(1)');
    const tooMany = defineLoss(header, () => {
      const cube = field([2, 2, 2], () => 0);
      return { loss: anyRank(cube)(1, 1, 1, 0), gradients: {} };
    });
    expect(() => run(tooMany)).toThrow('field cube has 3 indices but is read with 4: cube(1, 1, 1, 0)');
  });

  test('indices that are no integers', () => {
    expect(() => run(scalar((x) => x(0.5)))).toThrow('index 0 of x(0.5) is 0.5; indices are integers');
    const nan = defineLoss(header, () => {
      const row = field([2, 3], () => 0);
      return { loss: row(0, Number.NaN), gradients: {} };
    });
    expect(() => run(nan)).toThrow('index 1 of row(0, NaN) is NaN');
  });

  test('a cell that is no number', () => {
    const definition = defineLoss(header, () => {
      const odd = field([2], (t) => (t === 0) as unknown as number);
      return { loss: odd(0), gradients: {} };
    });
    expect(() => run(definition)).toThrow('cell (0) of field odd is true; a cell must be a number');
  });

  test('a field made outside of the body is called by its number', () => {
    const elsewhere = () => field([2], () => 0);
    const definition = defineLoss(header, () => {
      const known = field([2], (t) => 0 * t);
      return { loss: known(0) + elsewhere()(0.5), gradients: {} };
    });
    expect(() => run(definition)).toThrow('index 0 of #2(0.5) is 0.5');
  });

  test('strided and offset inputs', () => {
    const definition = defineLoss({ name: 'view', inputs: { m: f32('N', '2*M-1') } }, ({ m, N, M }) => ({
      loss: sum(N, (i) => sum(2 * M - 1, (j) => m(i, j) * 10 ** (3 * i + j))),
      gradients: {},
    }));
    const view = { data: [0, 1, 4, 2, 5, 3, 6], offset: 1, strides: [1, 2] };
    expect(evaluateReference(definition, { inputs: { m: view }, sizes: { N: 2, M: 2 } }).loss).toBe(654321);
    const short = { data: [1, 2, 3] };
    expect(() => evaluateReference(definition, { inputs: { m: short }, sizes: { N: 2, M: 2 } })).toThrow(
      'input m of shape [2, 3] reaches from element 0 to 5 of data that has 3',
    );
  });
});

describe('reductions and sums', () => {
  test('over nothing they give their neutral element', () => {
    const values: number[] = [];
    run(
      scalar((x) => {
        values.push(sum(0, x), maxOver(0, x), minOver(0, x), logSumExp(0, x), logSumExp(-1, x), logAddExp());
        return 0;
      }),
    );
    const none = Number.NEGATIVE_INFINITY;
    expect(values).toEqual([0, none, Number.POSITIVE_INFINITY, none, none, none]);
  });

  test('logSumExp and logAddExp neither overflow nor hide NaN', () => {
    expect(
      run(
        scalar((x, T) => logSumExp(T, x)),
        [1000, 1000],
      ),
    ).toBeCloseTo(1000 + Math.LN2, 12);
    expect(
      run(
        scalar((x, T) => logSumExp(T, x)),
        [Number.NEGATIVE_INFINITY, Number.NEGATIVE_INFINITY],
      ),
    ).toBe(Number.NEGATIVE_INFINITY);
    expect(
      run(
        scalar((x, T) => logSumExp(T, x)),
        [0, Number.NaN],
      ),
    ).toBeNaN();
    expect(
      run(
        scalar((x) => logAddExp(x(0), x(1), x(2))),
        [-2000, -2000, -2000],
      ),
    ).toBeCloseTo(-2000 + Math.log(3), 12);
  });

  test('an extent must be an integer', () => {
    expect(() => run(scalar((x) => sum(1.5, x)))).toThrow('the extent is 1.5');
  });
});

describe('outputs', () => {
  const infinite = (loss: number) =>
    defineLoss({ name: 'given', inputs: { x: f32('T') } }, ({ x, T }) => ({
      loss,
      gradients: { x: field([T], (t) => x(t)) },
    }));
  const gradient = (loss: number) =>
    evaluateReference(infinite(loss), { inputs: { x: { data: [1, 2] } }, sizes: { T: 2 } }).gradients.x;

  test('a loss of +Infinity makes all gradients zero; other losses do not', () => {
    expect([...(gradient(Number.POSITIVE_INFINITY) ?? [])]).toEqual([0, 0]);
    expect([...(gradient(3) ?? [])]).toEqual([1, 2]);
    expect([...(gradient(Number.NaN) ?? [])]).toEqual([1, 2]);
  });

  test('no frames, or more labels than a monotonic path can emit: no path', () => {
    expect(uniform(rnnt, 0, 1, 3).loss).toBe(Number.POSITIVE_INFINITY);
    const { loss, gradients } = uniform(monotonic, 2, 3, 3);
    expect(loss).toBe(Number.POSITIVE_INFINITY);
    expect(gradients.acts?.every((g) => g === 0)).toBe(true);
  });

  test('score only', () => {
    const utterance = { inputs: { x: { data: [1] } }, sizes: { T: 1 }, gradients: false };
    expect(evaluateReference(infinite(3), utterance).gradients).toEqual({});
  });

  test('a gradient must have the shape of its input', () => {
    const definition = defineLoss({ name: 'shape', inputs: { x: f32('T') } }, ({ x, T }) => {
      const short = field([T - 1], (t) => x(t));
      return { loss: 0, gradients: { x: short } };
    });
    expect(() => run(definition)).toThrow("gradients.x is short over [2]; it must have the input's shape [3]");
  });

  test('fields can be looked at by the names of their variables', () => {
    const result = uniform(rnnt, 3, 2, 4);
    expect(result.fields.map((one) => one.name)).toEqual([
      'logZ',
      'stay',
      'emit',
      'alpha',
      'beta',
      'stayed',
      'emitted',
      'visits',
      'grad',
    ]);
    expect(result.field('logZ').at(0, 0)).toBeCloseTo(Math.log(4), 12);
    expect(result.field('alpha').at(0, 0)).toBe(0);
    // Two ways to one likelihood.
    expect(result.field('alpha').at(2, 2) + result.field('stay').at(2, 2)).toBeCloseTo(-result.loss, 12);
    expect(exp(result.field('stay').at(1, 1))).toBeCloseTo(1 / 4, 12);
    expect(() => result.field('gamma')).toThrow('loss rnnt-equations has no field gamma; there are logZ, stay');
  });

  test('a constant that reads cells before a field they need is declared', () => {
    const definition = scalar((x, T) => {
      const first: Field1 = field([T], (t) => second(t));
      const early = first(0);
      const second: Field1 = field([T], (t) => x(t));
      return early;
    });
    expect(() => run(definition)).toThrow('a cell is read before a field it needs is declared: move the read below');
  });
});

describe('what is given', () => {
  const given = (part: object) => () =>
    evaluateReference(rnnt, {
      inputs: { acts: { data: [0, 0] }, labels: { data: [] } },
      sizes: { T: 1, U: 0, V: 2 },
      ...part,
    });

  test('fits the header', () => {
    expect(given({})().loss).toBeCloseTo(Math.LN2, 12);
    expect(given({ params: { blonk: 1 } })).toThrow(
      'loss rnnt-equations: parameter blonk is unknown; there are blank, fastemitLambda, clamp',
    );
    expect(given({ statics: { sigma: 1 } })).toThrow('static sigma is unknown; there are none');
    expect(given({ inputs: { acts: { data: [0, 0] } } })).toThrow('input labels is missing');
    expect(given({ sizes: { T: 1, V: 2 } })).toThrow('size U is missing');
    expect(given({ sizes: { T: 1, U: -1, V: 2 } })).toThrow('size U is -1; it must be an integer >= 0');
    expect(given({ sizes: { T: 1, U: 0, V: 2, W: 3 } })).toThrow('size W is unknown; there are T, U, V');
  });
});

test('fields are declared by the body, not by its cells and not elsewhere', () => {
  expect(() => field([2], () => 0)).toThrow('field(...) may be called only by the body of a loss');
  const nested = scalar(() => {
    const outer = field([2], (t) => field([2], () => t)(0));
    return outer(0);
  });
  expect(() => run(nested)).toThrow('field(...) is called inside a cell');
});

test('arrays of numbers may be statics, and others may take their place', () => {
  const definition = defineLoss(
    { name: 'steps', inputs: { x: f32('T') }, statics: { durations: [1, 2] } },
    ({ x, T, durations }) => {
      const ways: Field1 = recurrence([T + 1], (t) => (t === 0 ? 0 : logAddExp(...durations.map((d) => ways(t - d)))));
      return { loss: ways(T) + 0 * x(0), gradients: {} };
    },
  );
  const utterance = { inputs: { x: { data: [0, 0, 0, 0, 0] } }, sizes: { T: 5 } };
  expect(Math.exp(evaluateReference(definition, utterance).loss)).toBeCloseTo(8, 10); // Fibonacci
  const other = evaluateReference(definition, { ...utterance, statics: { durations: [1, 2, 3] } });
  expect(Math.exp(other.loss)).toBeCloseTo(13, 10); // Tribonacci
});

test('floorDiv rounds down, and takes integers and a divisor of at least 1 only', () => {
  expect([-3, -2, -1, 0, 1, 2].map((a) => floorDiv(a, 2))).toEqual([-2, -1, -1, 0, 0, 1]);
  expect(Object.is(floorDiv(-0, 3), 0)).toBe(true);
  expect(() => floorDiv(0.5, 2)).toThrow('floorDiv(0.5, 2): 0.5 is not an integer');
  expect(() => floorDiv(1, 0)).toThrow('the divisor is 0; it must be one of 1, 2, 3, ...');
  expect(() => floorDiv(1, 1.5)).toThrow('the divisor is 1.5');
});
