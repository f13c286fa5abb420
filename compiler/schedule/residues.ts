/**
 * Recurrences that ask which residue an index has, told apart by it. Where cells (t, s) differ by s being even or odd, say, a vector
 * along s would do the work of both kinds for every cell and throw half of it away. So F over s becomes F_0 and F_1 over
 * q = floor(s / 2), with s = 2 q and s = 2 q + 1 put into the equation: what asks for the residue is then known, and what is
 * looked up by the quotient lies side by side.
 *
 *   F(t, s) = ... floorDiv(s, k) ...   ->   F_r(t, q) = the same at s = k q + r,  r = 0 .. k - 1
 *
 * All fields that read each other along such an axis are told apart together, and so are sums over it. A read at an index whose
 * residue is not known chooses among them.
 */
import { GraphBuilder } from '../graph/build.js';
import { collect, freeIndices, readsIn } from '../graph/free.js';
import type {
  Expr,
  FieldDecl,
  Graph,
  IndexRef,
  Origin,
  PrimExpr,
  ReadExpr,
  ReduceExpr,
  SizeExpr,
} from '../graph/graph.js';
import { rebuild } from '../graph/rebuild.js';
import { sameSize } from '../graph/size.js';
import { CompilerBug } from '../source.js';
import { settled } from './affine.js';
import { Ranges } from './ranges.js';

/** Into how many kinds cells are told apart at most: each is code of its own. */
const MOST = 4;

/** Along which axis a field is taken apart, and into how many. */
interface Split {
  readonly axis: number;
  readonly by: number;
}

/** The graph with its recurrences told apart by residues; the same graph where none asks for any. */
export function byResidues(graph: Graph): Graph {
  const splits = findSplits(graph);
  const some = graph.fields.some(({ name, kind }) => kind === 'recurrence' && splits.has(name));
  return some ? new Residues(graph, splits).write() : graph;
}

function findSplits(graph: Graph): Map<string, Split> {
  const fields = new Map(graph.fields.map((field) => [field.name, field]));
  const splits = new Map<string, Split>();
  const clashing = new Set<string>();
  const give = ({ name, domain }: FieldDecl, split: Split): boolean => {
    const known = splits.get(name);
    if (clashing.has(name) || (known?.axis === split.axis && known.by === split.by)) return false;
    // Of an extent that is no multiple the parts would differ in more than a constant.
    if (known || !isMultiple(domain[split.axis]!, split.by)) {
      clashing.add(name);
      splits.delete(name);
    } else splits.set(name, split);
    return true;
  };
  for (const field of graph.fields) {
    for (const quotient of collect(field.body, isQuotient)) {
      const [index, ...others] = freeIndices(quotient);
      const axis = index ? field.axes.indexOf(index) : -1;
      const by = (quotient.args[1] as { value: number }).value;
      if (axis >= 0 && others.length === 0 && by <= MOST) give(field, { axis, by });
    }
  }
  // What reads, and what is read, along the axis goes with it.
  for (let changed = true; changed; ) {
    changed = false;
    for (const field of graph.fields) {
      for (const read of readsIn(field.body)) {
        const source = fields.get(read.source);
        if (!source) continue;
        for (const [position, at] of read.indices.entries()) {
          const axis = field.axes.findIndex((index) => isShifted(at, index));
          if (axis < 0) continue;
          const [own, other] = [splits.get(field.name), splits.get(source.name)];
          if (own?.axis === axis) changed = give(source, { axis: position, by: own.by }) || changed;
          if (other?.axis === position) changed = give(field, { axis, by: other.by }) || changed;
        }
      }
    }
  }
  return splits;
}

const isQuotient = (expr: Expr): expr is PrimExpr => expr.op === 'prim' && expr.name === 'floorDiv';
const isMultiple = ({ terms }: SizeExpr, by: number): boolean => Object.values(terms).every((k) => k % by === 0);

/** index + c */
function isShifted(expr: Expr, index: IndexRef): boolean {
  if (expr === index) return true;
  return (
    expr.op === 'prim' &&
    (expr.name === 'add' || expr.name === 'sub') &&
    expr.args[1]!.op === 'const' &&
    isShifted(expr.args[0]!, index)
  );
}

/** by * quotient + residue */
interface Divided {
  readonly quotient: Expr;
  readonly residue: number;
}

class Residues {
  private readonly b = new GraphBuilder();
  private readonly ranges: Ranges;
  private readonly names: Set<string>;
  /** The names of a field's parts, by its name. */
  private readonly parts = new Map<string, readonly string[]>();
  /** Parts that have one value everywhere, outside of their domain too: an arc that none of their cells has. */
  private readonly constants = new Map<string, Expr>();

