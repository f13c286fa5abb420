/**
 * Kernels as text: what `trellis dump --stage kernels` shows.
 *
 * The text is deterministic, and two programs that differ in meaning differ in text, so that it may
 * serve as a cache key: real constants carry a point (and an f of their own when they are f32), index
 * constants do not, and everything else has the type of its operands.
 */
import type {
  BufferDecl,
  KConst,
  KExpr,
  Kernel,
  KernelProgram,
  KernelType,
  KIndexOp,
  KLoad,
  KLoop,
  KPrim,
  KReduce,
  KStmt,
} from './kernel.js';

const WIDTH = 112;

/** How tightly an expression binds; an operand that binds less tightly than its place asks for gets parentheses. */
const level = { choice: 1, or: 2, and: 3, compare: 4, add: 5, mul: 6, unary: 7, atom: 8 } as const;

const infix = { add: ['+', level.add], sub: ['-', level.add], mul: ['*', level.mul], div: ['/', level.mul] } as const;
const indexInfix = { ...infix, mod: ['%', level.mul] } as const;
const comparisons = { eq: '==', ne: '!=', lt: '<', le: '<=', gt: '>', ge: '>=' } as const;

/** Whole program: scalars, buffers, then phase by phase its kernels. Ends with a newline. */
export function printProgram(program: KernelProgram): string {
  const lines = [`program ${program.name}`];
  if (program.scalars.length > 0)
    lines.push('', 'scalars', ...table(program.scalars.map((s) => [s.name, s.type, s.role])));
  if (program.buffers.length > 0) lines.push('', 'buffers', ...table(program.buffers.map(bufferRow)));
  program.phases.forEach((kernels, index) => {
    const together = kernels.length > 1 ? ` (${kernels.length} kernels, independent of each other)` : '';
    lines.push('', `phase ${index + 1}${together}`);
    for (const kernel of kernels) lines.push('', printKernel(kernel));
  });
  return `${lines.join('\n')}\n`;
}

/** One kernel: its name and grid, the equations it computes, and its statements. */
export function printKernel(kernel: Kernel): string {
  const print = new Printer(localNames(kernel));
  const grid = kernel.grid.map((axis) => `${axis.variable} in 0..${print.expr(axis.extent, level.add)}`);
  const lines = [`kernel ${kernel.name}  (${grid.length > 0 ? `grid ${grid.join(', ')}` : 'one cell'})`];
  for (const line of kernel.doc) lines.push(`  // ${line}`);
  for (const local of kernel.locals ?? []) lines.push(`  local ${local.name}: ${local.element} [${local.extent}]`);
  for (const stmt of kernel.body) print.stmt(stmt, 1, lines);
  return lines.join('\n');
}

/** One statement on one line, a loop or `if` by its heading only: the name of a place in diagnostics. */
export function printStatement(stmt: KStmt): string {
  return new Printer(new Set()).head(stmt);
}

/** One expression on one line. */
export function printExpr(expr: KExpr): string {
  return new Printer(new Set()).expr(expr);
}

/** A buffer's extents, e.g. `[B, T_max, 1024]`. */
export function printShape(buffer: BufferDecl): string {
  return `[${buffer.shape.map((extent) => printExpr(extent)).join(', ')}]`;
}

class Printer {
  /** Names bound inside the kernel: a scalar that shares one is spelled out in full. */
  constructor(private readonly locals: ReadonlySet<string>) {}

  stmt(stmt: KStmt, depth: number, lines: string[]): void {
    const indent = '  '.repeat(depth);
    switch (stmt.kind) {
      case 'comment':
        lines.push(indent + this.head(stmt));
        return;
      case 'let':
        lines.push(...this.assignment(`${indent}let ${stmt.name} = `, stmt.value));
        return;
      case 'store':
        lines.push(...this.assignment(`${indent}${this.target(stmt)}`, stmt.value));
        return;
      case 'prefetch':
        lines.push(indent + this.head(stmt));
        return;
      case 'loop':
        lines.push(indent + this.head(stmt));
        for (const inner of stmt.body) this.stmt(inner, depth + 1, lines);
        for (const reduce of stmt.reduce)
          lines.push(...this.assignment(`${indent}  ${reduceHead(reduce)}`, reduce.value));
        return;
      case 'if':
        lines.push(indent + this.head(stmt));
        for (const inner of stmt.then) this.stmt(inner, depth + 1, lines);
        if (stmt.otherwise.length > 0) lines.push(`${indent}else`);
        for (const inner of stmt.otherwise) this.stmt(inner, depth + 1, lines);
    }
  }

