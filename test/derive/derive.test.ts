/** Derived equations against mathematics: golden cases, central differences, and the hand-written kernels. */
import { describe, expect, test } from 'vitest';
import { DeriveProblem, deriveGraph } from '../../compiler/derive/derive.js';
import type { GraphBuilder } from '../../compiler/graph/build.js';
import { evaluateGraph } from '../../compiler/graph/evaluate.js';
import type { ArcDecl, Expr, Graph, LatticeDecl } from '../../compiler/graph/graph.js';
import { GRADIENT, LOG_LIKELIHOOD } from '../../compiler/graph/graph.js';
import { printGraph } from '../../compiler/graph/print.js';
import { evalSize } from '../../compiler/graph/size.js';
import { verifyGraph } from '../../compiler/graph/verify.js';
import { interpretProgram } from '../../compiler/kernel/interpret.js';
import { printProgram } from '../../compiler/kernel/print.js';
import { schedule } from '../../compiler/schedule/index.js';
import { type PrimitiveName, primitives } from '../../dsl/primitives.js';
import { loadCase, loadCases, utteranceOf } from '../cases.js';
import { HandMade } from '../schedule/graphs.js';
import { randomFrom } from '../specs.js';
import { rnntLattice } from './lattices.js';

const logSoftmax = (g: HandMade, t: Expr, u: Expr, symbol: Expr): Expr => {
  const k = g.b.index('v');
  return g.b.prim('sub', g.acts(t, u, symbol), g.b.reduce('logSumExp', k, g.V, g.acts(t, u, k)));
};

type ArcMaker = (g: HandMade, t: Expr, u: Expr) => (Omit<ArcDecl, 'name'> & { name?: string })[];

function latticeGraph(
  make: ArcMaker,
  change: (b: GraphBuilder, lattice: LatticeDecl) => Partial<LatticeDecl> = () => ({}),
): Graph {
  const g = new HandMade();
  const { b } = g;
  const [t, u] = [b.index('t'), b.index('u')];
  const arcs = make(g, t, u).map((arc, k) => ({ name: `arc${k}`, ...arc }));
  const plain: LatticeDecl = {
    axes: [t, u],
    nodes: [g.T, g.U1],
    start: [b.int(0), b.int(0)],
    end: [b.size('T'), b.size('U')],
    arcs,
    loss: b.prim('neg', b.read(LOG_LIKELIHOOD, 'real', [])),
  };
  const lattice = { ...plain, ...change(b, plain) };
  return { ...g.graph('lattice', lattice.loss), lattice };
}

/** The largest difference between the derived gradient and central differences of the derived loss, over some random utterances. */
function gradientError(stated: Graph, seeds = 3): number {
  const graph = deriveGraph(stated);
  verifyGraph(graph);
  let worst = 0;
  for (let seed = 1; seed <= seeds; seed++) {
    const random = randomFrom(seed);
    const sizes = { T: 2 + Math.floor(random() * 3), U: 1 + Math.floor(random() * 3), V: 4 };
    const inputs = Object.fromEntries(
      graph.inputs.map((input) => {
        const shape = input.dims.map((dim) => evalSize(dim, sizes));
        const count = shape.reduce((product, extent) => product * extent, 1);
        const data = Float64Array.from({ length: count }, () =>
          input.element === 'i32' ? 1 + Math.floor(random() * 3) : random() * 3 - 1.5,
        );
        return [input.name, { data, shape }];
      }),
    );
    const run = () => evaluateGraph(graph, { inputs, sizes });
    const { loss, gradients } = run();
    expect(Number.isFinite(loss)).toBe(true);
    for (const [name, { data: gradient }] of Object.entries(gradients)) {
      const { data } = inputs[name]!;
      for (let i = 0; i < data.length; i++) {
        const [at, h] = [data[i]!, 1e-5];
        data[i] = at + h;
        const above = run().loss;
        data[i] = at - h;
        const below = run().loss;
        data[i] = at;
        worst = Math.max(worst, Math.abs((above - below) / (2 * h) - gradient[i]!));
      }
    }
  }
  return worst;
}

// The differences themselves are good to some 1e-9.
const close = 1e-7;
const move = (g: HandMade, t: Expr, u: Expr) => ({
  step: [1, 0],
  weight: logSoftmax(g, t, u, g.b.int(0)),
  final: true,
});
const emit = (g: HandMade, t: Expr, u: Expr) => ({
  step: [0, 1],
  weight: logSoftmax(g, t, u, g.labels(u)),
  final: false,
});

