/** How fast the device copies its own memory: the yardstick for kernels that only move data. */

/** Bytes per second, read and written ones together: the best of some rounds of copying a buffer of `bytes` bytes. */
export async function copySpeed(gpu: GPUDevice, bytes: number, rounds: number): Promise<number> {
  const size = Math.min(bytes, gpu.limits.maxBufferSize);
  const [copySource, copyTarget] = [0x4, 0x8];
  const [from, to] = [copySource, copyTarget].map((usage) => gpu.createBuffer({ size, usage })) as [
    GPUBuffer,
    GPUBuffer,
  ];
  // Many in one submission, so that handing it in does not count.
  const copies = 16;
  let best = Number.POSITIVE_INFINITY;
  for (let round = -1; round < rounds; round++) {
    const encoder = gpu.createCommandEncoder();
    for (let n = 0; n < copies; n++) encoder.copyBufferToBuffer(from, 0, to, 0, size);
    const commands = encoder.finish();
    await gpu.queue.onSubmittedWorkDone();
    const start = performance.now();
    gpu.queue.submit([commands]);
    await gpu.queue.onSubmittedWorkDone();
    if (round >= 0) best = Math.min(best, performance.now() - start);
  }
  from.destroy();
  to.destroy();
  return (2 * size * copies) / (best / 1e3);
}
