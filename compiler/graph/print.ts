/**
 * A graph as text of the language: a spec that, read again, means the same. It is what dumps show, and part of
 * every cache key, so it depends on the equations only, not on how they were written or in which order they were built.
 */
import type { CompareOp, Expr, FieldDecl, Graph, IndexRef, SizeExpr } from './graph.js';
import { operands } from './build.js';
import { printSize } from './size.js';

const width = 110;
/** Bodies of more operations than this, written out, get consts for parts that occur more than once. */
const longBody = 300;
const smallestPart = 6;

const infix: Partial<Record<string, readonly [symbol: string, level: number]>> = {
  add: ['+', 6],
  sub: ['-', 6],
  mul: ['*', 7],
  div: ['/', 7],
};
const comparisons: Record<CompareOp, readonly [symbol: string, level: number]> = {
  eq: ['===', 4],
  ne: ['!==', 4],
  lt: ['<', 5],
  le: ['<=', 5],
  gt: ['>', 5],
  ge: ['>=', 5],
};
const variadic = ['min', 'max', 'logAddExp'];
const reductionWords = { sum: 'sum', max: 'maxOver', min: 'minOver', logSumExp: 'logSumExp' } as const;

/** The graph as a spec in the language. Equal graphs give equal text; origins are not part of it. */
export function printGraph(graph: Graph): string {
  return new Printer(graph).print();
}

class Printer {
  /** Words of the vocabulary in use, and the name each goes by here. */
  private readonly words = new Map<string, string>();
  private readonly types = new Set<string>();
  private readonly globals: Set<string>;
  private readonly indexNames = new Map<IndexRef, string>();
  /** Parts that have a const of their own where we are. */
  private readonly parts = new Map<Expr, string>();
  private readonly flat = new Map<string, string>();
  private readonly sizes = new Map<Expr, number>();
  private readonly free = new Map<Expr, ReadonlySet<IndexRef>>();
  private readonly longLambdas = new Map<Expr, string>();
  private partCount = 0;

  constructor(private readonly graph: Graph) {
    const sizes = graph.inputs.flatMap(({ dims }) => dims.flatMap(({ terms }) => Object.keys(terms)));
    const declared = [...graph.inputs, ...graph.params, ...graph.fields].map(({ name }) => name);
    this.globals = new Set([...declared, ...sizes]);
  }

  print(): string {
    const { graph } = this;
    const fields = graph.fields.map((field) => this.field(field));
    this.startScope();
    const [consts, loss] = this.block(graph.loss, 4, new Set());
    const gradients = Object.entries(graph.gradients).map(([input, field]) => pair(input, field));
    const header = this.header();
    const sizes = new Set(graph.inputs.flatMap(({ dims }) => dims.flatMap(({ terms }) => Object.keys(terms))));
    const received = [...graph.inputs.map(({ name }) => name), ...sizes, ...graph.params.map(({ name }) => name)];
    const body = [
      ...fields,
      ...consts,
      `    return { loss: ${loss}, gradients: {${gradients.length > 0 ? ` ${gradients.join(', ')} ` : ''}} };`,
    ];
    const main = `export default ${this.word('defineLoss')}(\n  {\n${header}\n  },\n  ({ ${received.join(', ')} }) => {\n`;
    return `${this.imports()}\n\n${main}${body.join('\n')}\n  },\n);\n`;
  }

  private imports(): string {
    const words = [...this.words].map(([word, name]) => (word === name ? word : `${word} as ${name}`));
    return `import { ${[...words.sort(), ...[...this.types].sort().map((name) => `type ${name}`)].join(', ')} } from 'trellis-jit/dsl';`;
  }

  /** The name of a word of the vocabulary, which a field of the same name would hide. */
  private word(word: string): string {
    let name = this.words.get(word);
    if (name === undefined) {
      name = word;
      for (let i = 2; this.globals.has(name); i++) name = `${word}_${i}`;
      this.words.set(word, name);
    }
    return name;
  }

