import { describe, expect, test } from 'vitest';
import { interpretProgram, KernelViolation, type Violation } from '../../compiler/kernel/interpret.js';
import type { BufferDecl, KExpr, KernelProgram, KStmt } from '../../compiler/kernel/kernel.js';
import type { BufferArray } from '../../compiler/kernel/memory.js';
import * as k from './helpers.js';
import { diagonal, prefixes, softmax } from './programs.js';

const { i, v, f32, f64, to, size } = k;
const seeds = [1, 2, 3, 17, 12345];

function run(
  program: KernelProgram,
  buffers: Record<string, BufferArray>,
  scalars: Record<string, number>,
  seed = 1,
): void {
  interpretProgram(program, {
    buffers: new Map(Object.entries(buffers)),
    scalars: new Map(Object.entries(scalars)),
    seed,
  });
}

describe('correct programs, whatever the order of cells and lanes', () => {
  test.each(seeds)('row softmax in f32 (seed %i)', (seed) => {
    const [B, V] = [3, 7];
    const x = Float32Array.from({ length: B * V }, (_, index) => Math.sin(index * 3) * 4);
    const out = new Float32Array(B * V);
    run(softmax(), { x, out }, { B, V }, seed);
    for (let b = 0; b < B; b++) {
      const row = [...x.subarray(b * V, (b + 1) * V)].map(Math.exp);
      const total = row.reduce((sum, value) => sum + value);
      row.forEach((value, index) => {
        expect(out[b * V + index]).toBeCloseTo(value / total, 6);
      });
    }
  });

  test.each(seeds)('a recurrence on skewed diagonals, ragged (seed %i)', (seed) => {
    const lens = Int32Array.of(1, 5, 3, 2);
    const U = 4;
    const count = new Float64Array(lens.length);
    run(diagonal(), { lens, count }, { B: lens.length, U }, seed);
    // Paths from (0, 0) to (T - 1, 3): (T + 2 choose 3).
    expect([...count]).toEqual([1, 35, 10, 4]);
  });

  test.each(seeds)('prefix sums by steps, forward and in reverse (seed %i)', (seed) => {
    const x = Float32Array.of(1, 2, 3, 4, 10, 20, 30, 40);
    const [out, back] = [new Float64Array(8), new Float64Array(8)];
    run(prefixes(), { x, out, back }, { B: 2, T: 4 }, seed);
    expect([...out]).toEqual([1, 3, 6, 10, 10, 30, 60, 100]);
    expect([...back]).toEqual([10, 9, 7, 4, 100, 90, 70, 40]);
  });

  test.each(seeds)('reductions of lanes and serial loops, also over nothing (seed %i)', (seed) => {
    const element = k.cast('f64', k.load('x', 'f32', v('u')));
    const reduce = (suffix: string) => [
      k.sum(`sum${suffix}`, 'f64', element),
      { ...k.sum(`max${suffix}`, 'f64', element), op: 'max' as const },
      { ...k.sum(`min${suffix}`, 'f64', element), op: 'min' as const },
    ];
    const stores = (suffix: string, from: number): KStmt[] =>
      ['sum', 'max', 'min'].map((name, index) => k.store('y', i(from + index), v(name + suffix, 'f64')));
    const rename = (suffix: string, name: string): KExpr => k.cast('f64', k.load('x', 'f32', v(name + suffix)));
    const empty = [
      { ...k.sum('sumE', 'f64', rename('E', 'w')) },
      { ...k.sum('maxE', 'f64', f64(1)), op: 'max' as const },
      { ...k.sum('minE', 'f64', f64(1)), op: 'min' as const },
    ];
    const program = k.program(
      k.sizes('N'),
      [k.buffer('input', 'x', 'f32', size('N')), k.buffer('output', 'y', 'f64', i(7))],
      [
        k.kernel('reduce', {}, [
          k.lanes('u', to(size('N')), [], { reduce: reduce('') }),
          ...stores('', 0),
          k.lanes('wE', [i(3), i(2)], [], { reduce: empty }),
          ...stores('E', 3),
          // A lane with a serial loop inside; 0 + 1 + 2 + 3 over the lanes.
          k.lanes('l', to(i(4)), [k.serial('s', to(v('l')), [], { reduce: [k.sum('inner', 'f64', f64(1))] })], {
            reduce: [k.sum('outer', 'f64', v('inner', 'f64'))],
          }),
          k.store('y', i(6), v('outer', 'f64')),
        ]),
      ],
    );
    const y = new Float64Array(7);
    run(program, { x: Float32Array.of(3, -1, 4, 1.5), y }, { N: 4 }, seed);
    expect([...y]).toEqual([7.5, 4, -1, 0, -Infinity, Infinity, 6]);
  });

  test('f32 values are rounded at every operation, f64 values are not', () => {
    const tenth = k.prim('f32', 'div', f32(1), f32(10));
    const program = k.program(
      [],
      [k.buffer('output', 'y', 'f64', i(3))],
      [
        k.kernel('round', {}, [
          k.store('y', i(0), k.cast('f64', tenth)),
          k.store('y', i(1), k.prim('f64', 'div', f64(1), f64(10))),
          k.store('y', i(2), k.cast('f64', k.prim('f32', 'add', f32(2 ** 24), f32(1)))),
        ]),
      ],
    );
    const y = new Float64Array(3);
    run(program, { y }, {});
    expect([...y]).toEqual([Math.fround(0.1), 0.1, 2 ** 24]);
  });

  test('an f32 reduction is rounded at every step', () => {
    const program = k.program(
      [],
      [k.buffer('output', 'y', 'f64', i(1))],
      [
        k.kernel('round', {}, [
          k.serial('s', to(i(3)), [], {
            reduce: [k.sum('total', 'f32', k.select(k.compare('eq', v('s'), i(0)), f32(2 ** 24), f32(1)))],
          }),
          k.store('y', i(0), k.cast('f64', v('total', 'f32'))),
        ]),
      ],
    );
    const y = new Float64Array(1);
    run(program, { y }, {});
    expect(y[0]).toBe(2 ** 24); // 2^24 + 1 rounds back, twice
  });

  test('selects, logic, comparisons, index arithmetic and branches', () => {
    const [a, b] = [i(7), i(3)];
    const values: [KExpr, number][] = [
      [k.add(a, b), 10],
      [k.sub(b, a), -4],
      [k.mul(a, b), 21],
      [k.div(a, b), 2],
      [k.mod(a, b), 1],
      [k.min(a, b), 3],
      [k.max(a, b), 7],
      ...(['eq', 'ne', 'lt', 'le', 'gt', 'ge'] as const).map((op): [KExpr, number] => [
        k.select(k.compare(op, a, b), i(1), i(0)),
        Number(['ne', 'gt', 'ge'].includes(op)),
      ]),
      [k.select(k.logic('and', k.yes, k.compare('eq', a, a), k.logic('not', k.yes)), i(1), i(2)), 2],
      [k.select(k.logic('or', k.logic('not', k.yes), k.yes), i(1), i(2)), 1],
      [k.select(k.compare('ne', f64(Infinity), k.prim('f64', 'sub', f64(Infinity), f64(Infinity))), i(1), i(2)), 1],
    ];
    const program = k.program(
      [],
      [k.buffer('output', 'y', 'i32', i(values.length))],
      [
        k.kernel('ints', {}, [
          ...values.map(([expr], index) =>
            k.when(
              k.compare('lt', i(index % 2), i(1)),
              [k.store('y', i(index), expr)],
              [k.comment('odd'), k.store('y', i(index), expr)],
            ),
          ),
        ]),
      ],
    );
    const y = new Int32Array(values.length);
    run(program, { y }, {});
    expect([...y]).toEqual(values.map(([, value]) => value));
  });

  test('a masked load that is off touches nothing and gives `other`', () => {
    const inside = k.compare('lt', v('u'), i(2));
    const program = k.program(
      [],
      [k.buffer('input', 'x', 'f32', i(2)), k.buffer('output', 'y', 'f32', i(4))],
      [
        k.kernel('mask', {}, [
          k.lanes('u', to(i(4)), [k.store('y', v('u'), k.load('x', 'f32', v('u'), inside, -Infinity))]),
        ]),
      ],
    );
    const y = new Float32Array(4);
    run(program, { x: Float32Array.of(5, 6), y }, {});
    expect([...y]).toEqual([5, 6, -Infinity, -Infinity]);
  });

  test('a cell may correct an output element it has written, and read it for that', () => {
    const program = k.program(
      k.sizes('B'),
      [k.buffer('output', 'y', 'f64', size('B'), i(3))],
      [
        k.kernel('fix', { b: size('B') }, [
          k.lanes('u', to(i(3)), [k.store('y', k.add(k.mul(v('b'), i(3)), v('u')), f64(1))]),
          k.store('y', k.mul(v('b'), i(3)), k.prim('f64', 'sub', k.load('y', 'f64', k.mul(v('b'), i(3))), f64(3))),
        ]),
      ],
    );
    const y = new Float64Array(6);
    run(program, { y }, { B: 2 });
    expect([...y]).toEqual([-2, 1, 1, -2, 1, 1]);
  });
});

