/** A process of the tests of the cache on disk: one call of a loss, what it gave, and where the kernels came from. */
import { createHash } from 'node:crypto';
import { loadLoss } from 'trellis-jit';

const [spec = 'rnnt', width = '7'] = process.argv.slice(2);
const [B, T, U, V] = [2, 5, 3, Number(width)];
const loss = await loadLoss(spec, { device: 'cpu', reduction: 'sum' });
const { costs, grads } = await loss.forward({
  acts: {
    data: Float32Array.from({ length: B * T * (U + 1) * V }, (_, i) => Math.sin(i * i)),
    shape: [B, T, U + 1, V],
  },
  labels: { data: Int32Array.from({ length: B * U }, (_, i) => 1 + (i % (V - 1))), shape: [B, U] },
});
const hash = createHash('sha256').update(Buffer.from(costs.data.buffer));
hash.update(Buffer.from(grads!.data.buffer, grads!.data.byteOffset, grads!.data.byteLength));
console.log(JSON.stringify({ cost: costs.data[0], hash: hash.digest('hex'), source: loss.cache.entries[0]?.source }));
