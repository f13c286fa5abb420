/** Lattices made by hand, for tests of derivation that do not depend on the front end. */
import type { ArcDecl, Expr, Graph, LatticeDecl } from '../../compiler/graph/graph.js';
import { LOG_LIKELIHOOD } from '../../compiler/graph/graph.js';
import { HandMade } from '../schedule/graphs.js';

/** RNN-T by its arcs: blanks to the next frame, the last of them into the end, and labels within a frame. */
export function rnntLattice(): Graph {
  const g = new HandMade();
  const { b } = g;
  const [t, u, k] = [b.index('t'), b.index('u'), b.index('v')];
  const logp = (symbol: Expr): Expr =>
    b.prim('sub', g.acts(t, u, symbol), b.reduce('logSumExp', k, g.V, g.acts(t, u, k)));
  const arcs: ArcDecl[] = [
    { name: 'stay', step: [1, 0], weight: logp(b.param('blank', 'int')), final: true },
    { name: 'emit', step: [0, 1], weight: logp(g.labels(u)), final: false },
  ];
  const lattice: LatticeDecl = {
    axes: [t, u],
    nodes: [g.T, g.U1],
    start: [b.int(0), b.int(0)],
    end: [b.size('T'), b.size('U')],
    arcs,
    loss: b.prim('neg', b.read(LOG_LIKELIHOOD, 'real', [])),
  };
  return { ...g.graph('lattice', lattice.loss), lattice };
}