  private header(): string {
    const { name, doc, inputs, lengths, params, statics } = this.graph;
    const range = (below: SizeExpr | undefined): string => (below ? ` in [0, ${printSize(below)})` : '');
    const lines = [`name: ${quote(name)},`];
    if (doc !== '') lines.push(`doc: ${quote(doc)},`);
    lines.push('inputs: {');
    for (const input of inputs) {
      const dims = input.dims.map((dim) => quote(printSize(dim).replace(/ /g, '')));
      const args = input.not === undefined ? dims : [...dims, `{ not: ${quote(input.not)} }`];
      const comment = input.below ? ` //${range(input.below)}` : '';
      lines.push(`  ${input.name}: ${this.word(input.element)}(${args.join(', ')}),${comment}`);
    }
    lines.push('},');
    const pairs = lengths.map(({ size, argument }) => `${size}: ${quote(argument)}`);
    lines.push(pairs.length > 0 ? `lengths: { ${pairs.join(', ')} },` : 'lengths: {},');
    if (params.length > 0) {
      lines.push('params: {');
      for (const param of params)
        lines.push(`  ${param.name}: ${param.default}, // ${param.type}${range(param.below)}`);
      lines.push('},');
    }
    const constants = Object.entries(statics).map(
      ([key, value]) => `${key}: ${typeof value === 'number' ? value : `[${value.join(', ')}]`}`,
    );
    if (constants.length > 0) lines.push(`statics: { ${constants.join(', ')} },`);
    return lines.map((line) => `    ${line}`).join('\n');
  }

  /** Consts of one body mean nothing in the next. */
  private startScope(): void {
    this.parts.clear();
    this.flat.clear();
    this.sizes.clear();
    this.longLambdas.clear();
  }

  private field({ name, kind, domain, axes, body, outside }: FieldDecl): string {
    this.startScope();
    const names = axes.map((axis, i) => this.nameIndex(axis, axes.slice(0, i)));
    const scope = new Set(axes);
    // A recurrence is read by its own definition, so TypeScript cannot infer its type.
    const type = kind === 'recurrence' ? `: Field${domain.length}` : '';
    if (type) this.types.add(type.slice(2));
    const head = `    const ${name}${type} = ${this.word(kind)}([${domain.map(printSize).join(', ')}], (${names.join(', ')}) =>`;
    const options = outside === Number.NEGATIVE_INFINITY ? '' : `, { outside: ${outside} }`;
    return `${head}${this.lambda(body, 4, head.length, scope)}${options});`;
  }

  /** A function's body: an expression, or a block where parts of it have consts. */
  private lambda(body: Expr, indent: number, column: number, scope: ReadonlySet<IndexRef>): string {
    const [consts, value] = this.block(body, indent + 2, scope);
    const pad = ' '.repeat(indent);
    if (consts.length > 0) return ` {\n${consts.join('\n')}\n${pad}  return ${value};\n${pad}}`;
    if (!value.includes('\n') && column + value.length < width) return ` ${value}`;
    return `\n${pad}  ${value}`;
  }

  /** Consts for shared parts that need exactly these indices, and the value in terms of them. */
  private block(body: Expr, indent: number, scope: ReadonlySet<IndexRef>): [consts: string[], value: string] {
    const consts: string[] = [];
    if (this.sizeOf(body) > longBody) {
      for (const part of this.sharedParts(body, scope)) {
        const value = this.layout(part, 1, indent);
        let name = `part${++this.partCount}`;
        while (this.globals.has(name)) name = `part${++this.partCount}`;
        this.parts.set(part, name);
        this.flat.clear();
        consts.push(`${' '.repeat(indent)}const ${name} = ${value};`);
      }
    }
    return [consts, this.layout(body, 1, indent)];
  }

  /** Parts used more than once, operands before users, that have no const yet and only indices of this scope. */
  private sharedParts(root: Expr, scope: ReadonlySet<IndexRef>): Expr[] {
    const uses = new Map<Expr, number>();
    const order: Expr[] = [];
    const visit = (expr: Expr): void => {
      const count = (uses.get(expr) ?? 0) + 1;
      uses.set(expr, count);
      if (count > 1 || this.parts.has(expr)) return;
      for (const operand of operands(expr)) visit(operand);
      order.push(expr);
    };
    visit(root);
    return order.filter(
      (expr) =>
        expr !== root &&
        uses.get(expr)! > 1 &&
        this.sizeOf(expr) >= smallestPart &&
        [...this.freeOf(expr)].every((index) => scope.has(index)),
    );
  }

