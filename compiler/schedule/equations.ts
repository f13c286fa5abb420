/**
 * From a graph to the equations worth computing: decides what is stored and what is recomputed.
 *
 *   - recurrences are stored;
 *   - a reduction is stored over the indices it depends on (the log of a softmax's sum: one value per row);
 *   - what a recurrence reads from a tensor of higher rank, or looks up by an index that is itself read, is stored at the
 *     recurrence's own rank, so that the tensor is visited once, in order, and not along the recurrence's wavefront;
 *   - everything else is substituted where it is read and lives in registers.
 *
 * The result reads nothing but inputs and stored equations.
 */

import { GraphBuilder, operands } from '../graph/build.js';
import { collect, freeIndices, readsIn, reductionsIn } from '../graph/free.js';
import type { Expr, FieldDecl, Graph, IndexRef, ReadExpr, ReduceExpr, SizeExpr } from '../graph/graph.js';
import { rebuild } from '../graph/rebuild.js';
import { sizeConst } from '../graph/size.js';
import { CompilerBug } from '../source.js';
import { Ranges } from './ranges.js';

/** One equation over an index domain. Stored ones get a buffer; gradients are written to an output. */
export interface Equation {
  readonly name: string;
  readonly recurrence: boolean;
  readonly domain: readonly SizeExpr[];
  readonly axes: readonly IndexRef[];
  readonly body: Expr;
  readonly outside: number;
}

export interface Equations {
  readonly graph: Graph;
  /** Stored equations the outputs need, each after what it was found from. */
  readonly stored: readonly Equation[];
  readonly loss: Expr;
  /** By input name. */
  readonly gradients: readonly { readonly input: string; readonly equation: Equation }[];
  /** Written to outputs of their own, called node_<name>. */
  readonly perNode: readonly Equation[];
  readonly ranges: Ranges;
  readonly builder: GraphBuilder;
  /** The author's names of substituted fields, by expression id: kernels use them for their values. */
  readonly names: ReadonlyMap<number, string>;
}

export interface EquationOptions {
  /** Sizes known at compile time; the others stay symbols. */
  readonly sizes: Readonly<Record<string, number>>;
  readonly gradients: boolean;
  readonly perNode?: boolean;
}

export function findEquations(graph: Graph, options: EquationOptions): Equations {
  return new Finder(graph, options).find();
}

/** Where an expression is being expanded. */
interface Context {
  /** Index variables of the source graph, by `unique`, and what they stand for here. */
  readonly indices: ReadonlyMap<number, Expr>;
  /** Set while expanding the body of a recurrence: its rank, and its own axes. */
  readonly recurrence?: {
    readonly name: string;
    readonly axes: readonly IndexRef[];
    readonly domain: readonly SizeExpr[];
  };
  /** The field whose body this is: reductions found in it are stored under its name. */
  readonly owner?: FieldDecl;
  /** True below a reduction that is being stored: its own reductions stay where they are. */
  readonly insideReduce?: boolean;
  /** True in a field that is substituted where it is worked out again and again. */
  readonly repeated?: boolean | undefined;
}

class Finder {
  private readonly builder = new GraphBuilder();
  private readonly ranges: Ranges;
  private readonly fields: Map<string, FieldDecl>;
  private readonly stored = new Map<string, Equation>();
  private readonly order: Equation[] = [];
  private readonly opened = new Set<string>();
  private readonly names = new Map<number, string>();
  private readonly projections = new Map<string, string>();
  private readonly dims: Map<string, readonly SizeExpr[]>;

  constructor(
    private readonly graph: Graph,
    private readonly options: EquationOptions,
  ) {
    this.fields = new Map(graph.fields.map((field) => [field.name, field]));
    const folded = {
      ...graph,
      inputs: graph.inputs.map((input) => ({
        ...input,
        dims: input.dims.map((dim) => this.fold(dim)),
        ...(input.below && { below: this.fold(input.below) }),
      })),
      params: graph.params.map((param) => ({ ...param, ...(param.below && { below: this.fold(param.below) }) })),
    };
    this.graph = folded;
    this.ranges = new Ranges(folded);
    this.dims = new Map(folded.inputs.map((input) => [input.name, input.dims]));
  }

