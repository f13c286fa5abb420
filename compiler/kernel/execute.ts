/**
 * Kernel statements and expressions as closures: the inner part of the interpreter. Each closure is built once
 * per kernel and checks what it does against the rules of the IR every time it runs.
 */
import { primitives, reductions } from '../../dsl/primitives.js';
import { comparisons } from '../graph/graph.js';
import { CompilerBug } from '../source.js';
import type { KExpr, KIndexOp, KLoad, KLoop, KPrim, KStmt, KStore } from './kernel.js';
import type { Memory } from './memory.js';
import { printStatement } from './print.js';

export type Violation =
  | 'out-of-bounds'
  | 'unwritten-read'
  | 'lane-race'
  | 'cell-race'
  | 'output-rewritten'
  | 'output-missing'
  | 'bad-operand'
  | 'not-int32';

/** A kernel did what the IR forbids. The message has kernel, statement, the variables' values, buffer and index. */
export class KernelViolation extends CompilerBug {
  constructor(
    readonly rule: Violation,
    message: string,
  ) {
    super('kernels', message);
    this.name = 'KernelViolation';
  }
}

export type Frame = Float64Array;
type Evaluate = (frame: Frame) => number;
export type Execute = (frame: Frame) => void;

/** What the closures see of the run they are part of. Ids of cells and lanes are those of memory.ts. */
export interface Run {
  readonly scalars: ReadonlyMap<string, number>;
  readonly memories: ReadonlyMap<string, Memory>;
  /** An integer in [0, below). */
  readonly random: (below: number) => number;
  readonly onStore: ((value: number, buffer: string) => number) | undefined;
  readonly trace: ((line: string) => void) | undefined;
  /** Next free worker id. */
  nextId: number;
  /** Group and worker id of the running grid cell. */
  readonly cellBase: number;
  readonly cell: number;
  /** Group and worker id of the running lane; the group is -1 outside of lanes loops. */
  laneBase: number;
  lane: number;
  /** Value of the lane variable in worker `laneBase + 1`. */
  laneFrom: number;
  cellName(id: number): string;
  laneName(id: number): string;
}

/** Turns statements and expressions into closures over a frame of numbered slots (bool: 0 or 1). */
export class Compiler {
  slots = 0;
  private scope: readonly [name: string, slot: number][] = [];
  private stmt: KStmt | undefined;

  constructor(
    private readonly machine: Run,
    private readonly where: string,
    private readonly locals: ReadonlyMap<string, Memory> = new Map(),
  ) {}

  define(name: string): number {
    this.scope = [...this.scope, [name, this.slots]];
    return this.slots++;
  }

  block(stmts: readonly KStmt[]): Execute {
    const outer = this.scope;
    const run = this.sequence(stmts);
    this.scope = outer;
    return run;
  }

  private sequence(stmts: readonly KStmt[]): Execute {
    const steps = stmts
      .filter((stmt) => stmt.kind !== 'comment' && stmt.kind !== 'prefetch')
      .map((stmt) => this.compile(stmt));
    if (steps.length === 1) return steps[0] as Execute;
    return (frame) => {
      for (const step of steps) step(frame);
    };
  }

  private compile(stmt: Exclude<KStmt, { kind: 'comment' | 'prefetch' }>): Execute {
    this.stmt = stmt;
    switch (stmt.kind) {
      case 'let': {
        const value = this.expr(stmt.value);
        const slot = this.define(stmt.name);
        return (frame) => {
          frame[slot] = value(frame);
        };
      }
      case 'store':
        return this.store(stmt);
      case 'loop':
        return this.loop(stmt);
      case 'if': {
        const condition = this.expr(stmt.condition);
        const then = this.block(stmt.then);
        const otherwise = this.block(stmt.otherwise);
        return (frame) => (condition(frame) ? then(frame) : otherwise(frame));
      }
    }
  }

  private loop(loop: KLoop): Execute {
    const from = this.expr(loop.from);
    const to = this.expr(loop.to);
    const outer = this.scope;
    const variable = this.define(loop.variable);
    const body = this.sequence(loop.body);
    this.stmt = loop;
    const folds = loop.reduce.map((reduce) => {
      const { combine, empty } = reductions[reduce.op];
      return {
        value: this.expr(reduce.value),
        combine: reduce.passesNaN ? passingNaN(primitives[combine].f64) : primitives[combine].f64,
        round: rounding(reduce.type),
        empty,
        slot: -1,
      };
    });
    this.scope = outer;
    folds.forEach((fold, index) => {
      fold.slot = this.define((loop.reduce[index] as { name: string }).name);
    });
    const once: Execute = (frame) => {
      body(frame);
      for (const { slot, value, combine, round } of folds)
        frame[slot] = round(combine(frame[slot] as number, value(frame)));
    };
    const start: Execute = (frame) => {
      for (const fold of folds) frame[fold.slot] = fold.empty;
    };
    if (loop.mode === 'lanes') return this.lanes(from, to, variable, start, once);
    const { reverse } = loop;
    return (frame) => {
      const first = from(frame);
      const end = to(frame);
      start(frame);
      for (let count = 0; count < end - first; count++) {
        frame[variable] = reverse ? end - 1 - count : first + count;
        once(frame);
      }
    };
  }

