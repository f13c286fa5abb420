/**
 * What a graph means, in float64: every cell computed from its equation when it is first needed, and kept.
 * Slow and obvious; it judges everything faster.
 */
import { operations, primitives, reductions } from '../../dsl/primitives.js';
import { CompilerBug } from '../source.js';
import { operands } from './build.js';
import { comparisons, type Expr, type FieldDecl, type Graph, type IndexRef, type InputDecl } from './graph.js';
import { evalSize, printSize } from './size.js';

/** An input's values: a function of the indices, or a tensor in row-major order that may be padded beyond the utterance. */
export type InputValues =
  | ((indices: readonly number[]) => number)
  | { readonly data: ArrayLike<number>; readonly shape: readonly number[] };

/** One utterance. */
export interface GraphUtterance {
  readonly inputs: Readonly<Record<string, InputValues>>;
  /** Every size symbol's value, in cells. */
  readonly sizes: Readonly<Record<string, number>>;
  /** Parameters that differ from their defaults. */
  readonly params?: Readonly<Record<string, number>>;
}

export interface GraphResult {
  readonly loss: number;
  /** By input: dense, row-major, of the input's own dims. All zero when the loss is +Infinity. */
  readonly gradients: Readonly<Record<string, GraphTensor>>;
  /** `Graph.perNode`, on request; likewise. */
  readonly perNode: Readonly<Record<string, GraphTensor>>;
}

export interface GraphTensor {
  readonly data: Float64Array;
  readonly shape: readonly number[];
}

/**
 * Evaluates the loss, all gradients and, where `wants.perNode`, the results over the nodes of one utterance.
 * @throws CompilerBug for a graph that still has a lattice, whose equations have not been derived.
 * @throws Error naming what is missing when an input or a size has no value, or when cells wait for each other in a circle.
 */
export function evaluateGraph(
  graph: Graph,
  utterance: GraphUtterance,
  wants: { readonly gradients?: boolean; readonly perNode?: boolean } = {},
): GraphResult {
  if (graph.lattice)
    throw new CompilerBug('graph', `${graph.name} states a lattice: derive its equations before they are evaluated`);
  const machine = new Machine(graph, utterance);
  const loss = machine.evaluate(graph.loss);
  const dense = (name: string): GraphTensor => {
    const field = machine.fields.get(name);
    if (!field) throw new CompilerBug('graph', `the result ${name} is not a field`);
    // No path: the rule of the language, since the posteriors are 0 / 0 there.
    const data = loss === Number.POSITIVE_INFINITY ? new Float64Array(field.count) : machine.all(field);
    return { data, shape: field.shape };
  };
  const all = (names: Readonly<Record<string, string>>): Record<string, GraphTensor> =>
    Object.fromEntries(Object.entries(names).map(([key, name]) => [key, dense(name)]));
  return {
    loss,
    gradients: wants.gradients === false ? {} : all(graph.gradients),
    perNode: wants.perNode === true ? all(graph.perNode ?? {}) : {},
  };
}

/** Of a cell. Waiting: what it needs has been put on the stack above it. */
const State = { Unknown: 0, Waiting: 1, Known: 2 } as const;

interface FieldCells {
  readonly decl: FieldDecl;
  readonly shape: readonly number[];
  readonly count: number;
  readonly values: Float64Array;
  readonly states: Uint8Array;
  /** Slots of the axes' values. */
  readonly slots: readonly number[];
  body: Code;
}

type Code = () => number;

class Machine {
  readonly fields = new Map<string, FieldCells>();
  private readonly inputs = new Map<string, Code1>();
  private readonly params = new Map<string, number>();
  private readonly codes = new Map<Expr, Code>();
  /** Values of index variables, by slot. */
  private readonly indices: number[] = [];
  private readonly slotOf = new Map<IndexRef, number>();
  /** Cells that the body being evaluated needs and that are not known yet: [field, cell, field, cell, ...]. */
  private needs: (FieldCells | number)[] = [];

