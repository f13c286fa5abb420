/** Golden cases, and a long lattice against float64, on the webgpu device. */
import { listSpecs, loadLoss } from '../../runtime/index.js';
import { loadCases } from '../../test/cases.js';
import { dynamicProgram } from '../../test/oracle.js';
import { largestDifference, randomFrom } from '../../test/specs.js';

export interface Outcome {
  readonly name: string;
  /** Largest differences: of costs, relative; of gradient elements, absolute. */
  readonly cost: number;
  readonly grad: number;
  readonly holds: boolean;
}

const limits = { cost: 2e-5, grad: 1e-5 };
/** Where logits reach hundreds float32 has no more digits. */
const gradOfLarge = 3e-4;

/** Lists in a case are what its spec has compiled in. */
const paramsOf = (params: Readonly<Record<string, unknown>>): Record<string, number> =>
  Object.fromEntries(Object.entries(params).filter((entry): entry is [string, number] => typeof entry[1] === 'number'));

/** Runs everything; what is off is in the result, not thrown. */
export async function checkNumbers(): Promise<Outcome[]> {
  const shipped = new Set(listSpecs().map(({ name }) => name));
  const outcomes: Outcome[] = [];
  for (const one of loadCases().filter(({ spec }) => shipped.has(spec))) {
    const loss = await loadLoss(one.spec, { device: 'webgpu', reduction: 'none' });
    const [B, , rows] = one.shape;
    const result = await loss.forward(
      { data: one.acts, shape: one.shape },
      { data: one.labels, shape: [B, rows - 1] },
      one.actLens,
      one.labelLens,
      { params: paramsOf(one.params) },
    );
    const large = one.name === 'rnnt-huge-logits' ? gradOfLarge : limits.grad;
    outcomes.push(judge(one.name, result.costs.data, one.costs, result.grads!.data, one.grads, large));
  }
  const [T, U, V] = [1500, 300, 3];
  const random = randomFrom(1);
  const acts = Float32Array.from({ length: T * (U + 1) * V }, () => random() * 6 - 3);
  const labels = Int32Array.from({ length: U }, () => 1 + Math.floor(random() * (V - 1)));
  const loss = await loadLoss('rnnt', { device: 'webgpu', reduction: 'none' });
  const result = await loss.forward({ data: acts, shape: [1, T, U + 1, V] }, { data: labels, shape: [1, U] }, [T], [U]);
  const exact = dynamicProgram({ topology: 'rnnt', T, U, V, acts, labels, blank: 0 });
  outcomes.push(
    judge(`T = ${T}, U = ${U}`, result.costs.data, [exact.loss], result.grads!.data, exact.grads, limits.grad),
  );
  return outcomes;
}

type Numbers = ArrayLike<number>;

function judge(
  name: string,
  costs: Numbers,
  exactCosts: Numbers,
  grads: Numbers,
  exact: Numbers,
  limit: number,
): Outcome {
  const cost = largestDifference(costs, exactCosts);
  let grad = 0;
  for (let i = 0; i < exact.length; i++) {
    const difference = Math.abs(grads[i]! - exact[i]!);
    if (!(difference <= grad)) grad = difference;
  }
  return { name, cost, grad, holds: cost < limits.cost && grad < limit };
}
