/** Loads and stores of 16-bit reals: all patterns, natively with every kind of conversion, against the interpreter. */
import { expect, test } from 'vitest';
import { decodeHalf, type HalfType } from '../../compiler/kernel/half.js';
import type { KExpr, KernelProgram, KStmt } from '../../compiler/kernel/kernel.js';
import { printLlvm } from '../../compiler/llvm/index.js';
import { LlvmJit } from '../../runtime/cpu/jit.js';
import { halfTypes, narrowed } from '../halves.js';
import * as k from '../kernel/helpers.js';
import { describeLlvm, libraries } from '../lanes.js';
import { check } from './against.js';
import { hostJit, widths } from './run.js';

const { v, size, i, add, sub } = k;
const n = size('n');
const streamed = (buffer: string, index: KExpr, value: KExpr): KStmt => ({
  kind: 'store',
  buffer,
  index,
  value,
  streaming: true,
});

/** x, widened, to `wide`, and y, narrowed, to `narrow`. */
const conversions = (type: HalfType, loop: (body: KStmt[]) => KStmt, at: KExpr): KernelProgram =>
  k.program(
    k.sizes('n'),
    [
      k.buffer('input', 'x', type, n),
      k.buffer('input', 'y', 'f32', n),
      k.buffer('output', 'wide', 'f32', n),
      k.buffer('output', 'narrow', type, n),
    ],
    [
      k.kernel('main', { one: i(1) }, [
        loop([k.store('wide', at, k.load('x', 'f32', at)), streamed('narrow', at, k.load('y', 'f32', at))]),
      ]),
    ],
  );

const host = () => hostJit().target.halves;
const none = { float16: false, bfloat16: false };

describeLlvm.each(halfTypes)('%s', (type) => {
  const bits = (length: number) => Uint16Array.from({ length }, (_, index) => (index * 7) & 0xffff);
  // A signalling NaN may arrive as a quiet one, and the interpreter has one NaN: patterns of NaN are left to the test below.
  const caseOf = (program: KernelProgram, every: number) => {
    const y = narrowed(type, every);
    const x = bits(y.length).map((each) => (Number.isNaN(decodeHalf(type, each)) ? 0x3f80 : each));
    const buffers = { x, y, wide: new Float32Array(y.length), narrow: new Uint16Array(y.length) };
    return { program, buffers, scalars: { n: y.length } };
  };
  const lanes = conversions(type, (body) => k.lanes('j', k.to(n), body, { precision: 'f32' }), v('j'));
  const one = conversions(type, (body) => k.serial('j', k.to(n), body), v('j'));

  test.each(widths)('vectors of %i bits', (vectorBits) => {
    for (const halves of [none, host()]) {
      // All of them by our own arithmetic at one width, and a part otherwise: the interpreter takes its time.
      check(caseOf(lanes, vectorBits === 256 && halves === none ? 1 : 13), { vectorBits, halves, offset: 3 });
    }
  });

  test('one element at a time', () => {
    for (const halves of [none, host()]) check(caseOf(one, 31), { vectorBits: 128, halves });
  });

  // On a named target the JIT finds out by itself what there is; none may call a function of a runtime library.
  const cpus = process.arch === 'x64' ? ['', 'x86-64-v2', 'x86-64-v3', 'sandybridge'] : [''];
  test.each(libraries.flatMap((library) => cpus.map((cpu) => ({ version: library.version, cpu, library }))))(
    'LLVM $version for $cpu',
    ({ library, cpu }) => {
      const jit = new LlvmJit({ library, ...(cpu !== '' && { cpu }) });
      const { vectorBits, halves } = jit.target;
      if (cpu === 'x86-64-v2' || cpu === 'sandybridge') expect(halves).toEqual(none);
      if (cpu === 'x86-64-v3') expect(halves).toEqual({ float16: true, bfloat16: false });
      check(caseOf(lanes, 97), { vectorBits, halves, jit });
    },
  );

  test('every NaN stays one on the way in', () => {
    const nans = bits(65536).filter((each) => Number.isNaN(decodeHalf(type, each)));
    const out = { y: new Float32Array(nans.length), wide: new Float32Array(nans.length), narrow: nans.slice() };
    for (const halves of [none, host()]) {
      const { wide } = check(
        { program: lanes, buffers: { x: nans, ...out }, scalars: { n: nans.length } },
        { vectorBits: 256, halves },
      );
      expect(wide!.every((each) => Number.isNaN(each))).toBe(true);
    }
  });

  test.each(widths)('masks, their value elsewhere, reversed lanes and gathers, vectors of %i bits', (vectorBits) => {
    const inside = k.compare('lt', v('j'), i(17));
    const masked: KExpr = { ...k.load('x', 'f32', v('j')), mask: inside, other: Number.NEGATIVE_INFINITY } as KExpr;
    const program = k.program(
      k.sizes('n'),
      [
        k.buffer('input', 'x', type, n),
        k.buffer('input', 'at', 'i32', n),
        k.buffer('output', 'a', type, n),
        k.buffer('output', 'b', type, n),
        k.buffer('output', 'c', 'f32', n),
      ],
      [
        k.kernel('main', { one: i(1) }, [
          k.lanes('j', k.to(n), [
            k.store('a', v('j'), masked),
            k.store('b', sub(sub(n, i(1)), v('j')), k.load('x', 'f32', v('j'))),
            k.store('c', v('j'), k.load('x', 'f32', k.load('at', 'index', v('j')))),
          ]),
        ]),
      ],
    );
    const length = 53;
    check(
      {
        program,
        buffers: {
          x: Uint16Array.from({ length }, (_, index) => 0x3f00 + 5 * index),
          at: Int32Array.from({ length }, (_, index) => (index * 7) % length),
          a: new Uint16Array(length),
          b: new Uint16Array(length),
          c: new Float32Array(length),
        },
        scalars: { n: length },
      },
      { vectorBits, halves: host() },
    );
  });

  test('comparisons and sums of loaded numbers stay whole vectors of float', () => {
    const loaded = k.load('x', 'f32', add(v('j'), i(0)));
    const program = k.program(
      k.sizes('n'),
      [k.buffer('input', 'x', type, n), k.buffer('output', 'top', 'f32', i(1))],
      [
        k.kernel('main', { one: i(1) }, [
          k.lanes('j', k.to(n), [], {
            precision: 'f32',
            reduce: [{ name: 'most', op: 'max', type: 'f32', value: loaded }],
          }),
          k.store('top', i(0), v('most', 'f32')),
        ]),
      ],
    );
    const text = printLlvm(program, { vectorBits: 128, halves: { float16: true, bfloat16: true } });
    const { optimisedIr } = hostJit().compile(text, { optimisedIr: true, object: false });
    // LLVM would compare halves, element after element.
    expect(optimisedIr).not.toMatch(/fcmp \w+ (<\d+ x )?(half|bfloat)/);
  });
});
