/** The invariants of a graph. A violation is a bug of the stage that made it, found before the next one trips over it. */
import { onInts, operations, reductions } from '../../dsl/primitives.js';
import { CompilerBug } from '../source.js';
import { operands } from './build.js';
import {
  type Expr,
  GRADIENT,
  type Graph,
  type IndexRef,
  type LatticeDecl,
  LOG_LIKELIHOOD,
  type SizeExpr,
  type ValueType,
} from './graph.js';
import { printSize, sameSize } from './size.js';

const bug = (message: string): never => {
  throw new CompilerBug('graph', message);
};

interface Source {
  readonly type: 'real' | 'int';
  readonly dims: readonly SizeExpr[];
}

interface Names {
  readonly sources: ReadonlyMap<string, Source>;
  readonly params: ReadonlyMap<string, 'real' | 'int'>;
  readonly sizes: ReadonlySet<string>;
}

/**
 * Checks types, ranks, names, bound indices, interning, gradients' domains, that no plain field depends on itself, and
 * the lattice, if equations are still to be derived.
 * @throws CompilerBug naming the field and what is wrong with it.
 */
export function verifyGraph(graph: Graph): void {
  const names = collectNames(graph);
  for (const { size } of graph.lengths) if (!names.sizes.has(size)) bug(`the length ${size} is no input's size`);
  for (const { name, element, not } of graph.inputs) {
    if (not === undefined) continue;
    if (element !== 'i32') bug(`input ${name} excludes a value but holds reals`);
    if (names.params.get(not) !== 'int') bug(`input ${name} excludes ${not}, which is not an int parameter`);
  }
  const bound = new Set<IndexRef>();
  const reads = new Map<string, Set<string>>();
  const byId = new Map<number, Expr>();
  for (const { name, domain, axes, body, type, outside } of graph.fields) {
    if (axes.length !== domain.length) bug(`${name} has ${axes.length} axes and ${domain.length} sizes`);
    if (type !== 'real' || body.type !== 'real') bug(`the body of ${name} is ${body.type}, not real`);
    if (Number.isNaN(outside)) bug(`the outside value of ${name} is NaN`);
    for (const size of domain) checkSize(size, names, `the domain of ${name}`);
    for (const axis of axes) {
      if (bound.has(axis)) bug(`the axis ${axis.name} of ${name} is bound twice`);
      bound.add(axis);
    }
    reads.set(name, checkExpr(body, new Set(axes), names, byId, name));
  }
  if (graph.loss.type !== 'real') bug(`the loss is ${graph.loss.type}, not real`);
  if (graph.lattice) checkLattice(graph, graph.lattice, bound, names, byId);
  else checkExpr(graph.loss, new Set(), names, byId, 'the loss');
  for (const [input, name] of Object.entries(graph.gradients)) {
    const decl = graph.inputs.find((candidate) => candidate.name === input);
    const field = graph.fields.find((candidate) => candidate.name === name);
    if (decl?.element !== 'f32') bug(`a gradient for ${input}, which is not a real input`);
    if (!field) throw new CompilerBug('graph', `the gradient of ${input} is ${name}, which is not a field`);
    const same = field.domain.length === decl!.dims.length && field.domain.every((d, i) => sameSize(d, decl!.dims[i]!));
    if (!same) bug(`the gradient of ${input} is over [${field.domain.map(printSize).join(', ')}]`);
  }
  checkAcyclic(graph, reads);
}

