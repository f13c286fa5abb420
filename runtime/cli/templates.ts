/** What `trellis new` writes: a first spec, in either form, and its test. */

const about = (name: string): string => `/**
 * ${name}: say here what the loss is, and where it is from.
 *
 * Node (t, u): frame t is current and u labels are out. This is RNN-T, a place to start from:
 *
 *   (t, u) -> (t + 1, u)    with the probability of the blank: on to the next frame
 *   (t, u) -> (t, u + 1)    with the probability of label u: out it goes, within its frame
 *
 * and the loss is minus the log of the sum over all paths from (0, 0) to (T, U).
 */
`;

const header = (name: string): string => `  {
    name: '${name}',
    doc: 'One line for "trellis list"',
    // One utterance's part of each tensor. The batch, and utterances of unequal lengths, are not your business.
    inputs: { acts: f32('T', 'U+1', 'V'), labels: i32('U', { not: 'blank' }) },
    // Numbers that may change from call to call, with their defaults. 'price' is what a label costs for each frame
    // that it comes after frame 'free', in nats.
    params: { blank: 0, price: 0.1, free: 3 },
  },`;

/** A loss by its lattice. */
export const arcsSpec = (
  name: string,
): string => `${about(name)}import { arc, defineLoss, f32, i32, lattice, logSoftmax, max } from 'trellis-jit/dsl';

export default defineLoss(
${header(name)}
  ({ acts, labels, T, U, V, blank, price, free }) => {
    const logp = logSoftmax(acts, V); // logp(t, u, v): log-probability of symbol v at node (t, u)
    return lattice({
      nodes: [T, U + 1], // 0 <= t < T, 0 <= u <= U
      start: [0, 0],
      end: [T, U], // beyond the last frame, so that only arcs that are \`final\` get there
      arcs: [
        arc({ name: 'stay', step: [1, 0], weight: (t, u) => logp(t, u, blank), final: true }),
        arc({
          name: 'emit',
          step: [0, 1],
          // Any expression will do: inputs, parameters, sizes, indices. What it does to the gradient is derived.
          weight: (t, u) => logp(t, u, labels(u)) - price * max(0, t - free),
          // \`when: (t, u) => t > 0\` would allow the arc at some nodes only.
        }),
      ],
    });
  },
);
`;

/** The same loss by its equations, the gradient included. */
export const equationsSpec = (name: string): string => `${about(name)}import {
  defineLoss,
  exp,
  type Field2,
  f32,
  field,
  i32,
  logAddExp,
  logSumExp,
  max,
  min,
  recurrence,
} from 'trellis-jit/dsl';

export default defineLoss(
${header(name)}
  ({ acts, labels, T, U, V, blank, price, free }) => {
    // A field has a value in every cell of its domain. A logit of -Infinity stays so, in a row of nothing else as well.
    const logZ = field([T, U + 1], (t, u) => logSumExp(V, (v) => acts(t, u, v)));
    const normalise = (logit: number, z: number) => (logit === -Infinity ? -Infinity : logit - z);
    const stay = field([T, U + 1], (t, u) => normalise(acts(t, u, blank), logZ(t, u)));
    const emit = field([T, U], (t, u) => normalise(acts(t, u, labels(u)), logZ(t, u)) - price * max(0, t - free));

    // A recurrence reads itself. Outside of its domain it is log 0, so the borders need no special case.
    const alpha: Field2 = recurrence([T, U + 1], (t, u) =>
      t === 0 && u === 0 ? 0 : logAddExp(alpha(t - 1, u) + stay(t - 1, u), alpha(t, u - 1) + emit(t, u - 1)),
    );
    const beta: Field2 = recurrence([T, U + 1], (t, u) =>
      t === T - 1 && u === U ? stay(t, u) : logAddExp(beta(t + 1, u) + stay(t, u), beta(t, u + 1) + emit(t, u)),
    );
    const logLik = beta(0, 0);

    // The share of the probability that goes through an arc is minus the derivative of the loss by its weight.
    const posterior = (logWeight: number) => exp(min(0, logWeight - logLik));
    const stayed = field([T, U + 1], (t, u) =>
      t === T - 1 && u === U ? 1 : posterior(alpha(t, u) + stay(t, u) + beta(t + 1, u)),
    );
    const emitted = field([T, U], (t, u) => posterior(alpha(t, u) + emit(t, u) + beta(t, u + 1)), { outside: 0 });
    // And through the softmax of its row.
    const grad = field([T, U + 1, V], (t, u, v) => {
      const visits = stayed(t, u) + emitted(t, u);
      const shared = visits === 0 ? 0 : exp(acts(t, u, v) - logZ(t, u)) * visits;
      return shared - (v === blank ? stayed(t, u) : 0) - (v === labels(u) ? emitted(t, u) : 0);
    });
    return { loss: -logLik, gradients: { acts: grad } };
  },
);
`;

