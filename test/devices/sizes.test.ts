/** Sizes around vector widths, long and tall lattices, and the relative error of the gradient at scale. */
import { describe, expect, test } from 'vitest';
import { dynamicProgram, type Problem } from '../oracle.js';
import { randomFrom } from '../specs.js';
import { type Batch, type Errors, expectAnswers, ownGradient, pack, randomBatch } from './batches.js';
import { lossOf, onEveryDevice, type TestedDevice } from './devices.js';

async function check(tested: TestedDevice, batch: Batch): Promise<Errors> {
  const { acts, labels, actLens, labelLens } = batch.tensors;
  const loss = await lossOf(tested, 'rnnt');
  const result = await loss.forward(acts, labels, actLens, labelLens, { params: batch.params });
  return expectAnswers(result, batch.problems, tested.limits);
}

onEveryDevice((tested) => {
  test.each([2, 3, 15, 16, 17, 31, 127, 1024, 4096])('%i symbols', async (V) => {
    for (const seed of [1, 2]) {
      await check(tested, randomBatch({ spec: 'rnnt', seed, B: 2, T: 5, U: 3, V, kind: 'mild' }));
      await check(tested, randomBatch({ spec: 'rnnt', seed, B: 2, T: 5, U: 3, V, kind: 'masked' }));
    }
  });

  test.each([
    { T: 1, U: 0, what: 'one frame and no labels' },
    { T: 1, U: 15, what: 'one frame' },
    { T: 65, U: 0, what: 'no labels' },
    { T: 3, U: 1024, what: 'a tall lattice' },
    { T: 3000, U: 2, what: 'a long one' },
    { T: 150, U: 149, what: 'a square one' },
  ])('$what: T = $T, U = $U', async ({ T, U }) => {
    const batch = randomBatch({ spec: 'rnnt', seed: T + U, B: 1, T, U, V: 5, kind: 'mild', full: true });
    const { cost, grad } = await check(tested, batch);
    console.info(
      `${tested.device}, T = ${T}, U = ${U}: cost off by ${cost.toExponential(1)}, gradient by ${grad.toExponential(1)}`,
    );
  });

  const { relativeGrad, relativeElement } = tested.limits;
  if (relativeGrad !== undefined) {
    /**
     * An element p (q0 + qy) has the relative error of p and of the posteriors. From those of blank and label their own posterior is
     * subtracted, which may leave next to nothing: they are held to the posterior of their node, and to themselves where a device
     * promises that and they are above a millionth of their row's largest.
     */
    describe('at scale, [1, 1500, 300, 20]', () => {
      const T = 1500;
      const U = 299;
      const V = 20;

      const random = randomFrom(1);
      const normal = (): number => Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
      /** 'slow': neighbouring cells are much alike, so that errors of their steps have one sign and add up, if any do. */
      const logits: [string, (position: number) => number][] = [
        ['random', normal],
        ['peaked', () => 10 * normal()],
        ['slow', (position) => 0.5 * Math.sin(position / (20 * V)) + 0.01 * (position % V)],
      ];

      test.each(logits)('%s logits: relative errors of the gradient', async (what, logit) => {
        const acts = Float32Array.from({ length: T * (U + 1) * V }, (_, position) => logit(position));
        const labels = Array.from({ length: U }, () => 1 + Math.floor(random() * (V - 1)));
        const problem: Problem = { topology: 'rnnt', T, U, V, acts, labels, blank: 0 };
        const tensors = pack([problem], problem);
        const loss = await lossOf(tested, 'rnnt');
        const result = await loss.forward(tensors.acts, tensors.labels, [T], [U], { params: { blank: 0 } });
        const expected = dynamicProgram(problem);
        const grads = ownGradient(result, 0, problem);
        expect(Math.abs(result.costs.data[0]! / expected.loss - 1)).toBeLessThan(tested.limits.cost);

        const worst = { others: 0, symbols: 0, absolute: 0, element: 0 };
        for (let row = 0; row < grads.length; row += V) {
          const label = labels[(row / V) % (U + 1)];
          let high = 0;
          let best = 0;
          for (let v = 0; v < V; v++) high = Math.max(high, acts[row + v]!);
          let sum = 0;
          for (let v = 0; v < V; v++) {
            sum += Math.exp(acts[row + v]! - high);
            if (v !== 0 && v !== label && (best === 0 || acts[row + v]! > acts[row + best]!)) best = v;
          }
          // Elements of neither symbol are p times the node's posterior.
          const visits = expected.grads[row + best]! / (Math.exp(acts[row + best]! - high) / sum);
          const wanted = expected.grads.subarray(row, row + V);
          const largest = wanted.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
          for (let v = 0; v < V; v++) {
            const exact = wanted[v]!;
            const error = Math.abs(grads[row + v]! - exact);
            worst.absolute = Math.max(worst.absolute, error);
            const size = Math.abs(exact);
            // Of what is less than 1e-9 of the posterior float64 itself has few digits.
            if (size >= Math.max(2 ** -126, 1e-6 * largest, 1e-9 * visits))
              worst.element = Math.max(worst.element, error / size);
            const symbol = v === 0 || v === label;
            // Below the normal numbers of float32 there are fewer digits to be right.
            const scaleOf = symbol ? visits : exact;
            if (scaleOf < 2 ** -126) continue;
            const kind = symbol ? 'symbols' : 'others';
            worst[kind] = Math.max(worst[kind], error / scaleOf);
          }
        }
        const { others, symbols, absolute, element } = worst;
        console.info(
          `${tested.device}, ${what} logits: errors of ${others.toExponential(1)} of the element, of ${symbols.toExponential(1)} of the posterior for blank and label, absolute ${absolute.toExponential(1)}; of any element by itself ${element.toExponential(1)}`,
        );
        expect(others).toBeLessThan(relativeGrad);
        expect(symbols).toBeLessThan(relativeGrad);
        if (relativeElement !== undefined) expect(element).toBeLessThan(relativeElement);
      });
    });
  }
});
