/** Whether tests of the GPU can run here, and a small hand-written program for those that need no compiler. */
import * as k from '../../compiler/kernel/build.js';
import type { BufferDecl } from '../../compiler/kernel/kernel.js';
import { adapterName, listAdapters } from '../../runtime/gpu/adapter.js';
import type { GpuProgram } from '../../runtime/gpu/program.js';

const required = (process.env.TRELLIS_REQUIRE ?? '').split(/[\s,]+/).includes('webgpu');

async function look(): Promise<string | undefined> {
  try {
    const [adapter] = await listAdapters();
    if (adapter !== undefined) {
      console.log(`webgpu tests run on ${adapterName(adapter)}`);
      return undefined;
    }
    return 'no adapter was found';
  } catch (error) {
    return (error as Error).message;
  }
}

/** Why tests of the GPU cannot run here; undefined where they can. A lane that asks for webgpu fails instead. */
export const missing = await look();
if (missing !== undefined) {
  if (required) throw new Error(`this lane needs webgpu (TRELLIS_REQUIRE), but ${missing}`);
  console.warn(`SKIPPED: tests of the webgpu device, since ${missing}`);
}

const B = k.scalar('B', 'index');
const T = k.scalar('T_max', 'index');

const buffer = (
  name: string,
  element: BufferDecl['element'],
  role: BufferDecl['role'],
  ...shape: BufferDecl['shape']
): BufferDecl => ({
  name,
  element,
  role,
  shape: [B, ...shape],
  layout: name,
});

const uniform = /* wgsl */ `
struct Launch { factor: vec2<f32>, B: i32, T_max: i32, task_base: i32 }
@group(0) @binding(0) var<uniform> launch: Launch;
`;
const task = 'let task = launch.task_base + i32(group.x + groups.x * group.y);';
const entry =
  '@compute @workgroup_size(1) fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>)';

/** rows[b][t] = sum of acts[b][t][0..width]; loss[b] = factor * sum of rows + offset[b]; grad_acts = factor * acts. */
export function sumsProgram(width = 8): GpuProgram {
  return {
    name: 'sums',
    buffers: [
      buffer('acts', 'f32', 'input', T, k.index(width)),
      buffer('ids', 'i32', 'input'),
      buffer('offset', 'f64', 'input'),
      buffer('rows', 'f64', 'scratch', T),
      buffer('loss', 'f64', 'output'),
      buffer('grad_acts', 'f32', 'output', T, k.index(width)),
    ],
    scalars: [
      { name: 'B', type: 'index', role: 'size' },
      { name: 'T_max', type: 'index', role: 'size' },
      { name: 'factor', type: 'f64', role: 'param' },
    ],
    text: {
      uniform: [
        { name: 'factor', type: 'f32x2', offset: 0 },
        { name: 'B', type: 'i32', offset: 8 },
        { name: 'T_max', type: 'i32', offset: 12 },
      ],
      taskBase: 16,
      uniformBytes: 20,
      phases: [
        [
          {
            name: 'rows',
            workgroupSize: 1,
            grid: [B, T],
            bindings: [
              { binding: 1, buffer: 'acts', access: 'read' },
              { binding: 2, buffer: 'rows', access: 'read_write' },
            ],
            code: `${uniform}
@group(0) @binding(1) var<storage, read> acts: array<f32>;
@group(0) @binding(2) var<storage, read_write> rows: array<vec2<f32>>;
${entry} {
  ${task}
  var sum = 0.0;
  for (var v = 0; v < ${width}; v++) { sum += acts[task * ${width} + v]; }
  rows[task] = vec2<f32>(sum, 0.0);
}`,
          },
        ],
        [
          {
            name: 'loss',
            workgroupSize: 1,
            grid: [B],
            bindings: [
              { binding: 1, buffer: 'rows', access: 'read' },
              { binding: 2, buffer: 'offset', access: 'read' },
              { binding: 3, buffer: 'ids', access: 'read' },
              { binding: 4, buffer: 'loss', access: 'read_write' },
            ],
            code: `${uniform}
@group(0) @binding(1) var<storage, read> rows: array<vec2<f32>>;
@group(0) @binding(2) var<storage, read> offset: array<vec2<f32>>;
@group(0) @binding(3) var<storage, read> ids: array<i32>;
@group(0) @binding(4) var<storage, read_write> loss: array<vec2<f32>>;
${entry} {
  ${task}
  var sum = 0.0;
  for (var t = 0; t < launch.T_max; t++) { sum += rows[task * launch.T_max + t].x; }
  // The small part is what a float32 could not carry along.
  loss[task] = vec2<f32>(launch.factor.x * sum + offset[task].x + f32(ids[task]), launch.factor.y + offset[task].y);
}`,
          },
          {
            name: 'grad_acts',
            workgroupSize: 1,
            grid: [B, T],
            bindings: [
              { binding: 1, buffer: 'acts', access: 'read' },
              { binding: 2, buffer: 'grad_acts', access: 'read_write' },
            ],
            code: `${uniform}
@group(0) @binding(1) var<storage, read> acts: array<f32>;
@group(0) @binding(2) var<storage, read_write> grad_acts: array<f32>;
${entry} {
  ${task}
  for (var v = 0; v < ${width}; v++) { grad_acts[task * ${width} + v] = launch.factor.x * acts[task * ${width} + v]; }
}`,
          },
        ],
      ],
    },
  };
}

/** A call of `sumsProgram` and what it must give. Values are small integers, so that float32 is exact. */
export function sumsCall(samples: number, frames: number, width = 8) {
  const factor = 3;
  const acts = Float32Array.from({ length: samples * frames * width }, (_, i) => (i * 7) % 5);
  const ids = Int32Array.from({ length: samples }, (_, b) => b * 10);
  const offset = Float64Array.from({ length: samples }, (_, b) => b + 1 + 2 ** -30);
  const loss = new Float64Array(samples).fill(Number.NaN);
  const grad = new Float32Array(acts.length).fill(Number.NaN);
  const perSample = frames * width;
  const expected = {
    loss: Float64Array.from({ length: samples }, (_, b) => {
      const sum = acts.subarray(b * perSample, (b + 1) * perSample).reduce((all, value) => all + value, 0);
      return factor * sum + offset[b]! + ids[b]!;
    }),
    grad: acts.map((value) => factor * value),
  };
  const scalars = { B: samples, T_max: frames, factor };
  return { acts, ids, offset, loss, grad, scalars, expected, buffers: { acts, ids, offset, loss, grad_acts: grad } };
}
