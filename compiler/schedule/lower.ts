/**
 * Lowers scalar expressions of the graph into kernel expressions: index variables become loop variables, reads
 * become guarded loads from addresses, reals get a precision, reductions become loops.
 *
 * Precision. Values that are the same for all lanes, and everything on a lattice, are computed in the lattice's type
 * (float64 on the CPU). A loop over lanes that streams a float32 tensor computes in float32. Where such a loop adds a
 * uniform float64 value c, as in acts(t, u, v) - logZ(t, u), c is split into float32 parts high + low and added as
 * (x + high) + low: x + high is nearly exact where it matters (Sterbenz), so no precision is lost to large logits.
 */

import { type GraphBuilder, operands } from '../graph/build.js';
import { freeIndices, readsIn } from '../graph/free.js';
import type { CompareOp, Expr, Graph, IndexRef, InputDecl, ReadExpr, ReduceExpr, SizeExpr } from '../graph/graph.js';
import { addSize, sizeConst } from '../graph/size.js';
import * as k from '../kernel/build.js';
import type { HalfType } from '../kernel/half.js';
import type { KExpr, KReduce } from '../kernel/kernel.js';
import { CompilerBug } from '../source.js';
import { Affine, boundsOfQuotient, settled } from './affine.js';
import type { Equation } from './equations.js';
import { type Layout, storageExtents } from './layout.js';
import { affineOfSize } from './ranges.js';
import { type Block, type KernelWriter, Value } from './writer.js';

/** What all kernels of a program share. */
export interface ProgramContext {
  readonly graph: Graph;
  readonly layouts: ReadonlyMap<string, Layout>;
  /** Type of lattice values and of everything uniform. */
  readonly lattice: 'f32' | 'f64';
  /** The author's names of substituted fields, by expression id. */
  readonly names: ReadonlyMap<number, string>;
  /** Inputs that memory holds in 16 bits. */
  readonly storage: Readonly<Record<string, HalfType>>;
  /** Makes expressions of the graph's kind. */
  readonly builder: GraphBuilder;
  /** Whether rows are worked on in blocks: see blocks.ts. */
  readonly blocks: boolean;
}

type RealType = 'f32' | 'f64';

/**
 * A sum of exponentials of at least this lost nothing of account by terms that float32 has no normal numbers for, however many
 * there are.
 */
const LEAST_TOTAL = 2 ** -64;

/**
 * Sums over rows are float64 where a path through the rows visits at least so many of them: seconds of speech. There the
 * errors of float32 sums add up to what shows in gradients that are small differences; and rows are a smaller part of the time.
 */
const LONG_PATH = 1024;

/** Rows of at least so many elements are fetched ahead, by about this many. */
const PREFETCH_ROW = 512;
const PREFETCH = 2048;

/** high + low. */
export interface Split {
  readonly high: Value;
  readonly low: Value;
}

export class Lowering {
  private readonly indices = new Map<number, { form: Affine; block: Block }>();
  private readonly useCounts = new Map<Expr, number>();
  /** Values of equations computed in the current cell, readable at that cell without a load. */
  private readonly cell = new Map<string, { value: Value; at: readonly Affine[] }>();
  private readonly splits = new Map<Block, Map<number, Split>>();
  /** Recurrences this kernel writes: their loads must not be hoisted out of the step. */
  private pinned: { readonly names: ReadonlySet<string>; readonly block: Block } | undefined;

  constructor(
    readonly context: ProgramContext,
    readonly writer: KernelWriter,
    /** Whether sums over rows are float64. */
    private readonly wide: boolean,
  ) {}

  // ---- setting the scene ----

  bindIndex(index: IndexRef, form: Affine, block: Block): void {
    this.indices.set(index.unique, { form, block });
  }
  pin(names: ReadonlySet<string>, block: Block): void {
    this.pinned = { names, block };
  }
  computed(equation: Equation, value: Value): void {
    this.cell.set(equation.name, { value, at: equation.axes.map((axis) => this.indexOf(axis).form) });
  }
  /** Makes an expression's value known in a block and in what is inside of it. */
  given(expr: Expr, value: Value, block: Block): void {
    block.memo.set(expr.id, value);
  }
  /** Undoes `computed`. */
  forget(equations: readonly Equation[]): void {
    for (const { name } of equations) this.cell.delete(name);
  }
  /** Counts uses of shared subexpressions; call once per root before lowering it. */
  prepare(root: Expr): void {
    const visit = (expr: Expr): void => {
      const count = this.useCounts.get(expr) ?? 0;
      this.useCounts.set(expr, count + 1);
      if (count === 0) for (const child of operands(expr)) visit(child);
    };
    visit(root);
  }