  find(): Equations {
    // Recurrences first: what they need stored is then there for the gradients to read as well.
    for (const field of this.neededRecurrences()) this.store(field);
    const loss = this.expand(this.graph.loss, { indices: new Map() });
    const gradients = !this.options.gradients
      ? []
      : Object.entries(this.graph.gradients).map(([input, name]) => ({
          input,
          equation: this.output(`grad_${input}`, name),
        }));
    const perNode = !this.options.perNode
      ? []
      : Object.entries(this.graph.perNode ?? {}).map(([name, field]) => this.output(`node_${name}`, field));
    return {
      graph: this.graph,
      stored: this.order,
      loss,
      gradients,
      perNode,
      ranges: this.ranges,
      builder: this.builder,
      names: this.names,
    };
  }

  /** A field as an output: over its own domain, substituted where it need not be stored. */
  private output(name: string, fieldName: string): Equation {
    const field = this.field(fieldName);
    const { axes, domain, indices } = this.openField(field);
    const kind = this.kind(field);
    // A reduction over all of the output's indices is taken where it is written: stored, it would be a copy of the output.
    const body =
      kind === 'recurrence' || this.stored.has(fieldName)
        ? this.readStored(field, axes)
        : this.expand(field.body, { indices, owner: field, ...(kind === 'stored' ? { insideReduce: true } : {}) });
    return { name, recurrence: false, domain, axes, body, outside: 0 };
  }

  private neededRecurrences(): FieldDecl[] {
    const seen = new Set<FieldDecl>();
    const visit = (expr: Expr): void => {
      for (const read of readsIn(expr)) {
        const field = this.fields.get(read.source);
        if (!field || seen.has(field)) continue;
        seen.add(field);
        visit(field.body);
      }
    };
    visit(this.graph.loss);
    const outputs = [
      ...(this.options.gradients ? Object.values(this.graph.gradients) : []),
      ...(this.options.perNode ? Object.values(this.graph.perNode ?? {}) : []),
    ];
    for (const name of outputs) visit(this.field(name).body);
    return [...seen].filter((field) => field.kind === 'recurrence');
  }

  private field(name: string): FieldDecl {
    const field = this.fields.get(name);
    if (!field) throw new CompilerBug('equations', `no field ${name}`);
    return field;
  }

  private fold(size: SizeExpr): SizeExpr {
    let constant = size.constant;
    const terms: Record<string, number> = {};
    for (const [name, k] of Object.entries(size.terms)) {
      const known = this.options.sizes[name];
      if (known === undefined) terms[name] = k;
      else constant += k * known;
    }
    return Object.keys(terms).length === 0 ? sizeConst(constant) : { constant, terms };
  }

  /** A field's axes as fresh index variables over its folded domain, and what its own stand for. */
  private openField(field: FieldDecl): { axes: IndexRef[]; domain: SizeExpr[]; indices: Map<number, Expr> } {
    const axes = field.axes.map((axis) => this.builder.index(axis.name));
    const indices = new Map<number, Expr>(field.axes.map((axis, k) => [axis.unique, axes[k]!]));
    return { axes, domain: this.bindAxes(axes, field.domain), indices };
  }

  private bindAxes(axes: readonly IndexRef[], domain: readonly SizeExpr[]): SizeExpr[] {
    const folded = domain.map((extent) => this.fold(extent));
    for (const [k, axis] of axes.entries()) this.ranges.bind(axis, folded[k]!);
    return folded;
  }

  /** Fields holding a reduction over all their axes are stored whole; other plain fields are substituted. */
  private kind(field: FieldDecl): 'recurrence' | 'stored' | 'inline' {
    if (field.kind === 'recurrence') return 'recurrence';
    const whole = reductionsIn(field.body).some((reduce) => axesUsed(reduce, field.axes).length === field.axes.length);
    return whole ? 'stored' : 'inline';
  }

  private readStored(field: FieldDecl, indices: readonly Expr[]): Expr {
    this.store(field);
    return this.builder.read(field.name, 'real', indices);
  }

