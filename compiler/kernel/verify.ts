/**
 * Is a kernel program well formed? Checked right after the scheduler made it and after every rewrite, so
 * that a mistake shows at the stage that made it rather than as bad machine code. What only a run
 * can show (bounds, races, unwritten reads) is the interpreter's part.
 */
import { primitives } from '../../dsl/primitives.js';
import { CompilerBug } from '../source.js';
import type {
  BufferDecl,
  ElementType,
  KExpr,
  Kernel,
  KernelProgram,
  KernelType,
  KLoad,
  KLoop,
  KReduce,
  KStmt,
  ScalarDecl,
} from './kernel.js';
import { localBuffer } from './memory.js';
import { printExpr, printStatement } from './print.js';

/** Type of a value loaded from, or stored to, memory of each element type. */
export const valueType = { f32: 'f32', f64: 'f64', i32: 'index', f16: 'f32', bf16: 'f32' } as const satisfies Record<
  ElementType,
  KernelType
>;

/** A name in scope. `varying`: differs between the lanes of the enclosing lanes loop. */
interface Binding {
  readonly type: KernelType;
  readonly varying: boolean;
}
type Value = Binding;

/**
 * Checks names, scopes, types, roles and the nesting of loops.
 * @throws CompilerBug naming the kernel and the statement (or the declaration) and the broken rule.
 */
export function verifyProgram(program: KernelProgram): void {
  const scalars = declare('scalar', program.scalars);
  const buffers = declare('buffer', program.buffers);
  const kernels = program.phases.flat();
  declare('kernel', kernels);
  for (const scalar of program.scalars) {
    if (scalar.role === 'size' && scalar.type !== 'index')
      fail(`scalar ${scalar.name}`, `a size is of type index, not ${scalar.type}`);
  }
  for (const buffer of program.buffers) {
    const where = `buffer ${buffer.name}`;
    if (buffer.shape.length === 0) fail(where, 'has no axes; the first axis is the batch');
    for (const extent of buffer.shape) new Checker(where, scalars, undefined).extent(extent, 'extent');
  }
  const loaded = new Set<string>();
  const stored = new Set<string>();
  for (const kernel of kernels) new KernelChecker(kernel, scalars, buffers, loaded, stored).check();
  for (const { name, role } of program.buffers) {
    if (role === 'output' && !stored.has(name)) fail(`buffer ${name}`, 'is an output, but no kernel stores to it');
    if (role === 'scratch' && loaded.has(name) && !stored.has(name)) {
      fail(`buffer ${name}`, 'is scratch that kernels load from, but no kernel stores to it');
    }
  }
}

function declare<T extends { readonly name: string }>(kind: string, decls: readonly T[]): Map<string, T> {
  const map = new Map<string, T>();
  for (const decl of decls) {
    if (map.has(decl.name)) fail(`${kind} ${decl.name}`, `is declared twice`);
    map.set(decl.name, decl);
  }
  return map;
}

function fail(where: string, problem: string): never {
  throw new CompilerBug('kernels', `${where}: ${problem}`);
}

/** Checks expressions, in a place that is named in errors. */
class Checker {
  /** Innermost scope last. */
  protected scopes: Map<string, Binding>[] = [new Map()];

  constructor(
    protected where: string,
    private readonly scalars: ReadonlyMap<string, ScalarDecl>,
    /** Undefined where loads are not allowed: extents depend on scalars only. */
    private readonly buffers: ReadonlyMap<string, BufferDecl> | undefined,
    private readonly loaded: Set<string> = new Set(),
  ) {}

  extent(expr: KExpr, what: string): void {
    this.expect(this.value(expr), 'index', what, expr);
  }

