/** What is stored, what is fused and what runs side by side; and that the compiler knows no loss by name. */
import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { compileToGraph, compileToKernels } from '../../compiler/compile.js';
import { readSpec } from '../../compiler/frontend/index.js';
import { interpretProgram } from '../../compiler/kernel/interpret.js';
import type { KernelProgram } from '../../compiler/kernel/kernel.js';
import { printProgram } from '../../compiler/kernel/print.js';
import { verifyProgram } from '../../compiler/kernel/verify.js';
import { schedule } from '../../compiler/schedule/index.js';
import { loadCase } from '../cases.js';
import { diagonalGraph } from './graphs.js';

const path = (name: string): string => fileURLToPath(new URL(name, import.meta.url));
const kernelsOf = (name: string, gradients = true): KernelProgram =>
  compileToKernels(compileToGraph(path(name)), { sizes: { V: 64 }, lattice: 'f64', gradients });
const scratch = (program: KernelProgram): string[] =>
  program.buffers.filter(({ role }) => role === 'scratch').map(({ name }) => name);
const phases = (program: KernelProgram): string[][] =>
  program.phases.map((phase) => phase.map(({ name }) => name).sort());

describe('the RNN-T loss', () => {
  test('visits acts twice, runs alpha and beta at the same time, and stores five values a node', () => {
    const program = kernelsOf('../../specs/rnnt-equations.ts');
    expect(phases(program)).toEqual([
      ['logZ_stay_emit', 'logZ_stay_emit_long'],
      ['alpha', 'beta'],
      ['grad_acts', 'grad_acts_long', 'loss'],
    ]);
    expect(scratch(program).sort()).toEqual(['alpha', 'beta', 'emit', 'logZ', 'stay']);
  });
  test('computes no gradient, and no alpha, for a score', () => {
    const program = kernelsOf('../../specs/rnnt-equations.ts', false);
    expect(phases(program)).toEqual([['logZ_stay_emit', 'logZ_stay_emit_long'], ['beta'], ['loss']]);
    expect(program.buffers.map(({ name }) => name)).not.toContain('gradScale');
  });
  test('reads as it should', async () => {
    const program = kernelsOf('../../specs/rnnt-equations.ts');
    await expect(printProgram(program)).toMatchFileSnapshot('../golden/rnnt-equations.kernels.txt');
  });
});

test('a kernel shows its equation where that fits on a line', () => {
  const docs = (name: string): string[] =>
    kernelsOf(name)
      .phases.flat()
      .flatMap(({ doc }) => doc);
  expect(docs('../../specs/rnnt-equations.ts')).toEqual(
    expect.arrayContaining([
      'logZ(t, u) over [T, U + 1]',
      '  = logSumExp(64, (v) => acts(t, u, v))',
      'loss = -(1 + fastemitLambda) * beta(0, 0)',
    ]),
  );
  // The gradient is too long, as is the loss here, the sum of a hundred terms.
  const grad = docs('../../specs/rnnt-equations.ts').indexOf('grad_acts(t, u, v) over [T, U + 1, 64]');
  expect(docs('../../specs/rnnt-equations.ts').slice(grad + 1, grad + 3)).toEqual([
    'of utterances whose paths are not long',
    'zero over the padding, and where the loss is +Infinity',
  ]);
  const steps = Array.from({ length: 100 }, (_, i) => i);
  const { graph } = readSpec(path('../frontend/unrolled.ts'), { statics: { steps } });
  const long = schedule(graph, { sizes: {}, lattice: 'f64', gradients: true });
  expect(long.phases.flat().map(({ doc }) => doc)).toEqual([['the loss of an utterance']]);
});

test('a log-softmax written inline is split: its sum is stored per row, never per symbol', () => {
  const program = kernelsOf('../specs/jumps.ts');
  for (const buffer of program.buffers.filter(({ role }) => role === 'scratch'))
    expect(buffer.shape.length, buffer.name).toBe(3);
  // The recurrence reads what was stored of acts, not acts itself.
  const recurrence = program.phases.flat().find(({ name }) => name === 'alpha')!;
  expect(JSON.stringify(recurrence.body)).not.toContain('"buffer":"acts"');
});

test('two inputs that are only ever added are never multiplied out', () => {
  const program = kernelsOf('../specs/additive.ts');
  for (const buffer of program.buffers) expect(buffer.shape.length, buffer.name).toBeLessThanOrEqual(3);
});

test('the schedule of a graph made by hand is verified, free of races under any order, and right', () => {
  const program = schedule(diagonalGraph(), { sizes: { V: 6 }, lattice: 'f64', gradients: true });
  verifyProgram(program);
  const golden = loadCase('rnnt-ragged');
  const [B, T, U1, V] = golden.shape as [number, number, number, number];
  for (const seed of [1, 2, 3]) {
    const buffers = new Map<string, Float32Array | Float64Array | Int32Array>([
      ['acts', Float32Array.from(golden.acts)],
      ['labels', golden.labels],
      ['actLens', Int32Array.from(golden.actLens)],
      ['labelLens', Int32Array.from(golden.labelLens)],
      ['gradScale', new Float64Array(B).fill(1)],
      ['loss', new Float64Array(B)],
      ['grad_acts', new Float32Array(B * T * U1 * V)],
    ]);
    interpretProgram(program, {
      buffers,
      scalars: new Map([
        ['B', B],
        ['T_max', T],
        ['U_max', U1 - 1],
        ['blank', 0],
      ]),
      seed,
    });
    for (const [b, cost] of golden.costs.entries()) expect(buffers.get('loss')![b]).toBeCloseTo(cost, 6);
    const grads = buffers.get('grad_acts')!;
    for (const [i, expected] of golden.grads.entries()) expect(Math.abs(grads[i]! - expected)).toBeLessThan(2e-6);
  }
});

test('the compiler names no loss', () => {
  const words = /\b(rnnt|rnn-t|blank|fastemit|transducer|ctc)\b/i;
  const folder = path('../../compiler/');
  const files = readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.ts'));
  expect(files.length).toBeGreaterThan(40);
  const named = files.flatMap((file) =>
    readFileSync(folder + file, 'utf8')
      .split('\n')
      .flatMap((text, line) => (words.test(text) ? [`${file}:${line + 1} ${text}`] : [])),
  );
  expect(named).toEqual([]);
});
