/** Runs a program natively and in the interpreter on the same arrays, and compares every buffer. */
import { expect } from 'vitest';
import { interpretProgram } from '../../compiler/kernel/interpret.js';
import type { KernelProgram } from '../../compiler/kernel/kernel.js';
import type { HalfInstructions } from '../../compiler/llvm/index.js';
import type { LlvmJit } from '../../runtime/cpu/jit.js';
import { type BufferArray, compileNative } from './run.js';

const canaryFor = (array: BufferArray): number => (array instanceof Uint16Array ? 12345 : 123457);
const margin = 40;

/** A copy with a margin of canaries on both sides, `offset` elements behind the array's alignment. */
function guarded(array: BufferArray, offset: number): { whole: BufferArray; view: BufferArray } {
  const Constructor = array.constructor as new (...args: unknown[]) => BufferArray;
  const whole = new Constructor(array.length + 2 * margin + offset).fill(canaryFor(array));
  const view = whole.subarray(margin + offset, margin + offset + array.length);
  view.set(array);
  return { whole, view };
}

export interface Case {
  readonly program: KernelProgram;
  readonly buffers: Readonly<Record<string, BufferArray>>;
  readonly scalars?: Readonly<Record<string, number>>;
}
export interface How {
  readonly vectorBits: 128 | 256 | 512;
  readonly jit?: LlvmJit;
  /** Instructions that may be used for 16-bit reals; default none. */
  readonly halves?: HalfInstructions;
  /** Elements by which every array is moved away from its alignment. */
  readonly offset?: number;
  /** Relative to the size of the numbers; default 0: the same numbers. */
  readonly tolerance?: number;
  /** How the tasks of each kernel are cut into ranges: default all at once. */
  readonly cut?: (tasks: number) => [number, number][];
}

/**
 * Every kernel runs over all its tasks (extents read off `scalars`); afterwards all buffers hold what the interpreter
 * computes and no element beside them was touched. Returns the native results.
 */
export function check({ program, buffers, scalars = {} }: Case, how: How): Record<string, BufferArray> {
  const scalarMap = new Map(Object.entries(scalars));
  const expected = new Map(Object.entries(buffers).map(([name, array]) => [name, array.slice() as BufferArray]));
  interpretProgram(program, { buffers: expected, scalars: scalarMap, seed: 7 });

  const guards = new Map(Object.entries(buffers).map(([name, array]) => [name, guarded(array, how.offset ?? 0)]));
  const views = new Map([...guards].map(([name, { view }]) => [name, view]));
  const run = compileNative(program, how.vectorBits, how.jit, how.halves).bind(views, scalarMap);
  for (const kernel of program.phases.flat()) {
    const tasks = kernel.grid.reduce((product, { extent }) => {
      if (extent.op !== 'const' && extent.op !== 'scalar') throw new Error('grids of these tests are plain sizes');
      return product * (extent.op === 'const' ? extent.value : scalarMap.get(extent.name)!);
    }, 1);
    for (const [begin, end] of how.cut?.(tasks) ?? [[0, tasks]]) run(kernel.name, begin, end);
  }
  for (const [name, { whole, view }] of guards) {
    const exact = expected.get(name)!;
    if (how.tolerance === undefined) expect(view, name).toEqual(exact);
    else {
      const wrong = [...view].flatMap((got, i) => {
        const size = Math.max(Math.abs(exact[i]!), 1e-30);
        const close =
          Object.is(got, exact[i]) || got === exact[i] || Math.abs(got - exact[i]!) <= how.tolerance! * size;
        return close ? [] : [`${name}[${i}] = ${got}, not ${exact[i]}`];
      });
      expect(wrong).toEqual([]);
    }
    const [before, after] = [
      whole.subarray(0, view.byteOffset / view.BYTES_PER_ELEMENT - whole.byteOffset / whole.BYTES_PER_ELEMENT),
      whole.subarray(whole.length - margin),
    ];
    expect(
      [...before, ...after].every((element) => element === canaryFor(view)),
      `${name} has writes beside it`,
    ).toBe(true);
  }
  return Object.fromEntries(views);
}