  private indexOf(index: IndexRef): { form: Affine; block: Block } {
    const bound = this.indices.get(index.unique);
    if (!bound) throw new CompilerBug('schedule', `index ${index.name} is not bound`);
    return bound;
  }

  // ---- sizes ----

  /** A size of this utterance: T is actLens[b]. */
  size(size: SizeExpr): Affine {
    for (const name of Object.keys(size.terms)) this.sizeAtom(name);
    return affineOfSize(size);
  }
  /** Whether paths through a box are long, or with `long: false`, whether they are not. */
  pathsAre(long: boolean, box: readonly SizeExpr[]): Value {
    const { writer } = this;
    const cells = box.reduce((sum, extent) => sum.plus(this.size(extent)), Affine.constant(1 - box.length));
    const test = (n: KExpr) => k.compare(long ? 'ge' : 'lt', n, k.index(LONG_PATH));
    return writer.combine(test, [writer.index(cells)], long ? 'long' : 'short');
  }
  private sizeAtom(name: string): void {
    if (this.writer.hasAtom(name)) return;
    const length = this.context.graph.lengths.find((candidate) => candidate.size === name);
    if (!length) {
      // Left open: the same for the whole batch, and told at launch.
      this.writer.atom(name, this.writer.constant(k.scalar(`${name}_max`, 'index')), [Affine.zero]);
      return;
    }
    const batch = this.writer.index(Affine.atom('b'));
    const value = this.writer.combine((at) => k.load(length.argument, 'i32', at), [batch], name);
    this.writer.bind(value);
    this.writer.atom(name, value, [Affine.zero]);
  }

  // ---- integers and conditions ----

  form(expr: Expr, block: Block): Affine {
    switch (expr.op) {
      case 'const':
        return Affine.constant(expr.value);
      case 'size':
        this.sizeAtom(expr.name);
        return Affine.atom(expr.name);
      case 'index':
        return this.indexOf(expr).form;
      case 'prim': {
        const form = Affine.of(
          expr.name,
          expr.args.map((arg) => this.form(arg, block)),
        );
        if (form) return form;
        if (expr.name === 'floorDiv') return this.quotient(expr, block);
        break;
      }
      default:
        break;
    }
    return this.opaque(expr, block);
  }

  /** floorDiv by a constant: computed once, then an atom. */
  private quotient(expr: Expr & { op: 'prim' }, block: Block): Affine {
    const { writer } = this;
    const [form, by] = expr.args.map((arg) => this.form(arg, block)) as [Affine, Affine];
    const known = this.recall(expr, block);
    const value = known ?? this.divide(form, by.constant);
    if (!known) this.remember(expr, value);
    const { lower, upper } = boundsOfQuotient(form, by.constant, writer.facts);
    return writer.atom(`e${expr.id}@${value.block.depth}`, value, lower, upper);
  }
  private divide(form: Affine, divisor: number): Value {
    const { writer } = this;
    const by = k.index(divisor);
    if (writer.provable(form)) return writer.combine((x) => k.div(x, by), [writer.index(form)], 'quotient');
    // Division of kernels is of what is not negative. Of a negative x the floor is -((divisor - 1 - x) / divisor).
    const parts = [form, form.times(-1).offset(divisor - 1)].map((part) => writer.index(part));
    const positive = (x: KExpr): KExpr => k.div(k.max(x, k.index(0)), by);
    return writer.combine((x, y) => k.sub(positive(x), positive(y)), parts, 'quotient');
  }