describe('options', () => {
  const scratch = k.program(
    k.sizes('B'),
    [k.buffer('scratch', 's', 'f64', size('B')), k.buffer('output', 'y', 'f32', size('B'))],
    [k.kernel('first', { b: size('B') }, [k.store('s', v('b'), k.cast('f64', v('b')))])],
    [k.kernel('second', { c: size('B') }, [k.store('y', v('c'), k.cast('f32', k.load('s', 'f64', v('c'))))])],
  );

  test('scratch given by the caller is left for him to see', () => {
    const [s, y] = [new Float64Array(3), new Float32Array(3)];
    run(scratch, { s, y }, { B: 3 });
    expect([...s]).toEqual([0, 1, 2]);
    expect([...y]).toEqual([0, 1, 2]);
  });

  test('onStore replaces stored reals, trace tells of every store', () => {
    const y = new Float32Array(2);
    const lines: string[] = [];
    interpretProgram(scratch, {
      buffers: new Map([['y', y]]),
      scalars: new Map([['B', 2]]),
      onStore: (value, buffer) => (buffer === 's' ? value + 100 : value),
      trace: (line) => lines.push(line),
    });
    expect([...y]).toEqual([100, 101]);
    expect(lines.slice().sort()).toEqual([
      'kernel first at b = 0: s[0] := 100',
      'kernel first at b = 1: s[1] := 101',
      'kernel second at c = 0: y[0] := 100',
      'kernel second at c = 1: y[1] := 101',
    ]);
  });

  test('the order of cells and lanes hangs on the seed, and on nothing else', () => {
    const order = (seed: number): string => {
      const lines: string[] = [];
      const body = [k.lanes('u', to(i(8)), [k.store('y', k.add(k.mul(v('b'), i(8)), v('u')), f64(0))])];
      const program = k.program([], [k.buffer('output', 'y', 'f64', i(64))], [k.kernel('order', { b: i(8) }, body)]);
      interpretProgram(program, {
        buffers: new Map([['y', new Float64Array(64)]]),
        scalars: new Map(),
        seed,
        trace: (line) => lines.push(line),
      });
      return lines.join('\n');
    };
    const orders = seeds.map(order);
    expect(seeds.map(order)).toEqual(orders);
    expect(new Set(orders).size).toBe(seeds.length);
  });

  const y = new Float32Array(3);
  const misfits: [string, Record<string, BufferArray>, Record<string, number>, string][] = [
    ['no scalar', { y }, {}, 'scalar B: no value given'],
    ['fractional size', { y }, { B: 1.5 }, 'scalar B: 1.5 given, an integer is needed'],
    ['negative size', { y }, { B: -1 }, 'scalar B: size -1 is negative'],
    ['no output', {}, { B: 3 }, 'buffer y: no array given for this output of shape [3]'],
    ['short array', { y }, { B: 4 }, 'buffer y: 3 elements were given; shape [4] has 4'],
    [
      'wrong kind of array',
      { y: new Float64Array(3) },
      { B: 3 },
      'a Float64Array was given; f32 elements need a Float32Array',
    ],
    ['long scratch', { y, s: new Float64Array(4) }, { B: 3 }, 'buffer s: 4 elements were given; shape [3] has 3'],
  ];
  test.each(misfits)('refuses: %s', (_, buffers, scalars, message) => {
    expect(() => run(scratch, buffers, scalars)).toThrow(message);
  });

  test('a malformed program is refused before it runs', () => {
    expect(() => run(k.program([], [], [k.kernel('a', {}, [k.let_('z', v('q'))])]), {}, {})).toThrow(
      'name q is used where it is not defined',
    );
  });

  test('a negative extent is refused, in a shape and in a grid', () => {
    const less = k.sub(size('B'), i(2));
    const shape = k.program(k.sizes('B'), [k.buffer('scratch', 's', 'f64', less)], []);
    expect(() => run(shape, {}, { B: 1 })).toThrow('buffer s: negative extent in [-1]');
    expect(() => run(k.program(k.sizes('B'), [], [k.kernel('a', { b: less }, [])]), {}, { B: 1 })).toThrow(
      'kernel a: negative extent in grid [-1]',
    );
  });
});

