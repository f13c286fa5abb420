/**
 * Runs kernels slowly and strictly: the definition of what a kernel program means, and the judge of schedules.
 *
 * Reals are computed by `primitives[..].f64`, rounded to f32 where the value is f32. What the IR leaves open
 * is shuffled by a seed: the order of all grid cells of a phase, and the order of lanes. What it forbids
 * is an error at the place where it happens. Nothing is short-circuited: both arms of a select
 * and all operands of `&&` are evaluated, as vector code does, so that only a mask can guard a load.
 */
import { primitives, reductions } from '../../dsl/primitives.js';
import { CompilerBug } from '../source.js';
import type { KIndexOp, Kernel, KernelProgram, KExpr, KLoad, KLoop, KPrim, KStmt, KStore } from './kernel.js';
import { type BufferArray, Memory, unflatten } from './memory.js';
import { printStatement } from './print.js';
import { verifyProgram } from './verify.js';

export interface InterpretOptions {
  /** Flat arrays by buffer name: every input and output; scratch where the caller wants to see it. Names of no buffer are ignored. */
  readonly buffers: ReadonlyMap<string, BufferArray>;
  /** A value for every scalar the program declares. Integers for `index`, at least 0 for sizes. */
  readonly scalars: ReadonlyMap<string, number>;
  /** Decides the order of cells and lanes. Default 1. */
  readonly seed?: number;
  /** Replaces each real value on its way to memory, e.g. by flipping its lowest bit: results should not hang on rounding. */
  readonly onStore?: (value: number, buffer: string) => number;
  /** Called with one line per store: where, and what. */
  readonly trace?: (line: string) => void;
}

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

/**
 * Runs a program on the given arrays; outputs (and given scratch) are written in place.
 * An output element may be stored several times, but by one grid cell of one kernel only, and at least once.
 * @throws CompilerBug if the program is malformed, KernelViolation if a run breaks a rule,
 * RangeError or TypeError if the arrays or scalars do not fit the program.
 */
export function interpretProgram(program: KernelProgram, options: InterpretOptions): void {
  verifyProgram(program);
  const machine = new Machine(program, options);
  for (const kernels of program.phases) machine.runPhase(kernels);
  machine.checkOutputs();
}

type Frame = Float64Array;
type Evaluate = (frame: Frame) => number;
type Execute = (frame: Frame) => void;

/** A run of ids in one phase: the cells of one kernel. */
interface CellRange {
  readonly first: number;
  readonly extents: readonly number[];
  readonly kernel: Kernel;
}

class Machine {
  readonly scalars = new Map<string, number>();
  readonly memories = new Map<string, Memory>();
  readonly random: (below: number) => number;
  /** Next free worker id. */
  nextId = 0;
  cellBase = 0;
  cell = 0;
  /** -1 outside lanes loops. */
  laneBase = -1;
  lane = -1;
  /** Value of the lane variable of worker `laneBase + 1`. */
  laneFrom = 0;
  private readonly ranges: CellRange[] = [];

  constructor(
    readonly program: KernelProgram,
    readonly options: InterpretOptions,
  ) {
    this.random = randomBelow(options.seed ?? 1);
    for (const scalar of program.scalars) {
      const value = options.scalars.get(scalar.name);
      if (value === undefined) throw new TypeError(`scalar ${scalar.name}: no value given`);
      if (scalar.type === 'index' && !Number.isSafeInteger(value)) {
        throw new RangeError(`scalar ${scalar.name}: ${value} given, an integer is needed`);
      }
      if (scalar.role === 'size' && value < 0) throw new RangeError(`scalar ${scalar.name}: size ${value} is negative`);
      this.scalars.set(scalar.name, value);
    }
    for (const decl of program.buffers) {
      const shape = decl.shape.map((extent) => this.uniform(extent, `shape of ${decl.name}`));
      this.memories.set(decl.name, Memory.open(decl, shape, options.buffers.get(decl.name)));
    }
  }

  /** Value of an expression over scalars. */
  uniform(expr: KExpr, what: string): number {
    return new Compiler(this, what).expr(expr)(new Float64Array(0));
  }