  /** Type of an expression and whether it varies between lanes, after checking everything in it. */
  value(expr: KExpr): Value {
    switch (expr.op) {
      case 'const':
        return this.constant(expr.type, expr.value);
      case 'var': {
        const binding = this.lookup(expr.name);
        if (!binding) return this.fail(`name ${expr.name} is used where it is not defined`);
        if (binding.type !== expr.type) this.fail(`${expr.name} is ${binding.type}, but is read as ${expr.type}`);
        return binding;
      }
      case 'scalar': {
        const scalar = this.scalars.get(expr.name);
        if (!scalar) return this.fail(`scalar ${expr.name} is not declared`);
        if (scalar.type !== expr.type) this.fail(`scalar ${expr.name} is ${scalar.type}, but is read as ${expr.type}`);
        return { type: scalar.type, varying: false };
      }
      case 'load':
        return this.load(expr);
      case 'prim': {
        const primitive = Object.hasOwn(primitives, expr.name) ? primitives[expr.name] : undefined;
        if (!primitive) return this.fail(`there is no primitive ${expr.name}`);
        this.count(expr.args, primitive.arity, expr);
        this.oneOf(expr.type, ['f32', 'f64'], expr);
        return this.all(expr.args, expr.type, expr);
      }
      case 'index':
        this.count(expr.args, 2, expr);
        return this.all(expr.args, 'index', expr);
      case 'compare': {
        this.count(expr.args, 2, expr);
        const left = this.value(expr.args[0]);
        if (left.type === 'bool') this.fail(`bool operand in ${printExpr(expr)}`);
        const right = this.expect(this.value(expr.args[1]), left.type, 'right operand', expr);
        return { type: 'bool', varying: left.varying || right.varying };
      }
      case 'logic':
        if (expr.logic === 'not') this.count(expr.args, 1, expr);
        else if (expr.args.length === 0) this.fail(`'${expr.logic}' without operands`);
        return this.all(expr.args, 'bool', expr);
      case 'select': {
        this.count(expr.args, 3, expr);
        const condition = this.expect(this.value(expr.args[0]), 'bool', 'condition', expr);
        const arms = this.all(expr.args.slice(1), expr.type, expr);
        return { type: expr.type, varying: condition.varying || arms.varying };
      }
      case 'cast': {
        const arg = this.value(expr.arg);
        this.oneOf(expr.type, ['f32', 'f64'], expr);
        if (arg.type === 'bool' || arg.type === expr.type)
          this.fail(`cast from ${arg.type} to ${expr.type} in ${printExpr(expr)}`);
        return { type: expr.type, varying: arg.varying };
      }
      default:
        return this.fail(`unknown kind of expression ${JSON.stringify((expr as { op: unknown }).op)}`);
    }
  }

  private constant(type: KernelType, value: number): Value {
    if (Number.isNaN(value)) this.fail('constant NaN; reals are finite or +-Infinity');
    if (type === 'index' && !Number.isSafeInteger(value)) this.fail(`index constant ${value} is not an integer`);
    if (type === 'bool' && value !== 0 && value !== 1) this.fail(`bool constant ${value} is neither 0 nor 1`);
    return { type, varying: false };
  }

  private load(load: KLoad): Value {
    if (!this.buffers) return this.fail(`load of ${load.buffer} where only scalars and constants are allowed`);
    const buffer = this.buffers.get(load.buffer);
    if (!buffer) return this.fail(`load from ${load.buffer}, which is not a buffer of the program`);
    this.loaded.add(load.buffer);
    const type = valueType[buffer.element];
    if (load.type !== type)
      this.fail(`load from ${load.buffer} as ${load.type}; its elements (${buffer.element}) load as ${type}`);
    const index = this.expect(this.value(load.index), 'index', 'index', load);
    if (load.other !== undefined) this.constant(type, load.other);
    const mask = load.mask && this.expect(this.value(load.mask), 'bool', 'mask', load);
    return { type, varying: index.varying || (mask?.varying ?? false) };
  }

  private all(args: readonly KExpr[], type: KernelType, within: KExpr): Value {
    let varying = false;
    for (const arg of args) varying = this.expect(this.value(arg), type, 'operand', within).varying || varying;
    return { type: within.type, varying };
  }

  private count(args: readonly KExpr[], wanted: number, within: KExpr): void {
    if (args.length !== wanted) this.fail(`${args.length} operands instead of ${wanted} in '${within.op}'`);
  }

  private oneOf(type: KernelType, allowed: readonly KernelType[], within: KExpr): void {
    if (!allowed.includes(type))
      this.fail(`${printExpr(within)} is of type ${type}; allowed are ${allowed.join(', ')}`);
  }

  protected expect(value: Value, type: KernelType, what: string, within?: KExpr): Value {
    const place = within ? ` in ${printExpr(within)}` : '';
    if (value.type !== type) this.fail(`${what} is ${value.type} where ${type} is wanted${place}`);
    return value;
  }

  protected fail(problem: string): never {
    return fail(this.where, problem);
  }

  private lookup(name: string): Binding | undefined {
    for (let depth = this.scopes.length - 1; depth >= 0; depth--) {
      const binding = this.scopes[depth]?.get(name);
      if (binding) return binding;
    }
    return undefined;
  }
}

/** The buffers a kernel may name: the program's, and its own. */
function withLocals(kernel: Kernel, buffers: ReadonlyMap<string, BufferDecl>): ReadonlyMap<string, BufferDecl> {
  const all = new Map(buffers);
  for (const { name, element, extent } of kernel.locals ?? []) {
    const where = `kernel ${kernel.name}, local ${name}`;
    if (all.has(name)) fail(where, 'has the name of a buffer or of another local');
    if (!Number.isSafeInteger(extent) || extent < 1) fail(where, `has ${extent} elements`);
    all.set(name, localBuffer({ name, element, extent }));
  }
  return all;
}

/** Checks one kernel's statements. */
class KernelChecker extends Checker {
  private readonly defined = new Set<string>();
  private lanes: KLoop | undefined;
  private readonly declared: ReadonlyMap<string, BufferDecl>;

