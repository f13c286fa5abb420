/** The process of the memory test: a large batch of the additive loss, and the most memory that this process has had. */
import { loadLoss } from 'trellis-jit';

const [B, T, U, V] = [8, 400, 100, 4096];
const scores = (rows: number) => ({
  data: Float32Array.from({ length: B * rows * V }, (_, i) => ((i * 7919) % 6007) / 1001 - 3),
  shape: [B, rows, V],
});
const loss = await loadLoss('additive', { device: 'cpu', reduction: 'none', cacheDir: false });
const { costs, gradients } = await loss.forward({
  am: scores(T),
  lm: scores(U + 1),
  labels: { data: Int32Array.from({ length: B * U }, (_, i) => 1 + (i % (V - 1))), shape: [B, U] },
  actLens: new Int32Array(B).fill(T),
  labelLens: new Int32Array(B).fill(U),
});
const sumOf = (data: ArrayLike<number>): number => Array.prototype.reduce.call(data, (sum, x) => sum + x, 0) as number;
console.log(
  JSON.stringify({
    megabytes: process.resourceUsage().maxRSS / 1024,
    costs: Array.from(costs.data),
    // Each row of the logits' gradient sums to 0, and so does what is summed of them.
    sums: [sumOf(gradients.am!.data), sumOf(gradients.lm!.data)],
  }),
);
