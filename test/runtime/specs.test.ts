/** Finding and loading specs, shipped and the user's own. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { findSpec, InputError, listSpecs, loadLoss, TrellisError } from 'trellis-jit';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { readSpec } from '../../compiler/frontend/index.js';
import { loadDefinition } from '../../runtime/reference/load.js';
import { signatureOfGraph, signatureOfHeader } from '../../runtime/signature.js';
import { goodCall } from './bad-inputs.js';

/** A folder far from this package: nothing there resolves 'trellis-jit' by itself. */
let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'trellis-specs-'));
});
afterAll(() => rmSync(folder, { recursive: true }));

function write(name: string, text: string): string {
  const path = join(folder, name);
  mkdirSync(join(path, '..'), { recursive: true });
  writeFileSync(path, text);
  return path;
}

/** Costs sum_t weight(labels(t)): one path, and ints used as an index without a parameter to avoid. */
const picked = (extra = '', factor = '1') => `
import { defineLoss, f32, field, i32, sum } from 'trellis-jit/dsl';
export default defineLoss(
  { name: 'picked', doc: 'Minus the sum of one chosen score per frame', inputs: { scores: f32('T', 'V'), choice: i32('T') }, params: { weight: ${factor} } },
  ({ scores, choice, T, V, weight }) => {
    ${extra}
    const grad = field([T, V], (t, v) => (v === choice(t) ? -weight : 0));
    return { loss: -weight * sum(T, (t) => scores(t, choice(t))), gradients: { scores: grad } };
  },
);
`;
const scores = { data: Float32Array.of(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12), shape: [2, 2, 3] };

describe('names and paths', () => {
  test('shipped specs', () => {
    const specs = listSpecs();
    expect(specs.map(({ name }) => name)).toEqual(expect.arrayContaining(['monotonic', 'rnnt', 'rnnt-normalized']));
    for (const { name, path, doc } of specs) {
      expect(findSpec(name)).toBe(path);
      expect(doc.length).toBeGreaterThan(10);
      expect(doc).not.toContain('\n');
    }
  });

  test('a path, a file URL', () => {
    const path = write('by-path.ts', picked());
    expect(findSpec(path)).toBe(path);
    expect(findSpec(pathToFileURL(path))).toBe(path);
    expect(findSpec(pathToFileURL(path).href)).toBe(path);
  });

  const refusals: [string, unknown, RegExp][] = [
    [
      'a near name',
      'rntt',
      /^spec "rntt" is not a shipped spec \(did you mean "rnnt"\?\); allowed: .*monotonic.*, or the path/,
    ],
    [
      'a file that is not there',
      './none.ts',
      /^spec "\.\/none\.ts" is not a file \(looked for \/.*none\.ts\); allowed: /,
    ],
    ['a number', 5, /^spec is 5; allowed: the name of a spec, or the path of a TypeScript file$/],
    ['an empty text', '', /^spec is ""; allowed/],
    ['a folder', '.', /^spec .* is a folder; allowed: a TypeScript file$/],
  ];
  test.each(refusals)('%s', async (_, spec, message) => {
    const error = await loadLoss(spec as string, { device: 'reference' }).catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(InputError);
    expect((error as Error).message).toMatch(message);
  });
});

