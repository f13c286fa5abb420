import { describe, expect, test } from 'vitest';
import type { KExpr, Kernel, KernelProgram, KReduce, KStmt } from '../../compiler/kernel/kernel.js';
import { verifyProgram } from '../../compiler/kernel/verify.js';
import { CompilerBug } from '../../compiler/source.js';
import * as k from './helpers.js';
import { diagonal, prefixes, softmax } from './programs.js';

const { i, v, f64, f32, to, size } = k;

const buffers = [
  k.buffer('input', 'x', 'f32', size('B')),
  k.buffer('input', 'n', 'i32', size('B')),
  k.buffer('output', 'y', 'f64', size('B')),
];

/** A program whose kernel `main` has `body`, and last of all the store that its output needs. */
function around(...body: KStmt[]): KernelProgram {
  return k.program(k.sizes('B'), buffers, [
    k.kernel('main', { b: size('B') }, [...body, k.store('y', v('b'), f64(0))]),
  ]);
}
const value = (expr: KExpr): KernelProgram => around(k.let_('z', expr));
const lanesOf = (body: KStmt[], reduce: KReduce[] = []): KernelProgram =>
  around(k.lanes('u', to(i(4)), body, { reduce }));
const simple = (name: string): Kernel => k.kernel(name, { b: size('B') }, [k.store('y', v('b'), f64(0))]);
const xs = (index: KExpr, mask?: KExpr) => k.load('x', 'f32', index, mask);
const real = k.cast('f64', v('u'));
const bad = (fields: object) => fields as never;

