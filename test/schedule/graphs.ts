/** Graphs made by hand, for tests of the scheduler that do not depend on the front end. */
import { GraphBuilder } from '../../compiler/graph/build.js';
import type { Expr, FieldDecl, Graph, SizeExpr } from '../../compiler/graph/graph.js';
import { addSize, sizeConst, sizeSymbol } from '../../compiler/graph/size.js';

const T = sizeSymbol('T');
const U = sizeSymbol('U');
const V = sizeSymbol('V');
const U1 = addSize(U, sizeConst(1));

export type Cell = (...axes: Expr[]) => Expr;

/** A two-input graph (acts [T, U+1, V], labels [U]) with helpers to add fields. */
export class HandMade {
  readonly b = new GraphBuilder();
  readonly fields: FieldDecl[] = [];
  readonly T = T;
  readonly U1 = U1;
  readonly U = U;
  readonly V = V;

  field(
    name: string,
    kind: FieldDecl['kind'],
    domain: readonly SizeExpr[],
    axisNames: readonly string[],
    cell: Cell,
    outside = -Infinity,
  ): Cell {
    const axes = axisNames.map((axis) => this.b.index(axis));
    this.fields.push({ name, kind, domain, axes, body: cell(...axes), outside, type: 'real' });
    return (...at) => this.b.read(name, 'real', at);
  }
  acts = (...at: Expr[]): Expr => this.b.read('acts', 'real', at);
  labels = (u: Expr): Expr => this.b.read('labels', 'int', [u]);
  read =
    (name: string): Cell =>
    (...at) =>
      this.b.read(name, 'real', at);
  plus = (a: Expr, n: number): Expr => this.b.prim('add', a, this.b.int(n));

  graph(name: string, loss: Expr, gradient?: string): Graph {
    return {
      name,
      doc: '',
      inputs: [
        { name: 'acts', element: 'f32', dims: [T, U1, V] },
        { name: 'labels', element: 'i32', dims: [U], below: V, not: 'blank' },
      ],
      lengths: [
        { size: 'T', argument: 'actLens' },
        { size: 'U', argument: 'labelLens' },
      ],
      params: [{ name: 'blank', type: 'int', default: 0, below: V }],
      statics: {},
      fields: this.fields,
      loss,
      gradients: gradient ? { acts: gradient } : {},
      origins: this.b.origins,
      fieldOrigins: new Map(),
    };
  }
}

/** RNN-T: diagonals, a forward and a backward recurrence, a gradient through the log-softmax. */
export function diagonalGraph(): Graph {
  const g = new HandMade();
  const { b } = g;
  const blank = b.param('blank', 'int');
  const v0 = b.index('v');
  const logZ = g.field('logZ', 'field', [T, U1], ['t', 'u'], (t, u) =>
    b.reduce('logSumExp', v0, V, g.acts(t!, u!, v0)),
  );
  const stay = g.field('stay', 'field', [T, U1], ['t', 'u'], (t, u) =>
    b.prim('sub', g.acts(t!, u!, blank), logZ(t!, u!)),
  );
  const emit = g.field('emit', 'field', [T, U], ['t', 'u'], (t, u) =>
    b.prim('sub', g.acts(t!, u!, g.labels(u!)), logZ(t!, u!)),
  );
  const add = (x: Expr, y: Expr): Expr => b.prim('add', x, y);
  const alpha = g.read('alpha');
  const beta = g.read('beta');
  const is = (x: Expr, y: Expr): Expr => b.compare('eq', x, y);
  g.field('alpha', 'recurrence', [T, U1], ['t', 'u'], (t, u) =>
    b.select(
      b.logic('and', is(t!, b.int(0)), is(u!, b.int(0))),
      b.real(0),
      b.prim(
        'logAddExp',
        add(alpha(g.plus(t!, -1), u!), stay(g.plus(t!, -1), u!)),
        add(alpha(t!, g.plus(u!, -1)), emit(t!, g.plus(u!, -1))),
      ),
    ),
  );
  g.field('beta', 'recurrence', [T, U1], ['t', 'u'], (t, u) =>
    b.select(
      b.logic('and', is(t!, g.plus(b.size('T'), -1)), is(u!, b.size('U'))),
      stay(t!, u!),
      b.prim('logAddExp', add(beta(g.plus(t!, 1), u!), stay(t!, u!)), add(beta(t!, g.plus(u!, 1)), emit(t!, u!))),
    ),
  );
  const logLik = beta(b.int(0), b.int(0));
  const occupancy = g.field('occupancy', 'field', [T, U1], ['t', 'u'], (t, u) =>
    b.prim('exp', b.prim('sub', add(alpha(t!, u!), beta(t!, u!)), logLik)),
  );
  const after = (t: Expr, u: Expr): Expr =>
    b.select(b.logic('and', is(t, g.plus(b.size('T'), -1)), is(u, b.size('U'))), b.real(0), beta(g.plus(t, 1), u));
  const q0 = g.field('q0', 'field', [T, U1], ['t', 'u'], (t, u) =>
    b.prim('exp', b.prim('sub', add(add(alpha(t!, u!), stay(t!, u!)), after(t!, u!)), logLik)),
  );
  const qy = g.field('qy', 'field', [T, U1], ['t', 'u'], (t, u) =>
    b.prim('exp', b.prim('sub', add(add(alpha(t!, u!), emit(t!, u!)), beta(t!, g.plus(u!, 1))), logLik)),
  );
  g.field('grad', 'field', [T, U1, V], ['t', 'u', 'v'], (t, u, v) => {
    const dense = b.prim('mul', b.prim('exp', b.prim('sub', g.acts(t!, u!, v!), logZ(t!, u!))), occupancy(t!, u!));
    const less = (from: Expr, at: Expr, q: Expr): Expr => b.prim('sub', from, b.select(is(v!, at), q, b.real(0)));
    return less(less(dense, blank, q0(t!, u!)), g.labels(u!), qy(t!, u!));
  });
  return g.graph('diagonal', b.prim('neg', logLik), 'grad');
}