  constructor(
    graph: Graph,
    private readonly utterance: GraphUtterance,
  ) {
    for (const { name, default: value } of graph.params) this.params.set(name, utterance.params?.[name] ?? value);
    for (const input of graph.inputs) this.inputs.set(input.name, this.reader(input));
    for (const decl of graph.fields) {
      const shape = decl.domain.map((size) => Math.max(0, evalSize(size, utterance.sizes)));
      const count = shape.reduce((a, b) => a * b, 1);
      const slots = decl.axes.map((axis) => this.slot(axis));
      const values = new Float64Array(count);
      this.fields.set(decl.name, { decl, shape, count, values, states: new Uint8Array(count), slots, body: () => 0 });
    }
    for (const field of this.fields.values()) field.body = this.code(field.decl.body);
  }

  private slot(index: IndexRef): number {
    const slot = this.slotOf.get(index) ?? this.indices.push(0) - 1;
    this.slotOf.set(index, slot);
    return slot;
  }

  private reader(input: InputDecl): Code1 {
    const given = this.utterance.inputs[input.name];
    if (given === undefined) throw new Error(`evaluateGraph: input ${input.name} has no values`);
    const extents = input.dims.map((size) => evalSize(size, this.utterance.sizes));
    const outside = input.element === 'i32' ? -1 : Number.NEGATIVE_INFINITY;
    const inside = (at: readonly number[]): boolean => at.every((index, axis) => index >= 0 && index < extents[axis]!);
    if (typeof given === 'function') return (at) => (inside(at) ? given(at) : outside);
    const { data, shape } = given;
    if (shape.length !== extents.length || shape.some((length, axis) => length < extents[axis]!)) {
      const dims = input.dims.map((size, axis) => `${printSize(size)} = ${extents[axis]}`).join(', ');
      throw new Error(`evaluateGraph: input ${input.name} has shape [${shape.join(', ')}], too small for [${dims}]`);
    }
    return (at) => (inside(at) ? data[at.reduce((flat, index, axis) => flat * shape[axis]! + index, 0)]! : outside);
  }

  /** An expression without free indices. */
  evaluate(expr: Expr): number {
    const code = this.code(expr);
    for (;;) {
      this.needs = [];
      const value = code();
      if (this.needs.length === 0) return value;
      this.settle(this.needs);
    }
  }

  /** Every cell of a field. */
  all(field: FieldCells): Float64Array {
    for (let cell = 0; cell < field.count; cell++) {
      if (field.states[cell] !== State.Known) this.settle([field, cell]);
    }
    return field.values.slice();
  }

  /**
   * Computes cells with a stack of its own, so that a chain of a million cells does not overflow JavaScript's.
   * A body is run to find what it needs; those cells are computed; then it is run again.
   */
  private settle(stack: (FieldCells | number)[]): void {
    while (stack.length > 0) {
      const field = stack[stack.length - 2] as FieldCells;
      const cell = stack[stack.length - 1] as number;
      if (field.states[cell] === State.Known) {
        stack.length -= 2;
        continue;
      }
      this.needs = [];
      let rest = cell;
      for (let axis = field.shape.length - 1; axis >= 0; axis--) {
        const length = field.shape[axis]!;
        this.indices[field.slots[axis]!] = rest % length;
        rest = Math.floor(rest / length);
      }
      const value = field.body();
      if (this.needs.length === 0) {
        field.values[cell] = value;
        field.states[cell] = State.Known;
        stack.length -= 2;
        continue;
      }
      field.states[cell] = State.Waiting;
      for (let i = 0; i < this.needs.length; i += 2) {
        const [needed, at] = [this.needs[i] as FieldCells, this.needs[i + 1] as number];
        // A waiting cell lies below on the stack: it needs this one, and this one needs it.
        if (needed.states[at] === State.Waiting)
          throw new Error(`evaluateGraph: ${place(needed, at)} depends on itself`);
        stack.push(needed, at);
      }
    }
  }

  private code(expr: Expr): Code {
    let code = this.codes.get(expr);
    if (!code) {
      code = this.compile(expr);
      this.codes.set(expr, code);
    }
    return code;
  }

