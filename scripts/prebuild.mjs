// Reads the shipped specs with the compiler just built, and writes what it read beside it: a program that uses one of them
// then starts without the parser. Whatever does not fit any more when it is used is read again.
import { mkdirSync, writeFileSync } from 'node:fs';

const { listSpecs } = await import('../dist/runtime/specs.js');
const { prebuild, prebuiltFolder } = await import('../dist/runtime/known-specs.js');

mkdirSync(prebuiltFolder, { recursive: true });
for (const spec of listSpecs()) {
  const { path, text } = prebuild(spec.path, prebuiltFolder);
  writeFileSync(path, text);
}
