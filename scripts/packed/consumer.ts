// Type-checked against the packed package's declarations, in a folder of its own under `strict`.
import { type LossResult, listSpecs, loadLoss, RNNTLoss, rnntLoss } from 'trellis-jit';
import { compileToGraph, printGraph } from 'trellis-jit/compiler';
import { defineLoss, type Field2, f32, field, logAddExp, recurrence } from 'trellis-jit/dsl';

const shape = [1, 2, 3, 5];
const acts = { data: new Float32Array(30), shape };
const labels = { data: BigInt64Array.from([1n, 2n]), shape: [1, 2] };

export async function use(): Promise<number> {
  const loss = new RNNTLoss({ blank: 0, reduction: 'mean', fastemitLambda: 0.01, clamp: -1, device: 'auto' });
  const result: LossResult = await loss.forward(acts, labels, [2], [2], { grads: false });
  const other = await rnntLoss(acts, labels, [2], [2], { reduction: 'sum' });
  const third = await loadLoss('rnnt', { device: 'reference', params: { blank: 0 } });
  const all = await third.forward({ acts, labels, actLens: [2], labelLens: [2] });
  return Number(result.loss.data[0]) + Number(other.costs.data[0]) + Number(all.costs.data[0]) + listSpecs().length;
}

export const asText = (file: string): string => printGraph(compileToGraph(file).graph);

export default defineLoss({ name: 'walks', inputs: { steps: f32('T', 'U') } }, ({ steps, T, U }) => {
  const total: Field2 = recurrence([T, U], (t, u) =>
    t === 0 && u === 0 ? steps(t, u) : steps(t, u) + logAddExp(total(t - 1, u), total(t, u - 1)),
  );
  return { loss: -total(T - 1, U - 1), gradients: { steps: field([T, U], (t, u) => steps(t, u)) } };
});
