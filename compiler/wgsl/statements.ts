/**
 * Statements. All invocations of a workgroup run what is outside of lanes loops, with the same values; the first one
 * stores. A lanes loop gives each invocation every workgroupSize-th iteration. Where a workgroup does several rows side by
 * side (see abreast.ts), the same holds for the invocations of each row.
 */

import { typeOfElement } from '../kernel/build.js';
import type { KExpr, KIf, KLoop, KStmt, KStore } from '../kernel/kernel.js';
import { CompilerBug } from '../source.js';
import { type Abreast, hasReductions, printRow } from './abreast.js';
import { cellOf, printExpr, printLoad, spellCall } from './expr.js';
import { type Accesses, accessesOf, Pending } from './hazards.js';
import { acrossFour, acrossRow, combine, neutralOf } from './reduce.js';
import type { KeptRow } from './rows.js';
import { valueType, vectorType } from './types.js';
import {
  argument,
  asFour,
  atom,
  bufferOf,
  type KernelContext,
  level,
  type RowScope,
  type Scope,
  type Value,
  wrap,
} from './values.js';
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
    // Rows side by side load nothing that the kernel stores, and their stores are their own.
    if (scope.inLanes || scope.row !== undefined || statement.kind === 'comment') {
      this.print(scope, statement);
      return;
    }
    const loops = this.context.abreast?.loops;
    const accesses = accessesOf(statement, this.stored, loops);
    if (this.pending.conflictsWith(accesses)) this.barrier(scope);
    this.print(scope, statement);
    // Blocks have kept their own account.
    const simple = statement.kind === 'let' || statement.kind === 'store';
    const sideBySide = statement.kind === 'loop' && (statement.mode === 'lanes' || loops?.has(statement));
    if (simple || sideBySide) this.pending.add(accesses);
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
        else if (this.context.abreast?.loops.has(statement)) this.sideBySide(scope, statement, this.context.abreast);
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
    const { lane } = this.rowOf(scope);
    const once = scope.inLanes || lane === '0' ? [] : [`${lane} == 0`];
    this.where(scope, once, () => scope.writer.line(line));
  }

  /** Prints what is done only where there is a row to do it for, and where the conditions hold. */
  private where(scope: Scope, conditions: readonly string[], print: (inner: Scope) => void): void {
    const { row, writer } = scope;
    const all = row?.active === undefined ? conditions : [row.active, ...conditions];
    if (all.length === 0) {
      print(scope);
      return;
    }
    writer.open(`if (${all.join(' && ')})`);
    print({ ...scope, row: row && { ...row, active: undefined } });
    writer.close();
  }

  /** The invocations that work on a row together: the whole workgroup where rows are not side by side. */
  private rowOf({ row }: Scope): { readonly lanes: number; readonly lane: string } {
    const { workgroupSize, abreast } = this.context;
    return row === undefined ? { lanes: workgroupSize, lane: 'lane' } : { lanes: abreast!.lanes, lane: row.lane };
  }

  private if(scope: Scope, statement: KIf): void {
    const condition = printExpr(this.context, scope, statement.condition);
    const { row } = scope;
    const { abreast } = this.context;
    if (row !== undefined && abreast!.lanes > 1 && abreast!.apart.has(statement) && hasReductions([statement])) {
      this.both(scope, row, condition, statement);
      return;
    }
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

  /**
   * A branch that some of the rows side by side take and others not, with barriers in it: all rows go through both arms, and do one of them.
   * What a row loads in the other, outside of lanes loops, is of no use to it, but WGSL lets every index be loaded from.
   */
  private both(scope: Scope, row: RowScope, condition: Value, { then, otherwise }: KIf): void {
    const not = `!${wrap(condition, level.atom)}`;
    for (const [arm, taken] of [[then, wrap(condition, level.compare)] as const, [otherwise, not] as const]) {
      if (arm.length === 0) continue;
      const active = this.context.names.fresh('here');
      scope.writer.line(`let ${active} = ${row.active === undefined ? '' : `${row.active} && `}${taken};`);
      this.block({ ...scope, row: { ...row, active } }, arm);
    }
  }

  /** A value that decides whether barriers are reached, in a form that WGSL's analysis knows to be the same everywhere. */
  private agree(scope: Scope, value: Value): Value {
    if (value.steady) return value;
    if (scope.inLanes) throw new CompilerBug('wgsl', 'a barrier depends on a lane');
    this.context.shared.agreed = true;
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
    const { lanes, lane } = this.rowOf(scope);
    const own = four && lane !== '0' ? `4 * ${lane}` : lane;
    const start = from.text === '0' ? own : `${wrap(from, level.add)}${own === '0' ? '' : ` + ${own}`}`;
    const step = lanes * (four ? 4 : 1);
    const row = context.rows.get(loop);
    if (row !== undefined) this.row(scope, loop, row, partials, { start, step, to });
    else {
      this.where(scope, [], (inner) => {
        const variable = context.names.fresh(loop.variable);
        scope.writer.open(`for (var ${variable} = ${start}; ${variable} < ${to}; ${variable} += ${step})`);
        this.accumulate(lanesScope(inner, loop, variable, four), loop, partials, four);
        scope.writer.close();
      });
    }
    loop.reduce.forEach((reduce, i) => {
      const name = context.names.fresh(reduce.name);
      const partial = four ? acrossFour(reduce, partials[i]!) : partials[i]!;
      scope.writer.line(`let ${name} = ${acrossRow(context, reduce, partial, lanes)};`);
      this.define(scope, reduce.name, atom(reduce.type, name, false));
    });
  }

  /** A lanes loop over a row that is kept, one round of its invocations after the other; the first loop loads it. */
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
    /** Prints for each round what only invocations that have lanes in it may do. */
    const inRounds = (print: (n: number, lanes: Scope) => void): void => {
      const first = this.kept.get(row)!.lanes;
      const printRound = (n: number, inner: Scope): void => print(n, lanesScope(inner, loop, first[n]!, four));
      if (row.full > 0) this.where(scope, [], (inner) => rounds.slice(0, row.full).map((n) => printRound(n, inner)));
      for (const n of rounds.slice(row.full))
        this.where(scope, [`${first[n]!} < ${to}`], (inner) => printRound(n, inner));
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
      inRounds((n, inner) => {
        for (const [key, names] of values)
          writer.line(`${names[n]!} = ${printLoad(context, inner, row.loads.get(key)!, undefined).text};`);
      });
    }
    const { values } = this.kept.get(row)!;
    inRounds((n, inner) => {
      const keptLoads = [...row.keys].map(
        ([load, key]) => [load, atom('f32', values.get(key)![n]!, false, four)] as const,
      );
      this.accumulate({ ...inner, kept: new Map(keptLoads) }, loop, partials, four);
    });
  }

  /** Iterations of a serial loop, several at a time. */
  private sideBySide(scope: Scope, loop: KLoop, { lanes, rows }: Abreast): void {
    const { context } = this;
    const { writer } = scope;
    const synchronised = lanes > 1 && hasReductions(loop.body);
    const limit = (expr: KExpr): Value => {
      const value = printExpr(context, scope, expr);
      return synchronised ? this.agree(scope, value) : value;
    };
    const from = limit(loop.from);
    const end = this.bound(scope, loop.variable, limit(loop.to));
    const first = context.names.fresh(`${loop.variable}_first`);
    const variable = context.names.fresh(loop.variable);
    writer.open(`for (var ${first} = ${from.text}; ${first} < ${end}; ${first} += ${rows})`);
    const row = printRow(context, writer, variable, first, end);
    const values = new Map(scope.values).set(loop.variable, atom('index', variable, false));
    this.block({ ...scope, row, values }, loop.body);
    writer.close();
  }

  /** `serial` and `steps`: one iteration after the other, by all invocations together or by each for itself. */
  private ordered(scope: Scope, loop: KLoop): void {
    const { context } = this;
    const fromValue = printExpr(context, scope, loop.from);
    const toValue = printExpr(context, scope, loop.to);
    const totals = loop.reduce.map((reduce) => this.accumulator(scope, reduce.name, reduce));
    const variable = context.names.fresh(loop.variable);

    const alone = scope.inLanes || scope.row !== undefined;
    const accountedFor = alone ? undefined : bodyAccesses(loop, this.stored, context.abreast?.loops);
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
function bodyAccesses(loop: KLoop, stored: ReadonlySet<string>, abreast: ReadonlySet<KLoop> | undefined): Accesses {
  return accessesOf({ ...loop, mode: 'serial' }, stored, abreast);
}
