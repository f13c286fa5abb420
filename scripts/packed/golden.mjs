// Runs in a folder where the packed package is installed, with nothing else of the project in sight:
//   node golden.mjs folder-of-cases
// Every golden case of a spec that the package ships, on every device it finds. Exit code 1 where one is off.
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { listSpecs, loadLoss } from 'trellis-jit';

const folder = process.argv[2];
const numbers = { inf: Infinity, '-inf': -Infinity, nan: Number.NaN };
const expand = (value) => numbers[value] ?? value;
// float64 on the reference; on the cpu float32 inputs and outputs.
const tolerances = { reference: { cost: 1e-9, gradient: 1e-9 }, cpu: { cost: 1e-5, gradient: 2e-6 } };

// The expected numbers of this one case belong to logits not yet rounded to the float32 that it stores; see
// test/dsl/golden.test.ts, which also checks the costs of the stored ones to the last digits.
const looser = { 'rnnt-huge-logits': { reference: { cost: 2e-8, gradient: 5e-8 } } };

/** Largest difference, relative where `relative` and above 1; equal infinities agree. */
function difference(actual, expected, relative) {
  let largest = actual.length === expected.length ? 0 : Infinity;
  for (let i = 0; i < expected.length; i++) {
    if (Object.is(actual[i], expected[i]) || actual[i] === expected[i]) continue;
    const off = Math.abs(actual[i] - expected[i]) / (relative ? Math.max(1, Math.abs(expected[i])) : 1);
    largest = Math.max(largest, Number.isNaN(off) ? Infinity : off);
  }
  return largest;
}

const shipped = new Set(listSpecs().map((spec) => spec.name));
const devices = process.env.TRELLIS_DEVICES?.split(',') ?? ['reference', 'cpu'];
let [right, wrong] = [0, 0];
for (const file of readdirSync(folder).sort()) {
  const one = JSON.parse(readFileSync(join(folder, file), 'utf8'));
  if (!shipped.has(one.spec)) continue;
  const [B, , U1] = one.shape;
  const acts = { data: Float32Array.from(one.acts, expand), shape: one.shape };
  const labels = { data: Int32Array.from(one.labels.flat()), shape: [B, U1 - 1] };
  // Arrays among the parameters are statics, and the cases have the specs' own.
  const params = Object.fromEntries(Object.entries(one.params).filter(([, value]) => typeof value === 'number'));
  for (const device of devices) {
    const loss = await loadLoss(one.spec, { device, reduction: 'none', params });
    const result = await loss.forward(acts, labels, one.actLens, one.labelLens);
    const cost = difference(result.costs.data, one.costs.map(expand), true);
    const gradient = difference(result.grads.data, one.grads.map(expand), false);
    const limits = looser[one.name]?.[device] ?? tolerances[device];
    const fine = result.device === device && cost <= limits.cost && gradient <= limits.gradient;
    if (fine) right += 1;
    else wrong += 1;
    if (!fine) console.log(`${one.name} on ${result.device}: cost off by ${cost}, gradient by ${gradient}`);
  }
}
console.log(`packed package: ${right} golden cases right, ${wrong} wrong (${devices.join(', ')})`);
process.exitCode = wrong > 0 || right === 0 ? 1 : 0;
