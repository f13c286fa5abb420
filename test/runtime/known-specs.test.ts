/** Specs that need not be read: what the build writes of the shipped ones, and when it no longer holds. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { listSpecs } from 'trellis-jit';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { restoreSpec } from '../../compiler/compile.js';
import { compileToGraph } from '../../compiler/index.js';
import { printGraph } from '../../compiler/graph/print.js';
import { CacheStore } from '../../runtime/cache-store.js';
import { outline } from '../../runtime/compiler/compile.js';
import { hashesOf, openSpecSync, prebuild, shipped, sourceHash } from '../../runtime/known-specs.js';

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'trellis-graphs-'));
});
afterAll(() => rmSync(folder, { recursive: true }));

const pathOf = (name: string): string => listSpecs().find((spec) => spec.name === name)!.path;

/** Writes a spec's record as the build does, changed as a test likes. */
function write(
  name: string,
  change: (record: { compiler: string; files: { hash: string }[] }) => void = () => {},
): void {
  const { path, text } = prebuild(pathOf(name), folder);
  const record = JSON.parse(text) as Parameters<typeof change>[0];
  change(record);
  writeFileSync(path, JSON.stringify(record));
}

describe('what the build writes of a shipped spec', () => {
  test.each(listSpecs().map(({ name, path }) => [name, path] as const))(
    '%s: is what reading it gives',
    (name, path) => {
      write(name);
      const known = shipped(path, folder)!;
      const read = outline({ file: path, statics: {} });
      expect(known.signature).toEqual(read.signature);
      // The same hash: objects that were compiled after reading the spec serve it as well.
      expect(sourceHash(known.files)).toBe(sourceHash(hashesOf(read.files)));
      const [mine, theirs] = [restoreSpec(known.equations), compileToGraph(path)];
      expect(printGraph(mine.graph)).toBe(printGraph(theirs.graph));
      expect(printGraph(mine.stated)).toBe(printGraph(theirs.stated));
      expect(readFileSync(join(folder, `${name}.json`), 'utf8')).not.toContain(folder);
    },
  );

  test('does not hold for another compiler, a changed spec, or where it is damaged or missing', () => {
    const path = pathOf('rnnt');
    write('rnnt', (record) => {
      record.compiler = record.compiler.replace(/^./, 'x');
    });
    expect(shipped(path, folder)).toBeUndefined();
    write('rnnt', ({ files }) => {
      files[0]!.hash = files[0]!.hash.replace(/^./, 'x');
    });
    expect(shipped(path, folder)).toBeUndefined();
    writeFileSync(join(folder, 'rnnt.json'), '{"compiler": "');
    expect(shipped(path, folder)).toBeUndefined();
    expect(shipped(path, join(folder, 'nowhere'))).toBeUndefined();
    write('rnnt');
    expect(shipped(path, folder)).toBeDefined();
  });

  test('is of no use to a spec of the same name elsewhere', () => {
    const copy = join(folder, 'rnnt.ts');
    writeFileSync(copy, readFileSync(pathOf('rnnt')));
    write('rnnt');
    expect(shipped(copy, folder)).toBeUndefined();
  });
});

describe('specs of others', () => {
  const spec = (factor: string): string => `
import { defineLoss, f32, field, sum } from 'trellis-jit/dsl';
import { scale } from './scale.js';
export default defineLoss({ name: 'scaled', inputs: { x: f32('T') } }, ({ x, T }) => {
  return { loss: ${factor} * scale * sum(T, (t) => x(t)), gradients: { x: field([T], (t) => ${factor} * scale) } };
});
`;
  test('are read once, and again when a file of theirs changes', () => {
    const file = join(folder, 'scaled.ts');
    const helper = join(folder, 'scale.ts');
    const directory = join(folder, 'cache');
    writeFileSync(file, spec('2'));
    writeFileSync(helper, 'export const scale = 3;');
    /** As a process does that was just started. */
    const open = () => {
      const store = new CacheStore({ directory });
      const known = openSpecSync({ file, statics: {} }, store);
      return {
        graph: printGraph(restoreSpec(known.equations).graph),
        fromDisk: store.stats.diskHits,
        wrote: store.stats.writes,
      };
    };
    const first = open();
    expect(first).toMatchObject({ fromDisk: 0, wrote: 1 });
    expect(open()).toEqual({ graph: first.graph, fromDisk: 1, wrote: 0 });
    writeFileSync(helper, 'export const scale = 4;');
    const second = open();
    expect(second.wrote).toBe(1);
    expect(second.graph).not.toBe(first.graph);
    writeFileSync(file, spec('5'));
    expect(open().graph).not.toBe(second.graph);
    // Who asks for the stages' text gets all of them.
    vi.stubEnv('TRELLIS_DUMP', join(folder, 'dump'));
    expect(open()).toMatchObject({ fromDisk: 0, wrote: 1 });
    vi.unstubAllEnvs();
  });
});
