/**
 * Builds interned expressions. Equal expressions built by one builder are one object, so `===` is
 * structural equality and maps can be keyed by node.
 *
 * Only integer and boolean constants are folded here (offsets in indices become short). Floating-point
 * rules such as x * 0 -> 0 are not applied: they are wrong for NaN and infinities.
 */
import { type OperationName, onInts, operations, type ReductionName } from '../../dsl/primitives.js';
import { CompilerBug } from '../source.js';
import {
  type CompareOp,
  comparisons,
  type Expr,
  type IndexRef,
  type LogicOp,
  type Origin,
  type SizeExpr,
  type ValueType,
} from './graph.js';
import { printSize } from './size.js';

type Unbuilt = Expr extends infer E ? (E extends Expr ? Omit<E, 'id'> : never) : never;

export class GraphBuilder {
  readonly origins = new Map<number, Origin[]>();
  private readonly interned = new Map<string, Expr>();
  private nextId = 0;
  private nextIndex = 0;

  private intern<E extends Expr>(key: string, node: Omit<E, 'id'> & Unbuilt): E {
    const known = this.interned.get(key);
    if (known) return known as E;
    const built = Object.freeze({ ...node, id: this.nextId++ }) as unknown as E;
    this.interned.set(key, built);
    return built;
  }

  /** Remembers a place in the spec that this expression came from. */
  note<E extends Expr>(expr: E, origin: Origin): E {
    const places = this.origins.get(expr.id);
    if (places) places.push(origin);
    else this.origins.set(expr.id, [origin]);
    return expr;
  }

  private constant(type: ValueType, value: number): Expr {
    // Object.is semantics: -0 and 0 differ, NaN equals NaN.
    return this.intern(`const ${type} ${Object.is(value, -0) ? '-0' : value}`, { op: 'const', type, value });
  }
  real = (value: number): Expr => this.constant('real', value);
  bool = (value: boolean): Expr => this.constant('bool', value ? 1 : 0);
  int(value: number): Expr {
    if (!Number.isInteger(value)) throw new CompilerBug('graph', `int constant ${value}`);
    return this.constant('int', value === 0 ? 0 : value);
  }

  size = (name: string): Expr => this.intern(`size ${name}`, { op: 'size', type: 'int', name });
  param = (name: string, type: 'real' | 'int'): Expr =>
    this.intern(`param ${type} ${name}`, { op: 'param', type, name });

  /** A fresh index variable: never equal to another one, even of the same name. */
  index(name: string): IndexRef {
    const unique = this.nextIndex++;
    return this.intern<IndexRef>(`index ${unique}`, { op: 'index', type: 'int', name, unique });
  }

  read(source: string, type: 'real' | 'int', indices: readonly Expr[]): Expr {
    for (const index of indices) this.expect(index, 'int', `index of ${source}`);
    return this.intern(`read ${type} ${source} ${ids(indices)}`, { op: 'read', type, source, indices });
  }

  prim(name: OperationName, ...args: Expr[]): Expr {
    const row = operations[name];
    if (args.length !== row.arity)
      throw new CompilerBug('graph', `${name} takes ${row.arity} operands, got ${args.length}`);
    const type = args[0]!.type;
    for (const arg of args) this.expect(arg, type === 'int' ? 'int' : 'real', `operand of ${name}`);
    if (type === 'int') {
      const [, divisor] = args;
      if (name === 'floorDiv' && !(divisor?.op === 'const' && divisor.value >= 1))
        throw new CompilerBug('graph', 'floorDiv by what is no constant of at least 1');
      const folded = this.foldInt(name, args);
      if (folded) return folded;
    }
    return this.intern(`prim ${name} ${ids(args)}`, { op: 'prim', type: type as 'real' | 'int', name, args });
  }

  private foldInt(name: OperationName, args: readonly Expr[]): Expr | undefined {
    if (!onInts.has(name)) throw new CompilerBug('graph', `${name} on ints`);
    const [a, b] = args as [Expr, Expr | undefined];
    if (args.every((arg) => arg.op === 'const')) {
      const values = args.map((arg) => (arg as { value: number }).value);
      return this.int(operations[name].f64(values[0]!, values[1] ?? 0));
    }
    if ((name === 'add' || name === 'sub') && b?.op === 'const' && b.value === 0) return a;
    if (name === 'add' && a.op === 'const' && a.value === 0) return b;
    if ((name === 'mul' || name === 'floorDiv') && b?.op === 'const' && b.value === 1) return a;
    if (name === 'mul' && a.op === 'const' && a.value === 1) return b;
    if (name === 'floorDiv' && b?.op === 'const') return this.exactQuotient(a, b.value);
    return undefined;
  }