  private store(field: FieldDecl): void {
    if (this.opened.has(field.name)) return;
    this.opened.add(field.name);
    const { axes, domain, indices } = this.openField(field);
    const recurrence = field.kind === 'recurrence';
    const context: Context = recurrence
      ? { indices, recurrence: { name: field.name, axes, domain }, owner: field }
      : { indices, owner: field, insideReduce: this.kind(field) === 'stored' };
    this.finish({
      name: field.name,
      recurrence,
      domain,
      axes,
      body: this.expand(field.body, context),
      outside: field.outside,
    });
  }

  private finish(equation: Equation): void {
    this.stored.set(equation.name, equation);
    this.order.push(equation);
  }

  private expand(expr: Expr, context: Context): Expr {
    const made = this.expandNode(expr, context);
    const places = this.graph.origins.get(expr.id);
    if (places?.[0]) this.builder.note(made, places[0]);
    return made;
  }

  private expandNode(expr: Expr, context: Context): Expr {
    const b = this.builder;
    switch (expr.op) {
      case 'size': {
        const known = this.options.sizes[expr.name];
        return known === undefined ? b.size(expr.name) : b.int(known);
      }
      case 'index': {
        const here = context.indices.get(expr.unique);
        if (!here) throw new CompilerBug('equations', `index ${expr.name} is not bound`);
        return here;
      }
      case 'read':
        return this.expandRead(expr, context);
      case 'reduce':
        return this.expandReduce(expr, context);
      default:
        return rebuild(b, expr, (operand) => this.expand(operand, context));
    }
  }

  /** A reduction stays where it is inside a stored field and where it reads the recurrence itself; else it is stored. */
  private expandReduce(expr: ReduceExpr, context: Context): Expr {
    const { owner, recurrence } = context;
    const inPlace =
      context.insideReduce || !owner || (recurrence !== undefined && this.dependsOn(expr, recurrence.name, new Set()));
    if (inPlace) return this.reduceHere(expr, context);
    // Over the owner's axes it depends on; read back at whatever those axes stand for here.
    const axes = axesUsed(expr, owner.axes);
    const name = `${owner.name}_${expr.reduction}${expr.id}`;
    if (!this.opened.has(name)) {
      this.opened.add(name);
      const fresh = axes.map((axis) => this.builder.index(axis.name));
      const domain = this.bindAxes(
        fresh,
        axes.map((axis) => owner.domain[owner.axes.indexOf(axis)]!),
      );
      const indices = new Map(axes.map((axis, k) => [axis.unique, fresh[k] as Expr]));
      const body = this.reduceHere(expr, { indices, owner, insideReduce: true });
      this.finish({ name, recurrence: false, domain, axes: fresh, body, outside: Number.NEGATIVE_INFINITY });
    }
    return this.builder.read(
      name,
      'real',
      axes.map((axis) => context.indices.get(axis.unique)!),
    );
  }

  private reduceHere(expr: ReduceExpr, context: Context): Expr {
    const index = this.builder.index(expr.index.name);
    const extent = this.fold(expr.extent);
    this.ranges.bind(index, extent);
    const indices = new Map(context.indices).set(expr.index.unique, index);
    return this.builder.reduce(
      expr.reduction,
      index,
      extent,
      this.expand(expr.body, { ...context, indices, insideReduce: true }),
    );
  }

  private expandRead(expr: ReadExpr, context: Context): Expr {
    const indices = expr.indices.map((at) => this.expand(at, context));
    const dims = this.dims.get(expr.source);
    if (dims) {
      if (context.recurrence && isFar(expr, dims, context.recurrence.axes.length)) {
        const body = (at: readonly Expr[]): Expr => this.builder.read(expr.source, 'real', at);
        const projected = this.project(expr.source, dims, Number.NEGATIVE_INFINITY, indices, body, context);
        if (projected) return projected;
      }
      return this.builder.read(expr.source, expr.type, indices);
    }
    const field = this.field(expr.source);
    if (this.kind(field) !== 'inline') return this.readStored(field, indices);
    if (this.stored.has(field.name)) return this.builder.read(field.name, 'real', indices);
    // What comes from the lattice is not worked out again for every index that it does not depend on, where that is more than
    // to load one value.
    const repeated =
      context.repeated || (context.insideReduce && !context.recurrence && field.axes.length < context.indices.size);
    if (repeated && this.readsRecurrence(field, new Set()) && isWork(field.body))
      return this.readStored(field, indices);
    const domain = field.domain.map((extent) => this.fold(extent));
    const substitute = (at: readonly Expr[], outer: Context): Expr => {
      const bound = new Map(field.axes.map((axis, k) => [axis.unique, at[k]!]));
      const value = this.expand(field.body, { ...outer, indices: bound, owner: field, insideReduce: false, repeated });
      if (value.op !== 'const' && value.op !== 'read') this.names.set(value.id, field.name);
      return this.builder.select(this.insideOf(at, domain), value, this.builder.real(field.outside));
    };
    if (context.recurrence && this.readsFar(field, context.recurrence.axes.length, new Set())) {
      const projected = this.project(
        field.name,
        domain,
        field.outside,
        indices,
        (at) => substitute(at, { indices: new Map() }),
        context,
      );
      if (projected) return projected;
    }
    return substitute(indices, context);
  }