  /** Every cell of every kernel of a phase, in one shuffled order. */
  runPhase(kernels: readonly Kernel[]): void {
    this.cellBase = this.nextId;
    const cells: { run: Execute; frame: Frame; id: number; coordinates: readonly number[] }[] = [];
    let id = this.cellBase + 1;
    for (const kernel of kernels) {
      const extents = kernel.grid.map((axis) => this.uniform(axis.extent, `grid of ${kernel.name}`));
      if (extents.some((extent) => extent < 0)) {
        throw new KernelViolation('bad-operand', `kernel ${kernel.name}: negative extent in grid [${extents.join(', ')}]`);
      }
      const compiler = new Compiler(this, `kernel ${kernel.name}`);
      for (const axis of kernel.grid) compiler.define(axis.variable);
      const run = compiler.block(kernel.body);
      const frame = new Float64Array(compiler.slots);
      const count = extents.reduce((product, extent) => product * extent, 1);
      this.ranges.push({ first: id, extents, kernel });
      for (let task = 0; task < count; task++) cells.push({ run, frame, id: id + task, coordinates: unflatten(task, extents) });
      id += count;
    }
    this.nextId = id;
    for (let last = cells.length - 1; last > 0; last--) {
      const other = this.random(last + 1);
      [cells[last], cells[other]] = [cells[other], cells[last]] as [(typeof cells)[0], (typeof cells)[0]];
    }
    for (const cell of cells) {
      this.cell = cell.id;
      cell.frame.fill(Number.NaN);
      cell.frame.set(cell.coordinates);
      cell.run(cell.frame);
    }
  }

  /** Every element of every output was written. */
  checkOutputs(): void {
    for (const memory of this.memories.values()) {
      if (memory.decl.role !== 'output' || !memory.cells) continue;
      const missing = memory.cells.writer.indexOf(-1);
      if (missing >= 0) throw new KernelViolation('output-missing', `no kernel wrote ${memory.place(missing)}`);
    }
  }

  /** Name of a grid cell by its worker id. */
  cellName(id: number): string {
    const range = this.ranges.findLast((candidate) => candidate.first <= id);
    if (!range || id === this.cellBase) return 'several cells';
    const at = unflatten(id - range.first, range.extents);
    const cell = range.kernel.grid.map((axis, index) => `${axis.variable} = ${at[index]}`).join(', ');
    return `kernel ${range.kernel.name}${cell && ` at ${cell}`}`;
  }

  laneName(id: number): string {
    return id === this.laneBase ? 'several lanes' : `lane ${this.laneFrom + id - this.laneBase - 1}`;
  }
}

/** Turns statements and expressions into closures over a frame of numbered slots (bool: 0 or 1). */
class Compiler {
  slots = 0;
  private scope: readonly [name: string, slot: number][] = [];
  private stmt: KStmt | undefined;

  constructor(
    private readonly machine: Machine,
    private readonly where: string,
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
    const steps = stmts.filter((stmt) => stmt.kind !== 'comment').map((stmt) => this.compile(stmt));
    if (steps.length === 1) return steps[0] as Execute;
    return (frame) => {
      for (const step of steps) step(frame);
    };
  }

