/** What a kernel is compiled for: sizes that all utterances share. Lengths, batch sizes and parameters never compile anything. */
import { loadLoss } from 'trellis-jit';
import { afterEach, expect, vi } from 'vitest';
import { LlvmJit } from '../../runtime/cpu/jit.js';
import { testLlvm } from '../lanes.js';
import { randomFrom } from '../specs.js';

afterEach(() => vi.restoreAllMocks());

const V = 6;

/** A random call: padded sizes, own lengths, labels and parameters. */
function randomCall(random: () => number) {
  const whole = (low: number, high: number): number => low + Math.floor(random() * (high - low + 1));
  const [B, T, U] = [whole(1, 5), whole(1, 12), whole(0, 7)];
  const blank = whole(0, V - 1);
  const label = (): number => (blank + whole(1, V - 1)) % V;
  return {
    shape: [B, T, U],
    tensors: {
      acts: {
        data: Float32Array.from({ length: B * T * (U + 1) * V }, () => random() * 4 - 2),
        shape: [B, T, U + 1, V],
      },
      labels: { data: Int32Array.from({ length: B * U }, label), shape: [B, U] },
      actLens: Int32Array.from({ length: B }, () => whole(1, T)),
      labelLens: Int32Array.from({ length: B }, () => whole(0, U)),
    },
    params: { blank, fastemitLambda: random(), clamp: random() < 0.5 ? 0 : random() },
  };
}

testLlvm('two hundred shapes and parameters after the first of each class compile nothing', async () => {
  const async = vi.spyOn(LlvmJit.prototype, 'compileAsync');
  const sync = vi.spyOn(LlvmJit.prototype, 'compile');
  const loss = await loadLoss('rnnt', { device: 'cpu', cacheDir: false, reduction: 'sum' });
  const random = randomFrom(2);
  const first = randomCall(random);
  await loss.forward(first.tensors, { params: first.params });
  await loss.forward(first.tensors, { params: first.params, grads: false });
  expect(loss.cache.misses).toBe(2);
  const compiles = (): number => async.mock.calls.length + sync.mock.calls.length;
  const before = compiles();
  expect(before).toBeGreaterThanOrEqual(2); // or the spies see nothing
  const shapes = new Set<string>();
  for (let n = 0; n < 200; n++) {
    const { shape, tensors, params } = randomCall(random);
    shapes.add(shape.join());
    const { costs } =
      n % 3 === 0 ? loss.forwardSync(tensors, { params }) : await loss.forward(tensors, { params, grads: n % 2 === 0 });
    for (const cost of costs.data) expect(cost).toBeGreaterThan(0);
  }
  expect(shapes.size).toBeGreaterThan(100);
  expect(loss.cache.misses).toBe(2);
  expect(loss.cache.entries).toHaveLength(2);
  expect(loss.cache.hits).toBe(200);
  expect(compiles()).toBe(before);
});