  /** An int that is not affine: computed once, then an atom. */
  private opaque(expr: Expr, block: Block): Affine {
    const { writer } = this;
    const atom = expr.op === 'param' ? `param ${expr.name}` : `e${expr.id}`;
    const below = this.declared(expr)?.below;
    const upper = below ? [affineOfSize(below).offset(-1)] : [];
    if (expr.op === 'param') {
      if (!writer.hasAtom(atom))
        writer.atom(atom, writer.constant(k.scalar(expr.name, 'index')), below ? [Affine.zero] : [], upper);
      return Affine.atom(atom);
    }
    const known = this.recall(expr, block);
    const value = known ?? this.opaqueValue(expr, block);
    if (!known) this.remember(expr, value);
    // A validated int input holds values from 0; where its read is guarded it may be -1.
    const guarded = expr.op !== 'read' || this.guards(expr, block).length > 0;
    return writer.atom(`${atom}@${value.block.depth}`, value, guarded ? [Affine.constant(-1)] : [Affine.zero], upper);
  }
  private opaqueValue(expr: Expr, block: Block): Value {
    if (expr.op === 'read') return this.read(expr, block);
    if (expr.op === 'select') {
      const [condition, then, otherwise] = [
        this.bool(expr.args[0], block),
        this.int(expr.args[1], block),
        this.int(expr.args[2], block),
      ];
      return this.writer.combine(k.select, [condition, then, otherwise], 'i');
    }
    if (expr.op === 'prim' && (expr.name === 'min' || expr.name === 'max' || expr.name === 'mul')) {
      const make = { min: k.min, max: k.max, mul: k.mul }[expr.name];
      return this.writer.combine(
        make,
        expr.args.map((arg) => this.int(arg, block)),
        'i',
      );
    }
    throw new CompilerBug('schedule', `no int form of ${expr.op}`);
  }
  private declared(expr: Expr): { below?: SizeExpr } | undefined {
    const { graph } = this.context;
    if (expr.op === 'param') return graph.params.find((param) => param.name === expr.name);
    if (expr.op === 'read') return graph.inputs.find((input) => input.name === expr.source);
    return undefined;
  }

  int(expr: Expr, block: Block): Value {
    return this.writer.index(this.form(expr, block));
  }

  bool(expr: Expr, block: Block): Value {
    const { writer } = this;
    if (expr.op === 'const') return writer.constant(k.boolean(expr.value === 1));
    if (expr.op === 'logic') {
      const args = expr.args.map((arg) => this.bool(arg, block));
      const make = expr.logic === 'not' ? k.not : expr.logic === 'and' ? k.and : k.or;
      return writer.combine(make as (...exprs: KExpr[]) => ReturnType<typeof k.and>, args, 'condition');
    }
    if (expr.op === 'select') {
      return writer.combine(
        k.select,
        expr.args.map((arg) => this.bool(arg, block)),
        'condition',
      );
    }
    if (expr.op !== 'compare') throw new CompilerBug('schedule', `no condition in ${expr.op}`);
    const [left, right] = expr.args;
    if (left.type === 'int') return this.compareInts(expr.compare, this.form(left, block), this.form(right, block));
    const [a, b] = this.alike([this.real(left, block), this.real(right, block)]) as [Value, Value];
    return writer.combine((x, y) => k.compare(expr.compare, x, y), [a, b], 'condition');
  }

  private compareInts(op: CompareOp, a: Affine, b: Affine): Value {
    const { writer } = this;
    const known = settled(op, a.minus(b), (form) => writer.provable(form));
    if (known !== undefined) return writer.constant(k.boolean(known));
    return writer.combine((x, y) => k.compare(op, x, y), [writer.index(a), writer.index(b)], 'condition');
  }

  // ---- reals ----

  real(expr: Expr, block: Block): Value {
    const known = this.recall(expr, block);
    if (known) return known;
    const value = this.realNode(expr, block);
    const name = this.context.names.get(expr.id);
    if (name) value.name = name;
    const shared = (this.useCounts.get(expr) ?? 0) > 1;
    if (shared) this.writer.bind(value);
    this.remember(expr, value);
    return value;
  }

  private recall(expr: Expr, block: Block): Value | undefined {
    for (let at: Block | undefined = block; at; at = at.parent) {
      const value = at.memo.get(expr.id);
      if (value) return value;
    }
    return undefined;
  }
  private remember(expr: Expr, value: Value): void {
    value.block.memo.set(expr.id, value);
  }

