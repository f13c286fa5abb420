/** Kernels written by hand, run natively at every vector width and compared with the interpreter. */
import { expect, test } from 'vitest';
import type { KExpr, KernelProgram, KReduce, KStmt } from '../../compiler/kernel/kernel.js';
import { LlvmJit } from '../../runtime/cpu/jit.js';
import * as k from '../kernel/helpers.js';
import { diagonal, prefixes, softmax } from '../kernel/programs.js';
import { describeLlvm, libraries } from '../lanes.js';
import { check } from './against.js';
import { alignedFloats, type BufferArray, compileNative, widths } from './run.js';

const { v, size, i, add, sub, mul } = k;
const n = size('n');
type Real = 'f32' | 'f64';
const floats = (length: number, at: (index: number) => number) =>
  Float32Array.from({ length }, (_, index) => at(index));
const doubles = (length: number, at: (index: number) => number) =>
  Float64Array.from({ length }, (_, index) => at(index));
const ints = (length: number, at: (index: number) => number) => Int32Array.from({ length }, (_, index) => at(index));
const reals = (type: Real, length: number, at: (index: number) => number) =>
  type === 'f32' ? floats(length, at) : doubles(length, at);
/** Small integers with both signs, so that sums are exact in any order. */
const mixed = (index: number) => ((index * 37) % 23) - 11;

const streamed = (buffer: string, index: KExpr, value: KExpr): KStmt => ({
  kind: 'store',
  buffer,
  index,
  value,
  streaming: true,
});
const inOut = (type: Real, body: KStmt[], role: 'output' | 'scratch' = 'output'): KernelProgram =>
  k.program(
    k.sizes('n'),
    [k.buffer('input', 'x', type, n), k.buffer(role, 'y', type, n)],
    [k.kernel('main', { one: i(1) }, body)],
  );