  /** Operations when written out in full. */
  private sizeOf(expr: Expr): number {
    if (this.parts.has(expr)) return 1;
    let size = this.sizes.get(expr);
    if (size === undefined) {
      size = operands(expr).reduce((total, operand) => total + this.sizeOf(operand), 1);
      this.sizes.set(expr, size);
    }
    return size;
  }

  private freeOf(expr: Expr): ReadonlySet<IndexRef> {
    let free = this.free.get(expr);
    if (!free) {
      const found = new Set(operands(expr).flatMap((operand) => [...this.freeOf(operand)]));
      if (expr.op === 'index') found.add(expr);
      if (expr.op === 'reduce') found.delete(expr.index);
      free = found;
      this.free.set(expr, free);
    }
    return free;
  }

  /** The author's name, or with a number where that name means something else already. */
  private nameIndex(index: IndexRef, inside: readonly IndexRef[]): string {
    const known = this.indexNames.get(index);
    if (known !== undefined) return known;
    const taken = new Set(inside.map((other) => this.indexNames.get(other)));
    let name = index.name;
    for (let i = 2; this.globals.has(name) || taken.has(name); i++) name = `${index.name}_${i}`;
    this.indexNames.set(index, name);
    return name;
  }

  /** On one line where it fits, else broken at its outermost operation. */
  private layout(expr: Expr, level: number, indent: number): string {
    const flat = this.text(expr, level);
    if (indent + flat.length <= width && !flat.includes('\n')) return flat;
    if (this.parts.has(expr)) return flat;
    const open = this.levelOf(expr) < level;
    const inner = this.broken(expr, indent);
    return open ? `(${inner})` : inner;
  }

  private broken(expr: Expr, indent: number): string {
    const pad = `\n${' '.repeat(indent + 2)}`;
    switch (expr.op) {
      case 'select': {
        const [test, then, otherwise] = expr.args;
        return `${this.layout(test, 2, indent)}${pad}? ${this.layout(then, 1, indent + 2)}${pad}: ${this.layout(otherwise, 1, indent + 2)}`;
      }
      case 'toReal':
        return this.broken(expr.args[0], indent);
      case 'reduce': {
        const head = this.reduceHead(expr);
        return `${head}${this.lambdaOf(expr, indent, width)})`;
      }
      case 'prim': {
        const operator = infix[expr.name];
        if (operator) {
          const [symbol, own] = operator;
          return `${this.layout(expr.args[0]!, own, indent)}${pad}${symbol} ${this.layout(expr.args[1]!, own + 1, indent + 2)}`;
        }
        if (expr.name === 'neg') return this.text(expr, 1);
        const args = this.folded(expr).map((arg) => `${pad}${this.layout(arg, 1, indent + 2)},`);
        return `${this.word(expr.name)}(${args.join('')}\n${' '.repeat(indent)})`;
      }
      default:
        return this.text(expr, 1);
    }
  }

  /** min(min(a, b), c) is min(a, b, c), which is read from the left again. */
  private folded(expr: Extract<Expr, { op: 'prim' }>): readonly Expr[] {
    const [first, ...rest] = expr.args;
    const isChain =
      variadic.includes(expr.name) && first?.op === 'prim' && first.name === expr.name && first.type === expr.type;
    return isChain && !this.parts.has(first) ? [...this.folded(first), ...rest] : expr.args;
  }

