/**
 * Lanes loops: neighbouring iterations side by side in one vector.
 *
 *   [alignment]  a masked iteration, up to where the streamed store is aligned   (only with a streamed store)
 *   [copies]     several vectors an iteration, each with its own partial results (only with reductions)
 *   full         one vector an iteration
 *   tail         one masked iteration for what is left
 *
 * Each part continues where the one before stopped, with its partial results. A loop without a `precision` works in f32. A loop in
 * reverse has full vectors and a tail only.
 */

import type { KLoop } from '../kernel/kernel.js';
import { CompilerBug } from '../source.js';
import { streamingStore, workOf } from './analysis.js';
import { emitExpr } from './expr.js';
import { element } from './memory.js';
import { combine, combineAll, combineLanes, idleOf, neutralOf } from './reduce.js';
import { elementBytes, memoryType, registerType, vectorOf } from './types.js';
import { asScalar, asVector, type BlockPrinter, type KernelContext, lanesOf, type Scope, uniform } from './values.js';

/** Where the loop stands: the next iteration's number and the partial results so far, one per reduction. */
interface State {
  readonly position: string;
  readonly partial: readonly string[];
}

/** `printBlock` prints the statements of the body; it is handed in because statements hold loops and loops statements. */
export function emitLanes(context: KernelContext, scope: Scope, loop: KLoop, printBlock: BlockPrinter): void {
  const { writer } = context;
  const partial = emitPartial(context, scope, loop, printBlock);
  loop.reduce.forEach((reduce, i) => {
    const total = combineLanes(writer, reduce, lanesIn(context, loop), partial[i]!);
    scope.values.set(reduce.name, uniform(reduce.type, writer.rename(total, reduce.name)));
  });
}

/** The lanes of a vector of the loop. */
export function lanesIn(context: KernelContext, { precision }: KLoop): number {
  return context.vectorBits / (precision === 'f64' ? 64 : 32);
}

/** Prints the loop; returns for each reduction the vector whose lanes are left to be combined. */
export function emitPartial(
  context: KernelContext,
  scope: Scope,
  loop: KLoop,
  printBlock: BlockPrinter,
): readonly string[] {
  const { writer } = context;
  const lanes = lanesIn(context, loop);
  const from = asScalar(emitExpr(context, scope, loop.from), `the start of the loop over '${loop.variable}'`);
  const to = asScalar(emitExpr(context, scope, loop.to), `the end of the loop over '${loop.variable}'`);
  if (loop.reverse && loop.reduce.length > 0) {
    throw new CompilerBug('llvm', `lanes loop over '${loop.variable}' is reversed and reduces`);
  }

  const printer = new LanesPrinter(context, scope, loop, printBlock, lanes, from, to);
  let state: State = {
    position: from,
    partial: loop.reduce.map((reduce) => neutralOf(writer, reduce, lanes)),
  };
  const streaming = loop.reverse ? undefined : streamingStore(loop);
  let streamAligned: string | undefined;
  if (streaming !== undefined) {
    const { decl, pointer } = context.buffers.get(streaming.store.buffer)!;
    const values = new Map(scope.values);
    values.set(loop.variable, uniform('index', from));
    const first = asScalar(emitExpr(context, { ...scope, values }, streaming.index), 'the first streamed index');
    const bytes = elementBytes[decl.element];
    const address = element(context, pointer, memoryType[decl.element], first);
    const number = writer.emit('address', `ptrtoint ptr ${address} to i64`);
    const behind = writer.emit('behind', `sub i64 0, ${number}`);
    const gap = writer.emit('gap', `and i64 ${behind}, ${lanes * bytes - 1}`);
    const count = writer.emit('unaligned', `lshr i64 ${gap}, ${Math.log2(bytes)}`);
    const total = writer.emit('total', `sub nsw i64 ${to}, ${from}`);
    const declared = writer.parts.declare('llvm.smin.i64', 'i64', ['i64', 'i64']);
    state = printer.masked(
      state,
      writer.emit('unaligned', `call i64 ${declared}(i64 ${count}, i64 ${total})`),
      'align',
    );
    streamAligned = streaming.store.buffer;
  }
  const short = streaming === undefined ? wholeVectors(loop, lanes) : undefined;
  if (short !== undefined) state = printer.straight(state, short);
  else {
    const copies = loop.reduce.length === 0 ? 1 : copiesFor(workOf(loop));
    if (copies > 1) state = printer.full(state, copies, 'copies', streamAligned);
    state = printer.full(state, 1, 'full', streamAligned);
  }
  return printer.masked(state, writer.emit('left', `sub nsw i64 ${to}, ${state.position}`), 'tail').partial;
}