describe('integers divided, in the indices of weights', () => {
  const half = (g: HandMade, i: Expr): Expr => g.b.prim('floorDiv', i, g.b.int(2));
  const symbol = (g: HandMade, at: Expr): Expr => g.b.read('labels', 'int', [at]);
  test.each<[string, ArcMaker]>([
    ['alone', (g, t, u) => [move(g, t, u), { ...emit(g, t, u), weight: g.acts(half(g, t), u, g.b.int(1)) }]],
    [
      'beside the variable itself, which it must not be solved for',
      (g, t, u) => [move(g, t, u), { ...emit(g, t, u), weight: g.acts(g.b.prim('sub', t, half(g, t)), u, g.b.int(1)) }],
    ],
    [
      'in a gather, whose cases are summed first',
      (g, t, u) => [move(g, t, u), { ...emit(g, t, u), weight: g.acts(t, g.b.int(0), symbol(g, half(g, u))) }],
    ],
    [
      'in a gather together with the variable',
      (g, t, u) => [
        move(g, t, u),
        { ...emit(g, t, u), weight: g.acts(t, g.b.int(0), symbol(g, g.b.prim('sub', u, half(g, u)))) },
      ],
    ],
    [
      'by two divisors',
      (g, t, u) => [
        move(g, t, u),
        {
          ...emit(g, t, u),
          weight: g.acts(t, g.b.prim('floorDiv', u, g.b.int(3)), symbol(g, half(g, g.b.prim('add', u, g.b.int(1))))),
        },
      ],
    ],
  ])('%s', (_, make) => {
    expect(gradientError(latticeGraph(make), 5)).toBeLessThan(close);
  });
});

describe('RNN-T by its arcs', () => {
  test('meets the golden cases', () => {
    const graph = deriveGraph(rnntLattice());
    verifyGraph(graph);
    const plain = loadCases('rnnt').filter(({ params }) => Object.keys(params).every((name) => name === 'blank'));
    expect(plain.length).toBeGreaterThan(6);
    for (const golden of plain) {
      // See test/dsl/golden.test.ts for the one case whose numbers were made from other logits than it holds.
      const tolerance = golden.name === 'rnnt-huge-logits' ? 5e-8 : 1e-9;
      for (let b = 0; b < golden.costs.length; b++) {
        const { acts, labels, sizes, cost, grad } = utteranceOf(golden, b);
        const at = (view: typeof acts) => (indices: readonly number[]) =>
          Number(view.data[indices.reduce((sum, index, axis) => sum + index * view.strides![axis]!, view.offset ?? 0)]);
        const { loss, gradients } = evaluateGraph(graph, {
          inputs: { acts: at(acts), labels: at(labels) },
          sizes,
          params: { blank: Number(golden.params.blank) },
        });
        if (cost === Number.POSITIVE_INFINITY) expect(loss).toBe(cost);
        else expect(Math.abs(loss - cost)).toBeLessThan(tolerance * Math.max(1, cost));
        const { data, shape } = gradients.acts!;
        for (const [i, value] of data.entries()) {
          const v = i % shape[2]!;
          const u = Math.floor(i / shape[2]!) % shape[1]!;
          expect(Math.abs(value - grad(Math.floor(i / shape[2]! / shape[1]!), u, v))).toBeLessThan(tolerance);
        }
      }
    }
  });

  test('schedules as the hand-written equations do', () => {
    const program = schedule(deriveGraph(rnntLattice()), { sizes: { V: 64 }, lattice: 'f64', gradients: true });
    expect(program.phases.map((phase) => phase.map(({ name }) => name).sort())).toEqual([
      ['stay_logSumExp_stay_emit', 'stay_logSumExp_stay_emit_long'],
      ['alpha', 'beta'],
      ['grad_acts', 'grad_acts_long', 'loss'],
    ]);
    expect(program.buffers.filter(({ role }) => role === 'scratch')).toHaveLength(5);
    expect(program.inPlace).toEqual(['acts']);
    // Two loops over a row's symbols before the recurrences, one after them and two over padding: as few as there can be. For long
    // paths the same again.
    expect(printProgram(program).match(/lanes v/g)).toHaveLength(2 * (2 + 3));
  });
});

