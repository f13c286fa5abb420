/** The golden cases, on every device through the public API. */
import { expect, test } from 'vitest';
import { loadCases } from '../cases.js';
import { lossOf, onEveryDevice, type TestedDevice } from './devices.js';

const cases = loadCases();

test('there are thirteen cases of RNN-T and one each of three other losses', () => {
  expect(cases.map((one) => one.spec).sort()).toEqual([
    'monotonic',
    'multiblank',
    ...Array<string>(13).fill('rnnt'),
    'tdt',
  ]);
});

/** Parameters that are numbers; arrays are statics, and the cases have the specs' own. */
const paramsOf = (params: Readonly<Record<string, unknown>>): Record<string, number> =>
  Object.fromEntries(Object.entries(params).filter((pair): pair is [string, number] => typeof pair[1] === 'number'));

/**
 * The expected numbers of rnnt-huge-logits belong to logits not yet rounded to the float32 that the case stores (at 90 half a unit
 * in the last place is 4e-6); no device can be nearer to them than this.
 */
const stored: Record<string, { cost: number; grad: number }> = { 'rnnt-huge-logits': { cost: 2e-8, grad: 5e-8 } };

function limitsOf({ limits }: TestedDevice, name: string): { cost: number; grad: number } {
  const { cost = 0, grad = 0 } = stored[name] ?? {};
  return { cost: Math.max(limits.cost, cost), grad: Math.max(limits.grad, grad) };
}

onEveryDevice((tested) => {
  test.each(cases)('$name', async (one) => {
    const [B, , U1] = one.shape;
    const loss = await lossOf(tested, one.spec);
    const result = await loss.forward(
      { data: one.acts, shape: one.shape },
      { data: one.labels, shape: [B, U1 - 1] },
      one.actLens,
      one.labelLens,
      { params: paramsOf(one.params) },
    );
    const limits = limitsOf(tested, one.name);
    one.costs.forEach((expected, b) => {
      const cost = result.costs.data[b] as number;
      if (!Number.isFinite(expected)) expect(cost).toBe(expected);
      else expect(Math.abs(cost - expected) / Math.max(1, Math.abs(expected))).toBeLessThan(limits.cost);
    });
    expect(result.grads?.shape).toEqual(one.shape);
    // Over the padding too, where the cases have zeros.
    const worst = one.grads.reduce(
      (most, expected, i) => Math.max(most, Math.abs((result.grads?.data[i] as number) - expected)),
      0,
    );
    expect(worst).toBeLessThan(limits.grad);
  });
});