  private lanes(from: Evaluate, to: Evaluate, variable: number, start: Execute, once: Execute): Execute {
    const { machine } = this;
    let order = new Int32Array(0); // lanes loops do not nest, so one array serves all executions
    return (frame) => {
      const first = from(frame);
      const count = Math.max(0, to(frame) - first);
      if (order.length < count) order = new Int32Array(count);
      for (let lane = 0; lane < count; lane++) {
        const other = machine.random(lane + 1);
        order[lane] = order[other] as number;
        order[other] = lane;
      }
      const base = machine.nextId;
      machine.nextId += count + 1;
      machine.laneBase = base;
      machine.laneFrom = first;
      start(frame);
      for (let turn = 0; turn < count; turn++) {
        const lane = order[turn] as number;
        machine.lane = base + 1 + lane;
        frame[variable] = first + lane;
        once(frame);
      }
      machine.laneBase = -1;
    };
  }

  private store(stmt: KStore): Execute {
    const memory = this.memory(stmt.buffer);
    const index = this.expr(stmt.index);
    const value = this.expr(stmt.value);
    const { machine } = this;
    const { data, decl, cells, lanes, isLocal } = memory;
    if (!cells || !lanes) throw new CompilerBug('kernels', `store to input ${decl.name}`); // the verifier refuses it
    const { onStore, trace } = machine;
    const [read, write] = [memory.reader(), memory.writer()];
    const fail = this.failing();
    return (frame) => {
      const at = index(frame);
      let stored = value(frame);
      if (!(at >= 0 && at < data.length))
        fail(frame, 'out-of-bounds', `stores to ${memory.place(at)}, which has ${data.length} elements`);
      if (machine.laneBase >= 0) {
        const writer = lanes.otherWriter(at, machine.laneBase, machine.lane);
        if (writer >= 0)
          fail(
            frame,
            'lane-race',
            `stores to ${memory.place(at)}, as ${machine.laneName(writer)} of the same loop does`,
          );
        const reader = lanes.otherReader(at, machine.laneBase, machine.lane);
        if (reader >= 0)
          fail(
            frame,
            'lane-race',
            `stores to ${memory.place(at)}, which ${machine.laneName(reader)} of the same loop reads`,
          );
        lanes.writer[at] = machine.lane;
      }
      const writer = isLocal ? -1 : cells.otherWriter(at, machine.cellBase, machine.cell);
      if (writer >= 0)
        fail(
          frame,
          'cell-race',
          `stores to ${memory.place(at)}, as ${machine.cellName(writer)} of the same phase does`,
        );
      const reader = isLocal ? -1 : cells.otherReader(at, machine.cellBase, machine.cell);
      if (reader >= 0)
        fail(
          frame,
          'cell-race',
          `stores to ${memory.place(at)}, which ${machine.cellName(reader)} of the same phase reads`,
        );
      const earlier = cells.writer[at] as number;
      if (decl.role === 'output' && earlier >= 0 && earlier !== machine.cell) {
        fail(
          frame,
          'output-rewritten',
          `stores to ${memory.place(at)} of an output, which ${machine.cellName(earlier)} has written`,
        );
      }
      cells.writer[at] = machine.cell;
      if (decl.element === 'i32') {
        if (stored !== (stored | 0)) fail(frame, 'not-int32', `stores ${stored} to ${memory.place(at)}, an i32`);
      } else if (onStore) stored = onStore(stored, decl.name);
      write(at, stored);
      if (trace) trace(`${this.where}${values(frame, fail.scope)}: ${memory.place(at)} := ${read(at)}`);
    };
  }

  expr(expr: KExpr): Evaluate {
    switch (expr.op) {
      case 'const': {
        const value = expr.type === 'f32' ? Math.fround(expr.value) : expr.value;
        return () => value;
      }
      case 'var': {
        const slot = this.slotOf(expr.name);
        return (frame) => frame[slot] as number;
      }
      case 'scalar': {
        const value = this.machine.scalars.get(expr.name) as number;
        return () => value;
      }
      case 'load':
        return this.load(expr);
      case 'prim':
        return this.prim(expr);
      case 'index':
        return this.indexOp(expr);
      case 'compare': {
        const [left, right] = this.pair(expr.args);
        const compare = comparisons[expr.compare];
        return (frame) => Number(compare(left(frame), right(frame)));
      }
      case 'logic': {
        const args = expr.args.map((arg) => this.expr(arg));
        const first = args[0] as Evaluate;
        if (expr.logic === 'not') return (frame) => 1 - first(frame);
        const both = expr.logic === 'and';
        return (frame) => {
          let result = first(frame);
          for (let index = 1; index < args.length; index++) {
            const next = (args[index] as Evaluate)(frame);
            result = both ? result & next : result | next;
          }
          return result;
        };
      }
      case 'select': {
        const condition = this.expr(expr.args[0]);
        const [then, otherwise] = this.pair([expr.args[1], expr.args[2]]);
        return (frame) => {
          const chosen = condition(frame);
          const first = then(frame);
          const second = otherwise(frame);
          return chosen ? first : second;
        };
      }
      case 'cast': {
        const arg = this.expr(expr.arg);
        return expr.type === 'f32' ? (frame) => Math.fround(arg(frame)) : arg;
      }
    }
  }