/** Loops of at most so many vectors are written out, without a loop: their elements then stay in registers from one to the next. */
const SHORT = 8;

/** The number of whole vectors of a loop, if it is known and small. */
function wholeVectors({ from, to, body }: KLoop, lanes: number): number | undefined {
  if (from.op !== 'const' || to.op !== 'const' || body.some((statement) => statement.kind === 'loop')) return undefined;
  const whole = Math.max(0, Math.floor((to.value - from.value) / lanes));
  return whole <= SHORT ? whole : undefined;
}

/** So many independent partial results that the latency of combining them does not bind: long bodies hide it themselves. */
function copiesFor(work: number): number {
  return work <= 12 ? 4 : work <= 24 ? 2 : 1;
}

class LanesPrinter {
  readonly #context: KernelContext;
  readonly #scope: Scope;
  readonly #loop: KLoop;
  readonly #printBlock: BlockPrinter;
  readonly #lanes: number;
  readonly #from: string;
  readonly #to: string;

  constructor(
    context: KernelContext,
    scope: Scope,
    loop: KLoop,
    printBlock: BlockPrinter,
    lanes: number,
    from: string,
    to: string,
  ) {
    this.#context = context;
    this.#scope = scope;
    this.#loop = loop;
    this.#printBlock = printBlock;
    this.#lanes = lanes;
    this.#from = from;
    this.#to = to;
  }

