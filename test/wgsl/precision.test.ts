/** Long lattices: gradients must not lose precision with the magnitude of log weights. */
import { fileURLToPath } from 'node:url';
import { expect } from 'vitest';
import { compileToGraph } from '../../compiler/compile.js';
import { randomFrom } from '../specs.js';
import { test } from './lane.js';
import { compileGpu, openProgram, type Variant } from './run.js';

const [T, U, V] = [1500, 300, 16];
const variant: Variant = { subgroups: true, workgroupSize: 64 };
const compiled = compileGpu(
  openProgram(compileToGraph(fileURLToPath(new URL('../../specs/rnnt.ts', import.meta.url))), true),
  variant,
);

/** Logits and labels; `peak` is added at the symbol a made-up alignment takes at each node. */
function problem(scale: number, peak: number) {
  const random = randomFrom(11);
  const labels = Int32Array.from({ length: U }, () => 1 + Math.floor(random() * (V - 1)));
  const acts = Float32Array.from({ length: T * (U + 1) * V }, () => (random() * 2 - 1) * scale);
  for (let t = 0; t < T; t++) {
    for (let u = 0; u <= U; u++) {
      const due = Math.floor((t * (U + 1)) / T) > u && u < U;
      acts[(t * (U + 1) + u) * V + (due ? labels[u]! : 0)]! += peak;
    }
  }
  return { acts, labels };
}

/** Loss and gradient in float64: the published forward-backward recursions, written out. */
function oracle(acts: Float32Array, labels: Int32Array) {
  const at = (t: number, u: number): number => t * (U + 1) + u;
  const size = T * (U + 1);
  const [logZ, alpha, beta] = [new Float64Array(size), new Float64Array(size), new Float64Array(size)];
  const add = (a: number, b: number): number => {
    const high = Math.max(a, b);
    return high === Number.NEGATIVE_INFINITY ? high : high + Math.log1p(Math.exp(-Math.abs(a - b)));
  };
  for (let n = 0; n < size; n++) {
    let [top, total] = [Number.NEGATIVE_INFINITY, 0];
    for (let v = 0; v < V; v++) top = Math.max(top, acts[n * V + v]!);
    for (let v = 0; v < V; v++) total += Math.exp(acts[n * V + v]! - top);
    logZ[n] = top + Math.log(total);
  }
  const stay = (t: number, u: number): number => acts[at(t, u) * V]! - logZ[at(t, u)]!;
  const emit = (t: number, u: number): number => acts[at(t, u) * V + labels[u]!]! - logZ[at(t, u)]!;
  const none = Number.NEGATIVE_INFINITY;
  for (let t = 0; t < T; t++) {
    for (let u = 0; u <= U; u++) {
      if (t + u === 0) continue;
      const before = t > 0 ? alpha[at(t - 1, u)]! + stay(t - 1, u) : none;
      alpha[at(t, u)] = add(before, u > 0 ? alpha[at(t, u - 1)]! + emit(t, u - 1) : none);
    }
  }
  for (let t = T - 1; t >= 0; t--) {
    for (let u = U; u >= 0; u--) {
      if (t === T - 1 && u === U) beta[at(t, u)] = stay(t, u);
      else {
        const after = t < T - 1 ? beta[at(t + 1, u)]! + stay(t, u) : none;
        beta[at(t, u)] = add(after, u < U ? beta[at(t, u + 1)]! + emit(t, u) : none);
      }
    }
  }
  const logLik = beta[0]!;
  const grads = new Float64Array(size * V);
  const visits = new Float64Array(size);
  for (let t = 0; t < T; t++) {
    for (let u = 0; u <= U; u++) {
      const n = at(t, u);
      const after = t < T - 1 ? beta[at(t + 1, u)]! : u === U ? 0 : none;
      const q0 = Math.exp(alpha[n]! + stay(t, u) + after - logLik);
      const qy = u < U ? Math.exp(alpha[n]! + emit(t, u) + beta[at(t, u + 1)]! - logLik) : 0;
      visits[n] = q0 + qy;
      for (let v = 0; v < V; v++) grads[n * V + v] = Math.exp(acts[n * V + v]! - logZ[n]!) * (q0 + qy);
      grads[n * V]! -= q0;
      if (u < U) grads[n * V + labels[u]!]! -= qy;
    }
  }
  return { loss: -logLik, grads, visits };
}

test.each([
  ['random logits', 2, 0],
  ['peaked logits', 2, 9],
  ['random logits of some tens', 30, 0],
] as const)(
  '%s at T = 1500, U = 300',
  async (name, scale, peak) => {
    const { acts, labels } = problem(scale, peak);
    const expected = oracle(acts, labels);
    const [loss, grads] = [new Float64Array(1), new Float32Array(acts.length)];
    await (await compiled).run(
      new Map<string, Float32Array | Float64Array | Int32Array>([
        ['acts', acts],
        ['labels', labels],
        ['actLens', Int32Array.of(T)],
        ['labelLens', Int32Array.of(U)],
        ['gradScale', Float64Array.of(1)],
        ['loss', loss],
        ['grad_acts', grads],
      ]),
      new Map(Object.entries({ B: 1, T_max: T, U_max: U, V_max: V, blank: 0, fastemitLambda: 0, clamp: 0 })),
    );
    // Two measures. `ofNode`: errors relative to the probability of visiting the node, (t, u), which is the size of the terms
    // that an element is the difference of: p - 1 for p near 1 has no more digits than that in float32, on any device.
    // `relative`: elements that are no such difference, against themselves, down to a millionth of the row's largest.
    let [relative, absolute, ofNode] = [0, 0, 0];
    for (let n = 0; n < T * (U + 1); n++) {
      const visits = expected.visits[n]!;
      const label = labels[n % (U + 1)] ?? 0;
      let largest = 0;
      for (let v = 0; v < V; v++) largest = Math.max(largest, Math.abs(expected.grads[n * V + v]!));
      for (let v = 0; v < V; v++) {
        const exact = expected.grads[n * V + v]!;
        const error = Math.abs(grads[n * V + v]! - exact);
        absolute = Math.max(absolute, error);
        if (visits < 1e-25) continue; // products with smaller probabilities leave float32's range
        ofNode = Math.max(ofNode, error / visits);
        if (v !== 0 && v !== label && exact > 1e-6 * largest && exact > 1e-30)
          relative = Math.max(relative, error / exact);
      }
    }
    const ofLoss = Math.abs(loss[0]! - expected.loss) / expected.loss;
    if (process.env.TRELLIS_TEST_ERRORS) console.log(name, { loss: expected.loss, ofLoss, absolute, ofNode, relative });
    expect(ofLoss).toBeLessThan(2e-5);
    expect(absolute).toBeLessThan(1e-5);
    expect(ofNode).toBeLessThan(5e-4);
    expect(relative).toBeLessThan(5e-4);
  },
  300_000,
);
