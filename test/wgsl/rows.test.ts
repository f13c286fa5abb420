/** Rows that several loops read: each element is loaded once where the row's length is known, and results have the bits of ordinary loops. */
import { expect } from 'vitest';
import { interpretProgram } from '../../compiler/kernel/interpret.js';
import type { KernelProgram } from '../../compiler/kernel/kernel.js';
import { printWgsl } from '../../compiler/wgsl/index.js';
import * as k from '../kernel/helpers.js';
import { softmax } from '../kernel/programs.js';
import { describe, test } from './lane.js';
import { compileGpu, variantName, variants } from './run.js';

const target = { subgroups: false, workgroupSize: 64, maxWorkgroupStorage: 16384 };

/** Softmax with its rows' length compiled in. Three loops read a row. */
function softmaxOf(V: number): KernelProgram {
  const text = JSON.stringify(softmax()).replaceAll(JSON.stringify(k.size('V')), JSON.stringify(k.i(V)));
  return JSON.parse(text) as KernelProgram;
}
const codeOf = (program: KernelProgram): string => printWgsl(program, target).phases[0]![0]!.code;
const loadsIn = (code: string): number => code.slice(code.indexOf('fn main')).match(/\bx\[/g)!.length;

test('each invocation loads its elements once, 32 at most', () => {
  // 64 invocations: 130 elements are three rounds, the last for two invocations; 128 by fours are half a round.
  expect([1, 64, 130, 128, 64 * 32 - 1, 4 * 64 * 8].map((V) => loadsIn(codeOf(softmaxOf(V))))).toEqual([
    1, 1, 3, 1, 32, 8,
  ]);
  expect([64 * 32 + 1, 4 * 64 * 8 + 4].map((V) => loadsIn(codeOf(softmaxOf(V))))).toEqual([3, 3]);
  expect(loadsIn(codeOf(softmax()))).toBe(3);
});

test('only a round that not every invocation has is guarded', () => {
  const code = codeOf(softmaxOf(130));
  expect(code).toContain('let m_3 = lane + 128;');
  expect(code.match(/if \(m_\d < 130\)/g)).toEqual(new Array(4).fill('if (m_3 < 130)'));
  expect(codeOf(softmaxOf(128 * 2))).not.toMatch(/if \(m\w* </);
});

test('what the kernel itself writes is not kept', () => {
  const at = (name: string) => k.load('work', 'f32', k.add(k.mul(k.v('b'), k.i(8)), k.v(name)));
  const body = [
    k.lanes('m', k.to(k.i(8)), [], { reduce: [k.sum('first', 'f32', at('m'))] }),
    k.lanes('n', k.to(k.i(8)), [
      k.store('work', k.add(k.mul(k.v('b'), k.i(8)), k.v('n')), k.prim('f32', 'add', at('n'), k.v('first', 'f32'))),
    ]),
    k.lanes('o', k.to(k.i(8)), [], { reduce: [k.sum('second', 'f32', at('o'))] }),
    k.store('out', k.v('b'), k.v('second', 'f32')),
  ];
  const program = k.program(
    k.sizes('B'),
    [k.buffer('scratch', 'work', 'f32', k.size('B'), k.i(8)), k.buffer('output', 'out', 'f32', k.size('B'))],
    [k.kernel('rewritten', { b: k.size('B') }, body)],
  );
  expect(codeOf(program)).not.toContain('_kept');
});

describe.each([variants[0]!, variants[3]!].map((variant) => [variantName(variant), variant] as const))(
  '%s',
  (_, variant) => {
    test('the bits of ordinary loops, and what the interpreter gives', async () => {
      const B = 3;
      const open = await compileGpu(softmax(), variant);
      for (const V of [50, 130, 600]) {
        const x = Float32Array.from({ length: B * V }, (_, n) => 5 * Math.sin(n * n));
        x[V + 1] = Number.NEGATIVE_INFINITY;
        const run = async (compiled: Pick<typeof open, 'run'>): Promise<Float32Array> => {
          const out = new Float32Array(B * V);
          const buffers = new Map([
            ['x', x],
            ['out', out],
          ]);
          await compiled.run(buffers, new Map(Object.entries({ B, V })));
          return out;
        };
        const kept = await run(await compileGpu(softmaxOf(V), { ...variant, vectors: false, wholeTasks: true }));
        expect(kept, `V = ${V}`).toStrictEqual(await run(open));
        const expected = await run({
          run: async (buffers, scalars) => interpretProgram(softmax(), { buffers, scalars, seed: 1 }),
        });
        // The sum is taken in another order, and WGSL's exp is good to some units in the last place.
        for (const [n, value] of kept.entries()) {
          expect(Math.abs(value - expected[n]!), `${V}: ${n}`).toBeLessThan(1e-6);
        }
      }
    });
  },
);