/** A test of either, for node:test: against the list of all paths, and against central differences. */
export const testFile = (name: string): string => `// Run it with: node --test ${name}.test.mjs
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { loadLoss } from 'trellis-jit';

const spec = new URL('./${name}.ts', import.meta.url);
const [blank, price, free] = [0, 0.1, 1];
const options = { reduction: 'none', params: { blank, price, free } };

// Two utterances, of 4 frames with 2 labels and of 3 frames with 1. Any numbers will do.
const [B, T, U, V] = [2, 4, 2, 5];
const shape = [B, T, U + 1, V];
const acts = Float64Array.from({ length: B * T * (U + 1) * V }, (_, i) => 2 * Math.sin(3 * i));
const labels = [[1, 3], [2, 1]]; // the last one is padding
const actLens = [4, 3];
const labelLens = [2, 1];

/** The loss of utterance b by the list of all paths: what ${name}.ts says, said once more and in another way. */
function listPaths(b) {
  const logp = (t, u, v) => {
    const at = ((b * T + t) * (U + 1) + u) * V;
    const row = acts.subarray(at, at + V);
    return row[v] - Math.log(row.reduce((sum, logit) => sum + Math.exp(logit), 0));
  };
  let probability = 0;
  const walk = (t, u, score) => {
    if (t === actLens[b]) {
      if (u === labelLens[b]) probability += Math.exp(score);
      return;
    }
    walk(t + 1, u, score + logp(t, u, blank));
    if (u < labelLens[b]) walk(t, u + 1, score + logp(t, u, labels[b][u]) - price * Math.max(0, t - free));
  };
  walk(0, 0, 0);
  return -Math.log(probability);
}

test('the cost is that of the list of all paths', async () => {
  for (const [device, tolerance] of [['reference', 1e-12], ['auto', 1e-5]]) {
    const loss = await loadLoss(spec, { ...options, device });
    const data = device === 'reference' ? acts : Float32Array.from(acts);
    const { costs } = await loss.forward({ data, shape }, labels, actLens, labelLens);
    for (let b = 0; b < B; b++) assert.ok(Math.abs(costs.data[b] - listPaths(b)) < tolerance, \`utterance \${b}, \${device}\`);
  }
});

test('the gradient is that of central differences', async () => {
  const loss = await loadLoss(spec, { ...options, device: 'reference' });
  const run = (data, grads) => loss.forward({ data, shape }, labels, actLens, labelLens, { grads });
  const total = async (data) => (await run(data, false)).costs.data.reduce((sum, cost) => sum + cost, 0);
  const { grads } = await run(acts, true);
  const step = 1e-5;
  for (const [i, value] of acts.entries()) {
    const difference =
      ((await total(acts.with(i, value + step))) - (await total(acts.with(i, value - step)))) / (2 * step);
    assert.ok(Math.abs(difference - grads.data[i]) < 1e-8, \`logit \${i}: \${difference} and \${grads.data[i]}\`);
  }
});

test('where there is no path the cost is infinite and the gradient zero', async () => {
  const loss = await loadLoss(spec, options);
  const { costs, grads } = await loss.forward({ data: Float32Array.from(acts), shape }, labels, [0, 3], labelLens);
  assert.equal(costs.data[0], Infinity);
  assert.ok(grads.data.subarray(0, T * (U + 1) * V).every((element) => element === 0));
});
`;
