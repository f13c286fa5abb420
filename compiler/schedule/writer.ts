/**
 * Writes one kernel: nested blocks of statements, and values that know the outermost block in which they can be
 * computed. A value used in a deeper block is bound there by a `let` first, so everything is hoisted as far out as
 * its operands allow without a separate pass.
 */

import * as k from '../kernel/build.js';
import type { ElementType, KExpr, Kernel, KernelType, KReduce, KStmt, LocalDecl } from '../kernel/kernel.js';
import { CompilerBug } from '../source.js';
import { Affine, type Facts, provablyNonNegative } from './affine.js';

/** A sequence of statements under construction. */
export class Block {
  readonly statements: KStmt[] = [];
  readonly depth: number;
  /** Values by graph expression id that are available from here inwards. */
  readonly memo = new Map<number, Value>();
  /** Names already given to expressions here, by `keyOf`: an equal expression gets the same name. */
  readonly named = new Map<string, KExpr>();
  /** Inequalities that hold here, beside those of outer blocks. */
  readonly given: Affine[] = [];
  /** Set inside of a lanes loop: the type its reals are computed in. */
  readonly lanes: 'f32' | 'f64' | undefined;

  constructor(
    readonly parent: Block | undefined,
    lanes?: 'f32' | 'f64',
  ) {
    this.depth = parent ? parent.depth + 1 : 0;
    this.lanes = lanes ?? parent?.lanes;
  }

  isInside(outer: Block): boolean {
    for (let block: Block | undefined = this; block; block = block.parent) if (block === outer) return true;
    return false;
  }
}

/** A value and the outermost block it may be computed in. */
export class Value {
  constructor(
    public expr: KExpr,
    readonly block: Block,
    /** What to call it if it must be named. */
    public name = 'x',
  ) {}
  get type(): KernelType {
    return this.expr.type;
  }
}

/**
 * Structural key of an expression. Equal loads are one value too: within a step no cell is read both before and
 * after it is written, and loads of a recurrence are pinned inside of its step.
 */
function keyOf(expr: KExpr): string {
  switch (expr.op) {
    case 'const':
      return `${expr.type}:${Object.is(expr.value, -0) ? '-0' : expr.value}`;
    case 'var':
    case 'scalar':
      return `${expr.op}:${expr.name}`;
    case 'load':
      return `load:${expr.buffer}[${keyOf(expr.index)}]${expr.mask ? `?${keyOf(expr.mask)}:${expr.other}` : ''}`;
    case 'cast':
      return `${expr.type}(${keyOf(expr.arg)})`;
    default: {
      const detail = 'name' in expr ? expr.name : 'compare' in expr ? expr.compare : 'logic' in expr ? expr.logic : '';
      return `${expr.op}:${detail}(${expr.args.map(keyOf).join()})`;
    }
  }
}

const isTrivial = (expr: KExpr): boolean => expr.op === 'const' || expr.op === 'var' || expr.op === 'scalar';

export class KernelWriter {
  readonly root = new Block(undefined);
  private readonly locals: LocalDecl[] = [];
  private readonly names = new Map<string, number>();
  private readonly issued = new Set<string>();
  private readonly atoms = new Map<string, Value>();
  private readonly bounds = new Map<string, { lower: Affine[]; upper: Affine[] }>();

  /** A name not used before in this kernel. */
  fresh(base: string): string {
    for (let used = this.names.get(base) ?? 0; ; used++) {
      this.names.set(base, used + 1);
      const name = used === 0 ? base : `${base}_${used + 1}`;
      // 'total_3' may be the third 'total', or the first of that base.
      if (this.issued.has(name)) continue;
      this.issued.add(name);
      return name;
    }
  }

  // ---- values ----

  constant = (expr: KExpr): Value => new Value(expr, this.root);

  /** Combines values in the innermost of their blocks; operands from further out are hoisted there by name. */
  combine(make: (...exprs: KExpr[]) => KExpr, operands: readonly Value[], name?: string, atLeast?: Block): Value {
    let block = atLeast ?? this.root;
    for (const operand of operands) if (operand.block.depth > block.depth) block = operand.block;
    const exprs = operands.map((operand) => (operand.block === block ? operand.expr : this.bind(operand)));
    return new Value(make(...exprs), block, name);
  }

  /** Names a value by a `let` in its own block, unless it is trivial or named already. */
  bind(value: Value): KExpr {
    if (isTrivial(value.expr)) return value.expr;
    const key = keyOf(value.expr);
    for (let block: Block | undefined = value.block; block; block = block.parent) {
      const known = block.named.get(key);
      if (known) {
        value.expr = known;
        return known;
      }
    }
    const name = this.fresh(value.name);
    value.block.statements.push({ kind: 'let', name, value: value.expr });
    value.expr = k.variable(name, value.expr.type);
    value.block.named.set(key, value.expr);
    return value.expr;
  }

  /** The expression of a value for use in a statement of `block`. */
  use(value: Value, block: Block): KExpr {
    if (!block.isInside(value.block)) throw new CompilerBug('schedule', `${value.name} is used outside of its block`);
    return value.block === block ? value.expr : this.bind(value);
  }

  // ---- integers ----

  /** Declares an atom of affine forms: what it is, and what is known about it. */
  atom(name: string, value: Value, lower: readonly Affine[] = [], upper: readonly Affine[] = []): Affine {
    this.atoms.set(name, value);
    this.bounds.set(name, { lower: [...lower], upper: [...upper] });
    return Affine.atom(name);
  }
  hasAtom = (name: string): boolean => this.atoms.has(name);

