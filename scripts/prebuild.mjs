// Reads the shipped specs with the compiler just built, and writes what it read beside it: a program that uses one of them
// then starts without the parser. Whatever does not fit any more when it is used is read again.
import { mkdirSync, writeFileSync } from 'node:fs';

// Named at run time: before a build there are no such files.
const built = (name) => import(new URL(`../dist/runtime/${name}`, import.meta.url).href);
const { listSpecs } = await built('specs.js');
const { prebuild, prebuiltFolder } = await built('known-specs.js');

mkdirSync(prebuiltFolder, { recursive: true });
for (const spec of listSpecs()) {
  const { path, text } = prebuild(spec.path, prebuiltFolder);
  writeFileSync(path, text);
}