  /** (2 * i + 1) / 2 rounded down is i: of a multiple, perhaps with constants added. */
  private exactQuotient(a: Expr, divisor: number, added = 0): Expr | undefined {
    if (a.op !== 'prim') return undefined;
    const [x, y] = a.args as [Expr, Expr | undefined];
    if (a.name === 'mul' && x.op === 'const' && x.value % divisor === 0) {
      const whole = this.prim('mul', this.int(x.value / divisor), y!);
      return this.prim('add', whole, this.int(Math.floor(added / divisor)));
    }
    if (y?.op !== 'const' || (a.name !== 'add' && a.name !== 'sub')) return undefined;
    return this.exactQuotient(x, divisor, a.name === 'add' ? added + y.value : added - y.value);
  }

  compare(op: CompareOp, a: Expr, b: Expr): Expr {
    if (a.type !== b.type || a.type === 'bool')
      throw new CompilerBug('graph', `compare ${op} of ${a.type} and ${b.type}`);
    if (a.op === 'const' && b.op === 'const') return this.bool(comparisons[op](a.value, b.value));
    return this.intern(`compare ${op} ${ids([a, b])}`, { op: 'compare', type: 'bool', compare: op, args: [a, b] });
  }

  logic(op: LogicOp, ...args: Expr[]): Expr {
    for (const arg of args) this.expect(arg, 'bool', `operand of ${op}`);
    if (op === 'not') {
      const only = args[0]!;
      if (only.op === 'const') return this.bool(only.value === 0);
    } else {
      const absorbing = op === 'and' ? 0 : 1;
      const rest = args.filter((arg) => arg.op !== 'const');
      if (args.some((arg) => arg.op === 'const' && arg.value === absorbing)) return this.bool(absorbing === 1);
      if (rest.length === 0) return this.bool(absorbing === 0);
      if (rest.length === 1) return rest[0]!;
      return this.intern(`logic ${op} ${ids(rest)}`, { op: 'logic', type: 'bool', logic: op, args: rest });
    }
    return this.intern(`logic ${op} ${ids(args)}`, { op: 'logic', type: 'bool', logic: op, args });
  }

  select(condition: Expr, then: Expr, otherwise: Expr): Expr {
    this.expect(condition, 'bool', 'condition');
    this.expect(otherwise, then.type, 'second arm of a choice');
    if (condition.op === 'const') return condition.value === 1 ? then : otherwise;
    if (then === otherwise) return then;
    return this.intern(`select ${ids([condition, then, otherwise])}`, {
      op: 'select',
      type: then.type,
      args: [condition, then, otherwise],
    });
  }

  toReal(arg: Expr): Expr {
    this.expect(arg, 'int', 'operand of toReal');
    if (arg.op === 'const') return this.real(arg.value);
    return this.intern(`toReal ${arg.id}`, { op: 'toReal', type: 'real', args: [arg] });
  }

  reduce(reduction: ReductionName, index: IndexRef, extent: SizeExpr, body: Expr): Expr {
    this.expect(body, 'real', `body of ${reduction}`);
    return this.intern(`reduce ${reduction} ${index.id} ${printSize(extent)} ${body.id}`, {
      op: 'reduce',
      type: 'real',
      reduction,
      index,
      extent,
      body,
    });
  }

  private expect(expr: Expr, type: ValueType, what: string): void {
    if (expr.type !== type) throw new CompilerBug('graph', `${what} must be ${type}, got ${expr.type} (${expr.op})`);
  }
}

const ids = (exprs: readonly Expr[]): string => exprs.map((expr) => expr.id).join(',');

/** The direct operands of an expression, in order. */
export function operands(expr: Expr): readonly Expr[] {
  switch (expr.op) {
    case 'read':
      return expr.indices;
    case 'prim':
    case 'compare':
    case 'logic':
    case 'select':
    case 'toReal':
      return expr.args;
    case 'reduce':
      return [expr.body];
    default:
      return [];
  }
}