describe('the gradient is the derivative', () => {
  test('of the plain lattice', () => {
    expect(gradientError(latticeGraph((g, t, u) => [move(g, t, u), emit(g, t, u)]))).toBeLessThan(close);
  });
  test('of arcs of several steps, one of them guarded', () => {
    const graph = latticeGraph((g, t, u) => [
      move(g, t, u),
      emit(g, t, u),
      { step: [2, 0], weight: logSoftmax(g, t, u, g.b.int(1)), final: true },
      { step: [1, 1], weight: logSoftmax(g, t, u, g.labels(u)), final: false, when: g.b.compare('gt', t, g.b.int(0)) },
    ]);
    expect(gradientError(graph)).toBeLessThan(close);
  });
  test('of a lattice that ends at a node', () => {
    const graph = latticeGraph(
      (g, t, u) => [{ ...move(g, t, u), final: false }, emit(g, t, u)],
      (b) => ({ end: [b.prim('sub', b.size('T'), b.int(1)), b.size('U')] }),
    );
    expect(gradientError(graph)).toBeLessThan(close);
  });
  test('of weights that read other cells than their own, and through a gather', () => {
    const graph = latticeGraph((g, t, u) => [
      move(g, t, u),
      // A label also pays for a blank from the context it makes, which the last one has none of.
      {
        step: [0, 1],
        weight: g.b.prim('add', logSoftmax(g, t, u, g.labels(u)), logSoftmax(g, t, g.plus(u, 1), g.b.int(0))),
        when: g.b.compare('lt', u, g.b.size('U')),
        final: false,
      },
      {
        step: [1, 1],
        weight: g.b.prim('mul', g.acts(t, u, g.labels(u)), g.acts(g.b.int(0), u, g.b.int(2))),
        when: g.b.compare('lt', u, g.b.size('U')),
        final: false,
      },
    ]);
    expect(gradientError(graph)).toBeLessThan(close);
  });
  test.each<[string, boolean]>([
    ['that ends beyond the nodes', false],
    ['that ends at a node', true],
  ])('of a lattice whose arcs all pay one weight, by the occupancy of the node, %s', (_, atNode) => {
    // The weight is chosen among logits, and log 0 is some of them: derivatives need not ask for that.
    const weight = (g: HandMade, t: Expr, u: Expr): Expr => {
      const possible = (x: Expr): Expr => g.b.select(g.b.compare('eq', x, g.b.real(-Infinity)), g.b.real(-Infinity), x);
      const even = g.b.compare('eq', u, g.b.prim('mul', g.b.int(2), g.b.prim('floorDiv', u, g.b.int(2))));
      return g.b.select(even, possible(g.acts(t, u, g.b.int(1))), possible(g.acts(t, u, g.b.int(2))));
    };
    const graph = latticeGraph(
      (g, t, u) => [
        { step: [1, 0], weight: weight(g, t, u), final: !atNode },
        { step: [0, 1], weight: weight(g, t, u), final: false, when: g.b.compare('lt', u, g.b.size('U')) },
      ],
      (b) => (atNode ? { end: [b.prim('sub', b.size('T'), b.int(1)), b.size('U')] } : {}),
    );
    expect(gradientError(graph)).toBeLessThan(close);
    const derived = deriveGraph(graph);
    const text = printGraph(derived);
    const gradient = text.slice(text.search(/const (d_acts|grad_acts) =/));
    expect(gradient).toContain('occupancy');
    expect(gradient).not.toMatch(/Posterior|Infinity/);
  });
  test('of a loss that is scaled, and of elements that are changed afterwards', () => {
    const doubled = latticeGraph(
      (g, t, u) => [move(g, t, u), emit(g, t, u)],
      (b) => ({
        loss: b.prim('mul', b.real(-2), b.read(LOG_LIKELIHOOD, 'real', [])),
        gradient: b.prim('mul', b.real(2), b.read(GRADIENT, 'real', [])),
      }),
    );
    expect(gradientError(doubled)).toBeLessThan(close);
  });

  const binary = Object.keys(primitives).filter(
    (name) => primitives[name as PrimitiveName].arity === 2,
  ) as PrimitiveName[];
  const unary = Object.keys(primitives).filter(
    (name) => primitives[name as PrimitiveName].arity === 1,
  ) as PrimitiveName[];
  test.each(unary)('through %s', (name) => {
    const graph = latticeGraph((g, t, u) => {
      const x = g.acts(t, u, g.b.int(1));
      // Kept in the domain of logarithms and roots.
      const inside = ['log', 'sqrt', 'log1p'].includes(name) ? g.b.prim('add', g.b.prim('exp', x), g.b.real(0.5)) : x;
      return [{ ...move(g, t, u), weight: g.b.prim(name, inside) }, emit(g, t, u)];
    });
    expect(gradientError(graph)).toBeLessThan(close);
  });
  test.each(binary)('through %s', (name) => {
    const graph = latticeGraph((g, t, u) => {
      const [x, y] = [g.acts(t, u, g.b.int(1)), g.acts(t, u, g.b.int(2))];
      const divisor = name === 'div' ? g.b.prim('add', g.b.prim('exp', y), g.b.real(1)) : y;
      return [{ ...move(g, t, u), weight: g.b.prim(name, x, divisor) }, emit(g, t, u)];
    });
    expect(gradientError(graph)).toBeLessThan(close);
  });
  test.each(['sum', 'max', 'min', 'logSumExp'] as const)(
    'through the reduction %s, also inside of another',
    (reduction) => {
      const graph = latticeGraph((g, t, u) => {
        const [v, w] = [g.b.index('v'), g.b.index('w')];
        const inner = g.b.reduce(reduction, v, g.V, g.b.prim('mul', g.acts(t, u, v), g.acts(t, u, w)));
        const outer = g.b.reduce('logSumExp', w, g.V, g.b.prim('mul', g.b.real(0.3), inner));
        return [{ ...move(g, t, u), weight: outer }, emit(g, t, u)];
      });
      expect(gradientError(graph)).toBeLessThan(close);
    },
  );
});