  /** A form as a value; the parts that vary least come first, so they are hoisted together. */
  index(form: Affine, name = 'i'): Value {
    const parts = [...form.terms].map(([atom, factor]) => {
      const value = this.atoms.get(atom);
      if (!value) throw new CompilerBug('schedule', `no atom ${atom}`);
      return { value, factor };
    });
    // Positive terms first within a block: 'n - u' rather than '0 - u + n'.
    parts.sort((a, b) => a.value.block.depth - b.value.block.depth || b.factor - a.factor);
    const scaled = ({ value, factor }: { value: Value; factor: number }): Value =>
      this.combine((x) => k.mul(x, k.index(Math.abs(factor))), [value], value.name);
    let sum: Value | undefined;
    let pending = form.constant;
    for (const part of parts) {
      if (sum === undefined && part.factor > 0) sum = scaled(part);
      else if (sum === undefined) {
        sum = this.combine((x) => k.sub(k.index(pending), x), [scaled(part)], name);
        pending = 0;
      } else sum = this.combine(part.factor > 0 ? k.add : k.sub, [sum, scaled(part)], name);
      // The constant belongs to the outermost partial sum.
      if (pending !== 0) {
        const constant = pending;
        sum = this.combine((x) => k.add(x, k.index(constant)), [sum], name);
        pending = 0;
      }
    }
    return sum ?? this.constant(k.index(form.constant));
  }

  /**
   * Whether form >= 0 follows from what holds wherever the form's atoms are bound. What holds only further in must
   * not be used: a value is computed where its atoms are, which may be outside of the branch that asks.
   */
  provable(form: Affine): boolean {
    let home = this.root;
    for (const name of form.terms.keys()) {
      const block = this.atoms.get(name)?.block;
      if (block && block.depth > home.depth) home = block;
    }
    const given: Affine[] = [];
    for (let at: Block | undefined = home; at; at = at.parent) given.push(...at.given);
    const facts: Facts = { bounds: this.bounds, nonNegative: given };
    return provablyNonNegative(form, facts);
  }

  /** What is known of atoms, wherever it holds. */
  get facts(): Facts {
    return { bounds: this.bounds };
  }

  /** form >= 0 as a condition: a constant where that is provable. */
  nonNegative(form: Affine): Value {
    if (this.provable(form)) return this.constant(k.boolean(true));
    if (this.provable(form.times(-1).offset(-1))) return this.constant(k.boolean(false));
    const positive = [...form.terms].filter(([, factor]) => factor > 0);
    const left = positive.reduce((sum, [atom, factor]) => sum.plus(Affine.atom(atom), factor), Affine.zero);
    const right = left.minus(form);
    // Written with the constant on the side where it is not negative: 'u < U', 'n - u >= 1'.
    return right.constant === 1 && !right.isConstant
      ? this.combine((a, b) => k.compare('gt', a, b), [this.index(left), this.index(right.offset(-1))], 'inside')
      : this.combine((a, b) => k.compare('ge', a, b), [this.index(left), this.index(right)], 'inside');
  }

  all(conditions: readonly Value[]): Value {
    return this.combine((...exprs) => k.and(...exprs), conditions, 'inside');
  }

  // ---- statements ----

  store(block: Block, buffer: string, at: Value, value: Value, streaming = false): void {
    block.statements.push({
      kind: 'store',
      buffer,
      index: this.use(at, block),
      value: this.use(value, block),
      ...(streaming && { streaming }),
    });
  }

  prefetch(block: Block, buffer: string, at: Value, forWriting = false): void {
    block.statements.push({ kind: 'prefetch', buffer, index: this.use(at, block), ...(forWriting && { forWriting }) });
  }

  /** Memory of each grid cell's own, by a name that nothing else in the program has. */
  local(base: string, element: ElementType, extent: number, taken: ReadonlySet<string>): string {
    let name = this.fresh(base);
    while (taken.has(name)) name = this.fresh(base);
    this.locals.push({ name, element, extent });
    return name;
  }

  /** Adds a loop at the end of `block`; `write` fills its body, after which it is closed. */
  loop(
    block: Block,
    mode: 'lanes' | 'serial' | 'steps',
    options: { name: string; from: Value; to: Value; reverse?: boolean; precision?: 'f32' | 'f64' },
    write: (body: Block, variable: Value, name: string) => readonly KReduce[] | undefined,
  ): void {
    const body = new Block(block, options.precision);
    const name = this.fresh(options.name);
    const from = this.use(options.from, block);
    const to = this.use(options.to, block);
    const reduce = write(body, new Value(k.variable(name, 'index'), body, name), name) ?? [];
    block.statements.push({
      kind: 'loop',
      mode,
      variable: name,
      from,
      to,
      ...(options.reverse && { reverse: true }),
      ...(mode === 'lanes' && { precision: options.precision! }),
      body: body.statements,
      reduce,
    });
  }

  branch(block: Block, condition: Value, then: (body: Block) => void, otherwise?: (body: Block) => void): void {
    const test = this.use(condition, block);
    if (test.op === 'const') {
      // Still a block of its own: facts that hold only inside must not leak.
      const taken = new Block(block);
      if (test.value) then(taken);
      else otherwise?.(taken);
      block.statements.push(...taken.statements);
      return;
    }
    const yes = new Block(block);
    then(yes);
    const no = new Block(block);
    otherwise?.(no);
    // biome-ignore lint/suspicious/noThenProperty: the arm of a branch; no kernel is ever awaited
    block.statements.push({ kind: 'if', condition: test, then: yes.statements, otherwise: no.statements });
  }

  kernel(name: string, doc: readonly string[], grid: Kernel['grid']): Kernel {
    return { name, doc, grid, ...(this.locals.length > 0 && { locals: this.locals }), body: this.root.statements };
  }
}
