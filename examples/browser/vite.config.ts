import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { defineConfig, type Plugin } from 'vite';

const here = (path: string): string => fileURLToPath(new URL(path, import.meta.url));

/** Compiles the losses before the page is built or served. In a project of your own: `trellis build ...` in a script before `vite build`. */
const losses: Plugin = {
  name: 'losses',
  buildStart() {
    const trellis = (...words: string[]): void => {
      const command = [here('../../bin/trellis.js'), ...words];
      execFileSync(process.execPath, command, { stdio: ['ignore', 'ignore', 'inherit'] });
    };
    // The golden cases have vocabularies of all sizes; that of the utterance is known.
    trellis('build', 'rnnt', 'monotonic', '--out', here('./losses.js'));
    trellis('build', here('./visits.ts'), '--size', 'V=28', '--out', here('./alignment.js'));
  },
};

export default defineConfig({
  root: here('.'),
  base: './',
  plugins: [losses],
  resolve: {
    // In a checkout the package's own names mean its sources; a project that has installed it needs none of this.
    alias: [
      { find: 'trellis-jit/browser', replacement: here('../../runtime/browser/index.ts') },
      { find: 'trellis-jit/dsl', replacement: here('../../dsl/index.ts') },
    ],
  },
  server: { fs: { allow: [here('../..')] } },
  build: {
    target: 'es2022',
    // The golden cases stay files, which the page fetches.
    assetsInlineLimit: 0,
    reportCompressedSize: false,
  },
});