  private load(load: KLoad): Evaluate {
    const memory = this.memory(load.buffer);
    const index = this.expr(load.index);
    const mask = load.mask && this.expr(load.mask);
    const other = load.type === 'f32' ? Math.fround(load.other ?? 0) : (load.other ?? 0);
    const { machine } = this;
    const { data, cells, lanes, isLocal } = memory;
    const read = memory.reader();
    const fail = this.failing();
    return (frame) => {
      const at = index(frame);
      if (mask && !mask(frame)) return other;
      if (!(at >= 0 && at < data.length))
        fail(frame, 'out-of-bounds', `loads ${memory.place(at)}, which has ${data.length} elements`);
      if (!cells || !lanes) return read(at);
      if (machine.laneBase >= 0) {
        const writer = lanes.read(at, machine.laneBase, machine.lane);
        if (writer >= 0)
          fail(
            frame,
            'lane-race',
            `loads ${memory.place(at)}, which ${machine.laneName(writer)} of the same loop stores`,
          );
      }
      if (isLocal) {
        if (cells.writer[at] !== machine.cell)
          fail(frame, 'unwritten-read', `loads ${memory.place(at)} of this cell before it stored anything there`);
        return data[at] as number;
      }
      const writer = cells.read(at, machine.cellBase, machine.cell);
      if (writer >= 0)
        fail(
          frame,
          'cell-race',
          `loads ${memory.place(at)}, which ${machine.cellName(writer)} of the same phase stores`,
        );
      if (cells.writer[at] === -1)
        fail(frame, 'unwritten-read', `loads ${memory.place(at)} before anything was stored there`);
      return read(at);
    };
  }

  private prim(prim: KPrim): Evaluate {
    const apply = primitives[prim.name].f64;
    const round = rounding(prim.type);
    const left = this.expr(prim.args[0] as KExpr);
    if (primitives[prim.name].arity === 1) return (frame) => round(apply(left(frame), 0));
    const right = this.expr(prim.args[1] as KExpr);
    return (frame) => round(apply(left(frame), right(frame)));
  }

  private indexOp(op: KIndexOp): Evaluate {
    const [left, right] = this.pair(op.args);
    switch (op.name) {
      case 'add':
        return (frame) => left(frame) + right(frame);
      case 'sub':
        return (frame) => left(frame) - right(frame);
      case 'mul':
        return (frame) => left(frame) * right(frame) + 0; // + 0: an integer has no -0
      case 'min':
        return (frame) => Math.min(left(frame), right(frame));
      case 'max':
        return (frame) => Math.max(left(frame), right(frame));
      case 'div':
      case 'mod': {
        const fail = this.failing();
        const divide = op.name === 'div';
        return (frame) => {
          const a = left(frame);
          const b = right(frame);
          if (!(a >= 0 && b >= 1))
            fail(frame, 'bad-operand', `${op.name} of ${a} by ${b}; allowed are at least 0 by at least 1`);
          return divide ? Math.floor(a / b) : a % b;
        };
      }
    }
  }

  private pair(args: readonly [KExpr, KExpr]): [Evaluate, Evaluate] {
    return [this.expr(args[0]), this.expr(args[1])];
  }

  private memory(name: string): Memory {
    return this.locals.get(name) ?? (this.machine.memories.get(name) as Memory); // the verifier has seen to it
  }

  private slotOf(name: string): number {
    const entry = this.scope.find(([known]) => known === name);
    if (!entry) throw new CompilerBug('kernels', `${this.where}: ${name} has no slot`);
    return entry[1];
  }

  /** A function that throws the violation found at the current place. */
  private failing(): ((frame: Frame, rule: Violation, problem: string) => never) & {
    scope: readonly [string, number][];
  } {
    const { where, stmt, scope } = this;
    const fail = (frame: Frame, rule: Violation, problem: string): never => {
      const statement = stmt ? `, statement '${printStatement(stmt)}'` : '';
      throw new KernelViolation(rule, `${where}${statement}${values(frame, scope)}: ${problem}`);
    };
    return Object.assign(fail, { scope });
  }
}

/** ' at b = 0, n = 3': values of the names in scope. */
function values(frame: Frame, scope: readonly [name: string, slot: number][]): string {
  if (scope.length === 0) return '';
  return ` at ${scope.map(([name, slot]) => `${name} = ${frame[slot]}`).join(', ')}`;
}

/** NaN operands left out. */
const passingNaN =
  (combine: (a: number, b: number) => number) =>
  (a: number, b: number): number =>
    Number.isNaN(b) ? a : combine(a, b);

function rounding(type: 'f32' | 'f64'): (value: number) => number {
  return type === 'f32' ? Math.fround : (value) => value;
}
