/**
 * One utterance with a tensor that no binding holds: the kernels that touch it run on some tasks at a time, with a window
 * onto it bound; see windows.ts. All other buffers stay on the GPU throughout.
 */
import type { BufferDecl, Kernel } from '../../compiler/kernel/kernel.js';
import type { WgslKernel } from '../../compiler/wgsl/types.js';
import { evaluateExtent } from '../cpu/extents.js';
import { TrellisError } from '../errors.js';
import { bytesOf, type CallState, type Operand, operandOf, product, shapeOf, tooLarge } from './call.js';
import { Launch } from './launch.js';
import { canHaveWindow, type Interval, type TouchContext, touchedBy, windowStart } from './windows.js';

/** The caller's data for a buffer, and the index of the utterance's first element in it. */
interface OwnPart {
  readonly operand: Operand;
  readonly start: number;
}

/** Some tasks, and what they touch of each large buffer. */
interface Piece {
  readonly begin: number;
  readonly end: number;
  readonly windows: ReadonlyMap<string, Interval>;
}

/**
 * Runs sample b.
 * @throws TrellisError 'not-supported' where even one task touches more than a binding holds
 */
export async function runInWindows(state: CallState, b: number): Promise<void> {
  const { program, call, session } = state;
  const limit = Math.min(session.limits.bindingBytes, session.limits.bufferBytes);
  const scalars: Record<string, number> = { ...call.scalars, B: 1 };
  const elements = new Map(program.buffers.map((decl) => [decl.name, product(shapeOf(decl, scalars))]));
  const bytes = (decl: BufferDecl): number => elements.get(decl.name)! * bytesOf(decl);
  const isLarge = (decl: BufferDecl): boolean => bytes(decl) > limit;
  const large = program.buffers.filter(isLarge);
  const worst = large.reduce((a, other) => (bytes(other) > bytes(a) ? other : a));
  const refused = (): TrellisError => tooLarge(session, `'${worst.name}' of one utterance`, bytes(worst), limit);
  const windowed = program.windowed?.();
  // Kernels count elements in 32-bit integers.
  if (windowed === undefined || large.some((decl) => !canHaveWindow(decl) || elements.get(decl.name)! >= 2 ** 31)) {
    throw refused();
  }
  const original = windowed.original;
  for (const { name } of program.buffers.filter(canHaveWindow)) scalars[windowStart(name)] = 0;
  const parts = ownParts(state, b, elements);
  const context: TouchContext = { scalars, ints: intsOf(program.buffers, parts, elements) };

  /** Large outputs that kernels have written so far: the next one may leave elements alone. */
  const written = new Set<string>();
  const resident = new Launch(state);
  try {
    for (const decl of program.buffers) {
      const count = elements.get(decl.name)!;
      if (isLarge(decl)) continue;
      if (decl.role === 'scratch') resident.scratch(decl, count);
      else if (decl.role === 'output') resident.held(decl, count);
      else resident.input(decl, parts.get(decl.name)!.operand, parts.get(decl.name)!.start, count, false);
    }
    await resident.submit();
    for (const [p, phase] of windowed.text.phases.entries()) {
      for (const [n, text] of phase.entries()) {
        const touched = large.filter(({ name }) => text.bindings.some(({ buffer }) => buffer === name));
        const pieces = cut(original.phases[p]![n]!, touched, limit, context);
        if (pieces === undefined) throw refused();
        for (const piece of pieces) {
          if (state.wanted()) await runPiece(text, touched, piece);
        }
        if (pieces.length > 0) for (const { name, role } of touched) if (role === 'output') written.add(name);
      }
    }
    const last = new Launch(state, resident);
    for (const decl of program.buffers) {
      if (decl.role !== 'output' || isLarge(decl)) continue;
      const { operand, start } = parts.get(decl.name)!;
      last.fetch(decl, operand, start, elements.get(decl.name)!);
    }
    await finished(last);
    await resident.finish();
  } catch (error) {
    resident.discard();
    throw error;
  }

  async function runPiece(text: WgslKernel, touched: readonly BufferDecl[], piece: Piece): Promise<void> {
    const launch = new Launch(state, resident);
    const own = { ...scalars };
    for (const decl of touched) {
      const { low, high } = piece.windows.get(decl.name) ?? { low: 0, high: -1 };
      const { operand, start } = parts.get(decl.name)!;
      own[windowStart(decl.name)] = low;
      if (decl.role === 'input') launch.input(decl, operand, start + low, high - low + 1, false);
      else if (written.has(decl.name)) launch.addTo(decl, operand, start + low, high - low + 1);
      else launch.output(decl, operand, start + low, high - low + 1, false);
    }
    launch.dispatch(await session.pipelines.get(text), text, windowed!.text, own, piece.begin, piece.end);
    await finished(launch);
  }
}