  head(stmt: KStmt): string {
    switch (stmt.kind) {
      case 'comment':
        return `// ${stmt.text}`;
      case 'let':
        return `let ${stmt.name} = ${this.expr(stmt.value)}`;
      case 'store':
        return this.target(stmt) + this.expr(stmt.value);
      case 'prefetch':
        return `prefetch ${stmt.buffer}[${this.expr(stmt.index)}]${stmt.forWriting ? '  to write' : ''}`;
      case 'loop':
        return this.loopHead(stmt);
      case 'if':
        return `if ${this.expr(stmt.condition)}`;
      default:
        return `<${String((stmt as { kind: unknown }).kind)}>`;
    }
  }

  private target(stmt: { buffer: string; index: KExpr; streaming?: boolean }): string {
    return `${stmt.streaming ? 'stream ' : ''}${stmt.buffer}[${this.expr(stmt.index)}] = `;
  }

  private loopHead(loop: KLoop): string {
    const range = `${this.expr(loop.from, level.add)}..${this.expr(loop.to, level.add)}`;
    const notes = `${loop.reverse ? '  reverse' : ''}${loop.precision ? `  ${loop.precision}` : ''}`;
    return `${loop.mode} ${loop.variable} in ${range}${notes}`;
  }

  expr(expr: KExpr | undefined, place: number = level.choice): string {
    if (!expr) return '<missing>'; // a malformed program, on its way into an error
    const [text, own] = this.spell(expr);
    return own < place ? `(${text})` : text;
  }

  private spell(expr: KExpr): [text: string, level: number] {
    switch (expr.op) {
      case 'const':
        return constant(expr);
      case 'var':
        return [expr.name, level.atom];
      case 'scalar':
        return [this.locals.has(expr.name) ? `scalar.${expr.name}` : expr.name, level.atom];
      case 'load':
        return this.load(expr);
      case 'prim':
        return this.prim(expr);
      case 'index':
        return this.indexOp(expr);
      case 'compare':
        return [
          this.binary(comparisons[expr.compare], level.add, expr.args[0], expr.args[1], level.add),
          level.compare,
        ];
      case 'logic': {
        if (expr.logic === 'not') return [`!${this.expr(expr.args[0], level.unary)}`, level.unary];
        const own = expr.logic === 'and' ? level.and : level.or;
        const sign = expr.logic === 'and' ? ' && ' : ' || ';
        return [expr.args.map((arg) => this.expr(arg, own + 1)).join(sign), expr.args.length > 1 ? own : own + 1];
      }
      case 'select': {
        const [condition, then, otherwise] = expr.args;
        return [
          `${this.expr(condition, level.or)} ? ${this.expr(then, level.or)} : ${this.expr(otherwise)}`,
          level.choice,
        ];
      }
      case 'cast':
        return [`${expr.type}(${this.expr(expr.arg)})`, level.atom];
      default:
        // Malformed programs are printed too, in the verifier's errors.
        return [`<${String((expr as { op: unknown }).op)}>`, level.atom];
    }
  }

  private load(load: KLoad): [string, number] {
    const text = `${load.buffer}[${this.expr(load.index)}]`;
    if (!load.mask) return [text, level.atom];
    const other = constant({ op: 'const', type: load.type, value: load.other ?? 0 })[0];
    return [`${text} where ${this.expr(load.mask, level.or)} else ${other}`, level.choice];
  }

  private prim(prim: KPrim): [string, number] {
    const [left, right] = prim.args;
    if (isInfix(prim.name)) {
      const [sign, own] = infix[prim.name];
      // Floating-point operations do not associate, so the right operand shows its own grouping.
      return [this.binary(sign, own, left, right, own + 1), own];
    }
    if (prim.name === 'neg') {
      const text = this.expr(left, level.unary);
      return [text.startsWith('-') ? `-(${text})` : `-${text}`, level.unary];
    }
    return [`${prim.name}(${prim.args.map((arg) => this.expr(arg)).join(', ')})`, level.atom];
  }

  private indexOp(op: KIndexOp): [string, number] {
    const [left, right] = op.args;
    if (op.name === 'min' || op.name === 'max')
      return [`${op.name}(${this.expr(left)}, ${this.expr(right)})`, level.atom];
    const [sign, own] = indexInfix[op.name];
    if (op.name === 'add' && right.op === 'const' && right.value < 0) {
      return [`${this.expr(left, own)} - ${-right.value}`, own];
    }
    // Integer sums, and products of products, mean the same however they are grouped.
    const flat = op.name === 'add' || (op.name === 'mul' && right.op === 'index' && right.name === 'mul');
    return [this.binary(sign, own, left, right, flat ? own : own + 1), own];
  }

  private binary(
    sign: string,
    leftPlace: number,
    left: KExpr | undefined,
    right: KExpr | undefined,
    rightPlace: number,
  ): string {
    return `${this.expr(left, leftPlace)} ${sign} ${this.expr(right, rightPlace)}`;
  }