  private realNode(expr: Expr, block: Block): Value {
    const { writer } = this;
    const { lattice } = this.context;
    switch (expr.op) {
      case 'const':
        return writer.constant(k.real(lattice, expr.value));
      case 'param': {
        const scalar = writer.constant(k.scalar(expr.name, 'f64'));
        return lattice === 'f64' ? scalar : writer.combine((x) => k.cast('f32', x), [scalar], expr.name);
      }
      case 'toReal': {
        const value = this.int(expr.args[0], block);
        return writer.combine((x) => k.cast(this.typeIn(value.block), x), [value], 'x');
      }
      case 'read':
        return this.read(expr, block);
      case 'prim':
        return this.prim(expr, block);
      case 'select': {
        const condition = this.bool(expr.args[0], block);
        if (condition.expr.op === 'const') return this.real(expr.args[condition.expr.value ? 1 : 2], block);
        const arms = this.alike([this.real(expr.args[1], block), this.real(expr.args[2], block)], condition.block);
        return writer.combine(k.select, [condition, ...arms], 'x');
      }
      case 'reduce':
        return this.reduce(expr);
      default:
        throw new CompilerBug('schedule', `no real in ${expr.op}`);
    }
  }

  /** The type reals are computed in, in a block. */
  private typeIn(block: Block): RealType {
    return block.lanes ?? this.context.lattice;
  }

  private convert(value: Value, type: RealType): Value {
    if (value.type === type) return value;
    const hoisted = this.writer.combine((x) => k.cast(type, x), [value], value.name);
    if (value.block.lanes === undefined) this.writer.bind(hoisted);
    return hoisted;
  }

  /** Converts values to the one type of the innermost block among them. */
  private alike(values: readonly Value[], atLeast?: Block): Value[] {
    let block = atLeast ?? this.writer.root;
    for (const value of values) if (value.block.depth > block.depth) block = value.block;
    return values.map((value) => this.convert(value, this.typeIn(block)));
  }

  private prim(expr: Expr & { op: 'prim' }, block: Block): Value {
    if (expr.name === 'add' || expr.name === 'sub') {
      const sum = this.mixedSum(expr, block);
      if (sum) return sum;
    }
    const { name } = expr;
    if (name === 'floorDiv') throw new CompilerBug('schedule', 'floorDiv of reals');
    const args = this.alike(expr.args.map((arg) => this.real(arg, block)));
    return this.writer.combine((...exprs) => k.prim(name, ...exprs), args, 'x');
  }

  /** A sum of float32 lanes and uniform float64 terms: the uniform part in float64, added in two pieces. */
  private mixedSum(expr: Expr & { op: 'prim' }, block: Block): Value | undefined {
    if (block.lanes !== 'f32' || this.context.lattice !== 'f64') return undefined;
    const terms: { value: Value; negative: boolean }[] = [];
    let known: Split | undefined;
    const gather = (part: Expr, negative: boolean): void => {
      const split = this.splitOf(part, block);
      if (split) known = split;
      else if (part.op === 'prim' && part.name === 'add') for (const arg of part.args) gather(arg, negative);
      else if (part.op === 'prim' && part.name === 'sub') {
        gather(part.args[0]!, negative);
        gather(part.args[1]!, !negative);
      } else if (part.op === 'prim' && part.name === 'neg') gather(part.args[0]!, !negative);
      else terms.push({ value: this.real(part, block), negative });
    };
    gather(expr, false);
    const varying = terms.filter(({ value }) => value.block.lanes !== undefined);
    const uniform = terms.filter(({ value }) => value.block.lanes === undefined);
    if (varying.length === 0 || (uniform.length === 0 && !known)) return undefined;
    const { writer } = this;
    const total = (parts: typeof terms, type: RealType): Value => {
      const first = parts.find(({ negative }) => !negative);
      const rest = parts.filter((part) => part !== first);
      let sum = first ? this.convert(first.value, type) : undefined;
      for (const { value, negative } of rest) {
        const term = this.convert(value, type);
        if (sum) sum = writer.combine((a, b) => k.prim(negative ? 'sub' : 'add', a, b), [sum, term], 'sum');
        else sum = writer.combine((a) => k.prim('neg', a), [term], 'sum');
      }
      return sum!;
    };
    const { high, low } = known ?? this.split(total(uniform, 'f64'));
    return writer.combine((x, h, l) => k.prim('add', k.prim('add', x, h), l), [total(varying, 'f32'), high, low], 'x');
  }