test('a scale multiplies the posterior of its arc in the gradient, and leaves the loss alone', () => {
  const graphs = [1, 1.5].map((factor) =>
    deriveGraph(latticeGraph((g, t, u) => [move(g, t, u), { ...emit(g, t, u), scale: g.b.real(factor) }])),
  );
  const data = Float64Array.from({ length: 2 * 2 * 4 }, (_, i) => Math.sin(i));
  const inputs = { acts: { data, shape: [2, 2, 4] }, labels: { data: [3], shape: [1] } };
  const [plain, scaled] = graphs.map((graph) => evaluateGraph(graph, { inputs, sizes: { T: 2, U: 1, V: 4 } }));
  expect(scaled!.loss).toBe(plain!.loss);
  // Rows still sum to 0, and over all frames the label's gradient grows by the posterior mass 1, half of it, on logits' scale.
  for (let row = 0; row < 4; row++) {
    const total = (of: typeof plain) =>
      of!.gradients.acts!.data.slice(4 * row, 4 * row + 4).reduce((sum, x) => sum + x, 0);
    expect(Math.abs(total(scaled))).toBeLessThan(1e-12);
    expect(Math.abs(total(plain))).toBeLessThan(1e-12);
  }
  expect(scaled!.gradients.acts!.data).not.toEqual(plain!.gradients.acts!.data);
});

test('a lattice without a path has the loss +Infinity and no gradient', () => {
  const graph = deriveGraph(latticeGraph((g, t, u) => [{ ...move(g, t, u), step: [3, 0] }, emit(g, t, u)]));
  const inputs = { acts: { data: new Float64Array(2 * 2 * 4), shape: [2, 2, 4] }, labels: { data: [3], shape: [1] } };
  const { loss, gradients } = evaluateGraph(graph, { inputs, sizes: { T: 2, U: 1, V: 4 } });
  expect(loss).toBe(Number.POSITIVE_INFINITY);
  expect(gradients.acts!.data.every((x) => x === 0)).toBe(true);
});

test('an end that is a node for some sizes only is refused', () => {
  const graph = latticeGraph(
    (g, t, u) => [move(g, t, u), emit(g, t, u)],
    (b) => ({ end: [b.int(4), b.size('U')] }),
  );
  expect(() => deriveGraph(graph)).toThrow(DeriveProblem);
});

test('posteriors are outputs on request: every label is emitted once, every step passes one node', () => {
  const graph = deriveGraph(rnntLattice());
  expect(Object.keys(graph.perNode ?? {})).toEqual(['stay', 'emit', 'occupancy']);
  const golden = loadCase('rnnt-ragged');
  const [B, T, U1, V] = golden.shape as [number, number, number, number];
  const program = schedule(graph, { sizes: { V }, lattice: 'f64', gradients: false, perNode: true });
  const output = () => new Float32Array(B * T * U1);
  const buffers = new Map<string, Float32Array | Float64Array | Int32Array>([
    ['acts', Float32Array.from(golden.acts)],
    ['labels', golden.labels],
    ['actLens', Int32Array.from(golden.actLens)],
    ['labelLens', Int32Array.from(golden.labelLens)],
    ['loss', new Float64Array(B)],
    ['node_stay', output()],
    ['node_emit', output()],
    ['node_occupancy', output()],
  ]);
  const scalars = new Map([
    ['B', B],
    ['T_max', T],
    ['U_max', U1 - 1],
    ['blank', 0],
  ]);
  interpretProgram(program, { buffers, scalars, seed: 1 });
  const at = (name: string, b: number, t: number, u: number): number =>
    buffers.get(`node_${name}`)![(b * T + t) * U1 + u]!;
  for (let b = 0; b < B; b++) {
    const [frames, labels] = [golden.actLens[b]!, golden.labelLens[b]!];
    for (let u = 0; u < labels; u++) {
      let emitted = 0;
      for (let t = 0; t < T; t++) emitted += at('emit', b, t, u);
      expect(emitted).toBeCloseTo(1, 5);
    }
    for (let n = 0; n < frames + labels; n++) {
      let passed = 0;
      for (let u = 0; u <= labels; u++) if (n - u >= 0 && n - u < T) passed += at('occupancy', b, n - u, u);
      expect(passed).toBeCloseTo(1, 5);
    }
    for (let u = labels + 1; u < U1; u++) expect(at('occupancy', b, 0, u)).toBe(0);
  }
});