  private readsRecurrence(field: FieldDecl, seen: Set<FieldDecl>): boolean {
    if (seen.has(field)) return false;
    seen.add(field);
    return readsIn(field.body).some((read) => {
      const source = this.fields.get(read.source);
      return source !== undefined && (source.kind === 'recurrence' || this.readsRecurrence(source, seen));
    });
  }

  /** The condition that every index lies in its dimension, without the parts that are provable. */
  private insideOf(indices: readonly Expr[], domain: readonly SizeExpr[]): Expr {
    const conditions: Expr[] = [];
    for (const [axis, at] of indices.entries()) {
      const form = this.ranges.affine(at);
      const extent = this.sizeAsExpr(domain[axis]!);
      if (!this.ranges.provable(form)) conditions.push(this.builder.compare('ge', at, this.builder.int(0)));
      if (!this.ranges.provable(this.ranges.affine(extent).offset(-1).minus(form)))
        conditions.push(this.builder.compare('lt', at, extent));
    }
    return conditions.length === 0 ? this.builder.bool(true) : this.builder.logic('and', ...conditions);
  }

  private sizeAsExpr(size: SizeExpr): Expr {
    let sum: Expr = this.builder.int(size.constant);
    for (const [name, k] of Object.entries(size.terms)) {
      const term =
        k === 1 ? this.builder.size(name) : this.builder.prim('mul', this.builder.int(k), this.builder.size(name));
      sum = this.builder.prim('add', term, sum);
    }
    return sum;
  }

  /**
   * Stores source(t + a, u + c, k) read by a recurrence over (t, u) as an equation over the source's own axes
   * (t', u') -> source(t', u', k'), and reads that one at (t + a, u + c). Undefined when the indices are not of
   * that form: then the read stays where it is, slower but right.
   */
  private project(
    source: string,
    dims: readonly SizeExpr[],
    outside: number,
    indices: readonly Expr[],
    body: (at: readonly Expr[]) => Expr,
    context: Context,
  ): Expr | undefined {
    const { axes } = context.recurrence!;
    const kept: { position: number; axis: IndexRef; shift: number }[] = [];
    for (const axis of axes) {
      const atom = this.ranges.affine(axis);
      const position = indices.findIndex((at) => this.ranges.affine(at).minus(atom).isConstant);
      if (position < 0) continue;
      kept.push({ position, axis, shift: this.ranges.affine(indices[position]!).minus(atom).constant });
    }
    if (kept.length === 0) return undefined;
    kept.sort((a, b) => a.position - b.position);
    const fresh = kept.map(({ axis }) => this.builder.index(axis.name));
    const domain = this.bindAxes(
      fresh,
      kept.map(({ position }) => dims[position]!),
    );
    // axis = its new variable - shift, in the indices that are not axes themselves (a gather by label, say).
    const replacement = new Map(
      kept.map(
        ({ axis, shift }, k) => [axis.id, this.builder.prim('sub', fresh[k]!, this.builder.int(shift))] as const,
      ),
    );
    const at = indices.map((expr, position) => {
      const k = kept.findIndex((entry) => entry.position === position);
      return k >= 0 ? fresh[k]! : this.replace(expr, replacement);
    });
    if (at.some((expr) => freeIndices(expr).some((index) => !fresh.includes(index)))) return undefined;
    const rest = at.filter((_, position) => !kept.some((entry) => entry.position === position));
    const whole = rest.length === 0 && this.fields.has(source);
    const key = `${source} ${kept.map((entry) => entry.position).join()} ${rest.map((expr) => this.keyOf(expr, fresh)).join(' ')}`;
    let name = this.projections.get(key);
    if (!name) {
      name = whole ? source : `${source}_${rest.map(nameOf).join('_')}`;
      for (let n = 2; this.opened.has(name); n++) name = `${source}_${rest.map(nameOf).join('_')}_${n}`;
      this.projections.set(key, name);
      this.opened.add(name);
      this.finish({ name, recurrence: false, domain, axes: fresh, body: body(at), outside });
    }
    return this.builder.read(
      name,
      'real',
      kept.map(({ position }) => indices[position]!),
    );
  }