describe('violations', () => {
  const decls: BufferDecl[] = [
    k.buffer('input', 'x', 'f32', i(4)),
    k.buffer('scratch', 's', 'f64', i(2), i(4)),
    k.buffer('scratch', 'm', 'i32', i(4)),
    k.buffer('output', 'y', 'f64', i(4)),
  ];
  const fill = k.kernel('fill', {}, [k.lanes('f', to(i(4)), [k.store('y', v('f'), f64(0))])]);
  const put = (index: KExpr, value: KExpr = f64(0)) => k.store('s', index, value);
  const get = (index: KExpr, mask?: KExpr) => k.load('s', 'f64', index, mask);
  const one = (...body: KStmt[]): KernelProgram => k.program([], decls, [fill], [k.kernel('main', { b: i(1) }, body)]);
  const initialised = k.serial('q', to(i(8)), [put(v('q'))]);
  /** Cells 0..3 of `main` run `body`, in a phase with what else is given, on a scratch buffer that is written. */
  const grid = (body: KStmt[], ...others: ReturnType<typeof k.kernel>[]): KernelProgram =>
    k.program([], decls, [fill, k.kernel('init', {}, [initialised])], [k.kernel('main', { b: i(4) }, body), ...others]);
  const four = (body: KStmt[]): KStmt => k.lanes('u', to(i(4)), body);
  const next = k.add(v('b'), i(1));

  const cases: [string, KernelProgram, Violation, (string | RegExp)[]][] = [
    [
      'load past the end',
      one(k.let_('z', k.load('x', 'f32', i(4)))),
      'out-of-bounds',
      ["kernel main, statement 'let z = x[4]' at b = 0: loads x[4], which has 4 elements"],
    ],
    [
      'load before the start',
      one(four([k.let_('z', k.load('x', 'f32', k.sub(v('u'), i(1))))])),
      'out-of-bounds',
      ['b = 0, u = 0: loads x[-1]'],
    ],
    [
      'store past the end',
      one(k.steps('n', to(i(9)), [put(v('n'))])),
      'out-of-bounds',
      ["'s[n] = 0.0' at b = 0, n = 8: stores to s[8], which has 8"],
    ],
    [
      'arm of a select that is not taken',
      one(k.let_('z', k.select(k.yes, f32(0), k.load('x', 'f32', i(9))))),
      'out-of-bounds',
      ['loads x[9]'],
    ],
    [
      'operand after a false one',
      one(k.let_('z', k.logic('and', k.logic('not', k.yes), k.compare('lt', k.load('x', 'f32', i(9)), f32(0))))),
      'out-of-bounds',
      ['x[9]'],
    ],
    [
      'mask that is on too long',
      one(four([k.let_('z', k.load('x', 'f32', k.add(v('u'), i(1)), k.compare('lt', v('u'), i(4))))])),
      'out-of-bounds',
      ['u = 3: loads x[4]'],
    ],
    [
      'scratch read before it is written',
      one(put(i(0)), k.let_('z', get(i(5)))),
      'unwritten-read',
      ['loads s[5] = s[1][1] before anything was stored there'],
    ],
    [
      'output read before it is written',
      k.program([], decls, [k.kernel('main', {}, [k.let_('z', k.load('y', 'f64', i(1))), k.store('y', i(1), f64(0))])]),
      'unwritten-read',
      ['loads y[1]'],
    ],
    [
      'step reads a later step',
      one(k.steps('n', to(i(4)), [put(v('n')), k.let_('z', get(k.add(v('n'), i(1))))])),
      'unwritten-read',
      ['n = 0: loads s[1] = s[0][1]'],
    ],
    [
      'lane reads what another writes',
      one(initialised, four([k.let_('z', get(k.mod(k.add(v('u'), i(1)), i(4)))), put(v('u'))])),
      'lane-race',
      [/(loads|stores to) s\[\d\] = s\[0\]\[\d\], which lane \d of the same loop (stores|reads)/],
    ],
    [
      'lane writes what several read',
      one(initialised, four([k.let_('z', get(i(0))), put(v('u'))])),
      'lane-race',
      [/lane/],
    ],
    [
      'two lanes write one element',
      one(four([put(k.div(v('u'), i(2)))])),
      'lane-race',
      [/'s\[u \/ 2\] = 0\.0' at b = 0, u = \d: stores to s\[\d\] = s\[0\]\[\d\], as lane \d of the same loop does/],
    ],
    ['uniform store inside lanes', one(four([put(i(0))])), 'lane-race', ['of the same loop does']],
    [
      'two cells write one element',
      grid([put(k.div(v('b'), i(2)))]),
      'cell-race',
      [/at b = \d: stores to s\[\d\] = s\[0\]\[\d\], as kernel main at b = \d of the same phase does/],
    ],
    [
      'cell reads what another writes',
      grid([put(v('b')), k.let_('z', get(next, k.compare('lt', next, i(4))))]),
      'cell-race',
      [/s\[\d\] = s\[0\]\[\d\], which kernel main at b = \d of the same phase (reads|stores)/],
    ],
    [
      'cell reads what another kernel of the phase writes',
      grid([put(v('b'))], k.kernel('other', {}, [k.let_('z', get(i(2)))])),
      'cell-race',
      [/which kernel (other|main at b = 2) of the same phase (reads|stores)/],
    ],
    [
      'two kernels of a phase write one element',
      grid([put(v('b'))], k.kernel('other', {}, [put(i(2))])),
      'cell-race',
      [/as kernel (other|main at b = 2) of the same phase does/],
    ],
    [
      'output written by two kernels',
      k.program([], decls, [fill], [k.kernel('main', {}, [k.store('y', i(1), f64(0))])]),
      'output-rewritten',
      ['stores to y[1] of an output, which kernel fill has written'],
    ],
    [
      'output with a hole',
      k.program([], decls, [k.kernel('main', {}, [k.lanes('u', to(i(2)), [k.store('y', v('u'), f64(0))])])]),
      'output-missing',
      ['no kernel wrote y[2]'],
    ],
    [
      'mod of a negative',
      one(k.let_('z', k.mod(i(-1), i(2)))),
      'bad-operand',
      ["'let z = -1 % 2' at b = 0: mod of -1 by 2; allowed are at least 0 by at least 1"],
    ],
    ['div by zero', one(k.let_('z', k.div(i(1), k.sub(i(1), i(1))))), 'bad-operand', ['div of 1 by 0']],
    ['too large for i32', one(k.store('m', i(0), i(2 ** 31))), 'not-int32', ['stores 2147483648 to m[0], an i32']],
  ];
  const inputs = () => ({ x: new Float32Array(4), y: new Float64Array(4) });

  test.each(cases)('%s', (_, program, rule, messages) => {
    for (const seed of seeds) {
      let error: unknown;
      try {
        run(program, inputs(), {}, seed);
      } catch (thrown) {
        error = thrown;
      }
      expect(error, `seed ${seed}`).toBeInstanceOf(KernelViolation);
      const violation = error as KernelViolation;
      expect([violation.rule, violation.stage]).toEqual([rule, 'kernels']);
      for (const message of messages) {
        if (typeof message === 'string') expect(violation.message).toContain(message);
        else expect(violation.message).toMatch(message);
      }
    }
  });

  test('reads shared by lanes and cells, and writes of an earlier loop or phase, are no races', () => {
    const program = k.program(
      [],
      decls,
      [k.kernel('write', { b: i(2) }, [four([k.store('s', k.add(k.mul(v('b'), i(4)), v('u')), f64(2))])])],
      [
        k.kernel('read', { c: i(4) }, [
          k.lanes('w', to(i(3)), [k.let_('z', get(k.add(v('w'), v('c')))), k.let_('shared', get(i(0)))], {
            reduce: [k.sum('total', 'f64', k.prim('f64', 'mul', v('z', 'f64'), v('shared', 'f64')))],
          }),
          k.store('y', v('c'), v('total', 'f64')),
        ]),
      ],
      [k.kernel('again', { d: i(4) }, [k.let_('old', get(v('d'))), put(v('d'), v('old', 'f64'))])],
    );
    for (const seed of seeds) {
      const { x, y } = inputs();
      run(program, { x, y }, {}, seed);
      expect([...y]).toEqual([12, 12, 12, 12]);
    }
  });
});
