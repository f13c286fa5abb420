/**
 * How exact the gradient is on a long lattice: each element against a float64 dynamic programme, relative to itself.
 *
 *   npx tsx bench/precision.ts [T,U+1,V ...] [--device name ...] [--json]
 *
 * Elements count that are above a millionth of their row's largest and that float32 can hold at all. Where one is off by more than 5e-4 of itself, it is said why:
 *   cancelled  an element of blank or label is a difference p g - q, of the softmax times the node's posterior and the arc's posterior; it is
 *              right to 1e-5 of p g + q, of which too little is left
 *   tiny       p g + q is so near the end of float32's range that an arc's posterior beyond it, which may count as 0, is 1e-5 of it or more
 *   neither    there should be none
 * With long paths (T + U >= 1024) there should be none of any kind.
 * The last two columns leave tiny ones out: the most that an element of neither symbol is off, of itself, and one of blank or label, of p g + q.
 */
import { parseArgs } from 'node:util';
import Table from 'cli-table3';
import { type DeviceChoice, RNNTLoss } from '../runtime/index.js';
import { dynamicProgram } from '../test/oracle.js';
import { randomFrom } from '../test/specs.js';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    device: { type: 'string', multiple: true, default: ['cpu', 'webgpu'] },
    json: { type: 'boolean', default: false },
  },
});
const shapes = (positionals.length > 0 ? positionals : ['1500,300,50']).map((text) => text.split(',').map(Number));
/** The least normal number of float32: below it digits are missing, and GPUs may give 0. */
const LEAST = 2 ** -126;
/** What errors of the sums over V in float32 come to. */
const SUMS = 1e-5;
/** Elements below this part of their row's largest do not count. */
const PART = 1e-6;

interface Errors {
  readonly shape: string;
  readonly logits: string;
  readonly device: string;
  /** Relative error of the cost. */
  readonly cost: number;
  elements: number;
  /** Elements that are off by more than 1e-5 and 5e-4 of themselves, and the most that one is. */
  above: [number, number];
  worst: number;
  cancelled: number;
  tiny: number;
  neither: number;
  others: number;
  symbols: number;
}

/** Logits of element i, by the name of their kind. */
const kinds: Record<string, (normal: () => number, i: number, V: number) => number> = {
  normal: (normal) => normal(),
  'normal, times 10': (normal) => 10 * normal(),
  'normal, plus 50': (normal) => 50 + normal(),
  // Errors of neighbours have one sign.
  'slowly varying': (_, i, V) => 3 * Math.sin((i % V) + Math.floor(i / V) / 5000),
  'all equal': () => 0.5,
};

const rows: Errors[] = [];
for (const [T = 1, columns = 1, V = 2] of shapes) {
  const U = columns - 1;
  for (const [logits, draw] of Object.entries(kinds)) {
    const random = randomFrom(1);
    const normal = (): number => Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
    const acts = Float32Array.from({ length: T * columns * V }, (_, i) => draw(normal, i, V));
    const labels = Int32Array.from({ length: U }, () => 1 + Math.floor(random() * (V - 1)));
    const exact = dynamicProgram({ topology: 'rnnt', T, U, V, acts, labels, blank: 0 });
    for (const device of values.device) {
      const loss = new RNNTLoss({ device: device as DeviceChoice, reduction: 'none', cacheDir: false });
      const result = await loss.forward(
        { data: acts, shape: [1, T, columns, V] },
        { data: labels, shape: [1, U] },
        [T],
        [U],
      );
      const cost = Math.abs(result.costs.data[0]! / exact.loss - 1);
      const errors = { shape: `${T},${columns},${V}`, logits, device, cost, ...none() };
      const gradient = result.grads!.data;
      for (let row = 0; row < acts.length; row += V) addRow(errors, acts, gradient, exact.grads, row, V, labels);
      rows.push(errors);
    }
  }
}

function none(): Omit<Errors, 'shape' | 'logits' | 'device' | 'cost'> {
  return { elements: 0, above: [0, 0], worst: 0, cancelled: 0, tiny: 0, neither: 0, others: 0, symbols: 0 };
}

function addRow(
  errors: Errors,
  acts: Float32Array,
  gradient: ArrayLike<number>,
  exact: ArrayLike<number>,
  row: number,
  V: number,
  labels: Int32Array,
): void {
  const label = labels[(row / V) % (labels.length + 1)];
  let [top, largest] = [Number.NEGATIVE_INFINITY, 0];
  for (let v = 0; v < V; v++) {
    top = Math.max(top, acts[row + v]!);
    largest = Math.max(largest, Math.abs(exact[row + v]!));
  }
  let total = 0;
  let best = -1;
  for (let v = 0; v < V; v++) {
    total += Math.exp(acts[row + v]! - top);
    if (v !== 0 && v !== label && (best < 0 || acts[row + v]! > acts[row + best]!)) best = v;
  }
  const softmax = (v: number): number => Math.exp(acts[row + v]! - top) / total;
  // Elements of neither symbol are the softmax times the node's posterior.
  const posterior = best < 0 ? 0 : exact[row + best]! / softmax(best);
  for (let v = 0; v < V; v++) {
    const value = exact[row + v]!;
    const size = Math.abs(value);
    if (size < LEAST || size <= PART * largest) continue;
    const error = Math.abs(gradient[row + v]! - value);
    const relative = error / size;
    errors.elements++;
    if (relative > 1e-5) errors.above[0]++;
    errors.worst = Math.max(errors.worst, relative);
    const symbol = v === 0 || v === label;
    const product = softmax(v) * posterior;
    const sum = symbol ? product + Math.abs(product - value) : size;
    const tiny = sum * SUMS < LEAST;
    if (!tiny && symbol) errors.symbols = Math.max(errors.symbols, error / sum);
    if (!tiny && !symbol) errors.others = Math.max(errors.others, relative);
    if (relative <= 5e-4) continue;
    errors.above[1]++;
    if (tiny) errors.tiny++;
    else if (error <= SUMS * sum) errors.cancelled++;
    else errors.neither++;
  }
}

if (values.json) console.log(JSON.stringify(rows));
else {
  const head = [
    'T, U + 1, V',
    'logits',
    'device',
    'cost',
    'elements',
    '> 1e-5',
    '> 5e-4',
    'cancelled',
    'tiny',
    'neither',
    'worst',
    'others',
    'symbols',
  ];
  const table = new Table({ head, style: { head: [], border: [], compact: true } });
  const short = (value: number): string => value.toExponential(1);
  for (const each of rows) {
    const { shape, logits, device, cost, elements, above, cancelled, tiny, neither, worst, others, symbols } = each;
    const counts = [elements, ...above, cancelled, tiny, neither];
    table.push([shape, logits, device, short(cost), ...counts, ...[worst, others, symbols].map(short)]);
  }
  console.log(table.toString());
}
