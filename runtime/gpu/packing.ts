/**
 * Fewer bindings. A GPU lets a kernel bind few buffers (WebGPU guarantees 8 and browsers often say no more than 10), and
 * the gradient's kernel reads nearly every field there is. So buffers that are always filled together become one:
 *
 *   fields that one kernel writes   one after the other, in one buffer
 *   lengths                         side by side, in one buffer of [B, number of lengths]
 *
 * What different kernels write stays apart, so kernels that could run at the same time still can.
 */
import * as k from '../../compiler/kernel/build.js';
import type { BufferDecl, KExpr, Kernel, KernelProgram, KStmt } from '../../compiler/kernel/kernel.js';

/** Where a buffer's elements are found after packing. */
interface Place {
  readonly buffer: string;
  /** Elements per utterance of what comes before it; absent where nothing does. */
  readonly before?: KExpr;
  /** For one element per utterance: of how many neighbours it is which. */
  readonly column?: { readonly of: number; readonly at: number };
}

/** Name of the buffer that holds several. */
export const packedName = (members: readonly string[]): string => members.join('_');

/** Several arrays [B] as one [B, number of arrays]. */
export function interleave(arrays: readonly Int32Array[]): Int32Array {
  const [first] = arrays;
  const result = new Int32Array((first?.length ?? 0) * arrays.length);
  for (const [column, array] of arrays.entries()) {
    for (let b = 0; b < array.length; b++) result[b * arrays.length + column] = array[b]!;
  }
  return result;
}

/**
 * The same program with fewer buffers.
 * @param lengths names of the inputs that hold one int per utterance
 */
export function packBuffers(program: KernelProgram, lengths: readonly string[]): KernelProgram {
  const taken = new Set(program.buffers.map(({ name }) => name));
  const declOf = new Map(program.buffers.map((decl) => [decl.name, decl]));
  const places = new Map<string, Place>();
  /** By the first member of each pack: the pack's declaration stands where that one's stood. */
  const packs = new Map<string, BufferDecl>();
  for (const members of fieldsWrittenTogether(program)) {
    const name = packedName(members);
    if (taken.has(name)) continue;
    let before: KExpr | undefined;
    for (const member of members) {
      places.set(member, { buffer: name, ...(before === undefined ? {} : { before }) });
      const own = declOf
        .get(member)!
        .shape.slice(1)
        .reduce((product, extent) => k.mul(product, extent), k.index(1));
      before = before === undefined ? own : k.add(before, own);
    }
    const first = declOf.get(members[0]!)!;
    const layout = members.map((member) => declOf.get(member)!.layout).join(', then ');
    packs.set(first.name, { ...first, name, shape: [k.scalar('B', 'index'), before!], layout });
  }
  if (lengths.length > 1 && !taken.has(packedName(lengths))) {
    const name = packedName(lengths);
    for (const [at, length] of lengths.entries())
      places.set(length, { buffer: name, column: { of: lengths.length, at } });
    const shape = [k.scalar('B', 'index'), k.index(lengths.length)];
    packs.set(lengths[0]!, { name, element: 'i32', role: 'input', shape, layout: `${name}[b][which]` });
  }
  return {
    ...program,
    buffers: program.buffers.flatMap((decl) => packs.get(decl.name) ?? (places.has(decl.name) ? [] : [decl])),
    phases: program.phases.map((phase) => phase.map((kernel) => withPlaces(kernel, places))),
  };
}

/** For each kernel, the fields that it and no other writes, where those are several. */
function fieldsWrittenTogether(program: KernelProgram): string[][] {
  const writers = new Map<string, Set<Kernel>>();
  const visit = (kernel: Kernel, body: readonly KStmt[]): void => {
    for (const s of body) {
      if (s.kind === 'loop') visit(kernel, s.body);
      else if (s.kind === 'if') visit(kernel, [...s.then, ...s.otherwise]);
      else if (s.kind === 'store') writers.set(s.buffer, (writers.get(s.buffer) ?? new Set()).add(kernel));
    }
  };
  const kernels = program.phases.flat();
  for (const kernel of kernels) visit(kernel, kernel.body);
  const groups = new Map<string, string[]>();
  for (const { name, role, element } of program.buffers) {
    const [writer, ...others] = writers.get(name) ?? [];
    if (role !== 'scratch' || writer === undefined || others.length > 0) continue;
    const key = `${kernels.indexOf(writer)} ${element}`;
    groups.set(key, [...(groups.get(key) ?? []), name]);
  }
  return [...groups.values()].filter((members) => members.length > 1);
}

/** A kernel that finds its buffers in their new places. */
function withPlaces(kernel: Kernel, places: ReadonlyMap<string, Place>): Kernel {
  const names = namesIn(kernel);
  const starts = new Map<string, string>();
  const moved = (buffer: string, index: KExpr): { buffer: string; index: KExpr } => {
    const place = places.get(buffer);
    if (place === undefined) return { buffer, index };
    const { column, before } = place;
    if (column !== undefined) {
      return { buffer: place.buffer, index: k.add(k.mul(index, k.index(column.of)), k.index(column.at)) };
    }
    if (before === undefined) return { buffer: place.buffer, index };
    let start = starts.get(buffer);
    if (start === undefined) {
      start = `${buffer}_start`;
      while (names.has(start)) start += '_';
      names.add(start);
      starts.set(buffer, start);
    }
    return { buffer: place.buffer, index: k.add(k.variable(start, 'index'), index) };
  };
  const expr = (e: KExpr): KExpr => {
    switch (e.op) {
      case 'const':
      case 'var':
      case 'scalar':
        return e;
      case 'load':
        return { ...e, ...moved(e.buffer, expr(e.index)), ...(e.mask && { mask: expr(e.mask) }) };
      case 'cast':
        return { ...e, arg: expr(e.arg) };
      default:
        return { ...e, args: e.args.map(expr) } as KExpr;
    }
  };
  const stmt = (s: KStmt): KStmt => {
    switch (s.kind) {
      case 'comment':
        return s;
      case 'let':
        return { ...s, value: expr(s.value) };
      case 'store':
        return { ...s, ...moved(s.buffer, expr(s.index)), value: expr(s.value) };
      case 'prefetch':
        return { ...s, ...moved(s.buffer, expr(s.index)) };
      case 'loop':
        return {
          ...s,
          from: expr(s.from),
          to: expr(s.to),
          body: s.body.map(stmt),
          reduce: s.reduce.map((each) => ({ ...each, value: expr(each.value) })),
        };
      case 'if':
        return {
          ...s,
          condition: expr(s.condition),
          // biome-ignore lint/suspicious/noThenProperty: the arm of a branch; no kernel is ever awaited
          then: s.then.map(stmt),
          otherwise: s.otherwise.map(stmt),
        };
    }
  };
  const body = kernel.body.map(stmt);
  const lets = [...starts].map(
    ([buffer, name]): KStmt => ({
      kind: 'let',
      name,
      value: k.mul(k.scalar('B', 'index'), places.get(buffer)!.before!),
    }),
  );
  return { ...kernel, body: [...lets, ...body] };
}

function namesIn(kernel: Kernel): Set<string> {
  const names = new Set(kernel.grid.map(({ variable }) => variable));
  const visit = (body: readonly KStmt[]): void => {
    for (const s of body) {
      if (s.kind === 'let') names.add(s.name);
      else if (s.kind === 'if') visit([...s.then, ...s.otherwise]);
      else if (s.kind === 'loop') {
        names.add(s.variable);
        for (const { name } of s.reduce) names.add(name);
        visit(s.body);
      }
    }
  };
  visit(kernel.body);
  return names;
}
