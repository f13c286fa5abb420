/** A process that computes one loss on the GPU and then comes to its end in the way it is told. It never disposes of anything. */
import { registerDevice } from '../../runtime/device.js';
import { openGpuDevice } from '../../runtime/gpu/device.js';
import { RNNTLoss } from '../../runtime/index.js';

const [way] = process.argv.slice(2);
const device = await openGpuDevice();
registerDevice('webgpu', { load: async () => device });
const loss = new RNNTLoss({ device: 'webgpu', reduction: 'none' });
// Something global that holds the device must not keep the process.
(globalThis as { kept?: unknown }).kept = { loss, device };

const call = () =>
  loss.forward(
    { data: new Float32Array(5 * 4 * 6), shape: [1, 5, 4, 6] },
    { data: Int32Array.of(1, 2, 3), shape: [1, 3] },
    [5],
    [3],
  );

const { costs } = await call();
// 5 frames and 3 labels: 35 paths of 8 symbols, each of probability 1 / 6.
if (Math.abs(costs.data[0]! - (8 * Math.log(6) - Math.log(35))) > 1e-4) throw new Error(`the cost is ${costs.data[0]}`);
console.log('computed');
if (way === 'pending') call().then(() => console.log('and again'));
if (way === 'destroy') (await device.gpuDevice()).destroy();
if (way === 'collected') {
  for (let n = 0; n < 20; n++) new Float32Array(4e6);
  (globalThis as { gc?: () => void }).gc?.();
  await call();
}
if (way === 'exit') process.exit(0);
if (way === 'exit-busy') {
  call().catch(() => {});
  process.exit(0);
}