async function finished(launch: Launch): Promise<void> {
  try {
    await launch.submit();
    await launch.finish();
  } catch (error) {
    launch.discard();
    throw error;
  }
}

/** The caller's arrays; one that is input and output at once is copied, since windows are read after others were written. */
function ownParts(state: CallState, b: number, elements: ReadonlyMap<string, number>): Map<string, OwnPart> {
  const { program, call } = state;
  const parts = new Map<string, OwnPart>();
  for (const decl of program.buffers) {
    if (decl.role === 'scratch') continue;
    const count = elements.get(decl.name)!;
    const operand = operandOf(state, decl);
    const given = call.buffers[decl.name];
    const inPlace = Object.entries(call.buffers).some(([name, other]) => name !== decl.name && other === given);
    if (decl.role === 'output' || !inPlace) parts.set(decl.name, { operand, start: b * count });
    else if ('array' in operand) {
      parts.set(decl.name, { operand: { array: operand.array.slice(b * count, (b + 1) * count) }, start: 0 });
    } else {
      throw new TrellisError('not-supported', `'${decl.name}' is too large for its gradient to be written in place`);
    }
  }
  return parts;
}

/** The utterance's part of its int inputs, whose values decide how far loops run and what gathers touch. */
function intsOf(
  buffers: readonly BufferDecl[],
  parts: ReadonlyMap<string, OwnPart>,
  elements: ReadonlyMap<string, number>,
): TouchContext['ints'] {
  const result: Record<string, ArrayLike<number>> = {};
  for (const { name, element, role } of buffers) {
    if (element !== 'i32' || role !== 'input') continue;
    const { operand, start } = parts.get(name)!;
    if ('array' in operand) result[name] = operand.array.subarray(start, start + elements.get(name)!);
  }
  return result;
}

/**
 * The tasks of a kernel in pieces, each as many tasks as the windows allow; undefined where one task is too much, or
 * where what different tasks write cannot be told apart.
 */
function cut(
  kernel: Kernel,
  touched: readonly BufferDecl[],
  limit: number,
  context: TouchContext,
): Piece[] | undefined {
  const extents = kernel.grid.map(({ extent }) => evaluateExtent(extent, context.scalars));
  const tasks = product(extents);
  const names = new Set(touched.map(({ name }) => name));
  const windowsOf = (begin: number, end: number): Map<string, Interval> | undefined => {
    const windows = touchedBy(kernel, extents, begin, end, names, context);
    for (const decl of touched) {
      const window = windows.get(decl.name);
      if (window === undefined) continue;
      // Masks keep kernels within the buffer; intervals do not know of masks.
      const size = product(shapeOf(decl, context.scalars));
      const clipped = { low: Math.max(0, window.low), high: Math.min(size - 1, window.high) };
      if ((clipped.high - clipped.low + 1) * bytesOf(decl) > limit) return undefined;
      windows.set(decl.name, clipped);
    }
    return windows;
  };
  const pieces: Piece[] = [];
  for (let begin = 0; begin < tasks; ) {
    // The largest count that fits, by bisection: more tasks never touch less.
    let [fits, tooMany] = [0, tasks - begin + 1];
    while (tooMany - fits > 1) {
      const middle = Math.floor((fits + tooMany) / 2);
      if (windowsOf(begin, begin + middle) === undefined) tooMany = middle;
      else fits = middle;
    }
    if (fits === 0) return undefined;
    pieces.push({ begin, end: begin + fits, windows: windowsOf(begin, begin + fits)! });
    begin += fits;
  }
  const outputs = touched.filter(({ role }) => role === 'output');
  const apart = outputs.every(({ name }) =>
    pieces.every(({ windows }, n) => {
      const [before, own] = [pieces[n - 1]?.windows.get(name), windows.get(name)];
      return before === undefined || own === undefined || own.low > before.high;
    }),
  );
  return apart ? pieces : undefined;
}
