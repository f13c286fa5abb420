/**
 * Fewer bindings. A GPU lets a kernel bind few buffers (WebGPU guarantees 8 and browsers often say no more than 10), and
 * the gradient's kernel reads nearly every field there is. So buffers that are always filled together become one:
 *
 *   fields that the same kernels write   one after the other, in one buffer
 *   lengths, labels, other ints          utterance by utterance, in one buffer of [B, all that an utterance has]
 *
 * What different kernels write stays apart, so kernels that could run at the same time still can.
 */
import * as k from '../../compiler/kernel/build.js';
import type { BufferDecl, KExpr, Kernel, KernelProgram, KStmt } from '../../compiler/kernel/kernel.js';

/** Where a buffer's elements are found after packing. */
interface Place {
  readonly buffer: string;
  /** What its indices grow by, in a kernel for utterance b; absent where nothing comes before. */
  readonly start?: (b: KExpr) => KExpr;
  /** For one element per utterance: of how many neighbours it is which. */
  readonly column?: { readonly of: KExpr; readonly at: KExpr };
}

/** Name of the buffer that holds several. */
export const packedName = (members: readonly string[]): string => members.join('_');

/** Several arrays, of B utterances each, as one: each utterance's part of all of them, then the next one's. */
export function interleave(arrays: readonly Int32Array[], B: number): Int32Array {
  const result = new Int32Array(arrays.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (let b = 0; b < B; b++) {
    for (const array of arrays) {
      const own = array.length / B;
      result.set(array.subarray(b * own, (b + 1) * own), at);
      at += own;
    }
  }
  return result;
}

/**
 * The int inputs that become one buffer, lengths first. Tables with two axes and more stay apart, since they may be large.
 * @param others names of the other int inputs, with their number of axes beside the batch
 */
export const packedInts = (lengths: readonly string[], others: readonly (readonly [string, number])[]): string[] => [
  ...lengths,
  ...others.filter(([name, axes]) => axes < 2 && !lengths.includes(name)).map(([name]) => name),
];

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
      const start = before;
      const place = start && { start: () => k.mul(k.scalar('B', 'index'), start) };
      places.set(member, { buffer: name, ...place });
      const own = perUtterance(declOf.get(member)!);
      before = before === undefined ? own : k.add(before, own);
    }
    const first = declOf.get(members[0]!)!;
    const layout = members.map((member) => declOf.get(member)!.layout).join(', then ');
    packs.set(first.name, { ...first, name, shape: [k.scalar('B', 'index'), before!], layout });
  }
  const tables = program.buffers.filter(({ element, role }) => element === 'i32' && role === 'input');
  const ints = packedInts(
    lengths,
    tables.map(({ name, shape }) => [name, shape.length - 1] as const),
  );
  const name = packedName(ints);
  if (ints.length > 1 && !taken.has(name)) {
    const extents = ints.map((each) => perUtterance(declOf.get(each)!));
    const all = sum(extents);
    for (const [n, each] of ints.entries()) {
      const before = sum(extents.slice(0, n));
      // Its own elements of the utterances before are counted by the index itself.
      const others = sum(extents.filter((_, other) => other !== n));
      places.set(
        each,
        declOf.get(each)!.shape.length === 1
          ? { buffer: name, column: { of: all, at: before } }
          : { buffer: name, start: (b) => k.add(k.mul(b, others), before) },
      );
    }
    const layout = `${name}[b]: ${ints.map((each) => declOf.get(each)!.layout).join(', then ')}`;
    packs.set(ints[0]!, { name, element: 'i32', role: 'input', shape: [k.scalar('B', 'index'), all], layout });
  }
  return {
    ...program,
    buffers: program.buffers.flatMap((decl) => packs.get(decl.name) ?? (places.has(decl.name) ? [] : [decl])),
    phases: program.phases.map((phase) => phase.map((kernel) => withPlaces(kernel, places))),
  };
}

const sum = (extents: readonly KExpr[]): KExpr => extents.reduce((total, each) => k.add(total, each), k.index(0));

/** Elements that a buffer has for one utterance. */
const perUtterance = ({ shape }: BufferDecl): KExpr =>
  shape.slice(1).reduce((product, extent) => k.mul(product, extent), k.index(1));

/** The fields that the same kernels write and no others, where those are several. */
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
    const own = [...(writers.get(name) ?? [])];
    if (role !== 'scratch' || own.length === 0) continue;
    const key = `${own.map((kernel) => kernels.indexOf(kernel)).join()} ${element}`;
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
    const { column } = place;
    if (column !== undefined) return { buffer: place.buffer, index: k.add(k.mul(index, column.of), column.at) };
    if (place.start === undefined) return { buffer: place.buffer, index };
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
      // The first axis of every grid is the batch.
      value: places.get(buffer)!.start!(k.variable(kernel.grid[0]!.variable, 'index')),
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