function checkLattice(
  graph: Graph,
  lattice: LatticeDecl,
  bound: Set<IndexRef>,
  names: Names,
  byId: Map<number, Expr>,
): void {
  const { axes, nodes, start, end, arcs, loss, gradient } = lattice;
  const rank = nodes.length;
  if (rank === 0) bug('the lattice has no axis');
  if (axes.length !== rank) bug(`the lattice has ${axes.length} axes and ${rank} sizes`);
  for (const size of nodes) checkSize(size, names, 'the nodes of the lattice');
  for (const axis of axes) {
    if (bound.has(axis)) bug(`the axis ${axis.name} of the lattice is bound twice`);
    bound.add(axis);
  }
  const expect = (expr: Expr, type: ValueType, where: string, free: readonly IndexRef[] = [], stand?: string): void => {
    if (expr.type !== type) bug(`${where} is ${expr.type}, not ${type}`);
    checkExpr(expr, new Set(free), names, byId, where, stand);
  };
  for (const [what, place] of Object.entries({ start, end })) {
    if (place.length !== rank) bug(`the ${what} of the lattice has ${place.length} indices, and its nodes ${rank}`);
    for (const part of place) expect(part, 'int', `the ${what} of the lattice`);
  }
  if (arcs.length === 0) bug('the lattice has no arcs');
  const taken = new Set<string>();
  for (const { name, step, weight, when, scale } of arcs) {
    if (taken.has(name)) bug(`two arcs are called ${name}`);
    taken.add(name);
    if (step.length !== rank) bug(`the step of arc ${name} has ${step.length} indices, and nodes ${rank}`);
    if (!step.every(Number.isInteger)) bug(`the step of arc ${name} is [${step.join(', ')}]`);
    if (step.every((part) => part === 0)) bug(`the step of arc ${name} leads nowhere`);
    expect(weight, 'real', `the weight of arc ${name}`, axes);
    if (when) expect(when, 'bool', `the condition of arc ${name}`, axes);
    if (scale) expect(scale, 'real', `the scale of arc ${name}`);
  }
  expect(loss, 'real', 'the loss of the lattice', [], LOG_LIKELIHOOD);
  if (gradient) expect(gradient, 'real', "the lattice's change of gradients", [], GRADIENT);
  if (graph.loss !== loss) bug('the loss of the graph is not that of its lattice');
  if (Object.keys(graph.gradients).length > 0)
    bug('a graph has gradients beside a lattice that they are to be derived from');
}

function collectNames(graph: Graph): Names {
  const sources = new Map<string, Source>();
  const add = (name: string, source: Source): void => {
    if (sources.has(name)) bug(`two inputs or fields are called ${name}`);
    sources.set(name, source);
  };
  for (const { name, element, dims } of graph.inputs) add(name, { type: element === 'i32' ? 'int' : 'real', dims });
  for (const { name, domain } of graph.fields) add(name, { type: 'real', dims: domain });
  const params = new Map(graph.params.map(({ name, type }) => [name, type]));
  if (params.size !== graph.params.length) bug('two parameters have one name');
  const sizes = new Set(graph.inputs.flatMap(({ dims }) => dims.flatMap(({ terms }) => Object.keys(terms))));
  for (const { name, type, default: value } of graph.params) {
    if (!Number.isFinite(value) || (type === 'int' && !Number.isInteger(value)))
      bug(`the default of ${type} ${name} is ${value}`);
  }
  return { sources, params, sizes };
}

function checkSize(size: SizeExpr, names: Names, where: string): void {
  if (!Number.isInteger(size.constant)) bug(`${where} has the constant ${size.constant}`);
  for (const [name, k] of Object.entries(size.terms)) {
    if (!names.sizes.has(name)) bug(`${where} has the unknown size ${name}`);
    if (!Number.isInteger(k) || k === 0) bug(`${where} has ${k} times ${name}`);
  }
}

