/**
 * Putting modules together: bindings, the launch's scalars, the functions kernels need, and the entry point.
 *
 * A module with several kernels of a phase gives each a function and a range of the dispatch's workgroups. Which function
 * a workgroup calls follows from its number, so WGSL's analysis knows that all of its invocations take the same way, and
 * barriers inside stay legal.
 */
import * as k from '../kernel/build.js';
import type { ElementType, KExpr, Kernel, KernelProgram } from '../kernel/kernel.js';
import { CompilerBug } from '../source.js';
import { type Abreast, findAbreast, gridFor, printPlace, printRow, sharesTasks } from './abreast.js';
import { printExpr } from './expr.js';
import { libraryFor, libraryNames } from './library.js';
import { Names } from './names.js';
import { type Shared, sharedBytesPerInvocation, sharedTexts } from './reduce.js';
import { findRows } from './rows.js';
import { StatementPrinter } from './statements.js';
import { usesOf } from './together.js';
import { huge, infinite, type UniformField, type WgslKernel, type WgslProgram, type WgslTarget } from './types.js';
import {
  argument,
  atom,
  type BoundBuffer,
  type KernelContext,
  level,
  type RowScope,
  type Scope,
  type Value,
  wrap,
} from './values.js';
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

/** Kernels of one phase that one dispatch runs, side by side, in workgroups of one size. */
export interface KernelGroup {
  readonly kernels: readonly Kernel[];
  /** A power of two. */
  readonly workgroupSize: number;
}

/**
 * A kernel program as WGSL, to be dispatched phase by phase: a module per kernel, or as `groups` says. The text depends on nothing
 * but the arguments. Buffers of f64 hold vec2<f32> (see `splitDouble`), of index i32; those of f16 need a device with the feature
 * 'shader-f16'. A buffer that a module stores to is bound for reading and writing and must not be bound a second time.
 * @param groups for each phase, its kernels, in groups that `fitTogether`
 * @throws CompilerBug for a malformed program, RangeError for a workgroup size that is no power of two
 */
