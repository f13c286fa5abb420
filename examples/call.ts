import { RNNTLoss } from 'trellis-jit';

const [B, T, U, V] = [2, 4, 2, 3]; // utterances, frames, labels, vocabulary with the blank
const acts = {
  data: Float32Array.from({ length: B * T * (U + 1) * V }, (_, i) => Math.sin(3 * i)), // logits, last axis fastest
  shape: [B, T, U + 1, V],
};
const labels = [
  [1, 2],
  [1, 0], // one label only: what stands in the padding does not matter
];
const actLens = [4, 3];
const labelLens = [2, 1];

const loss = new RNNTLoss({ blank: 0, reduction: 'mean' });
const { loss: mean, costs, grads } = await loss.forward(acts, labels, actLens, labelLens);

console.log('loss', mean.data[0]?.toFixed(4));
console.log('costs', Array.from(costs.data, (cost) => cost.toFixed(4)).join(' '));
console.log('gradient', grads?.shape, grads?.data[0]?.toFixed(4));