  constructor(
    private readonly graph: Graph,
    private readonly splits: ReadonlyMap<string, Split>,
  ) {
    this.ranges = new Ranges(graph);
    this.names = new Set([...graph.inputs, ...graph.params, ...graph.fields].map(({ name }) => name));
    for (const { size, argument } of graph.lengths) this.names.add(size).add(argument);
  }

  write(): Graph {
    const { graph, splits } = this;
    for (const [name, { by }] of splits)
      this.parts.set(
        name,
        Array.from({ length: by }, (_, residue) => this.fresh(`${name}_${residue}`)),
      );
    const fieldOrigins = new Map<string, Origin>(graph.fieldOrigins);
    const outputs = new Set([...Object.values(graph.gradients), ...Object.values(graph.perNode ?? {})]);
    const fields = graph.fields.flatMap((field) => {
      const split = splits.get(field.name);
      // What is written to an output is whole; others may read it in parts.
      const whole = !split || outputs.has(field.name) ? [this.field(field, field.name)] : [];
      if (!split) return whole;
      const origin = graph.fieldOrigins.get(field.name);
      const parts = this.parts.get(field.name)!.map((name, residue) => {
        if (origin) fieldOrigins.set(name, origin);
        return this.field(field, name, { ...split, residue });
      });
      return [...whole, ...parts];
    });
    const loss = this.visit(graph.loss, new Map());
    return { ...graph, fields, loss, origins: this.b.origins, fieldOrigins };
  }

  private fresh(base: string): string {
    let name = base;
    for (let n = 2; this.names.has(name); n++) name = `${base}_${n}`;
    this.names.add(name);
    return name;
  }

  /** A field, or the part of it where an axis has some residue. */
  private field(field: FieldDecl, name: string, part?: Split & { readonly residue: number }): FieldDecl {
    const domain = field.domain.map((extent, axis) =>
      part?.axis === axis ? extentOf(extent, part.by, part.residue) : extent,
    );
    const axes = field.axes.map((axis, n) => this.index(axis.name, domain[n]!));
    const indices = new Map<number, Expr>(
      field.axes.map((axis, n) => [
        axis.unique,
        part?.axis === n ? this.member(axes[n]!, part.by, part.residue) : axes[n]!,
      ]),
    );
    const body = this.visit(field.body, indices);
    if (part && body.op === 'const' && Object.is(body.value, field.outside)) this.constants.set(name, body);
    return { ...field, name, domain, axes, body };
  }

  private index(name: string, extent: SizeExpr): IndexRef {
    const index = this.b.index(name);
    this.ranges.bind(index, extent);
    return index;
  }

  /** by * index + residue */
  private member(index: IndexRef, by: number, residue: number): Expr {
    return this.b.prim('add', this.b.prim('mul', this.b.int(by), index), this.b.int(residue));
  }

  private visit(expr: Expr, indices: ReadonlyMap<number, Expr>): Expr {
    const made = this.node(expr, indices);
    const place = this.graph.origins.get(expr.id)?.[0];
    return place ? this.b.note(made, place) : made;
  }

  private node(expr: Expr, indices: ReadonlyMap<number, Expr>): Expr {
    const { b } = this;
    const visit = (child: Expr): Expr => this.visit(child, indices);
    switch (expr.op) {
      case 'index': {
        const here = indices.get(expr.unique);
        if (!here) throw new CompilerBug('residues', `index ${expr.name} is not bound`);
        return here;
      }
      case 'prim':
        return this.prim(expr, expr.args.map(visit));
      case 'compare': {
        const [left, right] = [visit(expr.args[0]), visit(expr.args[1])];
        const known =
          left.type === 'int'
            ? settled(expr.compare, this.ranges.affine(left).minus(this.ranges.affine(right)), (form) =>
                this.ranges.provable(form),
              )
            : undefined;
        return known === undefined ? b.compare(expr.compare, left, right) : b.bool(known);
      }
      case 'read':
        return this.read(expr, expr.indices.map(visit));
      case 'reduce':
        return this.reduce(expr, indices);
      default:
        return rebuild(b, expr, visit);
    }
  }

  private prim(expr: PrimExpr, args: readonly Expr[]): Expr {
    const { b } = this;
    if (expr.name === 'floorDiv') {
      const [of, by] = args as [Expr, Expr];
      const divided = by.op === 'const' && this.divide(of, by.value);
      if (divided) return divided.quotient;
    }
    if (expr.name === 'logAddExp') {
      const [some, more] = args as [Expr, Expr];
      if (isNothing(more)) return some;
      if (isNothing(some)) return more;
    }
    return b.prim(expr.name, ...args);
  }

