/** Kernels of one phase in one module: how the entry point reads, what fits, and that each gives what it gives alone. */
import { expect } from 'vitest';
import type { Kernel, KernelProgram } from '../../compiler/kernel/kernel.js';
import { fitTogether, printWgsl } from '../../compiler/wgsl/index.js';
import { printSized } from '../../runtime/gpu/sized.js';
import * as k from '../kernel/helpers.js';
import { diagonal, prefixes, softmax } from '../kernel/programs.js';
import { describe, test } from './lane.js';
import { compileGpu, variantName, variants } from './run.js';

const target = { subgroups: false, workgroupSize: 64, maxWorkgroupStorage: 16384 };

/** A kernel with barriers, one with reductions and one that a single invocation does, in one phase: they share nothing but sizes. */
function three(): KernelProgram {
  const [paths, rows] = [diagonal(), softmax()];
  const first = k.kernel('first', { b: k.size('B') }, [
    k.store('head', k.v('b'), k.load('x', 'f32', k.mul(k.v('b'), k.size('V')))),
  ]);
  return {
    ...paths,
    scalars: k.sizes('B', 'U', 'V'),
    buffers: [...paths.buffers, ...rows.buffers, k.buffer('output', 'head', 'f32', k.size('B'))],
    phases: [[...paths.phases.flat(), ...rows.phases.flat(), first]],
  };
}

test('the entry point gives every kernel its range of the tasks', () => {
  const [[only]] = printWgsl(prefixes(), target, [[{ kernels: prefixes().phases[0]!, workgroupSize: 64 }]])
    .phases as unknown as [[{ name: string; code: string; bindings: { buffer: string; access: string }[] }]];
  expect(only.name).toBe('forward+backward');
  expect(only.bindings.map(({ buffer, access }) => `${buffer} ${access}`)).toEqual([
    'x read',
    'out read_write',
    'back read_write',
  ]);
  expect(only.code.slice(only.code.indexOf('@compute'))).toMatchInlineSnapshot(`
    "@compute @workgroup_size(64)
    fn main(
      @builtin(workgroup_id) group: vec3<u32>,
      @builtin(num_workgroups) groups: vec3<u32>,
      @builtin(local_invocation_index) local_index: u32,
    ) {
      let lane = i32(local_index);
      let task = launch.task_base + i32(group.x + groups.x * (group.y + groups.y * group.z));
      let end_1 = launch.B;
      let end_2 = end_1 + launch.B;
      if (task < end_1) {
        run_forward(task, lane);
      } else if (task < end_2) {
        run_backward(task - end_1, lane);
      }
    }
    "
  `);
});

test('what fits: the buffers that may be bound, and none that one stores and another touches', () => {
  const program = three();
  const kernels = program.phases[0]!;
  expect(fitTogether(program, kernels, 6, true)).toBe(true);
  expect(fitTogether(program, kernels, 5, true)).toBe(false);
  const again: Kernel = { ...kernels[2]!, name: 'again' };
  expect(fitTogether(program, [kernels[2]!, again], 8, true)).toBe(false);
});

test('kernels share a dispatch where their workgroups are of one size', () => {
  const names = (program: KernelProgram, storageBuffers?: number, together?: boolean): string[] =>
    printSized(program, { ...target, ...(storageBuffers && { storageBuffers }) }, together).phases.flatMap((phase) =>
      phase.map(({ name, workgroupSize }) => `${name} ${workgroupSize}`),
    );
  expect(names(three())).toEqual(['paths+softmax+first 64']);
  expect(names(three(), 5)).toEqual(['paths+softmax 64', 'first 32']);
  expect(names(three(), 8, false)).toEqual(['paths 64', 'softmax 64', 'first 32']);
  // One whose rows are short takes a smaller workgroup, and one without neighbours joins any.
  const short = k.kernel('short', { b: k.size('B') }, [
    k.lanes('n', k.to(k.i(8)), [], { reduce: [k.sum('total', 'f32', k.load('x', 'f32', k.v('n')))] }),
  ]);
  const program = three();
  expect(names({ ...program, phases: [[...program.phases[0]!, short]] })).toEqual([
    'paths+softmax+first 64',
    'short 32',
  ]);
});

describe.each([variants[0]!, variants[3]!].map((variant) => [variantName(variant), variant] as const))(
  '%s',
  (_, variant) => {
    test('gives the bits that the kernels give alone', async () => {
      const program = three();
      const [B, U, V] = [5, 70, 300];
      const outputs = async (together: boolean) => {
        const { text, run } = await compileGpu(program, { ...variant, together }, 4);
        expect(text.phases[0]).toHaveLength(together ? 1 : 3);
        const buffers = new Map<string, Float32Array | Float64Array | Int32Array>([
          ['lens', Int32Array.from({ length: B }, (_, b) => 1 + (b % 3))],
          ['count', new Float64Array(B)],
          ['x', Float32Array.from({ length: B * V }, (_, n) => Math.sin(n))],
          ['out', new Float32Array(B * V)],
          ['head', new Float32Array(B)],
        ]);
        await run(buffers, new Map(Object.entries({ B, U, V })));
        return buffers;
      };
      const together = await outputs(true);
      expect(together).toStrictEqual(await outputs(false));
      expect([...(together.get('count') as Float64Array)]).toEqual([1, U, (U * (U + 1)) / 2, 1, U]);
      expect(together.get('head')![4]).toBe(Math.fround(Math.sin(4 * V)));
    });
  },
);