describeLlvm.each(widths)('vectors of %i bits', (vectorBits) => {
  const lanesOf = { f32: vectorBits / 32, f64: vectorBits / 64 };
  const lengths = (type: Real) => {
    const w = lanesOf[type];
    return [0, 1, w - 1, w, w + 1, 2 * w, 3 * w + 5, 9 * w + 3];
  };

  test.each(['f32', 'f64'] as const)('contiguous %s of every length around the vector', (type) => {
    const x = k.load('x', type, v('j'));
    const body = [
      k.lanes('j', k.to(n), [k.let_('square', k.prim(type, 'mul', x, x)), k.store('y', v('j'), v('square', type))], {
        precision: type,
      }),
    ];
    for (const length of lengths(type)) {
      check(
        {
          program: inOut(type, body),
          buffers: { x: reals(type, length, mixed), y: reals(type, length, () => 0) },
          scalars: { n: length },
        },
        { vectorBits },
      );
    }
  });

  test.each(['f32', 'f64'] as const)('%s from the end down, of every length around the vector', (type) => {
    const at = sub(v('j'), i(3));
    const below = k.load('x', type, sub(v('j'), i(4)), k.compare('gt', v('j'), i(4)), -2);
    const body = [
      k.lanes('j', [i(3), add(n, i(3))], [k.store('y', at, k.prim(type, 'add', k.load('x', type, at), below))], {
        precision: type,
        reverse: true,
      }),
    ];
    for (const length of lengths(type)) {
      const buffers = { x: reals(type, length, mixed), y: reals(type, length, mixed) };
      check({ program: inOut(type, body), buffers, scalars: { n: length } }, { vectorBits });
    }
  });

  test('streaming stores at every misalignment', () => {
    const body = [
      k.lanes('j', k.to(n), [streamed('y', v('j'), k.prim('f32', 'neg', k.load('x', 'f32', v('j'))))], {
        precision: 'f32',
      }),
    ];
    for (const length of [0, 1, 5, lanesOf.f32, 100]) {
      for (let offset = 0; offset < 17; offset++) {
        check(
          {
            program: inOut('f32', body),
            buffers: { x: floats(length, mixed), y: floats(length, () => 0) },
            scalars: { n: length },
          },
          { vectorBits, offset },
        );
      }
    }
  });

  test('streaming beside a maximum, in doubles, from an index that is not the loop variable', () => {
    const at = add(mul(v('row'), n), v('j'));
    const x = k.load('x', 'f64', v('at'));
    const program = k.program(
      k.sizes('rows', 'n'),
      [
        k.buffer('input', 'x', 'f64', size('rows'), n),
        k.buffer('output', 'y', 'f64', size('rows'), n),
        k.buffer('output', 'high', 'f64', size('rows')),
      ],
      [
        k.kernel('main', { row: size('rows') }, [
          k.lanes('j', k.to(n), [k.let_('at', at), streamed('y', v('at'), k.prim('f64', 'add', x, k.f64(1)))], {
            reduce: [{ name: 'high', op: 'max', type: 'f64', value: x }],
          }),
          k.store('high', v('row'), v('high', 'f64')),
        ]),
      ],
    );
    for (const length of [1, 7, 19, 64]) {
      check(
        {
          program,
          buffers: { x: doubles(3 * length, mixed), y: doubles(3 * length, () => 0), high: doubles(3, () => 0) },
          scalars: { rows: 3, n: length },
        },
        { vectorBits, offset: length % 5 },
      );
    }
  });

  test('gathers, reversed and strided accesses, scatters', () => {
    const at = {
      reversed: sub(sub(n, i(1)), v('j')),
      even: mul(v('j'), i(2)),
      chosen: k.load('order', 'index', v('j')),
    };
    const read = (index: KExpr) => k.load('x', 'f32', index);
    const names = ['reversed', 'gathered', 'stored_reversed', 'scattered', 'strided'];
    const program = k.program(
      k.sizes('n'),
      [
        k.buffer('input', 'x', 'f32', n),
        k.buffer('input', 'order', 'i32', n),
        ...names.map((name) => k.buffer('scratch', name, 'f32', mul(n, i(2)))),
        k.buffer('scratch', 'copied', 'i32', n),
      ],
      [
        k.kernel('main', { one: i(1) }, [
          k.lanes(
            'j',
            k.to(n),
            [
              k.store('reversed', v('j'), read(at.reversed)),
              k.store('gathered', v('j'), read(at.chosen)),
              k.store('stored_reversed', at.reversed, read(v('j'))),
              k.store('scattered', at.chosen, read(v('j'))),
              k.store('strided', at.even, k.cast('f32', v('j'))),
              k.store('copied', v('j'), k.max(at.chosen, i(3))),
            ],
            { precision: 'f32' },
          ),
        ]),
      ],
    );
    for (const length of lengths('f32')) {
      const buffers: Record<string, BufferArray> = {
        x: floats(length, mixed),
        order: ints(length, (index) => (length - 1 - index) ^ (length % 2 === 0 ? 1 : 0)),
        copied: ints(length, () => 0),
      };
      for (const name of names) buffers[name] = floats(2 * length, () => 0);
      check({ program, buffers, scalars: { n: length } }, { vectorBits });
    }
  });

  test('a masked load touches memory only where the mask holds', () => {
    const far = i(2 ** 40);
    const inside = k.compare('lt', add(v('j'), i(3)), n);
    const never = k.compare('lt', n, i(0));
    const even = k.compare('eq', k.mod(v('j'), i(2)), i(0));
    const other = -7;
    const program = k.program(
      k.sizes('n'),
      [
        k.buffer('input', 'x', 'f32', n),
        ...['a', 'b', 'c', 'd', 'e', 'f'].map((name) => k.buffer('output', name, 'f32', n)),
        k.buffer('input', 'order', 'i32', n),
      ],
      [
        k.kernel('main', { one: i(1) }, [
          k.let_('nothing', k.load('x', 'f32', far, never, other)),
          k.lanes(
            'j',
            k.to(n),
            [
              k.store('a', v('j'), k.load('x', 'f32', add(v('j'), i(3)), inside, other)),
              k.store('b', v('j'), k.load('x', 'f32', k.select(even, v('j'), far), even)),
              k.store(
                'c',
                v('j'),
                k.load('x', 'f32', far, k.logic('and', even, k.logic('not', even)), Number.NEGATIVE_INFINITY),
              ),
              k.store('d', v('j'), k.load('x', 'f32', i(0), even, 5)),
              k.store('e', v('j'), k.load('x', 'f32', far, never, Number.NEGATIVE_INFINITY)),
              k.store(
                'f',
                v('j'),
                k.prim('f32', 'add', v('nothing', 'f32'), k.cast('f32', k.load('order', 'index', v('j'), even, -1))),
              ),
            ],
            { precision: 'f32' },
          ),
        ]),
      ],
    );
    for (const length of lengths('f32')) {
      const names = ['a', 'b', 'c', 'd', 'e', 'f'].map((name) => [name, floats(length, () => 0)] as const);
      check(
        {
          program,
          buffers: { x: floats(length, mixed), order: ints(length, mixed), ...Object.fromEntries(names) },
          scalars: { n: length },
        },
        { vectorBits },
      );
    }
  });

  test.each(['f32', 'f64'] as const)('reductions of %s over every length; NaN stays', (type) => {
    const x = k.load('x', type, v('j'));
    const ops = ['sum', 'max', 'min'] as const;
    const reduce = ops.map((op): KReduce => ({ name: `${op}_of_x`, op, type, value: x }));
    const program = k.program(
      k.sizes('n'),
      [k.buffer('input', 'x', type, n), k.buffer('output', 'y', type, i(6))],
      [
        k.kernel('main', { one: i(1) }, [
          k.lanes('j', k.to(n), [], { precision: type, reduce }),
          ...ops.map((op, at) => k.store('y', i(at), v(`${op}_of_x`, type))),
          k.serial('s', k.to(n), [], {
            reduce: ops.map((op): KReduce => ({ name: `${op}_in_order`, op, type, value: k.load('x', type, v('s')) })),
          }),
          ...ops.map((op, at) => k.store('y', i(3 + at), v(`${op}_in_order`, type))),
        ]),
      ],
    );
    for (const length of lengths(type)) {
      check(
        { program, buffers: { x: reals(type, length, mixed), y: reals(type, 6, () => 0) }, scalars: { n: length } },
        { vectorBits },
      );
    }
    const native = compileNative(program, vectorBits);
    const length = 5 * lanesOf[type] + 3;
    for (let at = 0; at < length; at++) {
      const x = reals(type, length, (index) => (index === at ? Number.NaN : mixed(index)));
      const y = reals(type, 6, () => 0);
      native.bind(
        new Map([
          ['x', x],
          ['y', y],
        ]),
        new Map([['n', length]]),
      )('main', 0, 1);
      expect([...y].every(Number.isNaN), `NaN at ${at}: ${y}`).toBe(true);
    }
  });

  test('serial loops inside lanes, with bounds that are the same and that differ', () => {
    const x = (name: string) => k.load('x', 'f64', add(mul(v(name), n), v('j')));
    const program = k.program(
      k.sizes('n', 'm'),
      [
        k.buffer('input', 'x', 'f64', size('m'), n),
        k.buffer('input', 'from', 'i32', n),
        k.buffer('output', 'y', 'f64', n, i(4)),
        k.buffer('scratch', 'trace', 'f64', size('m'), n),
      ],
      [
        k.kernel('main', { one: i(1) }, [
          k.lanes('j', k.to(n), [
            k.serial('s', k.to(size('m')), [k.let_('twice', k.prim('f64', 'mul', x('s'), k.f64(2)))], {
              reduce: [k.sum('same', 'f64', v('twice', 'f64')), k.sum('steps_taken', 'f64', k.cast('f64', v('s')))],
            }),
            k.serial(
              'q',
              [k.load('from', 'index', v('j')), k.min(v('j'), size('m'))],
              [k.store('trace', add(mul(v('q'), n), v('j')), k.prim('f64', 'add', x('q'), k.f64(1)))],
              {
                reduce: [k.sum('different', 'f64', x('q')), { name: 'least', op: 'min', type: 'f64', value: x('q') }],
                reverse: true,
              },
            ),
            ...['same', 'steps_taken', 'different', 'least'].map((name, at) =>
              k.store('y', add(mul(v('j'), i(4)), i(at)), v(name, 'f64')),
            ),
          ]),
        ]),
      ],
    );
    for (const length of lengths('f64')) {
      const m = 5;
      check(
        {
          program,
          buffers: {
            x: doubles(m * length, mixed),
            from: ints(length, (index) => (index * 7) % 6),
            y: doubles(4 * length, () => 0),
            trace: doubles(m * length, () => 0),
          },
          scalars: { n: length, m },
        },
        { vectorBits },
      );
    }
  });

  test('an iteration that no lane takes part in loads nothing', () => {
    // Even lanes run over 0..2, odd ones over from..to: what lies between is outside of the array.
    const odd = k.compare('eq', k.mod(v('j'), i(2)), i(1));
    const bounds = [k.select(odd, size('from'), i(0)), k.select(odd, add(size('from'), i(2)), i(2))] as const;
    const shift = k.select(k.compare('lt', v('s'), i(2)), i(0), sub(size('from'), i(2)));
    const gap = k.logic('and', k.compare('ge', v('s'), i(2)), k.compare('lt', v('s'), size('from')));
    const at = k.select(gap, i(2 ** 40), sub(v('s'), shift));
    const program = k.program(
      k.sizes('n', 'from'),
      [k.buffer('input', 'x', 'f64', i(4)), k.buffer('output', 'y', 'f64', n)],
      [
        k.kernel('main', { one: i(1) }, [
          k.lanes('j', k.to(n), [
            k.serial('s', bounds, [], { reduce: [k.sum('total', 'f64', k.load('x', 'f64', at))] }),
            k.store('y', v('j'), v('total', 'f64')),
          ]),
        ]),
      ],
    );
    for (const length of lengths('f64')) {
      const buffers = { x: doubles(4, mixed), y: doubles(length, () => 0) };
      check({ program, buffers, scalars: { n: length, from: 6 } }, { vectorBits });
    }
  });

  test.each(['f32', 'f64'] as const)('every comparison of lane numbers (%s loop)', (precision) => {
    const ops = ['eq', 'ne', 'lt', 'le', 'gt', 'ge'] as const;
    const sides = [
      [v('j'), size('p')],
      [size('p'), v('j')],
      [sub(size('p'), v('j')), i(3)],
      [add(v('j'), v('j')), add(v('j'), size('p'))],
      [sub(v('j'), size('p')), v('j')],
      [mul(v('j'), i(2)), size('p')],
    ] as const;
    const count = ops.length * sides.length;
    const stores = sides.flatMap(([a, b], side) =>
      ops.map((op, at) => {
        const index = add(mul(v('j'), i(count)), i(side * ops.length + at));
        return k.store('y', index, k.select(k.compare(op, a, b), i(1), i(0)));
      }),
    );
    const program = k.program(
      k.sizes('n', 'p'),
      [k.buffer('output', 'y', 'i32', n, i(count))],
      [k.kernel('main', { one: i(1) }, [k.lanes('j', k.to(n), stores, { precision })])],
    );
    const length = 2 * lanesOf[precision] + 3;
    for (const p of [0, 1, 3, lanesOf[precision], length - 1, length, 5 * length]) {
      check({ program, buffers: { y: ints(count * length, () => 0) }, scalars: { n: length, p } }, { vectorBits });
    }
  });

  test.each([false, true])('steps see what the step before stored (reverse: %s)', (reverse) => {
    // y(s, j) = y(s - 1, j) + y(s - 1, j - 1) + x(j), rows of n; in reverse from the last row up.
    const row = (s: KExpr) => mul(s, n);
    const edge = reverse ? k.compare('eq', v('s'), sub(size('m'), i(1))) : k.compare('eq', v('s'), i(0));
    const before = reverse ? add(v('s'), i(1)) : sub(v('s'), i(1));
    const read = (lane: KExpr, mask: KExpr) =>
      k.load('y', 'f64', add(row(before), lane), k.logic('and', k.logic('not', edge), mask), 0);
    const value = [
      read(v('j'), k.yes),
      read(sub(v('j'), i(1)), k.compare('gt', v('j'), i(0))),
      k.cast('f64', k.load('x', 'f32', v('j'))),
    ];
    const program = k.program(
      k.sizes('n', 'm'),
      [k.buffer('input', 'x', 'f32', n), k.buffer('output', 'y', 'f64', size('m'), n)],
      [
        k.kernel('main', { one: i(1) }, [
          k.steps(
            's',
            k.to(size('m')),
            [
              k.lanes('j', k.to(n), [
                k.store(
                  'y',
                  add(row(v('s')), v('j')),
                  value.reduce((a, b) => k.prim('f64', 'add', a, b)),
                ),
              ]),
            ],
            { reverse },
          ),
        ]),
      ],
    );
    for (const length of lengths('f64')) {
      check(
        {
          program,
          buffers: { x: floats(length, mixed), y: doubles(6 * length, () => 0) },
          scalars: { n: length, m: 6 },
        },
        { vectorBits },
      );
    }
  });

  test('values of several widths in one loop: index, f32, f64, i32 and conditions', () => {
    const wide = k.cast('f64', k.load('x', 'f32', v('j')));
    const label = k.load('order', 'index', v('j'));
    const chosen = k.select(
      k.logic('or', k.compare('lt', label, i(2)), k.compare('ne', wide, k.f64(4))),
      k.prim('f64', 'mul', wide, k.cast('f64', label)),
      k.param('scale'),
    );
    const program = k.program(
      [...k.sizes('n'), { name: 'scale', type: 'f64', role: 'param' }],
      [
        k.buffer('input', 'x', 'f32', n),
        k.buffer('input', 'order', 'i32', n),
        k.buffer('output', 'y', 'f64', n),
        k.buffer('output', 'z', 'i32', n),
      ],
      [
        k.kernel('main', { one: i(1) }, [
          k.lanes(
            'j',
            k.to(n),
            [k.store('y', v('j'), chosen), k.store('z', v('j'), add(k.mod(v('j'), i(7)), k.div(v('j'), i(3))))],
            { precision: 'f32' },
          ),
          k.lanes(
            'q',
            [i(1), n],
            [
              k.let_('old', k.load('y', 'f64', v('q'))),
              k.store('y', v('q'), k.prim('f64', 'add', v('old', 'f64'), k.f64(0.5))),
            ],
          ),
        ]),
      ],
    );
    for (const length of lengths('f32')) {
      check(
        {
          program,
          buffers: {
            x: floats(length, mixed),
            order: ints(length, mixed),
            y: doubles(length, () => 0),
            z: ints(length, () => 0),
          },
          scalars: { n: length, scale: 0.125 },
        },
        { vectorBits },
      );
    }
  });

  test('branches on uniform conditions, and tasks in any ranges', () => {
    const [a, b, c] = [v('a'), v('b'), v('c')];
    const flat = add(mul(add(mul(a, size('B')), b), i(3)), c);
    const program = k.program(
      k.sizes('A', 'B'),
      [k.buffer('output', 'y', 'i32', size('A'), size('B'), i(3))],
      [
        k.kernel('main', { a: size('A'), b: size('B'), c: i(3) }, [
          k.let_('code', add(mul(a, i(100)), add(mul(b, i(10)), c))),
          k.when(
            k.compare('eq', c, i(1)),
            [k.when(k.compare('lt', a, i(1)), [k.store('y', flat, sub(i(0), v('code')))], [k.store('y', flat, i(-1))])],
            [k.store('y', flat, v('code'))],
          ),
          k.when(k.compare('ge', b, i(4)), [k.store('y', flat, i(9))]),
        ]),
      ],
    );
    const [A, B] = [4, 5];
    const cuts = [
      (tasks: number): [number, number][] => [[0, tasks]],
      (tasks: number): [number, number][] => [
        [7, 7],
        [0, 7],
        [7, 8],
        [8, tasks - 1],
        [tasks - 1, tasks],
      ],
      (tasks: number): [number, number][] =>
        Array.from({ length: tasks }, (_, task) => [tasks - 1 - task, tasks - task]),
    ];
    for (const cut of cuts)
      check({ program, buffers: { y: ints(A * B * 3, () => 77) }, scalars: { A, B } }, { vectorBits, cut });
  });

  test('whole programs: softmax, diagonals, prefix sums', () => {
    for (const V of [1, 17, 100]) {
      check(
        { program: softmax(), buffers: { x: floats(3 * V, mixed), out: floats(3 * V, () => 0) }, scalars: { B: 3, V } },
        { vectorBits, tolerance: 1e-6 },
      );
    }
    const [B, U] = [3, 21];
    const program = diagonal();
    check(
      {
        program,
        buffers: { lens: ints(B, (b) => 4 + 3 * b), paths: doubles(B * 2 * U, () => 0), count: doubles(B, () => 0) },
        scalars: { B, U },
      },
      { vectorBits },
    );
    const x = floats(B * U, mixed);
    check(
      {
        program: prefixes(),
        buffers: { x, out: doubles(B * U, () => 0), back: doubles(B * U, () => 0) },
        scalars: { B, T: U },
      },
      { vectorBits },
    );
  });

  test('two runs give the same bits, wherever the arrays lie', () => {
    const program = k.program(
      k.sizes('n'),
      [k.buffer('input', 'x', 'f32', n), k.buffer('output', 'y', 'f32', n), k.buffer('output', 'total', 'f32', i(1))],
      [
        k.kernel('main', { one: i(1) }, [
          k.lanes(
            'j',
            k.to(n),
            [k.let_('e', k.prim('f32', 'exp', k.load('x', 'f32', v('j')))), streamed('y', v('j'), v('e', 'f32'))],
            { precision: 'f32', reduce: [k.sum('total', 'f32', v('e', 'f32'))] },
          ),
          k.store('total', i(0), v('total', 'f32')),
        ]),
      ],
    );
    const native = compileNative(program, vectorBits);
    const length = 1003;
    const results = [0, 1, 3, 8, 13].map((offset) => {
      const [x, y, total] = [alignedFloats(length, offset), alignedFloats(length, 16 - offset), alignedFloats(1)];
      x.forEach((_, index) => {
        x[index] = Math.sin(index * 12.9898) * 4;
      });
      native.bind(
        new Map([
          ['x', x],
          ['y', y],
          ['total', total],
        ]),
        new Map([['n', length]]),
      )('main', 0, 1);
      return { total: total[0], y: [...y] };
    });
    for (const result of results) expect(result).toEqual(results[0]);
  });
});

describeLlvm.each(libraries)('LLVM $version', (library) => {
  test.each([undefined, 'x86-64', 'x86-64-v3'])('accepts the text and runs it for CPU %s', (cpu) => {
    const host = new LlvmJit({ library });
    const foreign = cpu !== undefined && !host.host.triple.startsWith('x86_64');
    const jit = cpu === undefined || foreign ? host : new LlvmJit({ library, cpu });
    for (const vectorBits of widths) {
      check(
        {
          program: softmax(),
          buffers: { x: floats(3 * 41, mixed), out: floats(3 * 41, () => 0) },
          scalars: { B: 3, V: 41 },
        },
        { vectorBits, jit, tolerance: 1e-6 },
      );
    }
  });
});
