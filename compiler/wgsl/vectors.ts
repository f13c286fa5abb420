/**
 * Lanes loops in which an invocation does four neighbours at once, so that it loads and stores 16 bytes at a time.
 *
 * A loop qualifies where its range begins at a multiple of 4 and holds a multiple of 4, both known when it is compiled, and
 * where whatever differs between its lanes is f32, an integer or a truth value, found at neighbouring elements of
 * buffers with the first of four at a multiple of 4. A buffer that is loaded or stored so is bound as an array of vec4<f32> or vec4<f16>;
 * single elements of it can still be loaded. Single elements are never stored to it: WGSL allows such a store to
 * touch the other three, which may be another invocation's.
 */
import { isVarying, operandsOf, strideOf } from '../kernel/analysis.js';
import type { BufferDecl, KExpr, Kernel, KLoad, KLoop, KStmt, KStore } from '../kernel/kernel.js';

/** What a kernel does four at a time. Loops and accesses are known by identity. */
export interface Vectors {
  readonly loops: ReadonlySet<KLoop>;
  readonly accesses: ReadonlySet<KLoad | KStore>;
  readonly buffers: ReadonlySet<string>;
}

export const noVectors: Vectors = { loops: new Set(), accesses: new Set(), buffers: new Set() };

export function findVectors(kernel: Kernel, buffers: readonly BufferDecl[]): Vectors {
  const { loops, stores, lets } = statementsOf(kernel);
  const declared = new Map(buffers.map((decl) => [decl.name, decl]));
  const candidates = new Map<KLoop, readonly (KLoad | KStore)[]>();
  for (const loop of loops) {
    const accesses = accessesByFour(loop, lets);
    if (accesses !== undefined && accesses.length > 0) candidates.set(loop, accesses);
  }
  // A loop left out can make a buffer one of single elements, and that another loop.
  for (;;) {
    const accesses = new Set([...candidates.values()].flat());
    const single = new Set(stores.filter((store) => !accesses.has(store)).map(({ buffer }) => buffer));
    const suits = ({ buffer }: KLoad | KStore): boolean => holdsFours(declared.get(buffer)) && !single.has(buffer);
    const unsuited = [...candidates].filter(([, own]) => !own.every(suits));
    if (unsuited.length === 0) {
      return {
        loops: new Set(candidates.keys()),
        accesses,
        buffers: new Set([...accesses].map(({ buffer }) => buffer)),
      };
    }
    for (const [loop] of unsuited) candidates.delete(loop);
  }
}

interface Statements {
  /** Lanes loops. */
  readonly loops: readonly KLoop[];
  readonly stores: readonly KStore[];
  /** Names are unique within a kernel. */
  readonly lets: ReadonlyMap<string, KExpr>;
}

function statementsOf(kernel: Kernel): Statements {
  const loops: KLoop[] = [];
  const stores: KStore[] = [];
  const lets = new Map<string, KExpr>();
  const visit = (statement: KStmt): void => {
    switch (statement.kind) {
      case 'comment':
      case 'prefetch':
        break;
      case 'let':
        lets.set(statement.name, statement.value);
        break;
      case 'store':
        stores.push(statement);
        break;
      case 'loop':
        if (statement.mode === 'lanes') loops.push(statement);
        statement.body.forEach(visit);
        break;
      case 'if':
        [...statement.then, ...statement.otherwise].forEach(visit);
        break;
    }
  };
  kernel.body.forEach(visit);
  return { loops, stores, lets };
}

/** Whether the number of elements is a multiple of 4, so that no element lies beyond the last whole vec4. */
function holdsFours(decl: BufferDecl | undefined): boolean {
  if (decl?.element !== 'f32' && decl?.element !== 'f16') return false;
  return decl.shape.reduce((product, extent) => Math.min(4, product * powerIn(extent, new Map())), 1) === 4;
}

/** The loop's accesses that differ between lanes, or undefined if one of them or another operation keeps it from working by fours. */
function accessesByFour(loop: KLoop, lets: ReadonlyMap<string, KExpr>): (KLoad | KStore)[] | undefined {
  const { from, to, variable } = loop;
  if (from.op !== 'const' || to.op !== 'const' || from.value % 4 !== 0 || to.value % 4 !== 0) return undefined;
  if (loop.reduce.some(({ type }) => type !== 'f32')) return undefined;

  const accesses: (KLoad | KStore)[] = [];
  const varyingLets = new Set<string>();
  const varies = (expr: KExpr): boolean => isVarying(expr, new Set([variable, ...varyingLets]));
  const isAddress = (index: KExpr): boolean =>
    !isVarying(index, varyingLets) &&
    strideOf(index, variable, new Map()) === 1 &&
    // The first of four lanes is a multiple of 4.
    powerIn(index, lets, variable) === 4;
  const suits = (expr: KExpr): boolean => {
    if (!varies(expr)) return true;
    if (expr.type === 'f64') return false;
    if (expr.op !== 'load') return operandsOf(expr).every(suits);
    accesses.push(expr);
    return expr.type === 'f32' && isAddress(expr.index) && (expr.mask === undefined || !varies(expr.mask));
  };
  for (const statement of loop.body) {
    switch (statement.kind) {
      case 'comment':
      case 'prefetch':
        break;
      case 'let':
        if (!suits(statement.value)) return undefined;
        if (varies(statement.value)) varyingLets.add(statement.name);
        break;
      case 'store':
        if (!isAddress(statement.index) || !suits(statement.value)) return undefined;
        accesses.push(statement);
        break;
      default:
        return undefined;
    }
  }
  return loop.reduce.every(({ value }) => suits(value)) ? accesses : undefined;
}

type Power = 1 | 2 | 4;

/** The largest of 1, 2 and 4 that an index is known to be a multiple of. `four`: a variable that is a multiple of 4. */
function powerIn(expr: KExpr, lets: ReadonlyMap<string, KExpr>, four?: string): Power {
  const of = (each: KExpr): Power => powerIn(each, lets, four);
  switch (expr.op) {
    case 'const':
      return expr.value % 4 === 0 ? 4 : expr.value % 2 === 0 ? 2 : 1;
    case 'var': {
      if (expr.name === four) return 4;
      const definition = lets.get(expr.name);
      return definition === undefined ? 1 : of(definition);
    }
    case 'select':
      return Math.min(of(expr.args[1]), of(expr.args[2])) as Power;
    case 'index': {
      const [a, b] = expr.args;
      if (expr.name === 'mul') return Math.min(4, of(a) * of(b)) as Power;
      // Of a quotient nothing is known.
      return expr.name === 'div' ? 1 : (Math.min(of(a), of(b)) as Power);
    }
    default:
      return 1;
  }
}