  /** The function of a reduction. Its consts belong to it wherever it is printed, so a long one is laid out once. */
  private lambdaOf(expr: Extract<Expr, { op: 'reduce' }>, indent: number, column: number): string {
    const known = this.longLambdas.get(expr);
    if (known !== undefined) return known;
    if (this.sizeOf(expr.body) <= longBody)
      return column === 0 ? ` ${this.text(expr.body, 1)}` : this.lambda(expr.body, indent, column, new Set());
    const text = this.lambda(expr.body, indent, column, new Set([...this.freeOf(expr), expr.index]));
    this.longLambdas.set(expr, text);
    return text;
  }
  private reduceHead(expr: Extract<Expr, { op: 'reduce' }>): string {
    const name = this.nameIndex(expr.index, [...this.freeOf(expr)]);
    return `${this.word(reductionWords[expr.reduction])}(${printSize(expr.extent)}, (${name}) =>`;
  }

  /** How tightly the outermost operator binds: ?: 1, || 2, && 3, === 4, < 5, + 6, * 7, - 8, the rest 9. */
  private levelOf(expr: Expr): number {
    if (this.parts.has(expr)) return 9;
    switch (expr.op) {
      case 'const':
        return expr.type !== 'bool' && (expr.value < 0 || Object.is(expr.value, -0)) ? 8 : 9;
      case 'prim':
        return expr.name === 'neg' ? 8 : (infix[expr.name]?.[1] ?? 9);
      case 'compare':
        return comparisons[expr.compare][1];
      case 'logic':
        return { or: 2, and: 3, not: 8 }[expr.logic];
      case 'select':
        return 1;
      case 'toReal':
        return this.levelOf(expr.args[0]);
      default:
        return 9;
    }
  }

  private text(expr: Expr, level: number): string {
    const open = this.levelOf(expr) < level;
    const key = `${expr.id} ${open}`;
    let text = this.flat.get(key);
    if (text === undefined) {
      text = this.parts.get(expr) ?? this.write(expr);
      if (open) text = `(${text})`;
      this.flat.set(key, text);
    }
    return text;
  }

  private write(expr: Expr): string {
    switch (expr.op) {
      case 'const':
        if (expr.type === 'bool') return expr.value === 1 ? 'true' : 'false';
        return Object.is(expr.value, -0) ? '-0' : String(expr.value);
      case 'size':
      case 'param':
        return expr.name;
      case 'index':
        return this.indexNames.get(expr) ?? this.nameIndex(expr, []);
      case 'read':
        return `${expr.source}(${expr.indices.map((index) => this.text(index, 1)).join(', ')})`;
      case 'toReal':
        return this.text(expr.args[0], 1);
      case 'prim': {
        const operator = infix[expr.name];
        if (operator) {
          const [symbol, own] = operator;
          return `${this.text(expr.args[0]!, own)} ${symbol} ${this.text(expr.args[1]!, own + 1)}`;
        }
        if (expr.name !== 'neg') {
          return `${this.word(expr.name)}(${this.folded(expr)
            .map((arg) => this.text(arg, 1))
            .join(', ')})`;
        }
        const operand = this.text(expr.args[0]!, 8);
        return operand.startsWith('-') ? `-(${operand})` : `-${operand}`;
      }
      case 'compare': {
        const [symbol, own] = comparisons[expr.compare];
        return `${this.text(expr.args[0], own + 1)} ${symbol} ${this.text(expr.args[1], own + 1)}`;
      }
      case 'logic':
        if (expr.logic === 'not') return `!${this.text(expr.args[0]!, 9)}`;
        return expr.args
          .map((arg, i) => this.text(arg, (expr.logic === 'and' ? 3 : 2) + (i > 0 ? 1 : 0)))
          .join(expr.logic === 'and' ? ' && ' : ' || ');
      case 'select': {
        const [test, then, otherwise] = expr.args;
        return `${this.text(test, 2)} ? ${this.text(then, 1)} : ${this.text(otherwise, 1)}`;
      }
      case 'reduce': {
        const head = this.reduceHead(expr);
        return `${head}${this.lambdaOf(expr, 4, 0)})`;
      }
    }
  }
}

/** `acts: grad`, or `grad` alone where the two names are one. */
const pair = (key: string, value: string): string => (key === value ? key : `${key}: ${value}`);
const quote = (text: string): string => `'${text.replace(/\\/g, '\\\\').replace(/'/g, "\\'").replace(/\n/g, '\\n')}'`;
