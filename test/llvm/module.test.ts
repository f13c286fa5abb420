/** The text of modules, what is refused, and memory at the end of a page. */
import koffi from 'koffi';
import { describe, expect, test } from 'vitest';
import type { KernelProgram, KStmt } from '../../compiler/kernel/kernel.js';
import { printLlvm } from '../../compiler/llvm/index.js';
import * as k from '../kernel/helpers.js';
import { softmax } from '../kernel/programs.js';
import { llvmMissing } from '../lanes.js';
import { compileNative, hostJit, widths } from './run.js';

const { v, size, i } = k;
const n = size('n');
const program = (body: KStmt[]): KernelProgram =>
  k.program(
    k.sizes('n'),
    [k.buffer('input', 'x', 'f32', n), k.buffer('output', 'y', 'f32', n)],
    [k.kernel('main', { one: i(1) }, body, ['y(j) = 2 x(j)'])],
  );
const x = k.load('x', 'f32', v('j'));
const doubled = k.lanes(
  'j',
  k.to(n),
  [k.let_('twice', k.prim('f32', 'add', x, x)), k.store('y', v('j'), v('twice', 'f32'))],
  {
    precision: 'f32',
  },
);

describe('text', () => {
  test('a small kernel', () => {
    expect(printLlvm(program([k.comment('the only equation'), doubled]), { vectorBits: 128 })).toMatchSnapshot();
  });

  test('it depends on the program and the target alone', () => {
    expect(printLlvm(softmax(), { vectorBits: 512 })).toBe(printLlvm(softmax(), { vectorBits: 512 }));
    expect(printLlvm(softmax(), { vectorBits: 512 })).not.toBe(printLlvm(softmax(), { vectorBits: 256 }));
  });

  test('triple and data layout only on request', () => {
    expect(printLlvm(softmax(), { vectorBits: 256 })).not.toContain('target ');
    const named = printLlvm(softmax(), { vectorBits: 256, triple: 'aarch64-linux-gnu', dataLayout: 'e-m:e' });
    expect(named).toContain('target triple = "aarch64-linux-gnu"');
    expect(named).toContain('target datalayout = "e-m:e"');
  });

  test('a function is written only where it is used, and streamed stores end with a fence', () => {
    const plain = printLlvm(program([doubled]), { vectorBits: 256 });
    expect(plain).not.toContain('@exp');
    expect(plain).not.toContain('nontemporal');
    expect(plain).not.toContain('fence');
    const text = printLlvm(softmax(), { vectorBits: 256 });
    expect(text.match(/define internal <8 x float> @exp\.v8f32/g)).toHaveLength(1);
    expect(text).toContain('align 32, !nontemporal !0');
    expect(text).toContain('fence seq_cst');
  });

  test('names and comments of any spelling', () => {
    const odd = 'grad "acts"\\ größe';
    const text = k.program(
      [{ name: 'entry', type: 'index', role: 'size' }],
      [k.buffer('output', odd, 'f64', size('entry')), k.buffer('input', 'args', 'f64', size('entry'))],
      [
        k.kernel(`main ${odd}`, { task: i(1) }, [
          k.comment('first line\n} second line\r\n\u0007third'),
          k.lanes('0', k.to(size('entry')), [
            k.let_('begin', k.prim('f64', 'exp', k.load('args', 'f64', v('0')))),
            k.store(odd, v('0'), v('begin', 'f64')),
          ]),
        ]),
      ],
    );
    const printed = printLlvm(text, { vectorBits: 256 });
    expect(printed).toMatch(/define /);
    if (llvmMissing === undefined) expect(hostJit().compile(printed).object.length).toBeGreaterThan(0);
  });
});

describe('a malformed program is refused', () => {
  const refused: [string, KStmt[], string][] = [
    ['unknown name', [k.store('y', v('nowhere'), k.f32(1))], "'nowhere' is used where it is not defined"],
    [
      'name out of its block',
      [k.when(k.yes, [k.let_('a', i(1))]), k.store('y', v('a'), k.f32(1))],
      "'a' is used where",
    ],
    ['name defined twice', [k.let_('a', i(1)), k.let_('a', i(2))], "'a' is defined twice"],
    ['unknown buffer', [k.store('z', i(0), k.f32(1))], "buffer 'z' is not declared"],
    ['unknown launch argument', [k.store('y', size('m'), k.f32(1))], "launch argument 'm' is not declared"],
    ['store of another type', [k.store('y', i(0), k.f64(1))], "store of f64 to 'y', whose elements are f32"],
    ['load of another type', [k.let_('a', k.load('x', 'f64', i(0)))], "load of f64 from 'x', whose elements are f32"],
    [
      'mixed operands',
      [k.let_('a', k.prim('f32', 'add', k.f32(1), k.f64(1)))],
      "'add' on f32 has an operand of type f64",
    ],
    ['lanes in lanes', [k.lanes('j', k.to(n), [k.lanes('q', k.to(n), [])])], "over 'q' inside of a lanes loop"],
    [
      'a branch that differs between lanes',
      [k.lanes('j', k.to(n), [k.when(k.compare('eq', v('j'), i(0)), [])])],
      'the condition of an if',
    ],
    [
      'a reversed lanes loop with a reduction',
      [k.lanes('j', k.to(n), [], { reverse: true, reduce: [k.sum('total', 'f64', k.f64(0))] })],
      'is reversed and reduces',
    ],
    ['a fraction as an index', [k.store('y', i(0.5), k.f32(1))], 'index constant 0.5'],
  ];
  test.each(refused)('%s', (_, body, message) => {
    expect(() => printLlvm(program(body), { vectorBits: 256 })).toThrow(message);
  });
});

describe.runIf(process.platform === 'linux' && llvmMissing === undefined)('memory that ends with the page', () => {
  const libc = koffi.load(null);
  const mmap = libc.func('void *mmap(void *at, size_t length, int protection, int flags, int file, int64_t offset)');
  const mprotect = libc.func('int mprotect(void *at, size_t length, int protection)');
  const page = 65536;

  /** `length` floats of which the one behind the last must not be touched. */
  function atPageEnd(length: number): Float32Array {
    const at = koffi.address(mmap(null, 2 * page, 3, 0x22, -1, 0));
    if (mprotect(at + BigInt(page), page, 0) !== 0) throw new Error('mprotect failed');
    return new Float32Array(koffi.view(at, page), page - 4 * length, length);
  }

  test.each(widths)('vectors of %i bits read and write not one element more', (vectorBits) => {
    const native = compileNative(program([doubled]), vectorBits);
    for (const length of [1, 3, 4, 7, 8, 15, 16, 17, 50]) {
      const [from, into] = [atPageEnd(length), atPageEnd(length)];
      from.fill(1.5);
      const buffers = new Map([
        ['x', from],
        ['y', into],
      ]);
      native.bind(buffers, new Map([['n', length]]))('main', 0, 1);
      expect([...into]).toEqual([...from].map(() => 3));
    }
  });
});