/** What is broken, the program, and the place and problem that the error names. */
const broken: [string, KernelProgram, string][] = [
  ['undefined name', value(v('q')), "kernel main, statement 'let z = q': name q is used where it is not defined"],
  ['use before definition', around(k.let_('z', v('w')), k.let_('w', i(1))), "'let z = w': name w is used where"],
  ['own name in its value', value(v('z')), "'let z = z': name z is used where"],
  [
    'use outside its loop',
    around(k.serial('s', to(i(2)), [k.let_('w', i(1))]), k.let_('z', v('w'))),
    'name w is used where',
  ],
  ['loop variable after the loop', around(k.serial('s', to(i(2)), []), k.let_('z', v('s'))), 'name s is used where'],
  ['use outside its branch', around(k.when(k.yes, [k.let_('w', i(1))], [k.let_('z', v('w'))])), 'name w is used where'],
  [
    'reduction read inside its loop',
    lanesOf([k.let_('z', v('r', 'f64'))], [k.sum('r', 'f64', real)]),
    "'let z = r': name r is used where",
  ],
  ['let twice', around(k.let_('z', i(1)), k.let_('z', i(2))), "'let z = 2': name z is defined twice"],
  [
    'loop variable twice',
    around(k.serial('s', to(i(2)), []), k.serial('s', to(i(3)), [])),
    "'serial s in 0..3': name s is",
  ],
  ['grid variable again', around(k.let_('b', i(1))), 'name b is defined twice'],
  ['variable of another type', around(k.let_('w', i(1)), k.let_('z', v('w', 'f64'))), 'w is index, but is read as f64'],
  [
    'operands of two widths',
    value(k.prim('f32', 'add', f32(1), f64(1))),
    "'let z = 1.0f + 1.0': operand is f64 where f32 is wanted",
  ],
  ['index operation on reals', value(k.add(i(1), f64(1))), 'operand is f64 where index is wanted in 1 + 1.0'],
  [
    'primitive on index',
    value(k.prim(bad('index' as never), 'add', i(1), i(1))),
    'is of type index; allowed are f32, f64',
  ],
  ['unknown primitive', value(k.prim('f64', bad('sinh' as never), f64(1))), 'there is no primitive sinh'],
  ['too few operands', value(k.prim('f64', 'mul', f64(1))), '1 operands instead of 2'],
  ['comparison of two types', value(k.compare('lt', i(1), f64(1))), 'right operand is f64 where index is wanted'],
  ['comparison of bools', value(k.compare('eq', k.yes, k.yes)), 'bool operand in true == true'],
  ['logic on numbers', value(k.logic('and', k.yes, i(1))), 'operand is index where bool is wanted'],
  ['not of two', value(k.logic('not', k.yes, k.yes)), "2 operands instead of 1 in 'logic'"],
  ['select by a number', value(k.select(i(1), i(2), i(3))), 'condition is index where bool is wanted'],
  ['select of two types', value(k.select(k.yes, i(2), f64(3))), 'operand is f64 where index is wanted'],
  ['cast to the same type', value(k.cast('f64', f64(1))), 'cast from f64 to f64'],
  ['cast of a bool', value(k.cast('f64', k.yes)), 'cast from bool to f64'],
  ['fractional index', value(i(1.5)), 'index constant 1.5 is not an integer'],
  ['NaN constant', value(f64(Number.NaN)), 'constant NaN'],
  ['strange bool', value({ op: 'const', type: 'bool', value: 2 }), 'bool constant 2'],
  ['unknown expression', value(bad({ op: 'call' })), 'unknown kind of expression "call"'],
  ['unknown statement', around(bad({ kind: 'goto' })), 'unknown kind of statement "goto"'],
  ['unknown scalar', value(size('Q')), 'scalar Q is not declared'],
  ['scalar of another type', value(k.param('B')), 'scalar B is index, but is read as f64'],
  ['load of an unknown buffer', value(k.load('q', 'f64', i(0))), 'load from q, which is not a buffer'],
  ['load as another type', value(k.load('n', 'f64', i(0))), 'load from n as f64; its elements (i32) load as index'],
  ['index not index', value(xs(f64(0))), 'index is f64 where index is wanted in x[0.0]'],
  ['mask not bool', value(xs(i(0), i(1))), 'mask is index where bool is wanted'],
  ['store to an unknown buffer', around(k.store('q', i(0), f64(0))), 'store to q, which is not a buffer'],
  ['store to an input', around(k.store('x', i(0), f32(0))), "'x[0] = 0.0f': store to x, which is an input"],
  [
    'store of another type',
    around(k.store('y', i(0), f32(0))),
    'value stored to f64 buffer y is f32 where f64 is wanted',
  ],
  ['store index not index', around(k.store('y', f64(0), f64(0))), 'index of the store is f64'],
  ['lanes in lanes', lanesOf([k.lanes('w', to(i(2)), [])]), "'lanes w in 0..2  f64': lanes loop inside lanes loop u"],
  [
    'lanes in serial in lanes',
    lanesOf([k.serial('s', to(i(2)), [k.lanes('w', to(i(2)), [])])]),
    'lanes loop inside lanes loop u',
  ],
  ['steps in lanes', lanesOf([k.steps('w', to(i(2)), [])]), 'steps loop inside lanes loop u'],
  [
    'lanes without precision',
    around(bad({ ...k.lanes('u', to(i(1)), []), precision: undefined })),
    'lanes loop without a precision',
  ],
  [
    'a reduction in reverse',
    around(k.lanes('u', to(i(1)), [], { reverse: true, reduce: [k.sum('total', 'f64', f64(0))] })),
    'lanes loop in reverse with a reduction',
  ],
  ['lower bound not index', around(k.serial('s', [f64(0), i(1)], [])), 'lower bound is f64 where index is wanted'],
  ['upper bound not index', around(k.serial('s', [i(0), k.yes], [])), 'upper bound is bool where index is wanted'],
  [
    'varying condition',
    lanesOf([k.when(k.compare('lt', v('u'), i(2)), [])]),
    "'if u < 2': condition varies with lane u",
  ],
  [
    'condition varying through a let and a load',
    lanesOf([k.let_('w', k.load('n', 'index', v('u'))), k.when(k.compare('lt', v('w'), i(2)), [])]),
    'condition varies with lane u',
  ],
  [
    'condition varying through a serial reduction in a lane',
    lanesOf([
      k.serial('s', to(i(2)), [], { reduce: [k.sum('r', 'f64', real)] }),
      k.when(k.compare('lt', v('r', 'f64'), f64(2)), []),
    ]),
    'condition varies with lane u',
  ],
  [
    'condition varying through the condition of a select',
    lanesOf([
      k.let_('w', k.select(k.compare('lt', v('u'), i(2)), i(0), i(1))),
      k.when(k.compare('lt', v('w'), i(1)), []),
    ]),
    'condition varies with lane u',
  ],
  [
    'condition varying through a mask',
    lanesOf([k.let_('w', xs(i(0), k.compare('lt', v('u'), i(2)))), k.when(k.compare('lt', v('w', 'f32'), f32(1)), [])]),
    'condition varies with lane u',
  ],
  ['condition not bool', around(k.when(i(1), [])), 'condition is index where bool is wanted'],
  [
    'reduction of another type',
    lanesOf([], [k.sum('r', 'f32', real)]),
    'value reduced into r is f64 where f32 is wanted',
  ],
  ['reduction of indices', lanesOf([], [k.sum('r', bad('index' as never), v('u'))]), 'reduction r of type index'],
  ['reduction name taken', lanesOf([k.let_('r', i(1))], [k.sum('r', 'f64', real)]), 'name r is defined twice'],
  ['comment of two lines', around(k.comment('a\nb')), 'comment "a\\nb" has more than one line'],
  ['kernel twice', k.program(k.sizes('B'), buffers, [simple('a')], [simple('a')]), 'kernel a: is declared twice'],
  ['buffer twice', k.program(k.sizes('B'), [...buffers, ...buffers], [simple('a')]), 'buffer x: is declared twice'],
  ['scalar twice', k.program(k.sizes('B', 'B'), buffers, [simple('a')]), 'scalar B: is declared twice'],
  [
    'size that is real',
    k.program([{ name: 'B', type: 'f64', role: 'size' }], buffers, [simple('a')]),
    'scalar B: a size is of type index, not f64',
  ],
  [
    'output nobody stores',
    k.program(k.sizes('B'), buffers, [k.kernel('a', {}, [])]),
    'buffer y: is an output, but no kernel stores',
  ],
  [
    'scratch nobody stores',
    { ...value(k.load('s', 'f64', i(0))), buffers: [...buffers, k.buffer('scratch', 's', 'f64', i(1))] },
    'buffer s: is scratch that kernels load from',
  ],
  [
    'buffer without axes',
    { ...around(), buffers: [...buffers, k.buffer('scratch', 's', 'f64')] },
    'buffer s: has no axes',
  ],
  [
    'shape not index',
    { ...around(), buffers: [...buffers, k.buffer('scratch', 's', 'f64', f64(1))] },
    'buffer s: extent is f64',
  ],
  [
    'shape from memory',
    { ...around(), buffers: [...buffers, k.buffer('scratch', 's', 'f64', k.load('n', 'index', i(0)))] },
    'buffer s: load of n',
  ],
  [
    'grid by a name',
    k.program(k.sizes('B'), buffers, [k.kernel('a', { b: i(1), c: v('b') }, [])]),
    'kernel a, grid c: name b is used',
  ],
];