  /** `prefix`, expression, `suffix`; broken at the outermost operator or call, and so on inwards, where one line is too long. */
  private assignment(prefix: string, expr: KExpr, place: number = level.choice, suffix = ''): string[] {
    const line = prefix + this.expr(expr, place) + suffix;
    if (line.length <= WIDTH) return [line];
    const bare = this.spell(expr)[1] >= place;
    const before = bare ? prefix : `${prefix}(`;
    const after = bare ? suffix : `)${suffix}`;
    const indent = `${/^ */.exec(prefix)?.[0] ?? ''}    `;
    if (expr.op === 'select') {
      const [condition, then, otherwise] = expr.args;
      return [
        ...this.assignment(before, condition, level.or),
        ...this.assignment(`${indent}? `, then, level.or),
        ...this.assignment(`${indent}: `, otherwise, level.choice, after),
      ];
    }
    if (expr.op === 'load' && expr.mask) {
      const element = `${expr.buffer}[${this.expr(expr.index)}]`;
      return [before + element, indent + this.load(expr)[0].slice(element.length + 1) + after];
    }
    if (expr.op === 'logic' && expr.args.length > 1) {
      const own = expr.logic === 'and' ? level.and : level.or;
      const last = expr.args.length - 1;
      return expr.args.flatMap((arg, index) =>
        this.assignment(
          index === 0 ? before : `${indent}${expr.logic === 'and' ? '&&' : '||'} `,
          arg,
          own + 1,
          index === last ? after : '',
        ),
      );
    }
    if (expr.op === 'prim' && isInfix(expr.name)) {
      const [sign, own] = infix[expr.name];
      const [left, right] = expr.args as [KExpr, KExpr];
      return [...this.assignment(before, left, own), ...this.assignment(`${indent}${sign} `, right, own + 1, after)];
    }
    if (expr.op === 'logic' || (expr.op === 'prim' && expr.name === 'neg')) {
      const operand = expr.args[0] as KExpr;
      const place = this.expr(operand, level.unary).startsWith('-') ? level.atom : level.unary;
      return this.assignment(`${before}${expr.op === 'logic' ? '!' : '-'}`, operand, place, after);
    }
    const call = callName(expr);
    if (!call) return [line];
    const last = call.args.length - 1;
    const args = call.args.flatMap((arg, index) =>
      this.assignment(indent, arg, level.choice, index === last ? `)${after}` : ','),
    );
    return [`${before}${call.name}(`, ...args];
  }
}

function isInfix(name: string): name is keyof typeof infix {
  return Object.hasOwn(infix, name);
}

function callName(expr: KExpr): { name: string; args: readonly KExpr[] } | undefined {
  if (expr.op === 'cast') return { name: expr.type, args: [expr.arg] };
  if (expr.op === 'index') return expr.name === 'min' || expr.name === 'max' ? expr : undefined;
  if (expr.op === 'prim') return expr;
  return undefined;
}

function reduceHead(reduce: KReduce): string {
  return `reduce ${reduce.name}: ${reduce.type} = ${reduce.op}${reduce.passesNaN ? ' (NaN passed over)' : ''} of `;
}

function constant(node: KConst): [text: string, level: number] {
  const own = node.value < 0 || Object.is(node.value, -0) ? level.unary : level.atom;
  if (node.type === 'bool') return [node.value === 0 ? 'false' : 'true', level.atom];
  if (node.type === 'index') return [String(node.value), own];
  return real(node.value, node.type, own);
}

function real(value: number, type: Exclude<KernelType, 'index' | 'bool'>, own: number): [string, number] {
  if (!Number.isFinite(value)) {
    const text = Number.isNaN(value) ? 'nan' : value < 0 ? '-inf' : 'inf';
    return type === 'f32' ? [`f32(${text})`, level.atom] : [text, own];
  }
  const digits = Object.is(value, -0) ? '-0' : String(value);
  const pointed = /[.e]/.test(digits) ? digits : `${digits}.0`;
  return [type === 'f32' ? `${pointed}f` : pointed, own];
}

function bufferRow(buffer: BufferDecl): string[] {
  return [buffer.role, buffer.name, buffer.element, printShape(buffer), buffer.layout];
}

/** Rows indented by two, columns padded to a common width. */
function table(rows: readonly (readonly string[])[]): string[] {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)));
  return rows.map((row) => `  ${row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join('  ')}`.trimEnd());
}

function localNames(kernel: Kernel): Set<string> {
  const names = new Set(kernel.grid.map((axis) => axis.variable));
  const visit = (stmts: readonly KStmt[]): void => {
    for (const stmt of stmts) {
      if (stmt.kind === 'let') names.add(stmt.name);
      if (stmt.kind === 'loop') {
        names.add(stmt.variable);
        for (const reduce of stmt.reduce) names.add(reduce.name);
        visit(stmt.body);
      }
      if (stmt.kind === 'if') {
        visit(stmt.then);
        visit(stmt.otherwise);
      }
    }
  };
  visit(kernel.body);
  return names;
}
