/** Specs in arcs form on the reference device: loss from their TypeScript, gradients from their derived equations. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { loadLoss } from 'trellis-jit';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { loadCases } from '../cases.js';

const specs: Readonly<Record<string, string>> = {
  rnnt: 'specs/rnnt.ts',
  monotonic: 'specs/monotonic.ts',
  multiblank: 'multiblank',
  tdt: 'tdt',
};
/** Its golden numbers belong to logits not yet rounded to float32. */
const looser: Readonly<Record<string, number>> = { 'rnnt-huge-logits': 5e-8 };
const cases = loadCases().filter((one) => one.spec in specs);

describe.each(cases.map((one) => [one.name, one] as const))('%s', (_, one) => {
  const params = Object.fromEntries(
    Object.entries(one.params).filter((entry): entry is [string, number] => typeof entry[1] === 'number'),
  );
  const [B, T, U1, V] = one.shape;
  const given = [
    { data: one.acts, shape: [B, T, U1, V] },
    { data: one.labels, shape: [B, U1 - 1] },
    Int32Array.from(one.actLens),
    Int32Array.from(one.labelLens),
  ] as const;

  test.each(['forward', 'forwardSync'] as const)('%s', async (way) => {
    const loss = await loadLoss(specs[one.spec] as string, { device: 'reference', reduction: 'none', params });
    const { costs, gradients } = await loss[way](...given);
    const tolerance = looser[one.name] ?? 1e-9;
    for (const [b, cost] of one.costs.entries()) {
      if (Number.isFinite(cost))
        expect(Math.abs((costs.data[b] as number) - cost)).toBeLessThan(tolerance * Math.max(1, cost));
      else expect(costs.data[b]).toBe(cost);
    }
    const got = gradients.acts?.data as Float64Array;
    expect(got).toHaveLength(one.grads.length);
    expect(Math.max(...got.map((g, i) => Math.abs(g - (one.grads[i] as number))))).toBeLessThan(tolerance);
  });
});

describe('a lattice that the compiler refuses', () => {
  let folder: string;
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'trellis-arcs-'));
  });
  afterAll(() => rmSync(folder, { recursive: true }));

  test.each(['forward', 'forwardSync'] as const)(
    '%s still gives the loss, and says why there is no gradient',
    async (way) => {
      const path = join(folder, `${way}.ts`);
      writeFileSync(
        path,
        `import { arc, defineLoss, f32, lattice } from 'trellis-jit/dsl';
export default defineLoss({ name: 'scores', inputs: { x: f32('T') } }, ({ x, T }) => {
  let weight = (t: number) => x(t);
  return lattice({ nodes: [T], start: [0], end: [T], arcs: [arc({ step: [1], weight, final: true })] });
});
`,
      );
      const notice = vi.spyOn(process.stderr, 'write').mockReturnValue(true);
      const loss = await loadLoss(path, { device: 'reference', reduction: 'none' });
      const { costs, gradients } = await loss[way]({ data: Float32Array.of(1, 2, 4), shape: [1, 3] }, [3]);
      const said = notice.mock.calls.map(([text]) => String(text)).join('');
      notice.mockRestore();
      expect([...costs.data]).toEqual([-7]);
      expect(gradients).toEqual({});
      expect(said).toMatch(
        /runs as plain TypeScript only, without gradients, the compiler refuses it: .*\.ts:3:\d+ let/,
      );
    },
  );
});