describe('verifyProgram', () => {
  test.each(broken)('refuses: %s', (_, program, message) => {
    let error: unknown;
    try {
      verifyProgram(program);
    } catch (thrown) {
      error = thrown;
    }
    expect(error).toBeInstanceOf(CompilerBug);
    expect((error as CompilerBug).stage).toBe('kernels');
    expect((error as CompilerBug).message).toContain(message);
  });

  test('accepts correct programs', () => {
    for (const program of [diagonal(), prefixes(), softmax(), around()])
      expect(() => verifyProgram(program)).not.toThrow();
  });

  test('accepts conditions inside lanes that are uniform, and on what a lanes loop has reduced', () => {
    verifyProgram(
      lanesOf([
        k.let_('w', k.load('n', 'index', v('b'))),
        k.when(k.compare('lt', v('w'), i(2)), [k.let_('z', v('u'))]),
      ]),
    );
    verifyProgram(
      around(
        k.lanes('u', to(i(4)), [], { reduce: [k.sum('r', 'f64', real)] }),
        k.when(k.compare('lt', v('r', 'f64'), f64(1)), []),
      ),
    );
  });

  test('a reduced value may use the names of its loop body', () => {
    verifyProgram(lanesOf([k.let_('w', real)], [k.sum('r', 'f64', v('w', 'f64'))]));
  });
});