/** Checks an expression in which these indices may occur, and a read without indices of `stand`; answers the fields it reads. */
function checkExpr(
  root: Expr,
  free: ReadonlySet<IndexRef>,
  names: Names,
  byId: Map<number, Expr>,
  where: string,
  stand?: string,
): Set<string> {
  const reads = new Set<string>();
  // An expression is checked once per set of bound indices: a reduction's body under its own index as well.
  const check = (expr: Expr, bound: ReadonlySet<IndexRef>, done: Set<Expr>): void => {
    if (done.has(expr)) return;
    done.add(expr);
    const known = byId.get(expr.id);
    if (known && known !== expr) bug(`${where}: two expressions have the id ${expr.id}`);
    byId.set(expr.id, expr);
    for (const operand of operands(expr)) {
      if (operand.id >= expr.id) bug(`${where}: expression ${expr.id} is older than its operand ${operand.id}`);
    }
    const types = (wanted: ValueType, args: readonly Expr[]): void => {
      for (const arg of args)
        if (arg.type !== wanted) bug(`${where}: ${expr.op} ${expr.id} needs ${wanted}, got ${arg.type}`);
    };
    switch (expr.op) {
      case 'const':
        if (expr.type === 'int' && !Number.isInteger(expr.value)) bug(`${where}: int constant ${expr.value}`);
        if (expr.type === 'bool' && expr.value !== 0 && expr.value !== 1) bug(`${where}: bool constant ${expr.value}`);
        break;
      case 'size':
        if (!names.sizes.has(expr.name)) bug(`${where}: unknown size ${expr.name}`);
        break;
      case 'param':
        if (names.params.get(expr.name) !== expr.type)
          bug(`${where}: ${expr.type} parameter ${expr.name} is declared ${names.params.get(expr.name)}`);
        break;
      case 'index':
        if (!bound.has(expr)) bug(`${where}: index ${expr.name} is not bound here`);
        break;
      case 'read': {
        if (expr.indices.length === 0 && expr.source === stand && expr.type === 'real') return;
        const source = names.sources.get(expr.source) ?? bug(`${where}: unknown source ${expr.source}`);
        if (source.type !== expr.type) bug(`${where}: read of ${expr.source} is ${expr.type}`);
        if (source.dims.length !== expr.indices.length)
          bug(`${where}: ${expr.source} is read with ${expr.indices.length} indices`);
        types('int', expr.indices);
        reads.add(expr.source);
        break;
      }
      case 'prim': {
        if (expr.args.length !== operations[expr.name].arity)
          bug(`${where}: ${expr.name} has ${expr.args.length} operands`);
        types(expr.type, expr.args);
        if (expr.type === 'int' && !onInts.has(expr.name)) bug(`${where}: ${expr.name} on ints`);
        const [, divisor] = expr.args;
        if (expr.name === 'floorDiv' && (expr.type !== 'int' || divisor?.op !== 'const' || divisor.value < 1))
          bug(`${where}: floorDiv of ${expr.type} by what is no constant of at least 1`);
        break;
      }
      case 'compare':
        if (expr.args[0].type === 'bool') bug(`${where}: comparison of conditions`);
        types(expr.args[0].type, expr.args);
        break;
      case 'logic':
        if (expr.logic === 'not' ? expr.args.length !== 1 : expr.args.length < 2)
          bug(`${where}: ${expr.logic} of ${expr.args.length}`);
        types('bool', expr.args);
        break;
      case 'select':
        types('bool', [expr.args[0]]);
        types(expr.type, expr.args.slice(1));
        break;
      case 'toReal':
        types('int', expr.args);
        break;
      case 'reduce':
        if (!(expr.reduction in reductions)) bug(`${where}: unknown reduction ${expr.reduction}`);
        if (bound.has(expr.index)) bug(`${where}: index ${expr.index.name} is bound twice`);
        checkSize(expr.extent, names, `${where}: the extent of ${expr.reduction}`);
        types('real', [expr.body]);
        check(expr.body, new Set([...bound, expr.index]), new Set());
        return;
    }
    for (const operand of operands(expr)) check(operand, bound, done);
  };
  check(root, free, new Set());
  return reads;
}

/** Plain fields have an order in which each reads only earlier ones; recurrences may go in circles among themselves. */
function checkAcyclic(graph: Graph, reads: ReadonlyMap<string, ReadonlySet<string>>): void {
  for (const { name, kind } of graph.fields) {
    if (kind === 'recurrence') continue;
    const seen = new Set<string>();
    const stack = [...(reads.get(name) ?? [])];
    for (let next = stack.pop(); next !== undefined; next = stack.pop()) {
      if (next === name) bug(`the field ${name} depends on itself`);
      if (seen.has(next)) continue;
      seen.add(next);
      stack.push(...(reads.get(next) ?? []));
    }
  }
}
