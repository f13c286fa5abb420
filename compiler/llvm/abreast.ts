/**
 * Short rows abreast: the lanes of four rows' reductions are combined at once. By itself every row takes nearly as many instructions for
 * that as four rows take together, each of which waits for the one before.
 *
 * Rows are iterations of a `serial` loop outside of lanes. They qualify where they store to local memory only, to each local
 * in one place, and load nothing of what they store: then none depends on another, and each statement is printed for four
 * rows before the next one is. Rows beyond the last four are done one by one.
 */
import { operandsOf, partsOf } from '../kernel/analysis.js';
import type { KExpr, Kernel, KLoop, KStmt } from '../kernel/kernel.js';
import { emitPartial, lanesIn } from './lanes.js';
import { combineRows, ROWS } from './reduce.js';
import { registerType, vectorOf } from './types.js';
import { type BlockPrinter, type KernelContext, type Scope, uniform } from './values.js';

/**
 * Elements of the longest rows that are taken abreast. It costs code, and so compile time, of each statement four times. The first
 * pass of a loss took less by, with vectors of 512, 256 and 128 bits, in per cent: 13, 8 and 7 for rows of 28, 8, 2 and 1
 * for rows of 50, 4, 12 and 2 for rows of 64. From 100 elements on it was 2 or less, in some cases more time than before.
 */
const LONGEST = 64;

/** The loops of a kernel whose iterations are such rows. */
export function findAbreast(kernel: Kernel): ReadonlySet<KLoop> {
  const locals = new Set((kernel.locals ?? []).map(({ name }) => name));
  const found = new Set<KLoop>();
  const find = (statement: KStmt): void => {
    if (statement.kind === 'loop' && isAbreast(statement, locals)) found.add(statement);
    else if (statement.kind !== 'loop' || statement.mode !== 'lanes') partsOf(statement).inner.forEach(find);
  };
  kernel.body.forEach(find);
  return found;
}

function isAbreast({ mode, reverse, reduce, body }: KLoop, locals: ReadonlySet<string>): boolean {
  if (mode !== 'serial' || reverse || reduce.length > 0) return false;
  const rows = body.filter((statement) => statement.kind === 'loop');
  if (rows.length === 0 || !rows.every(isShortRow)) return false;
  const stored = new Set<string>();
  for (const statement of body) {
    if (statement.kind === 'if') return false;
    if (statement.kind !== 'store') continue;
    if (!locals.has(statement.buffer) || stored.has(statement.buffer)) return false;
    stored.add(statement.buffer);
  }
  return !body.some((statement) => loadsAny(statement, stored));
}

/** A lanes loop that does nothing but reduce few elements. */
function isShortRow({ mode, from, to, body, reduce, precision }: KLoop): boolean {
  // Rows of float64 took as long either way, with 5 to 7 KB less code one after the other.
  if (mode !== 'lanes' || precision !== 'f32' || reduce.length === 0 || from.op !== 'const' || to.op !== 'const')
    return false;
  return (
    to.value - from.value <= LONGEST &&
    body.every(({ kind }) => kind === 'let' || kind === 'comment' || kind === 'prefetch')
  );
}

/** Whether a statement loads from one of the buffers. */
function loadsAny(statement: KStmt, buffers: ReadonlySet<string>): boolean {
  const inExpr = (expr: KExpr): boolean =>
    (expr.op === 'load' && buffers.has(expr.buffer)) || operandsOf(expr).some(inExpr);
  const { exprs, inner } = partsOf(statement);
  return exprs.some(inExpr) || inner.some((each) => loadsAny(each, buffers));
}

/**
 * Prints the loop for as many fours of rows as fit between the bounds; returns the number of the first row that is left.
 * Statements are printed by what is handed in, because statements hold loops and loops statements.
 */
export function emitAbreast(
  context: KernelContext,
  scope: Scope,
  loop: KLoop,
  bounds: { readonly from: string; readonly to: string },
  printStatement: (context: KernelContext, scope: Scope, statement: KStmt) => void,
  printBlock: BlockPrinter,
): string {
  const { writer } = context;
  const names = ['abreast', 'abreast.body', 'abreast.done'].map((hint) => writer.fresh(`${loop.variable}.${hint}`));
  const [head, body, done] = names as [string, string, string];
  const before = writer.block;
  writer.branch(head);
  writer.startBlock(head);
  const first = writer.phi(loop.variable, 'i64', [{ value: bounds.from, block: before }]);
  const end = writer.emit(`${loop.variable}.end`, `add nsw i64 ${first.value}, ${ROWS}`);
  writer.branchIf(writer.emit('fit', `icmp sle i64 ${end}, ${bounds.to}`), body, done);

  writer.startBlock(body);
  const rows = Array.from({ length: ROWS }, (_, row): Scope => {
    const number = row === 0 ? first.value : writer.emit(loop.variable, `add nsw i64 ${first.value}, ${row}`);
    return { ...scope, values: new Map(scope.values).set(loop.variable, uniform('index', number)) };
  });
  for (const statement of loop.body) {
    if (statement.kind !== 'loop') for (const row of rows) printStatement(context, row, statement);
    else reduceRows(context, rows, statement, printBlock);
  }
  first.add({ value: end, block: writer.block });
  writer.branchBack(head);
  writer.startBlock(done);
  return first.value;
}

/** Prints a lanes loop for each of the rows, and combines what they leave. */
function reduceRows(context: KernelContext, rows: readonly Scope[], loop: KLoop, printBlock: BlockPrinter): void {
  const { writer } = context;
  const partial = rows.map((row) => emitPartial(context, row, loop, printBlock));
  loop.reduce.forEach((reduce, i) => {
    const totals = combineRows(
      writer,
      reduce,
      lanesIn(context, loop),
      partial.map((each) => each[i]!),
    );
    const vector = vectorOf(registerType[reduce.type], ROWS);
    rows.forEach((row, number) => {
      const total = writer.emit(reduce.name, `extractelement ${vector} ${totals}, i64 ${number}`);
      row.values.set(reduce.name, uniform(reduce.type, total));
    });
  });
}