  /** An expression as a key that does not depend on which fresh variables it uses. */
  private keyOf(expr: Expr, fresh: readonly IndexRef[]): string {
    if (expr.op === 'index') return `#${fresh.indexOf(expr)}`;
    const inner = operands(expr).map((child) => this.keyOf(child, fresh));
    const label = 'value' in expr ? expr.value : 'source' in expr ? expr.source : 'name' in expr ? expr.name : '';
    return `${expr.op}:${label}(${inner.join()})`;
  }

  private replace(expr: Expr, replacement: ReadonlyMap<number, Expr>): Expr {
    const found = replacement.get(expr.id);
    if (found) return found;
    const b = this.builder;
    switch (expr.op) {
      case 'read':
        return b.read(
          expr.source,
          expr.type,
          expr.indices.map((at) => this.replace(at, replacement)),
        );
      case 'prim':
        return b.prim(expr.name, ...expr.args.map((arg) => this.replace(arg, replacement)));
      default:
        return expr;
    }
  }

  /** Whether a field's values come from afar. Those of one that only chooses between other fields do not: these are stored. */
  private readsFar(field: FieldDecl, rank: number, seen: Set<string>): boolean {
    if (seen.has(field.name)) return false;
    seen.add(field.name);
    if (this.chooses(field.body, rank)) return false;
    return readsIn(field.body).some((read) => {
      const dims = this.dims.get(read.source);
      if (dims) return isFar(read, dims, rank);
      const inner = this.field(read.source);
      return this.kind(inner) === 'inline' && this.readsFar(inner, rank, seen);
    });
  }

  private chooses(body: Expr, rank: number): boolean {
    if (body.op === 'select') return body.args.slice(1).every((arm) => arm.op === 'const' || this.chooses(arm, rank));
    return body.op === 'read' && this.fields.get(body.source)?.domain.length === rank;
  }

  /** Whether an expression of the source graph reads a field, directly or through others. */
  private dependsOn(expr: Expr, name: string, seen: Set<string>): boolean {
    return readsIn(expr).some((read) => {
      if (read.source === name) return true;
      const field = this.fields.get(read.source);
      if (!field || seen.has(field.name)) return false;
      seen.add(field.name);
      return this.dependsOn(field.body, name, seen);
    });
  }
}

/** A read that a recurrence should not wait for: of a tensor of higher rank, or at an index that is itself looked up. */
const isFar = ({ type, indices }: ReadExpr, dims: readonly SizeExpr[], rank: number): boolean =>
  type === 'real' && (dims.length > rank || indices.some((at) => readsIn(at).length > 0));

const light = ['add', 'sub', 'neg', 'mul', 'min', 'max', 'abs', 'floorDiv'];
/** Whether an expression takes longer than it takes to load one value: more than a share of it, or a choice. */
const isWork = (expr: Expr): boolean =>
  readsIn(expr).filter(({ type }) => type === 'real').length > 1 ||
  collect(expr, (part): part is Expr => part.op === 'reduce' || (part.op === 'prim' && !light.includes(part.name)))
    .length > 0;

const nameOf = (expr: Expr): string => {
  if (expr.op === 'read') return expr.source;
  if (expr.op === 'param' || expr.op === 'index' || expr.op === 'size') return expr.name;
  return expr.op === 'const' ? String(expr.value) : `e${expr.id}`;
};

const axesUsed = (expr: Expr, axes: readonly IndexRef[]): IndexRef[] => {
  const free = new Set(freeIndices(expr));
  return axes.filter((axis) => free.has(axis));
};
