/** `trellis build`: losses compiled ahead, as an ES module for browsers. */
import type { Command } from 'commander';
import type { SourceSpec } from '../../compiler/compile.js';
import type { LossModule } from '../browser/module.js';
import { collect, putOnce, readPositiveInteger, splitPair } from './options.js';
import { print, withProgress } from './output.js';
import { sizesOfShape } from './signature.js';
import { UsageError } from './usage.js';

interface BuildOptions {
  out?: string;
  size: string[];
  shape?: string;
  grads: boolean;
  posteriors?: boolean;
  align?: boolean;
}

export function addBuild(trellis: Command): void {
  trellis
    .command('build')
    .summary('compile specs ahead to an ES module that runs in browsers')
    .description(
      'Compiles specs to WGSL and writes them with their launch plans as an ES module, and its types beside it. A page runs ' +
        "them through WebGPU with createLoss of 'trellis-jit/browser'; no part of the compiler is in what it loads.",
    )
    .argument('<spec...>', 'names from "trellis list", or paths to spec files')
    .requiredOption('--out <file>', 'the module to write: a file ending in .js or .mjs')
    .option(
      '--size <name=n,...>',
      'compile these values of a size in; "any" among them serves the others (repeatable; default: any)',
      collect,
      [],
    )
    .option('--shape <B,T,U+1,V>', 'the same, as the shape of the first real input')
    .option('--no-grads', 'the loss alone')
    .option('--posteriors', 'kernels for forward(..., { posteriors: true }) as well')
    .option('--align', 'kernels for align(...) as well')
    .addHelpText(
      'after',
      `
A size that all utterances of a batch share, such as the vocabulary's V, may be compiled in. By default none is: one
module serves every V. Kernels with V compiled in can be faster; calls with another V are refused, unless "any" is listed.

Examples:
  $ trellis build rnnt --out losses.js
  $ trellis build rnnt ./my-loss.ts --out src/losses.js
  $ trellis build rnnt --posteriors --align --out losses.js
  $ trellis build rnnt --size V=500,1024,any --out losses.js`,
    )
    .action(runBuild);
}

async function runBuild(specs: readonly string[], options: BuildOptions): Promise<void> {
  const out = options.out ?? '';
  const declarations = declarationFile(out);
  const { findSpec } = await import('../specs.js');
  const { compileToGraph } = await import('../../compiler/compile.js');
  const { buildModule, declarationText, describeSizes, exportName, moduleText } = await import('./module-text.js');

  const sources = await withProgress(`reading ${specs.join(', ')}`, async () =>
    specs.map((spec) => compileToGraph(findSpec(spec))),
  );
  const sizes = await sizesFor(sources, options);
  const modules: LossModule[] = [];
  for (const [n, source] of sources.entries()) {
    const name = exportName(source.graph.name);
    const twin = modules.find(({ signature }) => exportName(signature.name) === name);
    if (twin) throw new UsageError(`two of the specs would be exported as ${name}: write them to files of their own`);
    const perNode = [
      ...(options.posteriors ? (['posteriors'] as const) : []),
      ...(options.align ? (['best-path'] as const) : []),
    ];
    if (perNode.length > 0 && !source.stated.lattice) {
      const option = options.align ? '--align' : '--posteriors';
      throw new UsageError(
        `${option}: ${source.graph.name} is written in equations; only a spec that states arcs has a best path and posteriors`,
      );
    }
    const choices = { sizes: sizes[n]!, gradients: options.grads, perNode };
    modules.push(await withProgress(`compiling ${source.graph.name}`, () => buildModule(source, choices)));
  }

  const text = moduleText(modules);
  const { mkdir, writeFile } = await import('node:fs/promises');
  const { dirname } = await import('node:path');
  try {
    await mkdir(dirname(out), { recursive: true });
    await writeFile(out, text);
    await writeFile(declarations, declarationText(modules));
  } catch (error) {
    throw new UsageError(`--out: cannot write ${out}: ${(error as Error).message}`);
  }
  for (const module of modules) {
    const name = exportName(module.signature.name);
    const parts = [
      describeSizes(module),
      options.grads ? 'loss and gradients' : 'loss',
      options.posteriors ? 'posteriors' : '',
      options.align ? 'best paths' : '',
      `${module.texts.length} WGSL modules`,
    ];
    print(`${name}: ${parts.filter((part) => part !== '').join(', ')}`);
  }
  print(`${out} (${(Buffer.byteLength(text) / 1024).toFixed(1)} KiB), ${declarations}`);
}

/** losses.js has its types in losses.d.ts. */
function declarationFile(out: string): string {
  const found = /\.(m?)js$/.exec(out);
  if (found === null) throw new UsageError(`--out ${out}: expected a file name that ends in .js or .mjs`);
  return `${out.slice(0, found.index)}.d.${found[1]}ts`;
}

/** For each spec, the sets of sizes to compile in. */
async function sizesFor(sources: readonly SourceSpec[], options: BuildOptions): Promise<Record<string, number>[][]> {
  const { sharedSizes } = await import('./module-text.js');
  const { signatureOfGraph } = await import('../signature.js');
  const wanted: Record<string, (number | 'any')[]> = {};
  for (const text of options.size) {
    const [name, values] = splitPair(text, '--size', 'n');
    const read = values
      .split(',')
      .map((value) => (value === 'any' ? 'any' : readPositiveInteger(value, `--size ${name}`)));
    putOnce(wanted, name, [...new Set(read)], '--size');
  }
  const known = new Set(sources.flatMap(sharedSizes));
  for (const name of Object.keys(wanted)) {
    if (known.has(name)) continue;
    const list = known.size === 0 ? 'these specs have none' : [...known].join(', ');
    throw new UsageError(`--size ${name}: no size that utterances share has this name; there are: ${list}`);
  }
  return sources.map((source) => {
    const shape = options.shape === undefined ? {} : sizesOfShape(signatureOfGraph(source.graph), options.shape);
    let sets: Record<string, number>[] = [{}];
    for (const size of sharedSizes(source)) {
      const values = wanted[size] ?? (shape[size] === undefined ? ['any' as const] : [shape[size]]);
      sets = sets.flatMap((set) => values.map((value) => (value === 'any' ? set : { ...set, [size]: value })));
    }
    return sets;
  });
}
