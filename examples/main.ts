/**
 * The main job of `npm start`: the RNN-T loss and gradient of `.npy` tensors, through the public API, beside the
 * published costs and checked against float64.
 *
 * Two small cases that the tests of several RNN-T libraries share, and a ragged batch of realistic size.
 */
import { readFileSync } from 'node:fs';
import { basename } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type LossResult, RNNTLoss, type Tensor } from 'trellis-jit';
import { readNpy } from '../runtime/cli/npy.js';
import { formatMilliseconds, print, printTable, withProgress } from '../runtime/cli/output.js';
import { makeRagged } from './ragged.js';

interface Case {
  readonly name: string;
  readonly acts: Tensor;
  readonly labels: Tensor;
  readonly actLens: Tensor;
  readonly labelLens: Tensor;
  readonly published: readonly number[] | undefined;
}

const folder = (name: string): string => fileURLToPath(new URL(`./${name}`, import.meta.url));

async function readCase(name: string, publishedFile?: string): Promise<Case> {
  const read = (file: string) => readNpy(`${folder(name)}/${file}.npy`, file);
  const [acts, labels] = [await read('acts'), await read('labels')];
  const [actLens, labelLens] = [await read('act-lens'), await read('label-lens')];
  const published = publishedFile && JSON.parse(readFileSync(`${folder(name)}/${publishedFile}`, 'utf8'));
  return { name, acts, labels, actLens, labelLens, published: published?.costs };
}

/** Largest |a - b|; equal infinities differ by nothing. */
function largestDifference(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let largest = 0;
  for (let i = 0; i < a.length; i++) {
    const [x, y] = [a[i] as number, b[i] as number];
    if (x !== y) largest = Math.max(largest, Number.isNaN(x - y) ? Infinity : Math.abs(x - y));
  }
  return largest;
}

const run = (loss: RNNTLoss, { acts, labels, actLens, labelLens }: Case): Promise<LossResult> =>
  loss.forward(acts, labels, actLens, labelLens);

const numbers = (tensor: Tensor | null): Float64Array | Float32Array => tensor?.data as Float64Array | Float32Array;

await makeRagged(folder('generated/ragged'), { B: 4, T: 200, U: 40, V: 500, seed: 20 });
const cases = [
  await readCase('published-small', 'published.json'),
  await readCase('published-big', 'published.json'),
  await readCase('generated/ragged'),
];

print('RNN-T loss and gradient of .npy tensors, from the equations in specs/rnnt.ts\n');
const rows: string[][] = [];
const devices = new Set<string>();
let allAgree = true;
for (const one of cases) {
  // A loss for each case, and nothing from disk, so that each line shows a whole compilation.
  const loss = new RNNTLoss({ reduction: 'none', cacheDir: false });
  const result = await withProgress(`${one.name}: compiling and computing`, () => run(loss, one));
  const compiled = loss.cache.compileMilliseconds;
  // The first call also faulted in memory; the second is what every later one takes.
  const again = result.device === 'reference' ? result : await run(loss, one);

  // The reference device is the float64 that the others are checked against.
  const reference = new RNNTLoss({ reduction: 'none', device: 'reference' });
  const exact =
    result.device === 'reference'
      ? result
      : await withProgress(`${one.name}: checking against float64`, () => run(reference, one));
  const costs = numbers(result.costs);
  const exactCosts = numbers(exact.costs);
  const gradientDifference = largestDifference(numbers(result.grads), numbers(exact.grads));

  for (let b = 0; b < costs.length; b++) {
    const [cost, exactCost, published] = [costs[b] as number, exactCosts[b] as number, one.published?.[b]];
    // float32 inputs: costs to 1e-5 relative or absolute; gradients to 2e-6 absolute. Published costs have six digits.
    const agrees =
      Math.abs(cost - exactCost) <= 1e-5 * Math.max(1, Math.abs(exactCost)) &&
      gradientDifference <= 2e-6 &&
      (published === undefined || Math.abs(cost - published) <= 1e-5);
    allAgree &&= agrees;
    const first = b === 0;
    const shape = `[${one.acts.shape.join(',')}]`;
    rows.push([
      first ? basename(one.name) : '',
      first ? shape : '',
      cost.toFixed(6),
      published === undefined ? '' : published.toFixed(6),
      exact === result ? 'is it' : Math.abs(cost - exactCost).toExponential(1),
      exact === result ? 'is it' : first ? gradientDifference.toExponential(1) : '',
      first && result.device !== 'reference' ? formatMilliseconds(compiled) : '',
      first ? formatMilliseconds(again.milliseconds) : '',
      agrees ? 'ok' : 'WRONG',
    ]);
    devices.add(result.device);
  }
}
await printTable(['', 'acts', 'cost', 'published', 'error', 'gradient', 'compile', 'run', ''], rows);
print(`
acts       [B,T,U+1,V]
cost       of each utterance, on the device ${[...devices].join(', ')}
published  the same in the tests of other libraries
error      of the cost, beside the same equations in float64
gradient   the largest error of its elements, likewise
compile    from the equations to native code
run        a later call`);
print(allAgree ? '\nAll agree.' : '\nThey do not all agree.');
process.exitCode = allAgree ? 0 : 1;
