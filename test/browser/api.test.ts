/** The package's entry for browsers, in headless Chromium: the same API, numbers and refusals as in Node. */
import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import type { Browser, Page } from 'playwright-core';
import { RNNTLoss, reductionNames } from 'trellis-jit';
import { build } from 'vite';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { randomFrom } from '../specs.js';
import { findChromium, launch, missing, required } from './chromium.js';
import type * as Harness from './harness.js';
import type { Failure, Outcome, PlainBatch } from './harness.js';

const executable = findChromium();
if (executable === undefined && required) throw new Error(missing);

const here = (path: string): string => fileURLToPath(new URL(path, import.meta.url));
const trellis = (...words: string[]) => promisify(execFile)(process.execPath, [here('../../bin/trellis.js'), ...words]);

/** Random logits, ragged lengths. */
function randomBatch(seed: number, B: number, T: number, U: number, V: number): PlainBatch {
  const random = randomFrom(seed);
  const shape = [B, T, U + 1, V];
  const count = B * T * (U + 1) * V;
  return {
    // Rounded, so that the batch is the same in both worlds.
    acts: { data: Array.from({ length: count }, () => Math.fround(4 * random() - 2)), shape },
    labels: Array.from({ length: B }, () => Array.from({ length: U }, () => 1 + Math.floor(random() * (V - 1)))),
    actLens: Array.from({ length: B }, (_, b) => (b === 0 ? T : 1 + Math.floor(random() * T))),
    labelLens: Array.from({ length: B }, (_, b) => (b === 0 ? U : Math.floor(random() * (U + 1)))),
  };
}

