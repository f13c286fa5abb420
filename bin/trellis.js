#!/usr/bin/env node
// In a checkout the sources run through tsx; in an installed package their JavaScript in dist/ runs.
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const source = new URL('../runtime/cli/main.ts', import.meta.url);

async function load() {
  if (!existsSync(source)) return import(new URL('../dist/runtime/cli/main.js', import.meta.url).href);
  try {
    const { register } = await import('tsx/esm/api');
    register({ tsconfig: fileURLToPath(new URL('../tsconfig.json', import.meta.url)) });
  } catch (error) {
    if (error.code !== 'ERR_MODULE_NOT_FOUND') throw error;
    process.stderr.write('error: the npm packages are not installed; type:  npm run setup\n');
    process.exit(1);
  }
  return import(source.href);
}

// `trellis list | head -1` closes our stdout early; that is the reader's right.
process.stdout.on('error', (error) => {
  if (error.code === 'EPIPE') process.exit(0);
  throw error;
});

const { main } = await load();
process.exitCode = await main(process.argv.slice(2));
