/**
 * Putting a module together: one function per kernel, the helper functions that they use, declarations, attributes.
 */

import { operandsOf, partsOf } from '../kernel/analysis.js';
import type { BufferDecl, KExpr, Kernel, KernelProgram, KStmt } from '../kernel/kernel.js';
import { CompilerBug } from '../source.js';
import { findAbreast } from './abreast.js';
import { emitExpr } from './expr.js';
import { emitBlock } from './statements.js';
import { commentText, identifier, type LlvmTarget, memoryType } from './types.js';
import { asScalar, type KernelContext, type Scope, type Uniform, uniform } from './values.js';
import { FunctionWriter, ModuleParts } from './writer.js';

/**
 * The program as one stand-alone LLVM IR module (LLVM 15 or newer; `opt` and `llc` accept it): for every kernel a function
 * `void name(ptr args, i64 begin, i64 end)` with the ABI at the end of compiler/kernel/kernel.ts. The text depends on
 * nothing but the program and the target. Buffers may be unaligned beyond their elements' size; an output may be the
 * same memory as an input. Throws CompilerBug for a malformed program.
 */
export function printLlvm(program: KernelProgram, target: LlvmTarget): string {
  const parts = new ModuleParts(target);
  const kernels = program.phases.flatMap((phase, number) =>
    phase.map((kernel) => printKernel(parts, program, kernel, target, `phase ${number + 1}`)),
  );
  const head = [
    ...commentText(`${program.name}: LLVM IR for vectors of ${target.vectorBits} bits.`).map((line) => `; ${line}`),
    ...slotComments(program),
    `source_filename = "${program.name.replace(/[^A-Za-z0-9 ._-]/g, '_')}"`,
    ...(target.dataLayout === undefined ? [] : [`target datalayout = "${target.dataLayout}"`]),
    ...(target.triple === undefined ? [] : [`target triple = "${target.triple}"`]),
  ];
  const width = `"prefer-vector-width"="${target.vectorBits}"`;
  const tail = [
    `attributes #0 = { nounwind ${width} }`,
    `attributes #1 = { alwaysinline nounwind ${width} }`,
    ...parts.metadata,
  ];
  const sections = [
    head.join('\n'),
    parts.constants.join('\n'),
    ...kernels,
    ...parts.definitions,
    parts.declarations.join('\n'),
    tail.join('\n'),
  ];
  return `${sections.filter((section) => section !== '').join('\n\n')}\n`;
}

function slotComments(program: KernelProgram): string[] {
  const slots = [
    ...program.buffers.map((buffer) => `${buffer.role} ${buffer.name}: ${buffer.element} ${buffer.layout}`),
    ...program.scalars.map((scalar) => `${scalar.role} ${scalar.name}: ${scalar.type === 'index' ? 'i64' : 'double'}`),
  ];
  const lines = slots.map((slot, number) => `  args[${number}] ${slot}`);
  return ['Arguments of every function: 8-byte slots, and the range of tasks to run.', ...lines]
    .flatMap(commentText)
    .map((line) => `; ${line}`);
}