  /** An int taken apart, where its residue is known. */
  private divide(expr: Expr, by: number): Divided | undefined {
    const { b } = this;
    const carry = (quotient: Expr, sum: number): Divided => ({
      quotient: shifted(quotient, Math.floor(sum / by), b),
      residue: sum - by * Math.floor(sum / by),
    });
    if (expr.op === 'const') return carry(b.int(0), expr.value);
    if (expr.op !== 'prim') return undefined;
    const [left, right] = expr.args as [Expr, Expr];
    if (expr.name === 'mul' && left.op === 'const' && left.value % by === 0)
      return { quotient: b.prim('mul', b.int(left.value / by), right), residue: 0 };
    if (expr.name !== 'add' && expr.name !== 'sub') return undefined;
    const [one, other] = [this.divide(left, by), this.divide(right, by)];
    if (!one || !other) return undefined;
    const quotient =
      other.quotient.op === 'const' && other.quotient.value === 0
        ? one.quotient
        : b.prim(expr.name, one.quotient, other.quotient);
    return carry(quotient, expr.name === 'add' ? one.residue + other.residue : one.residue - other.residue);
  }

  private read({ source, type }: ReadExpr, indices: readonly Expr[]): Expr {
    const { b } = this;
    const split = this.splits.get(source);
    if (!split) return b.read(source, type, indices);
    const { axis, by } = split;
    const parts = this.parts.get(source)!;
    const at = indices[axis]!;
    const part = (residue: number, quotient: Expr): Expr =>
      this.constants.get(parts[residue]!) ??
      b.read(
        parts[residue]!,
        type,
        indices.map((index, n) => (n === axis ? quotient : index)),
      );
    const divided = this.divide(at, by);
    if (divided) return part(divided.residue, divided.quotient);
    const quotient = b.prim('floorDiv', at, b.int(by));
    const residue = b.prim('sub', at, b.prim('mul', b.int(by), quotient));
    return parts.reduce<Expr | undefined>(
      (others, _, r) =>
        others ? b.select(b.compare('eq', residue, b.int(r)), part(r, quotient), others) : part(r, quotient),
      undefined,
    )!;
  }

  private reduce(expr: ReduceExpr, indices: ReadonlyMap<number, Expr>): Expr {
    const { b } = this;
    const over = (extent: SizeExpr, body: (index: IndexRef) => Expr): Expr => {
      const index = this.index(expr.index.name, extent);
      return b.reduce(expr.reduction, index, extent, body(index));
    };
    const at = (value: Expr): Expr => this.visit(expr.body, new Map(indices).set(expr.index.unique, value));
    const by = this.apart(expr);
    if (by === undefined) return over(expr.extent, at);
    const residues = Array.from({ length: by }, (_, residue) => residue);
    const add = (terms: readonly Expr[]): Expr => terms.reduce((sum, term) => b.prim('add', sum, term));
    const extents = residues.map((residue) => extentOf(expr.extent, by, residue));
    if (extents.every((extent) => sameSize(extent, extents[0]!)))
      return over(extents[0]!, (index) => add(residues.map((residue) => at(this.member(index, by, residue)))));
    return add(residues.map((residue) => over(extents[residue]!, (index) => at(this.member(index, by, residue)))));
  }

  /** Into how many a sum is taken apart: as the fields that it runs along. */
  private apart({ reduction, index, extent, body }: ReduceExpr): number | undefined {
    if (reduction !== 'sum') return undefined;
    const along = new Set<number>();
    for (const read of readsIn(body)) {
      const split = this.splits.get(read.source);
      if (split && isShifted(read.indices[split.axis]!, index)) along.add(split.by);
    }
    const [by] = along;
    return along.size === 1 && isMultiple(extent, by!) ? by : undefined;
  }
}

/** log 0, also with something added: an arc that no cell of a part has. */
const isNothing = (expr: Expr): boolean =>
  (expr.op === 'const' && expr.value === Number.NEGATIVE_INFINITY) ||
  (expr.op === 'prim' && expr.name === 'add' && expr.args.some(isNothing));

/** How many of 0 .. extent - 1 have a residue. */
const extentOf = ({ constant, terms }: SizeExpr, by: number, residue: number): SizeExpr => ({
  constant: Math.floor((constant - residue + by - 1) / by),
  terms: Object.fromEntries(Object.entries(terms).map(([name, k]) => [name, k / by])),
});

/** expr + by, in the form that an author would give it. */
function shifted(expr: Expr, by: number, b: GraphBuilder): Expr {
  if (by === 0) return expr;
  if (expr.op === 'const') return b.int(expr.value + by);
  return by < 0 ? b.prim('sub', expr, b.int(-by)) : b.prim('add', expr, b.int(by));
}
