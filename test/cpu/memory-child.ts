/**
 * A process of the memory test: what a call added to the most memory that this process ever had. A tiny call of the same kernels comes
 * first, so that compiling is not counted; its peak is forgotten where the system allows that.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { RNNTLoss } from 'trellis-jit';

const [B, T, U, V] = process.argv.slice(2, 6).map(Number) as [number, number, number, number];
const withGradient = process.argv[6] === 'gradient';

/** Bytes, of /proc/self/status. */
const status = (line: string): number =>
  Number(new RegExp(`^${line}:\\s+(\\d+) kB$`, 'm').exec(readFileSync('/proc/self/status', 'utf8'))?.[1]) * 1024;

const batch = (B: number, T: number, U: number) => ({
  acts: { data: new Float32Array(B * T * (U + 1) * V).fill(0.5), shape: [B, T, U + 1, V] },
  labels: { data: new Int32Array(B * U).fill(1), shape: [B, U] },
});
const loss = new RNNTLoss({ device: 'cpu', cacheDir: false });
const call = { grads: withGradient };
await loss.forward(batch(1, 2, 1), call);
globalThis.gc?.();
try {
  writeFileSync('/proc/self/clear_refs', '5'); // the peak counts from here
} catch {
  // Some containers forbid it. The call's own peak is the higher one.
}
const before = status('VmRSS');
const { costs } = await loss.forward(batch(B, T, U), call);
console.log(JSON.stringify({ added: status('VmHWM') - before, finite: costs.data.every(Number.isFinite) }));