describe.skipIf(executable === undefined)(
  `losses in a browser${executable === undefined ? ` (${missing})` : ''}`,
  () => {
    let folder: string;
    let server: Server;
    let browser: Browser;
    let page: Page;
    const complaints: string[] = [];

    beforeAll(async () => {
      folder = await mkdtemp(join(tmpdir(), 'trellis-api-'));
      await trellis('build', 'rnnt', 'rnnt-normalized', '--out', join(folder, 'losses.js'));
      await trellis('build', 'rnnt', '--size', 'V=5,any', '--out', join(folder, 'both.js'));
      await trellis('build', 'rnnt', '--posteriors', '--align', '--no-grads', '--out', join(folder, 'paths.js'));
      await trellis('build', 'rnnt', '--shape', '8,200,51,5', '--no-grads', '--out', join(folder, 'score.mjs'));
      await build({
        configFile: false,
        logLevel: 'error',
        resolve: { alias: { 'trellis-jit/browser': here('../../runtime/browser/index.ts') } },
        build: {
          lib: { entry: here('./harness.ts'), formats: ['es'], fileName: 'harness' },
          outDir: folder,
          emptyOutDir: false,
        },
      });
      await writeFile(join(folder, 'index.html'), '<!doctype html><link rel="icon" href="data:,"><title>test</title>');
      server = createServer(async ({ url = '/' }, response) => {
        const name = url === '/' ? 'index.html' : url.slice(1);
        const type = name.endsWith('.html') ? 'text/html' : 'text/javascript';
        response.writeHead(200, { 'content-type': type }).end(await readFile(join(folder, name)));
      });
      await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
      browser = await launch(executable!);
      page = await browser.newPage();
      page.on('console', (message) => {
        if (message.type() === 'error' || message.type() === 'warning') complaints.push(message.text());
      });
      page.on('pageerror', (error) => complaints.push(error.message));
      await page.goto(`http://127.0.0.1:${(server.address() as AddressInfo).port}/`);
      // The written modules are loaded as they are, without a bundler.
      await page.evaluate(`Promise.all(['harness', 'losses', 'both', 'paths'].map((name) => import('/' + name + '.js')))
      .then(async ([harness, losses, both, paths]) => Object.assign(window, { harness, losses, both, paths, score: await import('/score.mjs') }))`);
    });

    afterAll(async () => {
      await browser?.close();
      await new Promise((resolve) => (server === undefined ? resolve(undefined) : server.close(resolve)));
      if (folder !== undefined) await rm(folder, { recursive: true });
    });

    /** Calls a function of the harness; `module` is an expression over what was loaded. */
    const inPage = <Name extends keyof typeof Harness>(
      name: Name,
      module: string,
      ...rest: unknown[]
    ): ReturnType<(typeof Harness)[Name]> =>
      page.evaluate(`harness.${name}(${[module, ...rest.map((each) => JSON.stringify(each))].join(', ')})`) as never;

    /** The float64 reference, in Node. */
    const expectedOf = (batch: PlainBatch, options: object = {}) =>
      new RNNTLoss({ device: 'reference', ...options }).forward(
        { data: Float32Array.from(batch.acts.data), shape: batch.acts.shape },
        { data: Int32Array.from(batch.labels.flat()), shape: [batch.labels.length, batch.labels[0]!.length] },
        batch.actLens,
        batch.labelLens,
      );

    const near = (actual: readonly number[], expected: ArrayLike<number>, limit: number): void => {
      expect(actual.length).toBe(expected.length);
      let worst = 0;
      for (let n = 0; n < expected.length; n++) {
        worst = Math.max(worst, Math.abs(actual[n]! - expected[n]!) / Math.max(1, Math.abs(expected[n]!)));
      }
      expect(worst).toBeLessThan(limit);
    };

    test.each([2, 3, 127, 500])('one module serves every vocabulary: V = %i', async (V) => {
      const batch = randomBatch(V, 2, 7, 3, V);
      const expected = await expectedOf(batch);
      const actual = (await inPage('forward', 'losses.rnnt', {}, batch)) as Outcome;
      near(actual.costs, expected.costs.data, 2e-5);
      near(actual.loss, expected.loss.data, 2e-5);
      near(actual.grads!, expected.grads!.data, 1e-5);
      expect(actual.gradsShape).toEqual(batch.acts.shape);
      expect([actual.device, actual.shapeClass]).toEqual(['webgpu', `V=${V} gradients`]);
    });

    test.each(reductionNames)('reduction %s', async (reduction) => {
      const plain = randomBatch(11, 3, 6, 4, 6);
      const batch = { ...plain, labels: plain.labels.map((row) => row.map((label) => (label === 2 ? 0 : label))) };
      const expected = await expectedOf(batch, { reduction, blank: 2, fastemitLambda: 0.1 });
      const options = { reduction, params: { blank: 2, fastemitLambda: 0.1 } };
      const actual = (await inPage('forward', 'losses.rnnt', options, batch)) as Outcome;
      near(actual.loss, expected.loss.data, 2e-5);
      near(actual.grads!, expected.grads!.data, 1e-5);
    });

    test('posteriors and best paths, where they were built in', async () => {
      const batch = randomBatch(3, 2, 9, 4, 6);
      const reference = new RNNTLoss({ device: 'reference' });
      const tensors = { ...batch, acts: { data: Float32Array.from(batch.acts.data), shape: batch.acts.shape } };
      const { posteriors } = await reference.forward(tensors, { grads: false, posteriors: true });
      const { alignments } = await reference.align(tensors);
      const actual = (await inPage('paths', 'paths.rnnt', batch)) as Extract<
        Awaited<ReturnType<typeof Harness.paths>>,
        { posteriors: unknown }
      >;
      for (const [name, { data }] of Object.entries(posteriors!)) near(actual.posteriors[name]!, data, 1e-5);
      near(
        actual.alignments.map(({ score }) => score),
        alignments.map(({ score }) => score),
        2e-5,
      );
      expect(actual.alignments.map(({ frames }) => frames)).toEqual(
        alignments.map(({ labels }) => labels.map(({ start }) => start)),
      );
      expect(await inPage('paths', 'losses.rnnt', batch)).toMatchObject({
        code: 'option',
        message: expect.stringContaining('built without --posteriors; allowed: modules built with --posteriors'),
      });
    });

    test('scores alone, and log-probabilities', async () => {
      const batch = randomBatch(5, 2, 40, 30, 3);
      const expected = await expectedOf(batch);
      const actual = (await inPage('forward', 'losses.rnnt', {}, batch, { grads: false })) as Outcome;
      near(actual.costs, expected.costs.data, 2e-5);
      expect(actual.grads).toBeNull();

      const uniform = randomBatch(6, 1, 5, 2, 4);
      const certain = {
        ...uniform,
        acts: { ...uniform.acts, data: uniform.acts.data.map(() => Math.fround(Math.log(0.25))) },
      };
      const normalized = (await inPage('forward', 'losses.rnntNormalized', { reduction: 'sum' }, certain)) as Outcome;
      // 15 paths of 7 symbols.
      expect(normalized.loss[0]).toBeCloseTo(-Math.log(15) - 7 * Math.log(0.25), 5);
    });

    test('every bad input is refused in the words of the other devices', async () => {
      const { checked, wrong } = await inPage('refusals', 'losses.rnnt');
      expect(wrong).toEqual([]);
      expect(checked).toBeGreaterThan(40);
    });

    test('gradients in new arrays, in the caller’s and in place are the same bits, run after run', async () => {
      const result = await inPage('outputs', 'losses.rnnt', randomBatch(3, 3, 9, 5, 11));
      expect(result).toEqual({ same: true, own: true, inPlace: true, hits: 3 });
    });

    test('a device that goes away rejects the call, and the next one succeeds; so does an abort', async () => {
      const { lost, before, after, aborted } = await inPage('loseDevice', 'losses.rnnt', randomBatch(4, 2, 8, 3, 9));
      expect(lost).toMatchObject({ name: 'TrellisError', code: 'device-lost' });
      // The page's device had no subgroups, the one that takes over may have them: sums are in another order.
      near(after, before, 1e-6);
      expect(aborted).toBe('enough');
    });

    test('logits and gradient may stay on the GPU', async () => {
      const batch = randomBatch(12, 2, 6, 3, 8);
      const { apart, bytes, costs } = await inPage('onGpu', 'losses.rnnt', batch);
      expect(apart).toBe(0);
      expect(bytes).toBe(4 * batch.acts.data.length);
      near(costs, (await expectedOf(batch)).costs.data, 2e-5);
    });

    test('sizes that are compiled in, and those that are not', async () => {
      const five = randomBatch(8, 2, 5, 2, 5);
      const six = randomBatch(9, 2, 5, 2, 6);
      const [expectedFive, expectedSix] = [await expectedOf(five), await expectedOf(six)];
      near(((await inPage('forward', 'both.rnnt', {}, five)) as Outcome).grads!, expectedFive.grads!.data, 1e-5);
      near(((await inPage('forward', 'both.default', {}, six)) as Outcome).grads!, expectedSix.grads!.data, 1e-5);

      const scored = (await inPage('forward', 'score.rnnt', {}, five, { grads: false })) as Outcome;
      near(scored.costs, expectedFive.costs.data, 2e-5);
      const other = (await inPage('forward', 'score.rnnt', {}, six, { grads: false })) as Failure;
      expect(other).toMatchObject({ name: 'InputError', code: 'shape', argument: 'acts' });
      expect(other.message).toBe(
        'acts has V = 6, which the module was not built for; allowed: V = 5; "trellis build" without --size serves every size',
      );
      const grads = (await inPage('forward', 'score.rnnt', {}, five)) as Failure;
      expect(grads.message).toBe('grads is true, but the module was built with --no-grads; allowed: grads: false');
    });

    test('misuse is told', async () => {
      const said = async (module: string, options?: unknown): Promise<string> => {
        const failure = await inPage('misuse', module, ...(options === undefined ? [] : [options]));
        return failure === 'no error' ? failure : failure.message;
      };
      expect(await said('losses')).toMatch(/^module is a whole file of modules; take rnnt or rnntNormalized of it/);
      expect(await said('{ ...losses.rnnt, format: 99 }')).toMatch(/^module has format 99 .* build it again/);
      expect(await said('undefined')).toMatch(
        /^module is undefined; allowed: what a file written by "trellis build" exports/,
      );
      expect(await said('losses.rnnt', { device: 'cpu' })).toMatch(/^device is not an option/);
      expect(await said('losses.rnnt', { gpuDevice: 1 })).toBe('gpuDevice is 1; allowed: a GPUDevice');
      expect(await said('losses.rnnt', { params: { blnk: 1 } })).toMatch(
        /^blnk is not a parameter of rnnt \(did you mean "blank"\?\)/,
      );
      const sync = (await inPage('sync', 'losses.rnnt', randomBatch(1, 1, 2, 1, 3))) as Failure;
      expect(sync.message).toBe('the webgpu device has no forwardSync; use await loss.forward(...)');
    });

    test('nothing was said on the console', () => {
      expect(complaints).toEqual([]);
    });
  },
);