  /** A float64 as the sum of two float32. */
  split(exact: Value): Split {
    const { writer } = this;
    const high = writer.combine((x) => k.cast('f32', x), [exact], `${exact.name}_high`);
    writer.bind(exact);
    writer.bind(high);
    // Where high is exact, or infinite (inf - inf is NaN), nothing is left over.
    const low = writer.combine(
      (x, h) =>
        k.cast(
          'f32',
          k.select(k.compare('eq', x, k.cast('f64', h)), k.real('f64', 0), k.prim('sub', x, k.cast('f64', h))),
        ),
      [exact, high],
      `${exact.name}_low`,
    );
    writer.bind(low);
    return { high, low };
  }

  /** Makes an expression's two parts known in a block, and in what is inside of it, for sums with lanes. */
  givenSplit(expr: Expr, split: Split, block: Block): void {
    const splits = this.splits.get(block) ?? new Map<number, Split>();
    this.splits.set(block, splits.set(expr.id, split));
  }
  private splitOf(expr: Expr, block: Block): Split | undefined {
    for (let at: Block | undefined = block; at; at = at.parent) {
      const split = this.splits.get(at)?.get(expr.id);
      if (split) return split;
    }
    return undefined;
  }

  // ---- reads ----

  private input(name: string): InputDecl | undefined {
    return this.context.graph.inputs.find((input) => input.name === name);
  }

  private dimsOf(source: string): readonly SizeExpr[] {
    const dims = this.input(source)?.dims ?? this.context.layouts.get(source)?.equation.domain;
    if (!dims) throw new CompilerBug('schedule', `nothing is called ${source}`);
    return dims;
  }

  /** The parts of "the indices are inside of the domain" that cannot be proved. */
  private guards(expr: ReadExpr, block: Block): Affine[] {
    const unproved: Affine[] = [];
    for (const [axis, dim] of this.dimsOf(expr.source).entries()) {
      const form = this.form(expr.indices[axis]!, block);
      for (const condition of [form, this.size(dim).offset(-1).minus(form)])
        if (!this.writer.provable(condition)) unproved.push(condition);
    }
    return unproved;
  }

  /** With a condition, memory is touched only where it holds: elsewhere the value is that of outside. */
  read(expr: ReadExpr, block: Block, where?: Value): Value {
    const { writer } = this;
    const forms = expr.indices.map((at) => this.form(at, block));
    const here = this.cell.get(expr.source);
    if (here?.at.every((form, axis) => form.equals(forms[axis]!))) return here.value;
    const input = this.input(expr.source);
    const inside = this.guards(expr, block).map((form) => writer.nonNegative(form));
    const mask = writer.all(where ? [...inside, where] : inside);
    const at = this.address(expr.source, forms);
    const element = input ? (this.context.storage[expr.source] ?? input.element) : this.context.lattice;
    const other =
      input?.element === 'i32'
        ? -1
        : input
          ? Number.NEGATIVE_INFINITY
          : this.context.layouts.get(expr.source)!.equation.outside;
    const pin = this.pinned?.names.has(expr.source) ? this.pinned.block : undefined;
    const loaded = writer.combine(
      (address, guard) => k.load(expr.source, element, address, guard, other),
      [at, mask],
      expr.source,
      pin,
    );
    writer.bind(loaded);
    if (loaded.type === 'index') return loaded;
    return this.convertLoad(loaded);
  }

  /** A float32 input on the lattice, or a row's point, is worked with in the block's own type. */
  private convertLoad(loaded: Value): Value {
    const type = this.typeIn(loaded.block);
    if (loaded.type === type) return loaded;
    return this.writer.combine((x) => k.cast(type, x), [loaded], loaded.name);
  }

