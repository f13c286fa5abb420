/** Evaluates the index expressions over launch scalars that give buffers' shapes and grids' extents. */
import type { KExpr } from '../../compiler/kernel/kernel.js';
import { CompilerBug } from '../../compiler/source.js';

export type Scalars = Readonly<Record<string, number>>;

/**
 * Value of an index or bool expression (bools are 0 and 1). Throws CompilerBug for one that reads memory or loop variables.
 * Every call evaluates dozens of them, which is why it makes no closures.
 */
export function evaluateExtent(expr: KExpr, scalars: Scalars): number {
  switch (expr.op) {
    case 'const':
      return expr.value;
    case 'scalar': {
      const value = scalars[expr.name];
      if (value === undefined) throw new Error(`scalar '${expr.name}' is missing: it decides a size`);
      return value;
    }
    case 'index': {
      const a = evaluateExtent(expr.args[0], scalars);
      const b = evaluateExtent(expr.args[1], scalars);
      switch (expr.name) {
        case 'add':
          return a + b;
        case 'sub':
          return a - b;
        case 'mul':
          return a * b;
        case 'div':
          return Math.floor(a / b);
        case 'mod':
          return a % b;
        case 'min':
          return Math.min(a, b);
        case 'max':
          return Math.max(a, b);
      }
      break;
    }
    case 'compare': {
      const a = evaluateExtent(expr.args[0], scalars);
      const b = evaluateExtent(expr.args[1], scalars);
      const truth = { eq: a === b, ne: a !== b, lt: a < b, le: a <= b, gt: a > b, ge: a >= b };
      return truth[expr.compare] ? 1 : 0;
    }
    case 'logic': {
      const values = expr.args.map((arg) => evaluateExtent(arg, scalars) !== 0);
      if (expr.logic === 'not') return values[0] ? 0 : 1;
      return (expr.logic === 'and' ? values.every(Boolean) : values.some(Boolean)) ? 1 : 0;
    }
    case 'select':
      return evaluateExtent(evaluateExtent(expr.args[0], scalars) !== 0 ? expr.args[1] : expr.args[2], scalars);
  }
  throw new CompilerBug('the executor', `a size cannot depend on a '${expr.op}' of kernels`);
}
