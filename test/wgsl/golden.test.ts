/** The golden cases, with and without subgroups, with open sizes and by fours; NaN and infinities in one utterance leave its neighbours alone. */
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect } from 'vitest';
import { compileToGraph, compileToKernels } from '../../compiler/compile.js';
import { type Case, loadCases } from '../cases.js';
import { describe, test } from './lane.js';
import { type Compiled, compileGpu, openProgram, type Variant, variantName, variants } from './run.js';

const fileOf = (spec: string): string => fileURLToPath(new URL(`../../specs/${spec}.ts`, import.meta.url));
/** Not tdt: its gradient reads more fields than a GPU binds one by one. The device packs them, and test/devices has its case. */
const cases = loadCases().filter(({ spec }) => existsSync(fileOf(spec)) && spec !== 'tdt');

async function run(compiled: Compiled, one: Case, acts = one.acts) {
  const [B, T, U1, V] = one.shape;
  const costs = new Float64Array(B).fill(12345);
  const grads = new Float32Array(acts.length).fill(12345);
  const buffers = new Map(
    Object.entries({
      acts,
      labels: one.labels,
      actLens: Int32Array.from(one.actLens),
      labelLens: Int32Array.from(one.labelLens),
      gradScale: new Float64Array(B).fill(1),
      loss: costs,
      grad_acts: grads,
    }),
  );
  const params = Object.entries(one.params).filter((entry): entry is [string, number] => typeof entry[1] === 'number');
  const scalars = {
    fastemitLambda: 0,
    clamp: 0,
    sigma: 0,
    ...Object.fromEntries(params),
    B,
    T_max: T,
    U_max: U1 - 1,
    V_max: V,
  };
  await compiled.run(buffers, new Map(Object.entries(scalars)));
  return { costs, grads };
}

function check(one: Case, { costs, grads }: Awaited<ReturnType<typeof run>>): void {
  one.costs.forEach((cost, b) => {
    if (!Number.isFinite(cost)) expect(costs[b]).toBe(cost);
    else expect(Math.abs(costs[b]! - cost) / Math.max(1, Math.abs(cost)), `cost ${b}`).toBeLessThan(2e-5);
  });
  // float32 logits of some hundreds have themselves an error of 3e-5.
  const allowed = one.name === 'rnnt-huge-logits' ? 3e-4 : 1e-5;
  one.grads.forEach((grad, i) => {
    expect(Math.abs(grads[i]! - grad), `gradient ${i}`).toBeLessThan(allowed);
  });
}

describe.each(variants.map((variant) => [variantName(variant), variant] as const))('%s', (_, variant) => {
  const compiled = new Map<string, Promise<Compiled>>();
  const compiledFor = (spec: string): Promise<Compiled> => {
    if (!compiled.has(spec)) compiled.set(spec, compileGpu(openProgram(compileToGraph(fileOf(spec)), true), variant));
    return compiled.get(spec)!;
  };

  test.each(cases.map((one) => [one.name, one] as const))('%s', async (_name, one) => {
    check(one, await run(await compiledFor(one.spec), one));
  });

  test('two runs give the same bits', async () => {
    const one = cases.find(({ name }) => name === 'rnnt-ragged')!;
    const program = await compiledFor(one.spec);
    const [first, second] = [await run(program, one), await run(program, one)];
    expect(second).toStrictEqual(first);
  });

  test.each([Number.NaN, Number.POSITIVE_INFINITY])(
    'a logit of %d makes its utterance NaN and no other',
    async (bad) => {
      const one = cases.find(({ name }) => name === 'rnnt-ragged')!;
      const program = await compiledFor(one.spec);
      const [, T, U1, V] = one.shape;
      const clean = await run(program, one);
      const acts = one.acts.slice();
      acts[2 * T * U1 * V] = bad; // the blank's, on every path's way
      const dirty = await run(program, one, acts);
      const stride = T * U1 * V;
      dirty.costs.forEach((cost, b) => {
        if (b === 2) expect(cost).toBeNaN();
        else expect(cost).toBe(clean.costs[b]);
      });
      expect(dirty.grads.slice(0, 2 * stride)).toStrictEqual(clean.grads.slice(0, 2 * stride));
      expect(dirty.grads.slice(3 * stride)).toStrictEqual(clean.grads.slice(3 * stride));
      const own = [...dirty.grads.slice(2 * stride, 3 * stride)].filter((_, i) => {
        const [t, u] = [Math.floor(i / (U1 * V)), Math.floor(i / V) % U1];
        return t < one.actLens[2]! && u <= one.labelLens[2]!;
      });
      // The last cell is visited with probability 1, whatever the others say.
      expect(own.filter(Number.isNaN).length).toBeGreaterThanOrEqual(own.length - V);
    },
  );
});

/** Specs in which symbols that nothing names are all alike: some of probability 0 change nothing. */
const growing = new Set(['rnnt', 'rnnt-normalized', 'monotonic']);

/** The case with a vocabulary that is a multiple of 4, or undefined if it cannot have one. */
function byFours(one: Case): Case | undefined {
  const [B, T, U1, V] = one.shape;
  if (V % 4 === 0) return one;
  if (!growing.has(one.spec)) return undefined;
  const width = 4 * Math.ceil(V / 4);
  const acts = new Float32Array(B * T * U1 * width).fill(Number.NEGATIVE_INFINITY);
  const grads = new Float64Array(B * T * U1 * width);
  for (let row = 0; row < B * T * U1; row++) {
    acts.set(one.acts.subarray(row * V, (row + 1) * V), row * width);
    grads.set(one.grads.subarray(row * V, (row + 1) * V), row * width);
  }
  return { ...one, shape: [B, T, U1, width], acts, grads };
}

const [small, , , large] = variants as [Variant, Variant, Variant, Variant];
describe.each([
  ['one lane at a time', { ...small, vectors: false }],
  ['four lanes at a time', small],
  ['four lanes at a time, with subgroups', large],
] as const)('%s, with the vocabulary compiled in', (_, variant) => {
  const compiled = new Map<string, Promise<Compiled>>();
  const compiledFor = (spec: string, V: number): Promise<Compiled> => {
    const key = `${spec} ${V}`;
    const options = { sizes: { V }, lattice: 'f64', gradients: true } as const;
    if (!compiled.has(key))
      compiled.set(key, compileGpu(compileToKernels(compileToGraph(fileOf(spec)), options), variant));
    return compiled.get(key)!;
  };
  const suited = cases.map(byFours).filter((one) => one !== undefined);

  test.each(suited.map((one) => [one.name, one] as const))('%s', async (_name, one) => {
    const program = await compiledFor(one.spec, one.shape[3]);
    const vectors = program.text.phases.flat().filter(({ code }) => code.includes('array<vec4<f32>>'));
    expect(vectors.length > 0).toBe(variant.vectors !== false);
    check(one, await run(program, one));
  });

  test('a logit that is NaN makes its row NaN by fours as well', async () => {
    const one = byFours(cases.find(({ name }) => name === 'rnnt-ragged')!)!;
    const program = await compiledFor(one.spec, one.shape[3]);
    const clean = await run(program, one);
    const acts = one.acts.slice();
    acts[3] = Number.NaN;
    const dirty = await run(program, one, acts);
    expect(dirty.costs[0]).toBeNaN();
    expect(dirty.costs.slice(1)).toStrictEqual(clean.costs.slice(1));
    expect([...dirty.grads.subarray(0, one.shape[3])].every(Number.isNaN)).toBe(true);
  });
});
