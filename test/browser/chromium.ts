/**
 * A Chromium to test in, with a WebGPU that any machine can run: SwiftShader, which computes on the CPU.
 *
 * Taken from TRELLIS_CHROMIUM, else from the usual names on the PATH; Debian's package is `chromium`. Where there is none the tests are
 * skipped and say so, unless TRELLIS_REQUIRE (a list, as in 'llvm,browser') has 'browser': then they fail. With 'browser' in
 * TRELLIS_WITHOUT they are skipped in any case.
 */
import { accessSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';
import { type Browser, chromium } from 'playwright-core';

const names = ['chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable'];

const isRunnable = (path: string): boolean => {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
};

const listed = (variable: string): boolean =>
  (process.env[variable] ?? '').split(',').some((word) => word.trim() === 'browser');

/** The path of a browser, or undefined. */
export function findChromium(): string | undefined {
  if (listed('TRELLIS_WITHOUT')) return undefined;
  const told = process.env.TRELLIS_CHROMIUM;
  if (told !== undefined && told !== '') return told;
  const folders = (process.env.PATH ?? '').split(delimiter).filter((folder) => folder !== '');
  const applications = '/Applications/Google Chrome.app/Contents/MacOS/Google Chrome';
  return [...folders.flatMap((folder) => names.map((name) => join(folder, name))), applications].find(isRunnable);
}

/** True where the tests must not be skipped. */
export const required = listed('TRELLIS_REQUIRE');

/** What to say where there is no browser. */
export const missing = listed('TRELLIS_WITHOUT')
  ? 'TRELLIS_WITHOUT leaves it out'
  : 'no Chromium was found: install one (Debian: apt-get install chromium), or name one in TRELLIS_CHROMIUM';

export const launch = (executablePath: string): Promise<Browser> =>
  chromium.launch({
    executablePath,
    headless: true,
    args: [
      '--enable-unsafe-webgpu',
      '--use-webgpu-adapter=swiftshader',
      // Chromium's sandbox refuses to run as root, which containers do.
      ...(process.getuid?.() === 0 ? ['--no-sandbox'] : []),
    ],
  });