  /** As many iterations of `copies` whole vectors as fit. */
  full(state: State, copies: number, part: string, streamAligned: string | undefined): State {
    const { writer } = this.#context;
    const { variable, reduce } = this.#loop;
    const names = [part, `${part}.body`, `${part}.done`].map((hint) => writer.fresh(`${variable}.${hint}`));
    const [head, body, done] = names as [string, string, string];
    const before = writer.block;
    const width = copies * this.#lanes;
    const fresh = reduce.map((one) => (copies > 1 ? neutralOf(writer, one, this.#lanes) : ''));
    writer.branch(head);
    writer.startBlock(head);
    const position = writer.phi(variable, 'i64', [{ value: state.position, block: before }]);
    const partial = reduce.map((one, i) =>
      Array.from({ length: copies }, (_, copy) => {
        const type = vectorOf(registerType[one.type], this.#lanes);
        return writer.phi(one.name, type, [{ value: copy === 0 ? state.partial[i]! : fresh[i]!, block: before }]);
      }),
    );
    const end = writer.emit(`${variable}.end`, `add nsw i64 ${position.value}, ${width}`);
    writer.branchIf(writer.emit('fits', `icmp sle i64 ${end}, ${this.#to}`), body, done);
    writer.startBlock(body);
    const next = reduce.map(() => [] as string[]);
    for (let copy = 0; copy < copies; copy++) {
      const start =
        copy === 0 ? position.value : writer.emit(variable, `add nsw i64 ${position.value}, ${copy * this.#lanes}`);
      const values = this.#body(start, undefined, streamAligned);
      reduce.forEach((one, i) => {
        next[i]!.push(combine(writer, one, this.#lanes, partial[i]![copy]!.value, values[i]!));
      });
    }
    const latch = writer.block;
    position.add({ value: end, block: latch });
    partial.forEach((phis, i) => {
      phis.forEach((phi, copy) => {
        phi.add({ value: next[i]![copy]!, block: latch });
      });
    });
    writer.branchBack(head);
    writer.startBlock(done);
    const combined = reduce.map((one, i) =>
      combineAll(
        writer,
        one,
        this.#lanes,
        partial[i]!.map((phi) => phi.value),
      ),
    );
    return { position: position.value, partial: combined };
  }

  /** `count` whole vectors, one after the other. */
  straight(state: State, count: number): State {
    const { writer } = this.#context;
    const { reduce } = this.#loop;
    const starts = Array.from({ length: count }, (_, i) =>
      i === 0 ? state.position : writer.emit(this.#loop.variable, `add nsw i64 ${state.position}, ${i * this.#lanes}`),
    );
    const values = starts.map((start) => this.#body(start, undefined, undefined));
    const partial = reduce.map((one, i) => {
      const all = values.map((each) => each[i]!);
      if (all.length === 0) return state.partial[i]!;
      // What passes over NaN wants a partial result on its left.
      if (one.passesNaN)
        return all.reduce((sum, value) => combine(writer, one, this.#lanes, sum, value), state.partial[i]!);
      return combine(writer, one, this.#lanes, state.partial[i]!, combineAll(writer, one, this.#lanes, all));
    });
    const end = writer.emit(`${this.#loop.variable}.end`, `add nsw i64 ${state.position}, ${count * this.#lanes}`);
    return { position: end, partial };
  }

  /** The next `count` iterations, fewer than a vector has lanes; none if `count` is not positive. */
  masked(state: State, count: string, part: string): State {
    const { writer } = this.#context;
    const { variable, reduce } = this.#loop;
    const lanes = this.#lanes;
    const [body, done] = [part, `${part}.done`].map((hint) => writer.fresh(`${variable}.${hint}`)) as [string, string];
    const before = writer.block;
    writer.branchIf(writer.emit('some', `icmp sgt i64 ${count}, 0`), body, done);
    writer.startBlock(body);
    const narrow = writer.emit('count', `trunc i64 ${count} to i32`);
    const counts = writer.splat('i32', lanes, narrow);
    const numbers = lanesOf('i32', lanes, String);
    const mask = writer.emit('active', `icmp ult ${vectorOf('i32', lanes)} ${numbers}, ${counts}`);
    const values = this.#body(state.position, mask, undefined);
    const next = reduce.map((one, i) => {
      const type = vectorOf(registerType[one.type], lanes);
      const idle = idleOf(writer, one, lanes);
      const active = writer.emit(
        one.name,
        `select ${vectorOf('i1', lanes)} ${mask}, ${type} ${values[i]}, ${type} ${idle}`,
      );
      return combine(writer, one, lanes, state.partial[i]!, active);
    });
    const end = writer.emit(`${variable}.end`, `add nsw i64 ${state.position}, ${count}`);
    const latch = writer.block;
    writer.branch(done);
    writer.startBlock(done);
    const join = (hint: string, type: string, skipped: string, taken: string) =>
      writer.phi(hint, type, [
        { value: skipped, block: before },
        { value: taken, block: latch },
      ]).value;
    const partial = reduce.map((one, i) =>
      join(one.name, vectorOf(registerType[one.type], lanes), state.partial[i]!, next[i]!),
    );
    return { position: join(variable, 'i64', state.position, end), partial };
  }

  /**
   * One vector of iterations from number `position` on; returns the values to reduce. In reverse, whole vectors are taken from the
   * end down, and the few iterations left over at last are the first ones.
   */
  #body(position: string, mask: string | undefined, streamAligned: string | undefined): string[] {
    const { writer } = this.#context;
    let start = position;
    if (this.#loop.reverse && mask !== undefined) start = this.#from;
    else if (this.#loop.reverse) {
      const done = writer.emit('done', `sub nsw i64 ${position}, ${this.#from}`);
      const left = writer.emit('left', `sub nsw i64 ${this.#to}, ${done}`);
      start = writer.emit(this.#loop.variable, `sub nsw i64 ${left}, ${this.#lanes}`);
    }
    const values = new Map(this.#scope.values);
    values.set(this.#loop.variable, { shape: 'affine', type: 'index', text: start, stride: 1 });
    const outer: Scope = { lanes: this.#lanes, mask, values, streamAligned };
    const scope = this.#printBlock(this.#context, outer, this.#loop.body);
    return this.#loop.reduce.map((one) => asVector(this.#context, scope, emitExpr(this.#context, scope, one.value)));
  }
}