  /** Flat element index of a cell in an input, output or stored equation. */
  address(source: string, forms: readonly Affine[]): Value {
    const { writer } = this;
    const layout = this.context.layouts.get(source);
    const extents = (layout ? storageExtents(layout) : this.dimsOf(source)).map((size) => this.padded(size));
    const skew = layout?.skew;
    let columns: Value[];
    if (skew) {
      const line = forms[skew.line]!.plus(forms[skew.lane]!, skew.h[skew.lane]!);
      columns = [this.skewedRow(layout, line), writer.index(forms[skew.lane]!)];
    } else columns = forms.map((form) => writer.index(form));
    let at = writer.index(Affine.atom('b'));
    for (const [axis, column] of columns.entries())
      at = writer.combine(
        (outer, extent, inner) => k.add(k.mul(outer, extent), inner),
        [at, extents[axis]!, column],
        `at_${source}`,
      );
    return at;
  }

  private skewedRow(layout: Layout, line: Affine): Value {
    const { writer } = this;
    const skew = layout.skew!;
    const factor = skew.h[skew.lane]!;
    if (factor === 0) return writer.index(line);
    const extent = this.size(layout.equation.domain[skew.line]!);
    // mod wants operands that are not negative, and an extent of at least 1 even where nothing is stored.
    const modulus = writer.combine((x) => k.max(x, k.index(1)), [writer.index(extent)], 'rows');
    const lift = factor < 0 ? this.size(layout.equation.domain[skew.lane]!) : undefined;
    const negative = Math.max(0, -line.constant) + (lift ? Math.abs(factor) : 0);
    let row = writer.index(line, 'row');
    if (lift) {
      const reach = writer.index(lift.times(Math.abs(factor)));
      row = writer.combine((x, r, m) => k.add(x, k.mul(r, m)), [row, reach, modulus], 'row');
    }
    if (negative > 0) row = writer.combine((x, m) => k.add(x, k.mul(m, k.index(negative))), [row, modulus], 'row');
    return writer.combine(k.mod, [row, modulus], 'row');
  }

  /** A size as the padded tensors have it: 'T_max' for T. */
  padded(size: SizeExpr): Value {
    return new Value(paddedSize(size), this.writer.root, 'columns');
  }

  // ---- reductions ----

  private reduce(expr: ReduceExpr): Value {
    if (expr.reduction !== 'logSumExp') return this.widen(this.fold(expr));
    const ahead = this.rowsAhead(expr);
    if (ahead && this.homeOf(expr).lanes === undefined) {
      // The sum first; the other two loops have no iterations unless it fails.
      const total = this.total(expr, undefined, { ahead });
      const when = this.outside(total);
      this.writer.bind(when);
      const shift = this.shiftOf(this.top(expr, { when }));
      this.writer.bind(shift);
      const again = this.total(expr, shift, { when });
      return this.logOfTotal(shift, this.writer.combine(k.select, [when, again, total], 'total'));
    }
    const shift = this.shiftOf(this.top(expr));
    this.writer.bind(shift);
    return this.logOfTotal(shift, this.total(expr, shift));
  }

  /** A reduction of one loop: its result as the loop has it. */
  fold(expr: ReduceExpr): Value {
    const op = expr.reduction as KReduce['op'];
    return this.over(expr, op, {}, (value) => ({ op, value }));
  }

  // logSumExp takes two loops, the largest element and the sum of exponentials below it. They may be done for one row after
  // the other, or each of them for several rows. A processor tries the sum alone first, with nothing subtracted.

  /** The first loop. A NaN that it passes over comes back in the second. */
  top(expr: ReduceExpr, how: Sweep = {}): Value {
    return this.over(expr, 'top', how, (value) => ({ op: 'max', value, passesNaN: true }));
  }

  /** What the second loop subtracts: a row of -Infinity, or one with Infinity, must not turn into NaN by inf - inf. */
  shiftOf(top: Value): Value {
    const type = top.type as RealType;
    const infinite = (x: KExpr) =>
      k.or(
        k.compare('eq', x, k.real(type, Number.NEGATIVE_INFINITY)),
        k.compare('eq', x, k.real(type, Number.POSITIVE_INFINITY)),
      );
    return this.writer.combine((x) => k.select(infinite(x), k.real(type, 0), x), [top], 'shift');
  }