  constructor(
    private readonly kernel: Kernel,
    scalars: ReadonlyMap<string, ScalarDecl>,
    buffers: ReadonlyMap<string, BufferDecl>,
    loaded: Set<string>,
    private readonly stored: Set<string>,
  ) {
    const declared = withLocals(kernel, buffers);
    super(`kernel ${kernel.name}`, scalars, declared, loaded);
    this.declared = declared;
    for (const axis of kernel.grid) {
      // No name is in scope yet and no buffer is known: an extent depends on scalars only.
      new Checker(`kernel ${kernel.name}, grid ${axis.variable}`, scalars, undefined).extent(axis.extent, 'extent');
    }
  }

  check(): void {
    for (const line of this.kernel.doc) this.oneLine(line, 'line of doc');
    for (const axis of this.kernel.grid) this.define(axis.variable, { type: 'index', varying: false });
    this.block(this.kernel.body);
  }

  private block(stmts: readonly KStmt[]): void {
    this.scopes.push(new Map());
    for (const stmt of stmts) this.stmt(stmt);
    this.scopes.pop();
  }

  private stmt(stmt: KStmt): void {
    this.at(stmt);
    switch (stmt.kind) {
      case 'comment':
        this.oneLine(stmt.text, 'comment');
        return;
      case 'let':
        this.define(stmt.name, this.value(stmt.value));
        return;
      case 'store': {
        const buffer =
          this.declared.get(stmt.buffer) ?? this.fail(`store to ${stmt.buffer}, which is not a buffer of the program`);
        if (buffer.role === 'input') this.fail(`store to ${stmt.buffer}, which is an input`);
        this.stored.add(stmt.buffer);
        this.expect(this.value(stmt.index), 'index', 'index of the store');
        const type = valueType[buffer.element];
        this.expect(this.value(stmt.value), type, `value stored to ${buffer.element} buffer ${stmt.buffer}`);
        return;
      }
      case 'prefetch':
        if (!this.declared.has(stmt.buffer))
          this.fail(`prefetch of ${stmt.buffer}, which is not a buffer of the program`);
        this.expect(this.value(stmt.index), 'index', 'index of the prefetch');
        return;
      case 'loop':
        this.loop(stmt);
        return;
      case 'if':
        if (this.expect(this.value(stmt.condition), 'bool', 'condition').varying) {
          this.fail(`condition varies with lane ${this.lanes?.variable}; an 'if' is uniform`);
        }
        this.block(stmt.then);
        this.block(stmt.otherwise);
        return;
      default:
        this.fail(`unknown kind of statement ${JSON.stringify((stmt as { kind: unknown }).kind)}`);
    }
  }

  private loop(loop: KLoop): void {
    const outer = this.lanes;
    if (outer && loop.mode !== 'serial')
      this.fail(`${loop.mode} loop inside lanes loop ${outer.variable}; only serial loops may be there`);
    if (loop.mode === 'lanes') {
      if (!loop.precision) this.fail('lanes loop without a precision');
      if (loop.reverse && loop.reduce.length > 0) this.fail('lanes loop in reverse with a reduction');
      this.lanes = loop;
    }
    const from = this.expect(this.value(loop.from), 'index', 'lower bound');
    const to = this.expect(this.value(loop.to), 'index', 'upper bound');
    const uneven = from.varying || to.varying;
    this.scopes.push(new Map());
    this.define(loop.variable, { type: 'index', varying: loop.mode === 'lanes' || uneven });
    // The body's names stay in scope for the reduced values, which are evaluated at its end.
    for (const stmt of loop.body) this.stmt(stmt);
    this.at(loop);
    const results = loop.reduce.map((reduce) => this.reduced(reduce, uneven));
    this.scopes.pop();
    this.lanes = outer;
    loop.reduce.forEach((reduce, index) => {
      this.define(reduce.name, results[index] as Binding);
    });
  }

  private reduced(reduce: KReduce, uneven: boolean): Binding {
    const type: KernelType = reduce.type;
    if (reduce.passesNaN && reduce.op === 'sum') this.fail(`sum ${reduce.name} passes over NaN`);
    if (type !== 'f32' && type !== 'f64')
      this.fail(`reduction ${reduce.name} of type ${type}; allowed are f32 and f64`);
    const value = this.expect(this.value(reduce.value), type, `value reduced into ${reduce.name}`);
    // What a lanes loop reduces is one value for all lanes again.
    return { type, varying: this.lanes?.reduce.includes(reduce) ? false : value.varying || uneven };
  }

  private define(name: string, binding: Binding): void {
    if (this.defined.has(name)) this.fail(`name ${name} is defined twice`);
    this.defined.add(name);
    this.scopes.at(-1)?.set(name, binding);
  }

  private oneLine(text: string, what: string): void {
    if (/[\r\n]/.test(text)) this.fail(`${what} ${JSON.stringify(text)} has more than one line`);
  }

  /** Later errors are about this statement. */
  private at(stmt: KStmt): void {
    this.where = `kernel ${this.kernel.name}, statement '${printStatement(stmt)}'`;
  }
}