export function printWgsl(
  program: KernelProgram,
  target: WgslTarget,
  groups: readonly (readonly KernelGroup[])[] = program.phases.map((kernels) =>
    kernels.map((kernel) => ({ kernels: [kernel], workgroupSize: target.workgroupSize })),
  ),
): WgslProgram {
  const launch = layOut(program);
  const phases = groups.map((phase) =>
    phase.map(({ kernels, workgroupSize }) => {
      if (!Number.isInteger(Math.log2(workgroupSize)) || workgroupSize < 1)
        throw new RangeError(`workgroupSize: ${workgroupSize} given; a power of two is needed`);
      let size = workgroupSize;
      while (size > 1 && size * sharedBytesPerInvocation + sharedBytesFixed > target.maxWorkgroupStorage) size /= 2;
      return printModule(program, kernels, launch, { ...target, workgroupSize: size });
    }),
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

function printModule(
  program: KernelProgram,
  kernels: readonly Kernel[],
  launch: Launch,
  { workgroupSize, subgroups, vectors: wanted = true, wholeTasks = false }: WgslTarget,
): WgslKernel {
  for (const { name, locals } of kernels)
    if (locals) throw new CompilerBug('wgsl', `kernel ${name} has memory of its cells' own`);
  const names = new Names(libraryNames);
  const uses = kernels.map((kernel) => usesOf(program, kernel, wanted));
  const buffers = new Map<string, BoundBuffer>();
  for (const decl of program.buffers) {
    const users = uses.filter(({ used }) => used.has(decl.name));
    if (users.length === 0) continue;
    const access = users.some(({ stored }) => stored.has(decl.name)) ? 'read_write' : 'read';
    const byFour = users.some(({ vectors }) => vectors.buffers.has(decl.name));
    buffers.set(decl.name, { decl, text: names.fresh(decl.name), access, byFour });
  }
  const members = new Names(['task_base', 'zero']);
  const scalars = new Map<string, Value>();
  const memberNames = launch.fields.map(({ name, type }) => {
    const member = members.fresh(name);
    scalars.set(name, atom(type === 'i32' ? 'index' : 'f64', `launch.${member}`, true));
    return member;
  });
  const shared: Shared = { agreed: false, across: new Map() };
  const functions = kernels.map((kernel, n): KernelFunction => {
    const name = kernels.length > 1 ? names.fresh(`run_${kernel.name}`) : 'main';
    const abreast = findAbreast(kernel, uses[n]!.stored, workgroupSize, wholeTasks);
    return { kernel, abreast, grid: gridFor(kernel, abreast), name, body: new Writer(), tasks: '' };
  });
  for (const [n, each] of functions.entries()) {
    const { stored, vectors } = uses[n]!;
    const { kernel, abreast, body } = each;
    const ownNames = names.copy();
    const alone = kernels.length === 1;
    if (alone) body.line('let lane = i32(local_index);');
    const own: KernelContext = {
      names: ownNames,
      workgroupSize,
      subgroups,
      vectors,
      rows: findRows(kernel, vectors, stored, workgroupSize, abreast),
      buffers,
      scalars,
      abreast,
      ...(abreast && { row: printPlace(ownNames, body, abreast) }),
      shared,
      barriers: 0,
    };
    const scope: Scope = { inLanes: false, values: new Map(), writer: body };
    const row = printTask(own, scope, each, alone);
    new StatementPrinter(own, stored).block(row === undefined ? scope : { ...scope, row }, kernel.body);
  }
  const exchanges = subgroups && shared.across.size > 0;
  const main =
    functions.length === 1
      ? printMain(workgroupSize, exchanges, functions[0]!.body)
      : printDispatcher(workgroupSize, exchanges, functions);
  const sharedParts = sharedTexts(workgroupSize, subgroups, shared);
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
  const name = kernels.map((kernel) => kernel.name).join('+');
  const docs = kernels.flatMap((kernel) => kernel.doc.flatMap((line) => commentLines(`  ${line}`)));
  const sections = [
    [...buffers.values()].some(({ decl }) => decl.element === 'f16') ? 'enable f16;' : '',
    exchanges ? 'enable subgroups;' : '',
    [...commentLines(`${program.name}: ${name}`), ...docs].join('\n'),
    '// A float64 as the sum of two float32.\nalias Double = vec2<f32>;',
    `// What stands for Infinity, and where it begins.\nconst INFINITE: f32 = ${infinite.toPrecision(1)};\nconst HUGE: f32 = ${huge.toPrecision(1)};`,
    /\bLANES\b/.test(main) ? '// Four neighbours, counted from the first.\nconst LANES = vec4<i32>(0, 1, 2, 3);' : '',
    launchStruct(launch, memberNames),
    storage.join('\n'),
    ...libraryFor([...sharedParts, main].join('\n')),
    ...sharedParts,
    main,
  ];
  const grids = functions.map(({ grid }) => grid);
  return {
    name,
    code: `${sections.filter((section) => section !== '').join('\n\n')}\n`,
    workgroupSize,
    bindings,
    grid: grids.length === 1 ? grids[0]! : [grids.map(tasksOf).reduce(k.add)],
  };
}

/** The number of a kernel's tasks. No extent is negative. */
const tasksOf = (grid: readonly KExpr[]): KExpr => grid.reduce((product, extent) => k.mul(product, extent), k.index(1));

/** One kernel of a module. */
interface KernelFunction {
  readonly kernel: Kernel;
  readonly abreast: Abreast | undefined;
  /** Extents. */
  readonly grid: readonly KExpr[];
  readonly name: string;
  readonly body: Writer;
  /** The number of its tasks, as text. */
  tasks: string;
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

/**
 * Prints the grid's variables: the innermost axis changes fastest. Where a task is several rows, that axis' variable is the row's.
 * @param alone the kernel is the whole module: it finds its task itself
 */
function printTask(context: KernelContext, scope: Scope, own: KernelFunction, alone: boolean): RowScope | undefined {
  const { writer, values } = scope;
  const { kernel, grid, abreast } = own;
  const extents = grid.map((extent) => printExpr(context, scope, extent));
  own.tasks = extents.length === 0 ? '1' : extents.map((extent) => wrap(extent, level.atom)).join(' * ');
  if (alone) {
    writer.line(taskLine);
    writer.open(`if (task >= ${own.tasks})`);
    writer.line('return;');
    writer.close();
  }
  let rest = 'task';
  let row: RowScope | undefined;
  for (let axis = grid.length - 1; axis >= 0; axis--) {
    const { variable, extent: whole } = kernel.grid[axis]!;
    if (values.has(variable)) throw new CompilerBug('wgsl', `grid variable '${variable}' is defined twice`);
    const name = context.names.fresh(variable);
    const shared = sharesTasks(abreast) && axis === grid.length - 1;
    values.set(variable, atom('index', name, !shared));
    const extent = extents[axis]!.level === level.atom ? argument(extents[axis]!) : `(${extents[axis]!.text})`;
    const place = axis === 0 ? rest : `${rest} % ${extent}`;
    if (shared) {
      const first = context.names.fresh(`${variable}_first`);
      writer.line(`let ${first} = ${axis === 0 ? place : `(${place})`} * ${abreast.rows};`);
      row = printRow(context, writer, name, first, wrap(printExpr(context, scope, whole), level.mul));
    } else writer.line(`let ${name} = ${place};`);
    if (axis === 0) break;
    const outer = context.names.fresh('rest');
    writer.line(`let ${outer} = ${rest} / ${extent};`);
    rest = outer;
  }
  return row;
}

const taskLine = 'let task = launch.task_base + i32(group.x + groups.x * (group.y + groups.y * group.z));';

/** @param exchanges whether subgroups exchange values */
function printMain(workgroupSize: number, exchanges: boolean, body: Writer): string {
  const main = new Writer();
  main.line(`@compute @workgroup_size(${workgroupSize})`);
  main.line('fn main(');
  main.line('  @builtin(workgroup_id) group: vec3<u32>,');
  main.line('  @builtin(num_workgroups) groups: vec3<u32>,');
  main.line('  @builtin(local_invocation_index) local_index: u32,');
  if (exchanges) {
    main.line('  @builtin(subgroup_invocation_id) subgroup_lane: u32,');
    main.line('  @builtin(subgroup_size) subgroup_size: u32,');
  }
  main.open(')');
  main.append(body);
  main.close();
  return main.text;
}

/** A function per kernel, and the entry point that gives each its range of the tasks, one after the other. */
function printDispatcher(workgroupSize: number, exchanges: boolean, functions: readonly KernelFunction[]): string {
  const texts: string[] = [];
  const body = new Writer();
  body.line('let lane = i32(local_index);');
  body.line(taskLine);
  const ends = functions.map((_, n) => `end_${n + 1}`);
  for (const [n, { tasks }] of functions.entries())
    body.line(`let ${ends[n]!} = ${n === 0 ? '' : `${ends[n - 1]!} + `}${tasks};`);
  for (const [n, each] of functions.entries()) {
    const subgroup = /\bsubgroup_lane\b/.test(each.body.text);
    const own = new Writer();
    for (const line of commentLines(each.kernel.name)) own.line(line);
    own.open(`fn ${each.name}(task: i32, lane: i32${subgroup ? ', subgroup_lane: u32, subgroup_size: u32' : ''})`);
    own.append(each.body);
    own.close();
    texts.push(own.text);
    const condition = `if (task < ${ends[n]!})`;
    if (n === 0) body.open(condition);
    else body.otherwise(condition);
    const task = n === 0 ? 'task' : `task - ${ends[n - 1]!}`;
    body.line(`${each.name}(${task}, lane${subgroup ? ', subgroup_lane, subgroup_size' : ''});`);
  }
  body.close();
  return [...texts, printMain(workgroupSize, exchanges, body)].join('\n\n');
}
