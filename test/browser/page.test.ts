/** The page of examples/browser, built and served as a user would, in headless Chromium. */
import { mkdir, mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import type { Browser, Page } from 'playwright-core';
import { build, type PreviewServer, preview } from 'vite';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { loadCase, loadCases } from '../cases.js';
import { findChromium, launch, missing, required } from './chromium.js';

const executable = findChromium();
const root = fileURLToPath(new URL('../../examples/browser/', import.meta.url));
/** Where pictures of the page are left, if this is set. */
const pictures = process.env.TRELLIS_SCREENSHOTS;

/** What the page leaves in `window.demo`. */
interface Demo {
  readonly cases: readonly { readonly name: string; readonly costs: number[]; readonly gradients: number[] }[];
  readonly alignment: {
    readonly visits: number[];
    readonly frames: number;
    readonly rows: number;
    readonly loss: number;
  };
  readonly expected: { readonly loss: number; readonly apart: number };
}

if (executable === undefined && required) throw new Error(missing);

describe.skipIf(executable === undefined)(`the page${executable === undefined ? ` (${missing})` : ''}`, () => {
  let outDir: string;
  let server: PreviewServer;
  let browser: Browser;
  let url: string;
  const complaints: string[] = [];

  const openPage = async (colorScheme: 'light' | 'dark' = 'light'): Promise<Page> => {
    const page = await browser.newPage({ viewport: { width: 1100, height: 900 }, colorScheme });
    page.on('console', (message) => {
      if (message.type() === 'error' || message.type() === 'warning') complaints.push(message.text());
    });
    page.on('pageerror', (error) => complaints.push(error.message));
    return page;
  };
  const settle = async (page: Page): Promise<void> => {
    await page.goto(url);
    await page.waitForSelector('body[data-state="done"], body[data-state="failed"]', { timeout: 100_000 });
    expect(await page.locator('#problem-text').textContent()).toBe('');
  };
  const picture = async (page: Page, name: string): Promise<void> => {
    if (pictures === undefined) return;
    await mkdir(pictures, { recursive: true });
    await page.screenshot({ path: join(pictures, `${name}.png`), fullPage: true });
  };

  beforeAll(async () => {
    outDir = await mkdtemp(join(tmpdir(), 'trellis-browser-'));
    const shared = { root, configFile: join(root, 'vite.config.ts'), logLevel: 'error' as const };
    await build({ ...shared, build: { outDir, emptyOutDir: true } });
    server = await preview({ ...shared, build: { outDir }, preview: { port: 0, host: '127.0.0.1' } });
    url = server.resolvedUrls?.local[0] ?? '';
    browser = await launch(executable!);
  });

  afterAll(async () => {
    await browser?.close();
    await new Promise((resolve) => (server === undefined ? resolve(undefined) : server.httpServer.close(resolve)));
    if (outDir !== undefined) await rm(outDir, { recursive: true });
  });

  test('holds neither the TypeScript compiler nor native code, and is small', async () => {
    const files = await readdir(join(outDir, 'assets'));
    const scripts = files.filter((file) => file.endsWith('.js'));
    const texts = await Promise.all(scripts.map((file) => readFile(join(outDir, 'assets', file), 'utf8')));
    const all = texts.join('\n');
    for (const foreign of ['ts-morph', 'koffi', 'jiti', 'commander', 'createSourceFile', 'SyntaxKind']) {
      expect(all.includes(foreign), foreign).toBe(false);
    }
    // Modules of Node's own; an object may have a key called node.
    expect(all).not.toMatch(/["'`]node:/);
    expect(all).toContain('@compute');
    const bytes = Buffer.byteLength(all);
    const compressed = texts.reduce((sum, text) => sum + gzipSync(text).length, 0);
    const inKilobytes = (size: number): string => `${(size / 1000).toFixed(1)} kB`;
    console.log(`the page's JavaScript: ${inKilobytes(bytes)}, ${inKilobytes(compressed)} with gzip`);
    expect(compressed).toBeLessThan(100_000);
  });

  test('computes the golden cases, and draws the alignment', async () => {
    const page = await openPage();
    await settle(page);
    const demo = await page.evaluate<Demo>('window.demo');

    const wanted = loadCases().filter(({ spec }) => spec === 'rnnt' || spec === 'monotonic');
    expect(demo.cases.map(({ name }) => name).sort()).toEqual(wanted.map(({ name }) => name).sort());
    for (const { name, costs, gradients } of demo.cases) {
      const expected = loadCase(name);
      // Where logits reach hundreds, one rounding of them is 4e-6.
      const limit = name === 'rnnt-huge-logits' ? 3e-4 : 1e-5;
      expected.costs.forEach((cost, b) => {
        if (Number.isFinite(cost)) expect(Math.abs(costs[b]! - cost), name).toBeLessThan(2e-5 * Math.max(1, cost));
        else expect(costs[b], name).toBe(cost);
      });
      expect(gradients.length, name).toBe(expected.grads.length);
      const worst = expected.grads.reduce((most, grad, at) => Math.max(most, Math.abs(gradients[at]! - grad)), 0);
      expect(worst, name).toBeLessThan(limit);
    }
    expect(await page.locator('#cases tr').count()).toBe(wanted.length);
    expect(await page.locator('#cases .bad').count()).toBe(0);
    expect(await page.locator('#verdict').textContent()).toBe(`All ${wanted.length} cases agree with float64.`);

    const { visits, frames, rows, loss } = demo.alignment;
    expect(Math.abs(loss / demo.expected.loss - 1)).toBeLessThan(2e-5);
    expect(demo.expected.apart).toBeLessThan(1e-5);
    expect(visits.length).toBe(frames * rows);
    // The alignment crosses every diagonal t + u once.
    for (let n = 0; n < frames + rows - 1; n++) {
      let total = 0;
      for (let u = Math.max(0, n - frames + 1); u <= Math.min(rows - 1, n); u++) total += visits[(n - u) * rows + u]!;
      expect(Math.abs(total - 1), `diagonal ${n}`).toBeLessThan(1e-4);
    }
    // It is drawn: cells where the alignment surely passes are dark, those where it never does are white.
    const colors = await page.evaluate<number[]>(`(() => {
      const canvas = document.getElementById('lattice');
      const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
      let [dark, white] = [0, 0];
      for (let at = 0; at < data.length; at += 4) {
        const sum = data[at] + data[at + 1] + data[at + 2];
        if (data[at + 3] === 255 && sum < 240) dark++;
        if (data[at + 3] === 255 && sum > 760) white++;
      }
      return [dark, white];
    })()`);
    expect(colors[0]).toBeGreaterThan(500);
    expect(colors[1]).toBeGreaterThan(100_000);
    expect(await page.locator('#adapter').textContent()).toMatch(/^Runs on .*SwiftShader/i);
    await picture(page, 'light');

    // The slider computes it anew.
    const before = await page.locator('#figures dd').first().textContent();
    await page.locator('#sharpness').fill('1');
    await page.waitForFunction(
      `document.querySelector('#figures dd').textContent !== ${JSON.stringify(before)} && window.demo.expected.loss !== ${demo.expected.loss}`,
    );
    await page.locator('#lattice').hover({ position: { x: 60, y: 20 } });
    expect(await page.locator('#probe').textContent()).toMatch(/^frame \d+, \d+ of 19 letters out/);
    await page.close();

    const dark = await openPage('dark');
    await settle(dark);
    await picture(dark, 'dark');
    await dark.close();
    expect(complaints).toEqual([]);
  });

  test('says what is missing where there is no WebGPU', async () => {
    const page = await openPage();
    await page.addInitScript('delete Navigator.prototype.gpu');
    await page.goto(url);
    await page.waitForSelector('body[data-state="failed"]');
    expect(await page.locator('#problem').isVisible()).toBe(true);
    expect(await page.locator('#problem-text').textContent()).toMatch(/navigator\.gpu is missing.*https or localhost/);
    expect(await page.locator('#golden').isVisible()).toBe(false);
    await picture(page, 'missing');
    await page.close();
    expect(complaints).toEqual([]);
  });
});
