/** What is known about the integers of a graph: index expressions as affine forms, and the range of every atom in them. */
import type { Expr, Graph, IndexRef, SizeExpr } from '../graph/graph.js';
import { Affine, boundsOfQuotient, type Facts, provablyNonNegative } from './affine.js';

export const indexAtom = (index: IndexRef): string => `i${index.unique}`;

export const affineOfSize = (size: SizeExpr): Affine =>
  Object.entries(size.terms).reduce((sum, [name, k]) => sum.plus(Affine.atom(name), k), Affine.constant(size.constant));

/**
 * Ranges of a graph's atoms. Index variables are registered as they are bound; sizes are non-negative;
 * int parameters and values of int inputs lie in the range that validation guarantees.
 */
export class Ranges {
  private readonly bounds = new Map<string, { lower: Affine[]; upper: Affine[] }>();
  private readonly sizes: ReadonlySet<string>;

  constructor(private readonly graph: Graph) {
    this.sizes = new Set(graph.inputs.flatMap(({ dims }) => dims.flatMap(({ terms }) => Object.keys(terms))));
    for (const name of this.sizes) this.bounds.set(name, { lower: [Affine.zero], upper: [] });
    for (const param of graph.params) {
      if (param.type === 'int' && param.below)
        this.bounds.set(`param ${param.name}`, { lower: [Affine.zero], upper: [affineOfSize(param.below).offset(-1)] });
    }
  }

  /** An index variable that runs over [0, extent). */
  bind(index: IndexRef, extent: SizeExpr): void {
    this.bounds.set(indexAtom(index), { lower: [Affine.zero], upper: [affineOfSize(extent).offset(-1)] });
  }

  get facts(): Facts {
    return { bounds: this.bounds };
  }

  /** The form of an int expression. Anything not linear (a gather, min, max, a choice) becomes an atom of its own. */
  affine(expr: Expr): Affine {
    switch (expr.op) {
      case 'const':
        return Affine.constant(expr.value);
      case 'size':
        return Affine.atom(expr.name);
      case 'param':
        return Affine.atom(`param ${expr.name}`);
      case 'index':
        return Affine.atom(indexAtom(expr));
      case 'prim': {
        const form = Affine.of(
          expr.name,
          expr.args.map((arg) => this.affine(arg)),
        );
        if (form) return form;
        if (expr.name === 'floorDiv') this.boundQuotient(expr);
        break;
      }
      case 'read':
        this.boundGather(expr);
        break;
      default:
        break;
    }
    return Affine.atom(`e${expr.id}`);
  }

  /** A validated int input holds values in [0, below) inside of its domain; outside it reads as -1. */
  private boundGather(expr: Expr & { op: 'read' }): void {
    const name = `e${expr.id}`;
    const input = this.graph.inputs.find((candidate) => candidate.name === expr.source);
    if (this.bounds.has(name) || !input?.below) return;
    const inside = this.inside(expr.indices, input.dims);
    this.bounds.set(name, {
      lower: [Affine.constant(inside ? 0 : -1)],
      upper: [affineOfSize(input.below).offset(-1)],
    });
  }

  private boundQuotient(expr: Expr & { op: 'prim' }): void {
    const name = `e${expr.id}`;
    if (this.bounds.has(name)) return;
    const [form, divisor] = expr.args.map((arg) => this.affine(arg)) as [Affine, Affine];
    this.bounds.set(name, boundsOfQuotient(form, divisor.constant, this.facts));
  }

  /** True if every index provably lies in its dimension. */
  inside(indices: readonly Expr[], dims: readonly SizeExpr[]): boolean {
    return indices.every((at, axis) => {
      const form = this.affine(at);
      return this.provable(form) && this.provable(affineOfSize(dims[axis]!).offset(-1).minus(form));
    });
  }

  /** Whether an index is a given index variable, but for what is the same everywhere in a lattice: the next one, the one U later. */
  follows(at: Expr, index: IndexRef): boolean {
    const distance = this.affine(at).minus(Affine.atom(indexAtom(index)));
    return [...distance.terms.keys()].every((name) => this.sizes.has(name));
  }

  provable(form: Affine, given: readonly Affine[] = []): boolean {
    return provablyNonNegative(form, { bounds: this.bounds, nonNegative: given });
  }
}
