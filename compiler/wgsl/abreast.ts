/**
 * Short rows side by side: where a row has use for few invocations, a workgroup does several rows at once, each with a power of
 * two of neighbouring invocations to itself. Reductions are then among those, but every invocation reaches every barrier.
 *
 * Rows are iterations of a `serial` loop, or, in a kernel without such a loop, tasks along the innermost axis of the grid. An
 * iteration qualifies where it loads nothing that its kernel stores, so that the order of rows does not matter, and where
 * no barrier depends on the row but by an `if`. Rows beyond the last compute what the last one does
 * outside of lanes loops, and touch nothing else.
 */
import { isVarying, operandsOf } from '../kernel/analysis.js';
import * as k from '../kernel/build.js';
import type { KExpr, Kernel, KIf, KLoop, KStmt } from '../kernel/kernel.js';
import type { Names } from './names.js';
import type { KernelContext, RowScope } from './values.js';
import type { Writer } from './writer.js';

/** Neighbours that one invocation works through one after the other, before another invocation helps. */
const EACH = 4;

/** The invocations that a row of so many elements has use for: a power of two. */
export const lanesFor = (count: number): number => 2 ** Math.ceil(Math.log2(Math.max(1, count / EACH)));

/** How a kernel does its rows side by side. */
export interface Abreast {
  /** Invocations of a row. */
  readonly lanes: number;
  /** Rows of a workgroup. */
  readonly rows: number;
  /** The loops whose iterations are rows. If there are none, tasks are. */
  readonly loops: ReadonlySet<KLoop>;
  /** Branches on which rows may differ. */
  readonly apart: ReadonlySet<KIf>;
}

/** @param wholeTasks a workgroup does one task of the grid, however short its rows */
export function findAbreast(
  kernel: Kernel,
  stored: ReadonlySet<string>,
  workgroupSize: number,
  wholeTasks: boolean,
): Abreast | undefined {
  const loops = new Set<KLoop>();
  const apart = new Set<KIf>();
  let widest = 0;
  const take = (body: readonly KStmt[], variable: string, isLoop: boolean): boolean => {
    const rows = new Rows(stored, isLoop);
    rows.visit(body, new Set([variable]));
    if (!rows.suit || rows.widest === 0) return false;
    widest = Math.max(widest, rows.widest);
    for (const branch of rows.apart) apart.add(branch);
    return true;
  };
  const find = (body: readonly KStmt[]): void => {
    for (const statement of body) {
      if (statement.kind === 'if') for (const arm of [statement.then, statement.otherwise]) find(arm);
      if (statement.kind !== 'loop' || statement.mode === 'lanes') continue;
      const { mode, reduce, variable } = statement;
      if (mode === 'serial' && reduce.length === 0 && take(statement.body, variable, true)) loops.add(statement);
      else find(statement.body);
    }
  };
  find(kernel.body);
  const innermost = kernel.grid.at(-1);
  if (loops.size === 0 && (wholeTasks || innermost === undefined || !take(kernel.body, innermost.variable, false)))
    return undefined;
  const lanes = lanesFor(widest);
  return lanes < workgroupSize ? { lanes, rows: workgroupSize / lanes, loops, apart } : undefined;
}

/** Whether rows are tasks, of which a workgroup then does several. */
export const sharesTasks = (abreast: Abreast | undefined): abreast is Abreast => abreast?.loops.size === 0;

/** Extents of the grid that workgroups have. */
export function gridFor({ grid }: Kernel, abreast: Abreast | undefined): KExpr[] {
  const extents = grid.map(({ extent }) => extent);
  if (!sharesTasks(abreast)) return extents;
  const { rows } = abreast;
  return [...extents.slice(0, -1), k.div(k.add(extents.at(-1)!, k.index(rows - 1)), k.index(rows))];
}

/** Prints which row of how many invocations is an invocation's. */
export function printPlace(names: Names, writer: Writer, { lanes }: Abreast): Pick<RowScope, 'number' | 'lane'> {
  const number = names.fresh('row');
  writer.line(`let ${number} = lane${lanes === 1 ? '' : ` / ${lanes}`};`);
  if (lanes === 1) return { number, lane: '0' };
  const lane = names.fresh('row_lane');
  writer.line(`let ${lane} = lane % ${lanes};`);
  return { number, lane };
}

/** Prints the variable of an invocation's row, among those from `first` on. */
export function printRow(
  context: KernelContext,
  writer: Writer,
  variable: string,
  first: string,
  end: string,
): RowScope {
  const active = context.names.fresh('here');
  const { number, lane } = context.row!;
  writer.line(`let ${active} = ${first} + ${number} < ${end};`);
  writer.line(`let ${variable} = min(${first} + ${number}, ${end} - 1);`);
  return { number, lane, active };
}

/** What one iteration, or one task, does: whether others can be done beside it. */
class Rows {
  suit = true;
  /** Elements of its longest row. */
  widest = 0;
  readonly apart: KIf[] = [];
  /** Within a branch that rows of both ways go through. */
  private shared = false;

  constructor(
    private readonly stored: ReadonlySet<string>,
    /** Whether the index of every store has to follow the row. What different tasks store is different in any case. */
    private readonly follow: boolean,
  ) {}

  /** @param varying names that differ between rows; those of `body` are added */
  visit(body: readonly KStmt[], varying: Set<string>): void {
    for (const statement of body) {
      switch (statement.kind) {
        case 'let':
          this.look(statement.value);
          if (isVarying(statement.value, varying)) varying.add(statement.name);
          break;
        case 'store':
          this.look(statement.index);
          this.look(statement.value);
          if (this.follow && !isVarying(statement.index, varying)) this.suit = false;
          break;
        case 'if':
          this.branch(statement, varying);
          break;
        case 'loop':
          this.loop(statement, varying);
      }
    }
  }

  private branch(statement: KIf, varying: Set<string>): void {
    const { condition, then, otherwise } = statement;
    this.look(condition);
    const before = this.shared;
    if (isVarying(condition, varying)) {
      this.apart.push(statement);
      this.shared ||= hasReductions([...then, ...otherwise]);
    }
    this.visit(then, varying);
    this.visit(otherwise, varying);
    this.shared = before;
  }

  private loop({ mode, variable, from, to, body, reduce }: KLoop, varying: Set<string>): void {
    this.look(from);
    this.look(to);
    const known = from.op === 'const' && to.op === 'const';
    if (mode === 'lanes' && known) this.widest = Math.max(this.widest, to.value - from.value);
    else if (mode !== 'serial') this.suit = false;
    const differs = isVarying(from, varying) || isVarying(to, varying);
    // All rows take every turn together, and a row that is not meant to be here has no bounds to go by.
    if (differs && (this.shared || hasReductions(body))) this.suit = false;
    if (differs) varying.add(variable);
    this.visit(body, varying);
    for (const { name, value } of reduce) {
      this.look(value);
      if (differs || isVarying(value, varying)) varying.add(name);
    }
  }

  private look(expr: KExpr): void {
    if (expr.op === 'load' && this.stored.has(expr.buffer)) this.suit = false;
    for (const operand of operandsOf(expr)) this.look(operand);
  }
}

/** Whether there are lanes loops whose results go to all invocations of a row: those take barriers. */
export function hasReductions(body: readonly KStmt[]): boolean {
  return body.some((statement) => {
    if (statement.kind === 'if') return hasReductions(statement.then) || hasReductions(statement.otherwise);
    if (statement.kind !== 'loop') return false;
    return statement.mode === 'lanes' ? statement.reduce.length > 0 : hasReductions(statement.body);
  });
}
