/**
 * Statements. All invocations of a workgroup run what is outside of lanes loops, with the same values; the first one
 * stores. A lanes loop gives each invocation every workgroupSize-th iteration.
 */

import { typeOfElement } from '../kernel/build.js';
import type { KExpr, KIf, KLoop, KStmt, KStore } from '../kernel/kernel.js';
import { CompilerBug } from '../source.js';
import { cellOf, printExpr, printLoad, spellCall } from './expr.js';
import { type Accesses, accessesOf, Pending } from './hazards.js';
import { acrossFour, acrossWorkgroup, combine, neutralOf } from './reduce.js';
import type { KeptRow } from './rows.js';
import { valueType, vectorType } from './types.js';
import { argument, asFour, atom, bufferOf, type KernelContext, level, type Scope, type Value, wrap } from './values.js';
import { Writer } from './writer.js';

export class StatementPrinter {
  private pending = new Pending();
  /** Of rows whose first loop has been printed: the first lane of each round, and the variables by round. */
  private readonly kept = new Map<KeptRow, { lanes: string[]; values: ReadonlyMap<string, string[]> }>();

  constructor(
    private readonly context: KernelContext,
    /** Buffers the kernel stores to. */
    private readonly stored: ReadonlySet<string>,
  ) {}

  /** Prints statements in a block of their own; names defined in it are seen in the scope that is returned only. */
  block(scope: Scope, body: readonly KStmt[]): Scope {
    const inner: Scope = { ...scope, values: new Map(scope.values) };
    for (const statement of body) this.statement(inner, statement);
    return inner;
  }

  private statement(scope: Scope, statement: KStmt): void {
    if (scope.inLanes || statement.kind === 'comment') {
      this.print(scope, statement);
      return;
    }
    const accesses = accessesOf(statement, this.stored);
    if (this.pending.conflictsWith(accesses)) this.barrier(scope);
    this.print(scope, statement);
    // Blocks have kept their own account.
    const simple = statement.kind === 'let' || statement.kind === 'store';
    if (simple || (statement.kind === 'loop' && statement.mode === 'lanes')) this.pending.add(accesses);
  }

  private print(scope: Scope, statement: KStmt): void {
    switch (statement.kind) {
      case 'comment':
        scope.writer.comment(statement.text);
        return;
      case 'prefetch':
        return; // there is no such hint
      case 'let':
        this.let(scope, statement.name, statement.value);
        return;
      case 'store':
        this.store(scope, statement);
        return;
      case 'if':
        this.if(scope, statement);
        return;
      case 'loop':
        if (statement.mode === 'lanes') this.lanes(scope, statement);
        else this.ordered(scope, statement);
    }
  }

  private barrier(scope: Scope): void {
    scope.writer.line('storageBarrier();');
    this.context.barriers++;
    this.pending.clear();
  }

  private define(scope: Scope, name: string, value: Value): void {
    if (scope.values.has(name)) throw new CompilerBug('wgsl', `'${name}' is defined twice`);
    scope.values.set(name, value);
  }

  private let(scope: Scope, name: string, expr: KExpr): void {
    const text = this.context.names.fresh(name);
    if (expr.op === 'load' && expr.mask !== undefined) {
      this.define(scope, name, printLoad(this.context, scope, expr, text));
      return;
    }
    const value = printExpr(this.context, scope, expr);
    scope.writer.line(`let ${text} = ${value.text};`);
    this.define(scope, name, atom(value.type, text, value.steady, value.four));
  }

  private store(scope: Scope, store: KStore): void {
    const { context } = this;
    const buffer = bufferOf(context, store.buffer);
    const { element, role } = buffer.decl;
    const { cell, four } = cellOf(context, scope, store);
    const value = printExpr(context, scope, store.value);
    if (value.type !== typeOfElement(element))
      throw new CompilerBug('wgsl', `store of ${value.type} to '${store.buffer}', whose elements are ${element}`);
    const outward = role === 'output' && element !== 'i32';
    const written = outward ? spellCall(value.type === 'f32' ? 'result' : 'result_double', value.type, [value]) : value;
    const whole = four ? asFour(written) : written;
    const narrow = element === 'f16' ? spellCall('nearest_f16', 'f32', [whole]) : whole;
    const line = `${cell} = ${element === 'f16' ? `${four ? 'vec4<f16>' : 'f16'}(${narrow.text})` : narrow.text};`;
    if (scope.inLanes) {
      scope.writer.line(line);
      return;
    }
    scope.writer.open('if (lane == 0)');
    scope.writer.line(line);
    scope.writer.close();
  }

