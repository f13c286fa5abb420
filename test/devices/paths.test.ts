/** Posteriors and best paths on every device, against the list of all paths, for every spec that states arcs. */
import { readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { loadLoss, RNNTLoss } from 'trellis-jit';
import { expect, test } from 'vitest';
import { slice, utteranceOf } from '../../runtime/check/draw.js';
import { enumeratePaths, latticeNumbers } from '../../runtime/check/paths.js';
import { Subject } from '../../runtime/check/subject.js';
import { targetsOf } from '../../runtime/signature.js';
import { lossOf, onEveryDevice } from './devices.js';

const folder = fileURLToPath(new URL('../../specs/', import.meta.url));
const subjects = new Map(
  readdirSync(folder).map((file) => {
    const subject = new Subject(`${folder}${file}`, { seed: 5, cases: 10, params: {}, sizes: {} });
    return [file.replace(/\.ts$/, ''), subject] as const;
  }),
);
const arcSpecs = [...subjects].filter(([, { form }]) => form === 'arcs').map(([name]) => name);
/** On the software rasteriser each kernel takes about a second to build. */
const onGpu = ['rnnt', 'monotonic', 'wildcard', 'pruned'];

onEveryDevice((tested) => {
  const { device, limits } = tested;
  test.each(device === 'webgpu' ? onGpu : arcSpecs)('%s', async (spec) => {
    const subject = subjects.get(spec) as Subject;
    const random = subject.random(7);
    const sizes = subject.drawSizes(random, 10);
    const batch = subject.draw(sizes, { random, masked: 0.05, padding: Number.NaN });
    const loss = await lossOf(tested, spec);
    const { lattice } = loss.signature;
    const tensors = { ...batch.inputs, ...batch.lengths };
    const { posteriors, grads, gradients } = await loss.forward(tensors, { grads: false, posteriors: true });
    expect(grads).toBeNull();
    expect(gradients).toEqual({});
    expect(Object.keys(posteriors ?? {})).toEqual(lattice?.posteriors);
    const { alignments, scores } = await loss.align(tensors);
    const targets = targetsOf(loss.signature);

    let paths = 0;
    for (const [b, own] of batch.own.entries()) {
      const what = `utterance ${b} of ${JSON.stringify(own)}`;
      const utterance = utteranceOf(batch, b);
      const numbers = latticeNumbers(subject.stated, { ...utterance, params: subject.params });
      const listed = enumeratePaths(numbers);
      if (listed === undefined) continue;
      paths += listed.paths;
      const occupancy = new Float64Array(numbers.nodes.reduce((product, extent) => product * extent, 1));
      for (const [k, { name }] of numbers.arcs.entries()) {
        const { data, shape } = posteriors![name]!;
        const wanted = listed.posteriors[k]!;
        const found = slice(data, shape, b, numbers.nodes);
        for (const [node, share] of wanted.entries()) {
          expect(Math.abs(found[node]! - share), `${what}, ${name} at node ${node}`).toBeLessThan(limits.grad);
          occupancy[node] = occupancy[node]! + share;
        }
        // Nothing in the padding, nor anywhere else.
        const all = data.subarray((b * data.length) / batch.B, ((b + 1) * data.length) / batch.B);
        const sum = (values: ArrayLike<number>): number => Array.from(values).reduce((total, one) => total + one, 0);
        expect(Math.abs(sum(all) - sum(found))).toBeLessThan(1e-9);
      }
      const passes = posteriors!.occupancy!;
      const shares = slice(passes.data, passes.shape, b, numbers.nodes);
      // At an end that is a node, which no arc leaves, a path passes as well.
      for (const [node, share] of occupancy.entries())
        if (share > 0) expect(Math.abs(shares[node]! - share), `${what}, node ${node}`).toBeLessThan(2 * limits.grad);

      const { score, path, labels } = alignments[b]!;
      expect(scores.data[b]).toBe(score);
      if (listed.paths === 0) {
        expect({ score, path, labels }).toEqual({ score: Number.NEGATIVE_INFINITY, path: [], labels: [] });
        continue;
      }
      const tolerance = limits.cost * Math.max(1, Math.abs(listed.best));
      expect(Math.abs(score - listed.best), what).toBeLessThan(tolerance);
      // The path is one: it begins at the start, its arcs join, it ends at the end, and it weighs what the best does.
      expect(path[0]?.from).toEqual(numbers.start);
      expect(path[path.length - 1]?.to).toEqual(numbers.end);
      let weight = 0;
      for (const [n, step] of path.entries()) {
        const arc = numbers.arcs.find(({ name }) => name === step.arc)!;
        expect(step.to).toEqual(step.from.map((at, axis) => at + arc.step[axis]!));
        if (n > 0) expect(step.from).toEqual(path[n - 1]?.to);
        const exact = arc.weights[step.from.reduce((flat, at, axis) => flat * numbers.nodes[axis]! + at, 0)]!;
        expect(Math.abs(step.weight - exact)).toBeLessThan(tolerance);
        weight += exact;
      }
      expect(Math.abs(weight - listed.best), what).toBeLessThan(tolerance);
      // Every label is spelled once, in order, with its own id, at frames that do not go back.
      const U = own[targets!.size]!;
      expect(labels.map(({ target }) => target)).toEqual(Array.from({ length: U }, (_, u) => u));
      const ids = batch.inputs[targets!.input]!;
      for (const { target, label, start, end } of labels) {
        expect(label).toBe(ids.data[b * (ids.shape[1] as number) + target]);
        expect(start).toBeLessThanOrEqual(end);
        if (target > 0) expect(start).toBeGreaterThanOrEqual(labels[target - 1]!.start);
      }
    }
    expect(paths).toBeGreaterThan(5);
  });

  test('posteriors beside gradients change neither, and NaN stays in its sample', async () => {
    const loss = await lossOf(tested, 'rnnt');
    const acts = { data: Float32Array.from({ length: 2 * 4 * 3 * 5 }, (_, i) => Math.sin(3 * i)), shape: [2, 4, 3, 5] };
    const args = [
      acts,
      [
        [1, 2],
        [3, 4],
      ],
      [4, 3],
      [2, 2],
    ] as const;
    const plain = await loss.forward(...args);
    const both = await loss.forward(...args, { posteriors: true });
    expect(plain.posteriors).toBeNull();
    expect(both.costs).toEqual(plain.costs);
    expect(both.grads).toEqual(plain.grads);
    const broken = { ...acts, data: acts.data.slice() };
    broken.data[1] = Number.NaN;
    const { posteriors } = await loss.forward(broken, ...args.slice(1), { posteriors: true });
    const half = (data: ArrayLike<number>): number[] => Array.from(data).slice(12);
    for (const name of ['stay', 'emit', 'occupancy'])
      expect(half(posteriors![name]!.data)).toEqual(half(both.posteriors![name]!.data));
    const { alignments } = await loss.align(broken, ...args.slice(1));
    expect(alignments[0]).toEqual({ score: Number.NaN, path: [], labels: [] });
    expect(alignments[1]).toEqual((await loss.align(...args)).alignments[1]);
  });

  test('what cannot be asked is refused', async () => {
    const acts = { data: new Float32Array(2 * 2 * 3), shape: [1, 2, 2, 3] };
    const args = [acts, [[1]], [2], [1]] as const;
    const written = await lossOf(tested, 'rnnt-equations');
    const refused = /rnnt-equations states no arcs that could have/;
    await expect(written.align(...args)).rejects.toThrow(refused);
    await expect(written.forward(...args, { posteriors: true })).rejects.toThrow(refused);
    const loss = await lossOf(tested, 'rnnt');
    await expect(loss.align(...args, { grads: false })).rejects.toThrow(
      'grads is not an option; allowed: signal or params',
    );
    await expect(loss.forward(...args, { posteriors: 1 } as object)).rejects.toThrow(
      'posteriors is 1; allowed: true or false',
    );
    await expect(loss.align(acts, [[5]], [2], [1])).rejects.toThrow('labels[0][0] is 5');
    await expect(loss.align(...args, { signal: AbortSignal.abort('enough') })).rejects.toBe('enough');
    const strict = await loadLoss('rnnt', { device, infeasible: 'error', cacheDir: false });
    await expect(strict.align(acts, [[1]], [0], [1])).rejects.toThrow('sample[0] has no possible path');
  });
});

test('the class aligns as its spec does', async () => {
  const acts = { data: Float32Array.from({ length: 36 }, (_, i) => Math.sin(5 * i)), shape: [1, 4, 3, 3] };
  const { alignments } = await new RNNTLoss({ device: 'reference', blank: -1 }).align(acts, [[0, 1]], [4], [2]);
  expect(alignments[0]?.labels.map(({ label }) => label)).toEqual([0, 1]);
});