  /** The second loop; without a shift, one that may fail: see `outside`. */
  total(expr: ReduceExpr, shift: Value | undefined, how: Sweep = {}): Value {
    return this.over(expr, 'total', how, (value, body) => {
      if (how.ahead) this.prefetchRow(expr.body, expr.index, how.ahead, body);
      const below = shift
        ? this.writer.combine((x, m) => k.prim('sub', x, m), [value, this.convert(shift, value.type as RealType)], 'x')
        : value;
      return { op: 'sum', value: this.writer.combine((x) => k.prim('exp', x), [below], 'x') };
    });
  }

  /** Whether a sum of exponentials must be taken again, with the largest element subtracted. NaN is outside. */
  outside(total: Value): Value {
    const type = total.type as RealType;
    const inside = (x: KExpr) =>
      k.and(k.compare('ge', x, k.real(type, LEAST_TOTAL)), k.compare('lt', x, k.real(type, Number.POSITIVE_INFINITY)));
    return this.writer.combine((x) => k.not(inside(x)), [total], 'again');
  }

  logOfTotal(shift: Value, total: Value): Value {
    const log = this.writer.combine((x) => k.prim('log', x), [this.widen(total)], 'log_total');
    return this.writer.combine((m, l) => k.prim('add', m, l), [this.widen(shift), log], 'logSumExp');
  }

  /** A loop that reduces what `make` makes of the reduction's body. */
  private over(
    expr: ReduceExpr,
    name: string,
    { when }: Sweep,
    make: (x: Value, body: Block) => { op: KReduce['op']; value: Value; passesNaN?: true },
  ): Value {
    const home = this.homeOf(expr);
    const whole = this.writer.index(this.size(expr.extent));
    const extent = when
      ? this.writer.combine((test, n) => k.select(test, n, k.index(0)), [when, whole], 'elements')
      : whole;
    const inLanes = home.lanes !== undefined;
    const wide = this.wide && name !== 'top' && addsInF32(expr, this.context);
    const precision = inLanes ? home.lanes! : wide ? 'f64' : lanePrecision([expr.body], expr.index, this.context);
    const result = this.writer.fresh(name);
    this.writer.loop(
      home,
      inLanes ? 'serial' : 'lanes',
      { name: expr.index.name, from: this.writer.constant(k.index(0)), to: extent, ...(!inLanes && { precision }) },
      (body, variable) => {
        const atom = this.writer.atom(
          `${expr.index.name}#${result}`,
          variable,
          [Affine.zero],
          [this.size(expr.extent).offset(-1)],
        );
        this.bindIndex(expr.index, atom, body);
        const { value, ...made } = make(this.convert(this.real(expr.body, body), precision), body);
        return [{ name: result, type: precision, ...made, value: this.writer.use(value, body) }];
      },
    );
    return new Value(k.variable(result, precision), home, result);
  }

  /** How far ahead the rows are that a sweep over a long row should fetch: at least PREFETCH elements, in whole rows. */
  rowsAhead({ extent }: ReduceExpr): Ahead | undefined {
    if (!this.context.blocks || Object.keys(extent.terms).length > 0 || extent.constant < PREFETCH_ROW)
      return undefined;
    return { elements: Math.ceil(PREFETCH / extent.constant) * extent.constant };
  }

  /** Fetches what an expression of a row's elements will read of tensors in another row. */
  prefetchRow(root: Expr, element: IndexRef, { elements, next }: Ahead, body: Block): void {
    for (const read of readsIn(root)) {
      if (read.type !== 'real' || !this.input(read.source)) continue;
      const last = read.indices.at(-1);
      if (last?.op !== 'index' || last.unique !== element.unique) continue;
      const here = read.indices.map((index) => this.form(index, body));
      // Not what has one row for the whole line, or none of its own: it is in the cache.
      if (next && ![next.row, next.line].every((atom) => here.some((form) => form.coefficient(atom) !== 0))) continue;
      const there = here.map((form) => (next ? form.plus(Affine.constant(form.coefficient(next.line))) : form));
      const at = this.address(read.source, there);
      this.writer.prefetch(
        body,
        read.source,
        this.writer.combine((x) => k.add(x, k.index(elements)), [at], 'ahead'),
      );
    }
  }

