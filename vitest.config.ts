import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';

const here = (path: string): string => fileURLToPath(new URL(path, import.meta.url));

export default defineConfig({
  resolve: {
    // In a checkout the package's own names mean its sources; in an installed package its `exports` say dist/.
    alias: [
      { find: /^trellis-jit\/dsl$/, replacement: here('./dsl/index.ts') },
      { find: /^trellis-jit\/compiler$/, replacement: here('./compiler/index.ts') },
      { find: /^trellis-jit\/browser$/, replacement: here('./runtime/browser/index.ts') },
      { find: /^trellis-jit$/, replacement: here('./runtime/index.ts') },
    ],
  },
  test: {
    include: ['test/**/*.test.ts'],
    globalSetup: ['test/lanes-report.ts'],
    // Forks rather than worker threads: the suite loads libLLVM and starts native threads of its own.
    pool: 'forks',
    // One on each core. Vitest leaves one to itself, which on two cores means file after file.
    maxWorkers: '100%',
    // Loading ts-morph alone takes a second on two busy cores, and the spawn tests start whole processes.
    testTimeout: 60_000,
    hookTimeout: 120_000,
  },
});