  private compile(expr: Expr): Code {
    const { indices } = this;
    switch (expr.op) {
      case 'const': {
        const { value } = expr;
        return () => value;
      }
      case 'size': {
        const value = evalSize({ constant: 0, terms: { [expr.name]: 1 } }, this.utterance.sizes);
        return () => value;
      }
      case 'param': {
        const value = this.params.get(expr.name);
        if (value === undefined) throw new CompilerBug('graph', `unknown parameter ${expr.name}`);
        return () => value;
      }
      case 'index': {
        const slot = this.slot(expr);
        return () => indices[slot]!;
      }
      case 'read':
        return this.compileRead(
          expr.source,
          expr.indices.map((index) => this.code(index)),
        );
      case 'prim': {
        const { f64 } = operations[expr.name];
        const [a, b] = expr.args.map((arg) => this.code(arg)) as [Code, Code?];
        return b ? () => f64(a(), b()) : () => f64(a(), 0);
      }
      case 'compare': {
        const holds = comparisons[expr.compare];
        const [a, b] = operands(expr).map((arg) => this.code(arg)) as [Code, Code];
        return () => (holds(a(), b()) ? 1 : 0);
      }
      case 'logic': {
        const args = expr.args.map((arg) => this.code(arg));
        if (expr.logic === 'not') return () => (args[0]!() === 1 ? 0 : 1);
        if (expr.logic === 'and') return () => (args.every((arg) => arg() === 1) ? 1 : 0);
        return () => (args.some((arg) => arg() === 1) ? 1 : 0);
      }
      case 'select': {
        const [test, then, otherwise] = expr.args.map((arg) => this.code(arg)) as [Code, Code, Code];
        // While cells are missing the test may be wrong; the arm it picks then only asks for cells too early.
        return () => {
          const before = this.needs.length;
          const chosen = test();
          if (this.needs.length > before) return Number.NaN;
          return chosen === 1 ? then() : otherwise();
        };
      }
      case 'toReal':
        return this.code(expr.args[0]);
      case 'reduce': {
        const slot = this.slot(expr.index);
        const extent = evalSize(expr.extent, this.utterance.sizes);
        const body = this.code(expr.body);
        const { combine, empty } = reductions[expr.reduction];
        if (expr.reduction === 'logSumExp') return () => this.logSumExp(slot, extent, body);
        const { f64 } = primitives[combine];
        return () => {
          let total: number = empty;
          for (let i = 0; i < extent; i++) {
            indices[slot] = i;
            total = f64(total, body());
          }
          return total;
        };
      }
    }
  }

  private logSumExp(slot: number, extent: number, body: Code): number {
    const values = new Float64Array(Math.max(0, extent));
    let high = Number.NEGATIVE_INFINITY;
    for (let i = 0; i < extent; i++) {
      this.indices[slot] = i;
      values[i] = body();
      high = Math.max(high, values[i]!);
    }
    if (!Number.isFinite(high)) return high;
    let total = 0;
    for (const value of values) total += Math.exp(value - high);
    return high + Math.log(total);
  }

  private compileRead(source: string, at: readonly Code[]): Code {
    const input = this.inputs.get(source);
    if (input) return () => input(at.map((index) => index()));
    const field = this.fields.get(source);
    if (!field) throw new CompilerBug('graph', `read of ${source}, which is neither an input nor a field`);
    const { shape, values, states } = field;
    const { outside } = field.decl;
    return () => {
      let flat = 0;
      let inside = true;
      for (let axis = 0; axis < at.length; axis++) {
        const index = at[axis]!();
        const length = shape[axis]!;
        // Not left early: all indices of one kind are cheap, and one path is easier to trust.
        if (!(index >= 0 && index < length)) inside = false;
        flat = flat * length + index;
      }
      if (!inside) return outside;
      if (states[flat] === State.Known) return values[flat]!;
      this.needs.push(field, flat);
      return Number.NaN;
    };
  }
}

type Code1 = (indices: readonly number[]) => number;

function place(field: FieldCells, cell: number): string {
  const at: number[] = [];
  let rest = cell;
  for (const length of [...field.shape].reverse()) {
    at.unshift(rest % length);
    rest = Math.floor(rest / length);
  }
  return `${field.decl.name}(${at.join(', ')})`;
}