  /** The result of a reduction over lanes is uniform: it goes on in the lattice's type. */
  widen(value: Value): Value {
    return this.convert(value, this.typeIn(value.block));
  }

  /** The innermost block that a reduction's outer indices are bound in. */
  private homeOf(expr: ReduceExpr): Block {
    let home = this.writer.root;
    const deepen = (block: Block): void => {
      if (block.depth > home.depth) home = block;
    };
    for (const index of freeIndices(expr)) deepen(this.indexOf(index).block);
    for (const read of readsIn(expr)) if (this.pinned?.names.has(read.source)) deepen(this.pinned.block);
    return home;
  }
}

/** Whether paths through a box, from corner to corner by steps of one axis, may be long: see LONG_PATH. */
export const mayBeLong = (box: readonly SizeExpr[], { lattice }: ProgramContext): boolean =>
  lattice === 'f64' && box.some(({ terms }) => Object.keys(terms).length > 0);

/** Whether paths through a box as the padded tensors have it are long: if not, no utterance's are. */
export const isLongPadded = (box: readonly SizeExpr[]): KExpr => {
  const cells = box.reduce(addSize, sizeConst(1 - box.length));
  return k.compare('ge', paddedSize(cells), k.index(LONG_PATH));
};

/**
 * Whether a reduction adds up float32 over rows that cells have to themselves, and so may do it in float64 instead. Where cells
 * share a row, as all nodes of a frame do, what they give to one element of a gradient is added up in float32: more exact rows
 * would not show.
 */
export function addsInF32(expr: ReduceExpr, context: ProgramContext): boolean {
  const cell = freeIndices(expr);
  const ownRow = (read: ReadExpr): boolean => cell.every((index) => freeIndices(read).includes(index));
  return (
    (expr.reduction === 'logSumExp' || expr.reduction === 'sum') &&
    cell.length > 1 &&
    readsIn(expr.body).some(ownRow) &&
    lanePrecision([expr.body], expr.index, context) === 'f32'
  );
}

/** How a loop goes over a row: with another row fetched meanwhile, and not at all where `when` is false. */
interface Sweep {
  readonly ahead?: Ahead | undefined;
  readonly when?: Value;
}

/** Where a row is that will be read soon: some elements on, or in the next line, given by the atoms that number lines and rows. */
export interface Ahead {
  readonly elements: number;
  readonly next?: { readonly line: string; readonly row: string };
}

/** The same row of the next line. */
export const inNextLine = (line: Affine, row: Affine): Ahead => {
  const [lineAtom, rowAtom] = [line, row].map(({ terms }) => [...terms.keys()][0]!) as [string, string];
  return { elements: 0, next: { line: lineAtom, row: rowAtom } };
};

/** A size over the padded batch, as an expression of launch scalars. */
export function paddedSize(size: SizeExpr): KExpr {
  const terms = Object.entries(size.terms).map(([name, factor]) => ({
    factor,
    symbol: k.scalar(`${name}_max`, 'index'),
  }));
  let sum: KExpr | undefined;
  for (const { factor, symbol } of terms.sort((a, b) => b.factor - a.factor)) {
    const term = k.mul(symbol, k.index(Math.abs(factor)));
    sum = sum === undefined ? (factor > 0 ? term : k.sub(k.index(0), term)) : (factor > 0 ? k.add : k.sub)(sum, term);
  }
  return sum === undefined ? k.index(size.constant) : k.add(sum, k.index(size.constant));
}

/** float32 where a loop over lanes streams a float32 input; the lattice's type where it works on stored values. */
export function lanePrecision(roots: readonly Expr[], lane: IndexRef, context: ProgramContext): RealType {
  let streams = false;
  const touchesLane = (expr: Expr): boolean => freeIndices(expr).includes(lane);
  for (const root of roots) {
    for (const read of readsIn(root)) {
      if (read.type !== 'real' || !touchesLane(read)) continue;
      if (context.layouts.has(read.source)) return context.lattice;
      streams = true;
    }
  }
  return streams ? 'f32' : context.lattice;
}
