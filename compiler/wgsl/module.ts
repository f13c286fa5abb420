/**
 * Putting modules together: bindings, the launch's scalars, the functions a kernel needs, and its entry point.
 */
import type { ElementType, Kernel, KernelProgram } from '../kernel/kernel.js';
import { CompilerBug } from '../source.js';
import { printExpr } from './expr.js';
import { storedBuffers } from './hazards.js';
import { libraryFor, libraryNames } from './library.js';
import { Names } from './names.js';
import { sharedBytesPerInvocation, sharedTexts } from './reduce.js';
import { StatementPrinter } from './statements.js';
import { huge, infinite, type UniformField, type WgslKernel, type WgslProgram, type WgslTarget } from './types.js';
import { buffersUsed } from './used.js';
import { argument, atom, type BoundBuffer, type KernelContext, type Scope, type Value } from './values.js';
import { findVectors, noVectors } from './vectors.js';
import { commentLines, Writer } from './writer.js';

/** WGSL has no type for bfloat16. */
const elementTypes: Record<ElementType, string | undefined> = {
  f32: 'f32',
  f64: 'Double',
  i32: 'i32',
  f16: 'f16',
  bf16: undefined,
};

/** Bytes of workgroup memory beside what grows with the number of invocations. */
const sharedBytesFixed = 16;

/**
 * A kernel program as WGSL: a module per kernel, to be dispatched phase by phase. The text depends on nothing but the program
 * and the target. Buffers of f64 hold vec2<f32> (see `splitDouble`), of index i32; those of f16
 * need a device with the feature 'shader-f16'. A buffer that a kernel stores to is bound for
 * reading and writing and must not be bound a second time.
 * @throws CompilerBug for a malformed program, RangeError for a workgroup size that is no power of two
 */
export function printWgsl(program: KernelProgram, target: WgslTarget): WgslProgram {
  const { workgroupSize, maxWorkgroupStorage } = target;
  if (!Number.isInteger(Math.log2(workgroupSize)) || workgroupSize < 1)
    throw new RangeError(`workgroupSize: ${workgroupSize} given; a power of two is needed`);
  let size = workgroupSize;
  while (size > 1 && size * sharedBytesPerInvocation + sharedBytesFixed > maxWorkgroupStorage) size /= 2;
  const launch = layOut(program);
  const phases = program.phases.map((kernels) =>
    kernels.map((kernel) => printKernel(program, kernel, launch, { ...target, workgroupSize: size })),
  );
  return { phases, uniform: launch.fields, taskBase: 0, uniformBytes: launch.bytes };
}

interface Launch {
  readonly fields: readonly UniformField[];
  readonly bytes: number;
}

/** task_base and zero, then the i32 scalars, then those of 8 bytes. */
function layOut(program: KernelProgram): Launch {
  const integers = program.scalars.filter((scalar) => scalar.type === 'index');
  const reals = program.scalars.filter((scalar) => scalar.type === 'f64');
  const fields: UniformField[] = [];
  let offset = 8;
  for (const { name } of integers) {
    fields.push({ name, type: 'i32', offset });
    offset += 4;
  }
  offset = roundUp(offset, 8);
  for (const { name } of reals) {
    fields.push({ name, type: 'f32x2', offset });
    offset += 8;
  }
  return { fields, bytes: roundUp(offset, 16) };
}

const roundUp = (bytes: number, multiple: number): number => Math.ceil(bytes / multiple) * multiple;