describe('a spec of one’s own', () => {
  test('runs from anywhere, with arguments named after its header', async () => {
    const loss = await loadLoss(write('anywhere/picked.ts', picked()), { device: 'reference', reduction: 'none' });
    const result = await loss.forward({
      scores,
      choice: [
        [0, 2],
        [1, 0],
      ],
      actLens: [2, 1],
    });
    expect([...result.costs.data]).toEqual([-(1 + 6), -8]);
    expect([...(result.grads?.data ?? [])]).toEqual([-1, 0, 0, 0, 0, -1, 0, -1, 0, 0, 0, 0].map((value) => value + 0));
    expect(loss.signature.lengths).toEqual([{ size: 'T', argument: 'actLens' }]);
  });

  test('parameters by name', async () => {
    const file = write('weighted.ts', picked());
    const loss = await loadLoss(file, { device: 'reference', reduction: 'sum', params: { weight: 2 } });
    const choice = [
      [0, 2],
      [1, 0],
    ];
    expect((await loss.forward(scores, choice, [2, 1])).loss.data[0]).toBe(-30);
    expect((await loss.forward(scores, choice, [2, 1], { params: { weight: 1 } })).loss.data[0]).toBe(-15);
    await expect(loadLoss(file, { device: 'reference', params: { wieght: 2 } })).rejects.toThrow(
      'wieght is not a parameter of picked (did you mean "weight"?); allowed: weight',
    );
    await expect(loadLoss(file, { device: 'reference', weight: 2 } as never)).rejects.toThrow(
      'weight is not an option; allowed: device, reduction, infeasible, threads, cacheDir, params or statics',
    );
    await expect(loadLoss(file, { device: 'reference', params: [1] as never })).rejects.toThrow(
      'params is an array of 1; allowed: an object of numbers by parameter name',
    );
  });

  test('the range of an index is found from how the spec uses it', async () => {
    const loss = await loadLoss(write('ranged.ts', picked()), { device: 'reference' });
    await expect(
      loss.forward(
        scores,
        [
          [0, 3],
          [1, 0],
        ],
        [2, 1],
      ),
    ).rejects.toThrow('choice[0][1] is 3; allowed: integers from 0 to 2 (V is 3)');
  });

  test('an edit is seen by the next load', async () => {
    const file = write('edited.ts', picked());
    const call = {
      scores,
      choice: [
        [0, 2],
        [1, 0],
      ],
    };
    const before = await (await loadLoss(file, { device: 'reference', reduction: 'sum' })).forward(call);
    write('edited.ts', picked('', '3'));
    const after = await (await loadLoss(file, { device: 'reference', reduction: 'sum' })).forward(call);
    expect(after.loss.data[0]).toBe(3 * (before.loss.data[0] ?? 0));
  });

  test('helpers beside it', async () => {
    write('helper.ts', 'export const twice = (x: number): number => 2 * x;\n');
    const text = picked()
      .replace('sum(T, (t) => ', 'sum(T, (t) => 0.5 * twice(')
      .replace('choice(t))),', 'choice(t)))),');
    const loss = await loadLoss(write('helped.ts', `import { twice } from './helper.js';${text}`), {
      device: 'reference',
      reduction: 'sum',
    });
    expect(
      (
        await loss.forward({
          scores,
          choice: [
            [0, 2],
            [1, 0],
          ],
        })
      ).loss.data[0],
    ).toBe(-(1 + 6 + 8 + 10));
  });

  test('what the compiler refuses still runs, and a line on stderr says so', async () => {
    const written = vi.spyOn(process.stderr, 'write').mockReturnValue(true);
    const log = vi.spyOn(console, 'log').mockReturnValue();
    try {
      const file = write('printing.ts', picked('console.log(T);'));
      const loss = await loadLoss(file, { device: 'reference', reduction: 'sum' });
      expect(
        (
          await loss.forward({
            scores,
            choice: [
              [0, 2],
              [1, 0],
            ],
          })
        ).loss.data[0],
      ).toBe(-25);
      expect(log).toHaveBeenCalledWith(2);
      expect(written).toHaveBeenCalledOnce();
      expect(String(written.mock.calls[0]?.[0])).toMatch(
        /^trellis: runs as plain TypeScript only, the compiler refuses it: .*printing\.ts:6:\d+ .*\n$/,
      );
    } finally {
      written.mockRestore();
      log.mockRestore();
    }
  });

  test('a file that is no spec', async () => {
    await expect(loadLoss(write('empty.ts', 'export const a = 1;'), { device: 'reference' })).rejects.toThrow(
      /empty\.ts has no loss as its default export; write: export default defineLoss\(\.\.\.\)$/,
    );
    const broken = await loadLoss(write('broken.ts', 'export default null.x;'), { device: 'reference' }).catch(
      (reason: unknown) => reason,
    );
    expect(broken).toBeInstanceOf(TrellisError);
    expect((broken as TrellisError).message).toMatch(/broken\.ts cannot be run: /);
  });

  test('mean_volume needs something to count', async () => {
    const text = picked()
      .replace("choice: i32('T')", "choice: i32('V')")
      .replace('v === choice(t)', 'choice(v) === 1')
      .replace('scores(t, choice(t))', 'sum(V, (v) => (choice(v) === 1 ? scores(t, v) : 0))');
    const file = write('countless.ts', text);
    await expect(loadLoss(file, { device: 'reference', reduction: 'mean_volume' })).rejects.toThrow(
      'reduction is "mean_volume", but picked has no input of ints whose lengths could be the volume; allowed: none, sum, mean or mean_batch',
    );
    const loss = await loadLoss(file, { device: 'reference', reduction: 'mean' });
    const { loss: mean, costs } = await loss.forward({
      scores,
      choice: [
        [0, 1, 0],
        [1, 0, 1],
      ],
    });
    expect([...costs.data]).toEqual([-(2 + 5), -(7 + 9 + 10 + 12)]);
    expect(mean.data[0]).toBe(((costs.data[0] ?? 0) + (costs.data[1] ?? 0)) / 2);
  });
});

describe('a signature', () => {
  // A spec in arcs form is read by the compiler on every device, for its gradients.
  const byEquations = listSpecs().filter(({ path }) => loadDefinition(path).form === 'equations');
  test.each(byEquations)('of $name: header and compiler agree', ({ path }) => {
    expect(signatureOfHeader(loadDefinition(path))).toEqual(signatureOfGraph(readSpec(path).graph));
  });

  test('survives JSON', () => {
    const signature = signatureOfGraph(readSpec(findSpec('rnnt')).graph);
    expect(JSON.parse(JSON.stringify(signature))).toEqual(signature);
  });

  test('two loads of a shipped spec are two losses', async () => {
    const { acts, labels, actLens, labelLens } = goodCall();
    const a = await loadLoss('rnnt', { device: 'reference' });
    const b = await loadLoss('rnnt', { device: 'reference' });
    await a.forward(acts, labels, actLens, labelLens);
    expect(a.cache.misses).toBe(1);
    expect(b.cache.misses).toBe(0);
  });
});