function printKernel(
  parts: ModuleParts,
  program: KernelProgram,
  kernel: Kernel,
  target: LlvmTarget,
  phase: string,
): string {
  const writer = new FunctionWriter(parts, ['args', 'begin', 'end']);
  const used = namesUsed(kernel);
  const slot = (number: number) =>
    number === 0 ? '%args' : writer.emit('slot', `getelementptr i64, ptr %args, i64 ${number}`);

  const buffers = new Map<string, { decl: Pick<BufferDecl, 'name' | 'element'>; pointer: string }>(
    program.buffers.flatMap((decl, number) => {
      if (!used.buffers.has(decl.name)) return [];
      return [
        [decl.name, { decl, pointer: writer.emit(decl.name, `load ptr, ptr ${slot(number)}, align 8`) }] as const,
      ];
    }),
  );
  for (const decl of kernel.locals ?? []) {
    const memory = `alloca [${decl.extent} x ${memoryType[decl.element]}], align 64`;
    buffers.set(decl.name, { decl, pointer: writer.emit(decl.name, memory) });
  }
  const scalars = new Map<string, Uniform>(
    program.scalars.flatMap((decl, number) => {
      if (!used.scalars.has(decl.name)) return [];
      const type = decl.type === 'index' ? 'i64' : 'double';
      const text = writer.emit(decl.name, `load ${type}, ptr ${slot(program.buffers.length + number)}, align 8`);
      return [[decl.name, uniform(decl.type, text)] as const];
    }),
  );
  const { vectorBits, halves = { float16: false, bfloat16: false } } = target;
  const context: KernelContext = {
    writer,
    vectorBits,
    halves,
    buffers,
    scalars,
    abreast: findAbreast(kernel),
    streams: false,
  };
  const outside: Scope = { lanes: 0, mask: undefined, values: new Map() };
  const extents = kernel.grid.map(({ variable, extent }, axis) =>
    axis === 0 ? '' : asScalar(emitExpr(context, outside, extent), `the extent of '${variable}'`),
  );

  const [head, body, done] = ['task', 'task.body', 'task.done'].map((hint) => writer.fresh(hint)) as [
    string,
    string,
    string,
  ];
  writer.branch(head);
  writer.startBlock(head);
  const task = writer.phi('task', 'i64', [{ value: '%begin', block: 'entry' }]);
  writer.branchIf(writer.emit('more', `icmp slt i64 ${task.value}, %end`), body, done);
  writer.startBlock(body);
  const values = new Map(outside.values);
  let rest = task.value;
  // Row-major: the innermost axis changes fastest.
  for (let axis = kernel.grid.length - 1; axis >= 0; axis--) {
    const { variable } = kernel.grid[axis]!;
    if (values.has(variable)) throw new CompilerBug('llvm', `grid variable '${variable}' is defined twice`);
    if (axis === 0) {
      values.set(variable, uniform('index', rest));
    } else {
      values.set(variable, uniform('index', writer.emit(variable, `urem i64 ${rest}, ${extents[axis]}`)));
      rest = writer.emit('rest', `udiv i64 ${rest}, ${extents[axis]}`);
    }
  }
  emitBlock(context, { ...outside, values }, kernel.body);
  task.add({ value: writer.emit('task.next', `add nsw i64 ${task.value}, 1`), block: writer.block });
  writer.branchBack(head);
  writer.startBlock(done);
  // Non-temporal stores are not ordered with other stores: make them visible before another thread is told.
  if (context.streams) writer.run('fence seq_cst');
  writer.run('ret void');

  const doc = [...kernel.doc, gridComment(kernel, phase)].flatMap(commentText).map((line) => `; ${line}`);
  const signature = `define void @${identifier(kernel.name)}(ptr noundef %args, i64 noundef %begin, i64 noundef %end) #0`;
  return [...doc, `${signature} {`, 'entry:', writer.text, '}'].join('\n');
}

function gridComment(kernel: Kernel, phase: string): string {
  const axes = kernel.grid.map(({ variable }) => variable).join(', ');
  return `(${phase}; tasks numbered over ${axes === '' ? 'one cell' : axes})`;
}

/** Buffers and launch arguments that a kernel's text needs, so that the others are not loaded. */
function namesUsed(kernel: Kernel): { buffers: Set<string>; scalars: Set<string> } {
  const buffers = new Set<string>();
  const scalars = new Set<string>();
  const inExpr = (expr: KExpr): void => {
    if (expr.op === 'load') buffers.add(expr.buffer);
    if (expr.op === 'scalar') scalars.add(expr.name);
    for (const operand of operandsOf(expr)) inExpr(operand);
  };
  const inStatement = (statement: KStmt): void => {
    if (statement.kind === 'store' || statement.kind === 'prefetch') buffers.add(statement.buffer);
    const { exprs, inner } = partsOf(statement);
    exprs.forEach(inExpr);
    inner.forEach(inStatement);
  };
  for (const { extent } of kernel.grid) inExpr(extent);
  kernel.body.forEach(inStatement);
  return { buffers, scalars };
}