  private if(scope: Scope, statement: KIf): void {
    const condition = printExpr(this.context, scope, statement.condition);
    const before = this.context.barriers;
    const start = this.pending;
    const [then, otherwise] = [new Writer(), new Writer()];
    this.pending = start.copy();
    this.block({ ...scope, writer: then }, statement.then);
    const afterThen = this.pending;
    this.pending = start.copy();
    this.block({ ...scope, writer: otherwise }, statement.otherwise);
    this.pending.join(afterThen);
    const steady = this.context.barriers > before ? this.agree(scope, condition) : condition;
    scope.writer.open(`if (${steady.text})`);
    scope.writer.append(then);
    if (statement.otherwise.length > 0) {
      scope.writer.otherwise();
      scope.writer.append(otherwise);
    }
    scope.writer.close();
  }

  /** A value that decides whether barriers are reached, in a form that WGSL's analysis knows to be the same everywhere. */
  private agree(scope: Scope, value: Value): Value {
    if (value.steady) return value;
    if (scope.inLanes) throw new CompilerBug('wgsl', 'a barrier depends on a lane');
    this.context.shared.add('agreed');
    this.context.barriers++;
    if (value.type === 'index') return atom('index', `agreed(${argument(value)}, lane)`, true);
    const text = `agreed(select(0, 1, ${argument(value)}), lane) != 0`;
    return { type: 'bool', text, level: level.compare, steady: true };
  }

  /** A bound that is read in every iteration: a name or a number. */
  private bound(scope: Scope, variable: string, value: Value): string {
    if (/^[A-Za-z0-9_.]+$/.test(value.text)) return value.text;
    const name = this.context.names.fresh(`${variable}_end`);
    scope.writer.line(`let ${name} = ${value.text};`);
    return name;
  }

  private lanes(scope: Scope, loop: KLoop): void {
    const { context } = this;
    if (scope.inLanes) throw new CompilerBug('wgsl', `lanes loop over '${loop.variable}' inside of lanes`);
    const from = printExpr(context, scope, loop.from);
    const to = this.bound(scope, loop.variable, printExpr(context, scope, loop.to));
    const four = context.vectors.loops.has(loop);
    const partials = loop.reduce.map((reduce) => this.accumulator(scope, `${reduce.name}_part`, reduce, four));
    const own = four ? '4 * lane' : 'lane';
    const start = from.text === '0' ? own : `${wrap(from, level.add)} + ${own}`;
    const step = context.workgroupSize * (four ? 4 : 1);
    const row = context.rows.get(loop);
    if (row !== undefined) this.row(scope, loop, row, partials, { start, step, to });
    else {
      const variable = context.names.fresh(loop.variable);
      scope.writer.open(`for (var ${variable} = ${start}; ${variable} < ${to}; ${variable} += ${step})`);
      this.accumulate(lanesScope(scope, loop, variable, four), loop, partials, four);
      scope.writer.close();
    }
    loop.reduce.forEach((reduce, i) => {
      const name = context.names.fresh(reduce.name);
      const partial = four ? acrossFour(reduce, partials[i]!) : partials[i]!;
      scope.writer.line(`let ${name} = ${acrossWorkgroup(context, reduce, partial)};`);
      this.define(scope, reduce.name, atom(reduce.type, name, false));
    });
  }

  /** A lanes loop over a row that is kept, one round of the workgroup after the other; the first loop loads it. */
  private row(
    scope: Scope,
    loop: KLoop,
    row: KeptRow,
    partials: readonly string[],
    { start, step, to }: { readonly start: string; readonly step: number; readonly to: string },
  ): void {
    const { context } = this;
    const four = context.vectors.loops.has(loop);
    const { writer } = scope;
    const rounds = Array.from({ length: row.rounds }, (_, n) => n);
    const numbered = (name: string, n: number): string => (row.rounds === 1 ? name : `${name}_${n + 1}`);
    /** Prints for one round what only invocations that have lanes in it may do. */
    const guarded = (n: number, print: (lanes: Scope) => void): void => {
      const lanes = this.kept.get(row)!.lanes[n]!;
      if (n >= row.full) writer.open(`if (${lanes} < ${to})`);
      print(lanesScope(scope, loop, lanes, four));
      if (n >= row.full) writer.close();
    };
    if (loop === row.first) {
      writer.comment('Read once, and kept.');
      const lanes = rounds.map((n) => {
        const name = context.names.fresh(numbered(loop.variable, n));
        writer.line(`let ${name} = ${start}${n === 0 ? '' : ` + ${n * step}`};`);
        return name;
      });
      const type = four ? vectorType('f32') : valueType.f32;
      const values = [...row.loads].map(([key, load]) => {
        const names = rounds.map((n) => context.names.fresh(numbered(`${load.buffer}_kept`, n)));
        for (const name of names) writer.line(`var ${name}: ${type};`);
        return [key, names] as const;
      });
      this.kept.set(row, { lanes, values: new Map(values) });
      for (const n of rounds) {
        guarded(n, (inner) => {
          for (const [key, names] of values)
            writer.line(`${names[n]!} = ${printLoad(context, inner, row.loads.get(key)!, undefined).text};`);
        });
      }
    }
    const { values } = this.kept.get(row)!;
    for (const n of rounds) {
      const keptLoads = [...row.keys].map(
        ([load, key]) => [load, atom('f32', values.get(key)![n]!, false, four)] as const,
      );
      guarded(n, (inner) => this.accumulate({ ...inner, kept: new Map(keptLoads) }, loop, partials, four));
    }
  }

