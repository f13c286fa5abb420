/** The order of cells that dependence analysis finds, and the recurrences it refuses. */
import { describe, expect, test } from 'vitest';
import type { Expr, Graph } from '../../compiler/graph/graph.js';
import { addSize, sizeConst } from '../../compiler/graph/size.js';
import { findEquations } from '../../compiler/schedule/equations.js';
import { findWavefront, NoOrder, recurrenceGroups } from '../../compiler/schedule/hyperplane.js';
import { skewOf } from '../../compiler/schedule/layout.js';
import { HandMade } from './graphs.js';

type Read = readonly [dt: number, du: number];

/** A recurrence r(t, u) that adds up the cells at the given offsets. */
function recurrence(reads: readonly Read[], guard?: (g: HandMade, t: Expr, u: Expr, body: Expr) => Expr): Graph {
  const g = new HandMade();
  const r = g.read('r');
  g.field('r', 'recurrence', [g.T, g.U1], ['t', 'u'], (t, u) => {
    let sum: Expr = g.acts(t!, u!, g.b.int(0));
    for (const [dt, du] of reads) sum = g.b.prim('add', sum, r(g.plus(t!, dt), g.plus(u!, du)));
    return guard ? guard(g, t!, u!, sum) : sum;
  });
  return g.graph('r', r(g.b.int(0), g.b.int(0)));
}

function wavefrontOf(graph: Graph): readonly number[] {
  const { stored, ranges, builder } = findEquations(graph, { sizes: { V: 5 }, gradients: false });
  const group = recurrenceGroups(stored).find((members) => members.some(({ name }) => name === 'r'))!;
  return findWavefront(group, ranges, builder.origins).h;
}

describe('a recurrence is ordered', () => {
  test.each([
    [
      'by rows, forward',
      [
        [-1, 0],
        [-1, -1],
      ],
      [1, 0],
    ],
    [
      'by rows, backward',
      [
        [1, 0],
        [1, 1],
      ],
      [-1, 0],
    ],
    [
      'by rows, whatever the reach along them',
      [
        [-1, 4],
        [-2, -7],
      ],
      [1, 0],
    ],
    [
      'by columns',
      [
        [0, -1],
        [3, -1],
      ],
      [0, 1],
    ],
    [
      'by diagonals',
      [
        [-1, 0],
        [0, -1],
      ],
      [1, 1],
    ],
    [
      'by diagonals, backward',
      [
        [1, 0],
        [0, 1],
      ],
      [-1, -1],
    ],
    [
      'by rising diagonals',
      [
        [-1, 0],
        [0, 1],
      ],
      [1, -1],
    ],
    [
      'steeply',
      [
        [0, -1],
        [-1, 1],
      ],
      [2, 1],
    ],
    [
      'more steeply',
      [
        [0, -1],
        [-1, 2],
      ],
      [3, 1],
    ],
  ] as [string, Read[], number[]][])('%s', (_, reads, h) => {
    expect(wavefrontOf(recurrence(reads))).toEqual(h);
  });

  test('not at all if it reads both sides', () => {
    for (const reads of [
      [
        [-1, 0],
        [1, 0],
      ],
      [
        [-1, 1],
        [1, -1],
      ],
      [[0, 0]],
    ] as Read[][])
      expect(() => wavefrontOf(recurrence(reads))).toThrow(NoOrder);
  });

  test('where the guard on the path is what makes a fixed cell an earlier one', () => {
    // r(0, 0) may be read by every later row, and only by those.
    const fixed = (guarded: boolean): Graph => {
      const g = new HandMade();
      const r = g.read('r');
      g.field('r', 'recurrence', [g.T, g.U1], ['t', 'u'], (t, u) => {
        const first = r(g.b.int(0), g.b.int(0));
        const own = g.acts(t!, u!, g.b.int(0));
        return guarded ? g.b.select(g.b.compare('eq', t!, g.b.int(0)), own, first) : g.b.prim('add', own, first);
      });
      return g.graph('r', r(g.b.int(0), g.b.int(0)));
    };
    expect(wavefrontOf(fixed(true))).toEqual([1, 0]);
    expect(() => wavefrontOf(fixed(false))).toThrow(NoOrder);
  });

  test('over more than two indices: refused by rank', () => {
    const g = new HandMade();
    const r = g.read('r');
    const two = addSize(sizeConst(2), sizeConst(0));
    g.field('r', 'recurrence', [g.T, g.U1, two], ['t', 'u', 'k'], (t, u, k) => r(g.plus(t!, -1), u!, k!));
    const graph = g.graph('r', r(g.b.int(0), g.b.int(0), g.b.int(0)));
    expect(() => wavefrontOf(graph)).toThrow(expect.objectContaining({ reason: 'rank' }));
  });
});

describe('skewed storage', () => {
  test.each([
    [[1, 0], { line: 0, lane: 1, h: [1, 0] }],
    [[0, -1], { line: 1, lane: 0, h: [0, 1] }],
    [[-1, -1], { line: 0, lane: 1, h: [1, 1] }],
    [[-1, 1], { line: 0, lane: 1, h: [1, -1] }],
    [[2, 1], { line: 1, lane: 0, h: [2, 1] }],
  ])('of the front %j', (h, skew) => {
    expect(skewOf({ h })).toEqual(skew);
  });
  test('gives every cell a place of its own', () => {
    for (const h of [
      [1, 1],
      [1, -1],
      [2, 1],
      [1, 3],
    ]) {
      const { line, lane, h: k } = skewOf({ h })!;
      const extents = [5, 4];
      const seen = new Set<string>();
      for (let t = 0; t < 5; t++)
        for (let u = 0; u < 4; u++) {
          const x = [t, u];
          const row = (((x[line]! + k[lane]! * x[lane]!) % extents[line]!) + extents[line]!) % extents[line]!;
          seen.add(`${row} ${x[lane]}`);
        }
      expect(seen.size).toBe(20);
    }
  });
});