  private compile(stmt: Exclude<KStmt, { kind: 'comment' }>): Execute {
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
      return { value: this.expr(reduce.value), combine: primitives[combine].f64, round: rounding(reduce.type), empty, slot: -1 };
    });
    this.scope = outer;
    folds.forEach((fold, index) => {
      fold.slot = this.define((loop.reduce[index] as { name: string }).name);
    });
    const once: Execute = (frame) => {
      body(frame);
      for (const { slot, value, combine, round } of folds) frame[slot] = round(combine(frame[slot] as number, value(frame)));
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
    const { data, decl, cells, lanes } = memory;
    if (!cells || !lanes) throw new CompilerBug('kernels', `store to input ${decl.name}`); // the verifier refuses it
    const { onStore, trace } = machine.options;
    const fail = this.failing();
    return (frame) => {
      const at = index(frame);
      let stored = value(frame);
      if (!(at >= 0 && at < data.length)) fail(frame, 'out-of-bounds', `stores to ${memory.place(at)}, which has ${data.length} elements`);
      if (machine.laneBase >= 0) {
        const writer = lanes.otherWriter(at, machine.laneBase, machine.lane);
        if (writer >= 0) fail(frame, 'lane-race', `stores to ${memory.place(at)}, as ${machine.laneName(writer)} of the same loop does`);
        const reader = lanes.otherReader(at, machine.laneBase, machine.lane);
        if (reader >= 0) fail(frame, 'lane-race', `stores to ${memory.place(at)}, which ${machine.laneName(reader)} of the same loop reads`);
        lanes.writer[at] = machine.lane;
      }
      const writer = cells.otherWriter(at, machine.cellBase, machine.cell);
      if (writer >= 0) fail(frame, 'cell-race', `stores to ${memory.place(at)}, as ${machine.cellName(writer)} of the same phase does`);
      const reader = cells.otherReader(at, machine.cellBase, machine.cell);
      if (reader >= 0) fail(frame, 'cell-race', `stores to ${memory.place(at)}, which ${machine.cellName(reader)} of the same phase reads`);
      const earlier = cells.writer[at] as number;
      if (decl.role === 'output' && earlier >= 0 && earlier !== machine.cell) {
        fail(frame, 'output-rewritten', `stores to ${memory.place(at)} of an output, which ${machine.cellName(earlier)} has written`);
      }
      cells.writer[at] = machine.cell;
      if (decl.element === 'i32') {
        if (stored !== (stored | 0)) fail(frame, 'not-int32', `stores ${stored} to ${memory.place(at)}, an i32`);
      } else if (onStore) stored = onStore(stored, decl.name);
      data[at] = stored;
      if (trace) trace(`${this.where}${values(frame, fail.scope)}: ${memory.place(at)} := ${data[at]}`);
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
        switch (expr.compare) {
          case 'eq':
            return (frame) => Number(left(frame) === right(frame));
          case 'ne':
            return (frame) => Number(left(frame) !== right(frame));
          case 'lt':
            return (frame) => Number(left(frame) < right(frame));
          case 'le':
            return (frame) => Number(left(frame) <= right(frame));
          case 'gt':
            return (frame) => Number(left(frame) > right(frame));
          case 'ge':
            return (frame) => Number(left(frame) >= right(frame));
        }
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
    const { data, cells, lanes } = memory;
    const fail = this.failing();
    return (frame) => {
      const at = index(frame);
      if (mask && !mask(frame)) return other;
      if (!(at >= 0 && at < data.length)) fail(frame, 'out-of-bounds', `loads ${memory.place(at)}, which has ${data.length} elements`);
      if (!cells || !lanes) return data[at] as number;
      if (machine.laneBase >= 0) {
        const writer = lanes.read(at, machine.laneBase, machine.lane);
        if (writer >= 0) fail(frame, 'lane-race', `loads ${memory.place(at)}, which ${machine.laneName(writer)} of the same loop stores`);
      }
      const writer = cells.read(at, machine.cellBase, machine.cell);
      if (writer >= 0) fail(frame, 'cell-race', `loads ${memory.place(at)}, which ${machine.cellName(writer)} of the same phase stores`);
      if (cells.writer[at] === -1) fail(frame, 'unwritten-read', `loads ${memory.place(at)} before anything was stored there`);
      return data[at] as number;
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
          if (!(a >= 0 && b >= 1)) fail(frame, 'bad-operand', `${op.name} of ${a} by ${b}; allowed are at least 0 by at least 1`);
          return divide ? Math.floor(a / b) : a % b;
        };
      }
    }
  }

  private pair(args: readonly [KExpr, KExpr]): [Evaluate, Evaluate] {
    return [this.expr(args[0]), this.expr(args[1])];
  }

  private memory(name: string): Memory {
    return this.machine.memories.get(name) as Memory; // the verifier has seen to it
  }

  private slotOf(name: string): number {
    const entry = this.scope.find(([known]) => known === name);
    if (!entry) throw new CompilerBug('kernels', `${this.where}: ${name} has no slot`);
    return entry[1];
  }

  /** A function that throws the violation found at the current place. */
  private failing(): ((frame: Frame, rule: Violation, problem: string) => never) & { scope: readonly [string, number][] } {
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

function rounding(type: 'f32' | 'f64'): (value: number) => number {
  return type === 'f32' ? Math.fround : (value) => value;
}

/** Integers in [0, below), a fixed sequence for each seed (mulberry32). */
function randomBelow(seed: number): (below: number) => number {
  let state = seed | 0;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32) * below);
  };
}