  /** `serial` and `steps`: one iteration after the other, by all invocations together or by each for itself. */
  private ordered(scope: Scope, loop: KLoop): void {
    const { context } = this;
    const fromValue = printExpr(context, scope, loop.from);
    const toValue = printExpr(context, scope, loop.to);
    const totals = loop.reduce.map((reduce) => this.accumulator(scope, reduce.name, reduce));
    const variable = context.names.fresh(loop.variable);

    const accountedFor = scope.inLanes ? undefined : bodyAccesses(loop, this.stored);
    const before = context.barriers;
    const start = this.pending.copy();
    const inner = new Writer();
    const values = new Map(scope.values);
    // Whether the bounds are known to be steady is seen to below, if it matters.
    values.set(loop.variable, atom('index', variable, !scope.inLanes));
    const innerScope = { ...scope, values, writer: inner };
    this.accumulate(innerScope, loop, totals);
    if (accountedFor && this.pending.conflictsAcrossIterations(accountedFor)) this.barrier(innerScope);
    this.pending.join(start);

    const synchronised = context.barriers > before;
    const from = synchronised ? this.agree(scope, fromValue) : fromValue;
    const to = synchronised ? this.agree(scope, toValue) : toValue;
    if (loop.reverse) {
      const first = this.bound(scope, `${loop.variable}_first`, from);
      scope.writer.open(`for (var ${variable} = ${wrap(to, level.add)} - 1; ${variable} >= ${first}; ${variable}--)`);
    } else {
      const end = this.bound(scope, loop.variable, to);
      scope.writer.open(`for (var ${variable} = ${from.text}; ${variable} < ${end}; ${variable}++)`);
    }
    scope.writer.append(inner);
    scope.writer.close();
    loop.reduce.forEach((reduce, i) => {
      this.define(scope, reduce.name, atom(reduce.type, totals[i]!, false));
    });
  }

  private accumulator(scope: Scope, name: string, reduce: KLoop['reduce'][number], four = false): string {
    const text = this.context.names.fresh(name);
    const neutral = neutralOf(reduce);
    const type = four ? vectorType(reduce.type) : valueType[reduce.type];
    scope.writer.line(`var ${text}: ${type} = ${four ? `${type}(${neutral})` : neutral};`);
    return text;
  }

  private accumulate(scope: Scope, loop: KLoop, names: readonly string[], four = false): void {
    const inner = this.block(scope, loop.body);
    loop.reduce.forEach((reduce, i) => {
      const value = printExpr(this.context, inner, reduce.value);
      const text = combine(reduce, atom(reduce.type, names[i]!, false, four), value);
      scope.writer.line(`${names[i]!} = ${text};`);
    });
  }
}

/** Inside of a lanes loop. @param variable this invocation's lane, or the first of four */
function lanesScope(scope: Scope, loop: KLoop, variable: string, four: boolean): Scope {
  const lane = atom('index', variable, false);
  const each: Value = { type: 'index', text: `${variable} + LANES`, level: level.add, steady: false, four };
  const values = new Map(scope.values).set(loop.variable, four ? each : lane);
  const firstOfFour = four ? { firstOfFour: { variable: loop.variable, lane } } : {};
  return { ...scope, ...firstOfFour, inLanes: true, values };
}

/** What one iteration touches. */
function bodyAccesses(loop: KLoop, stored: ReadonlySet<string>): Accesses {
  return accessesOf({ ...loop, mode: 'serial' }, stored);
}