function printKernel(
  program: KernelProgram,
  kernel: Kernel,
  launch: Launch,
  { workgroupSize, subgroups, vectors: wanted = true }: WgslTarget,
): WgslKernel {
  if (kernel.locals) throw new CompilerBug('wgsl', `kernel ${kernel.name} has memory of its cells' own`);
  const names = new Names(libraryNames);
  const stored = storedBuffers(kernel.body);
  const used = buffersUsed(kernel);
  const vectors = wanted ? findVectors(kernel, program.buffers) : noVectors;
  const buffers = new Map<string, BoundBuffer>();
  for (const decl of program.buffers) {
    if (!used.has(decl.name)) continue;
    const access = stored.has(decl.name) ? 'read_write' : 'read';
    buffers.set(decl.name, { decl, text: names.fresh(decl.name), access, byFour: vectors.buffers.has(decl.name) });
  }
  const members = new Names(['task_base', 'zero']);
  const scalars = new Map<string, Value>();
  const memberNames = launch.fields.map(({ name, type }) => {
    const member = members.fresh(name);
    scalars.set(name, atom(type === 'i32' ? 'index' : 'f64', `launch.${member}`, true));
    return member;
  });
  const context: KernelContext = {
    names,
    workgroupSize,
    subgroups,
    vectors,
    buffers,
    scalars,
    shared: new Set(),
    barriers: 0,
  };

  const body = new Writer();
  const scope: Scope = { inLanes: false, values: new Map(), writer: body };
  printTask(context, scope, kernel);
  new StatementPrinter(context, stored).block(scope, kernel.body);

  const main = printMain(context, body);
  const shared = sharedTexts(context);
  const bindings = [...buffers.values()].map(({ decl, access }, number) => ({
    binding: number + 1,
    buffer: decl.name,
    access,
  }));
  const storage = [...buffers.values()].map(({ decl, text, access, byFour }, number) => {
    const element = elementTypes[decl.element];
    if (element === undefined) throw new CompilerBug('wgsl', `buffer '${decl.name}' holds ${decl.element}`);
    const layout = commentLines(decl.layout)[0]!;
    return `@group(0) @binding(${number + 1}) var<storage, ${access}> ${text}: array<${byFour ? `vec4<${element}>` : element}>; ${layout}`;
  });
  const sections = [
    [...buffers.values()].some(({ decl }) => decl.element === 'f16') ? 'enable f16;' : '',
    context.subgroups && usesReduction(context) ? 'enable subgroups;' : '',
    [
      ...commentLines(`${program.name}: ${kernel.name}`),
      ...kernel.doc.flatMap((line) => commentLines(`  ${line}`)),
    ].join('\n'),
    '// A float64 as the sum of two float32.\nalias Double = vec2<f32>;',
    `// What stands for Infinity, and where it begins.\nconst INFINITE: f32 = ${infinite.toPrecision(1)};\nconst HUGE: f32 = ${huge.toPrecision(1)};`,
    /\bLANES\b/.test(main) ? '// Four neighbours, counted from the first.\nconst LANES = vec4<i32>(0, 1, 2, 3);' : '',
    launchStruct(launch, memberNames),
    storage.join('\n'),
    ...libraryFor([...shared, main].join('\n')),
    ...shared,
    main,
  ];
  return {
    name: kernel.name,
    code: `${sections.filter((section) => section !== '').join('\n\n')}\n`,
    workgroupSize,
    bindings,
    grid: kernel.grid.map(({ extent }) => extent),
  };
}

function launchStruct(launch: Launch, memberNames: readonly string[]): string {
  const lines = launch.fields.map(({ type }, i) => `  ${memberNames[i]}: ${type === 'i32' ? 'i32' : 'Double'},`);
  return [
    'struct Launch {',
    '  task_base: i32, // task of the first workgroup',
    '  zero: u32, // always 0, but the compiler does not know',
    ...lines,
    '}',
    '@group(0) @binding(0) var<uniform> launch: Launch;',
  ].join('\n');
}

const usesReduction = (context: KernelContext): boolean => [...context.shared].some((entry) => entry !== 'agreed');

/** The task of this workgroup, and the grid's variables: the innermost axis changes fastest. */
function printTask(context: KernelContext, scope: Scope, kernel: Kernel): void {
  const { writer, values } = scope;
  writer.line('let lane = i32(local_index);');
  writer.line('let task = launch.task_base + i32(group.x + groups.x * (group.y + groups.y * group.z));');
  const extents = kernel.grid.map(({ extent }) => printExpr(context, scope, extent));
  const tasks =
    extents.length === 0
      ? '1'
      : extents.map((extent) => (extent.level === 6 ? extent.text : `(${extent.text})`)).join(' * ');
  writer.open(`if (task >= ${tasks})`);
  writer.line('return;');
  writer.close();
  let rest = 'task';
  for (let axis = kernel.grid.length - 1; axis >= 0; axis--) {
    const { variable } = kernel.grid[axis]!;
    if (values.has(variable)) throw new CompilerBug('wgsl', `grid variable '${variable}' is defined twice`);
    const name = context.names.fresh(variable);
    values.set(variable, atom('index', name, true));
    if (axis === 0) {
      writer.line(`let ${name} = ${rest};`);
      continue;
    }
    const extent = extents[axis]!.level === 6 ? argument(extents[axis]!) : `(${extents[axis]!.text})`;
    writer.line(`let ${name} = ${rest} % ${extent};`);
    const outer = context.names.fresh('rest');
    writer.line(`let ${outer} = ${rest} / ${extent};`);
    rest = outer;
  }
}

function printMain(context: KernelContext, body: Writer): string {
  const main = new Writer();
  main.line(`@compute @workgroup_size(${context.workgroupSize})`);
  main.line('fn main(');
  main.line('  @builtin(workgroup_id) group: vec3<u32>,');
  main.line('  @builtin(num_workgroups) groups: vec3<u32>,');
  main.line('  @builtin(local_invocation_index) local_index: u32,');
  if (context.subgroups && usesReduction(context)) {
    main.line('  @builtin(subgroup_invocation_id) subgroup_lane: u32,');
    main.line('  @builtin(subgroup_size) subgroup_size: u32,');
  }
  main.open(')');
  main.append(body);
  main.close();
  return main.text;
}
