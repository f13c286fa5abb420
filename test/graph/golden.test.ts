/** The meaning of the graphs of specs/, against costs and gradients computed elsewhere. */
import { describe, expect, test } from 'vitest';
import { deriveGraph } from '../../compiler/derive/derive.js';
import { readSpec } from '../../compiler/frontend/index.js';
import { evaluateGraph } from '../../compiler/graph/evaluate.js';
import type { TensorView } from '../../dsl/index.js';
import { type Case, loadCases, utteranceOf } from '../cases.js';

const at =
  ({ data, offset = 0, strides = [] }: TensorView) =>
  (indices: readonly number[]): number =>
    data[indices.reduce((flat, index, axis) => flat + index * strides[axis]!, offset)] as number;

/** This one's golden numbers come from float64 logits, and the stored float32 ones differ in the last bits of 178. */
const looser: Readonly<Record<string, number>> = { 'rnnt-huge-logits': 5e-8 };

function check(one: Case): void {
  const graph = deriveGraph(readSpec(`specs/${one.spec}.ts`).graph);
  const params = Object.fromEntries(
    Object.entries(one.params).filter(([name]) => graph.params.some((p) => p.name === name)),
  );
  // The golden gradients are rounded to ten digits.
  const tolerance = looser[one.name] ?? 1e-9;
  for (let b = 0; b < one.shape[0]; b++) {
    const { acts, labels, sizes, cost, grad } = utteranceOf(one, b);
    const inputs = { acts: at(acts), labels: at(labels) };
    const result = evaluateGraph(graph, { inputs, sizes, params: params as Record<string, number> });
    if (Number.isFinite(cost))
      expect(Math.abs(result.loss - cost)).toBeLessThan(tolerance * Math.max(1, Math.abs(cost)));
    else expect(result.loss).toBe(cost);
    const { data, shape } = result.gradients.acts!;
    const [T, U1, V] = shape as [number, number, number];
    let worst = 0;
    for (let t = 0; t < T; t++) {
      for (let u = 0; u < U1; u++) {
        for (let v = 0; v < V; v++) {
          const difference = Math.abs(data[(t * U1 + u) * V + v]! - grad(t, u, v));
          worst = Number.isNaN(difference) ? Number.POSITIVE_INFINITY : Math.max(worst, difference);
        }
      }
    }
    expect(worst).toBeLessThan(tolerance);
  }
}

describe.each(['rnnt', 'monotonic'])('%s', (spec) => {
  const cases = loadCases(spec);
  test('has cases', () => expect(cases.length).toBeGreaterThan(0));
  test.each(cases.map((one) => [one.name, one] as const))('%s', (_, one) => check(one));
});
