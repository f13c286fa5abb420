/**
 * Runs kernels slowly and strictly: the definition of what a kernel program means, and the judge of schedules.
 *
 * Reals are computed by `primitives[..].f64`, rounded to f32 where the value is f32. What the IR leaves open
 * is shuffled by a seed: the order of all grid cells of a phase, and the order of lanes. What it forbids
 * is an error at the place where it happens. Nothing is short-circuited: both arms of a select
 * and all operands of `&&` are evaluated, as vector code does, so that only a mask can guard a load.
 */
import { Compiler, type Execute, type Frame, KernelViolation, type Run } from './execute.js';
import type { KExpr, Kernel, KernelProgram } from './kernel.js';
import { type BufferArray, Memory, unflatten } from './memory.js';
import { verifyProgram } from './verify.js';

export { KernelViolation, type Violation } from './execute.js';

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

/** A run of ids in one phase: the cells of one kernel. */
interface CellRange {
  readonly first: number;
  readonly extents: readonly number[];
  readonly kernel: Kernel;
}

class Machine implements Run {
  readonly scalars = new Map<string, number>();
  readonly memories = new Map<string, Memory>();
  readonly random: (below: number) => number;
  readonly onStore: Run['onStore'];
  readonly trace: Run['trace'];
  nextId = 0;
  cellBase = 0;
  cell = 0;
  laneBase = -1;
  lane = -1;
  laneFrom = 0;
  private readonly ranges: CellRange[] = [];

  constructor(program: KernelProgram, options: InterpretOptions) {
    this.onStore = options.onStore;
    this.trace = options.trace;
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
        throw new KernelViolation(
          'bad-operand',
          `kernel ${kernel.name}: negative extent in grid [${extents.join(', ')}]`,
        );
      }
      const locals = new Map((kernel.locals ?? []).map((decl) => [decl.name, Memory.local(decl)]));
      const compiler = new Compiler(this, `kernel ${kernel.name}`, locals);
      for (const axis of kernel.grid) compiler.define(axis.variable);
      const run = compiler.block(kernel.body);
      const frame = new Float64Array(compiler.slots);
      const count = extents.reduce((product, extent) => product * extent, 1);
      this.ranges.push({ first: id, extents, kernel });
      for (let task = 0; task < count; task++)
        cells.push({ run, frame, id: id + task, coordinates: unflatten(task, extents) });
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
