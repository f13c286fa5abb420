/** `trellis new`: a first spec of one's own, that works, and its test. */
import { type Command, Option } from 'commander';
import { print } from './output.js';
import { arcsSpec, equationsSpec, testFile } from './templates.js';
import { UsageError } from './usage.js';

export function addNew(trellis: Command): void {
  trellis
    .command('new')
    .summary('write a first spec of your own, with its test')
    .description(
      'Writes <name>.ts, a loss that compiles and is right, and <name>.test.mjs, which shows that it is, into this folder.\n' +
        'Change the loss, then the test. Nothing that is there is overwritten.',
    )
    .argument('<name>', 'letters, digits and _, a letter first: the name of the loss and of its files')
    .addOption(new Option('--arcs', 'state the lattice; its gradient is derived (the default)').conflicts('equations'))
    .option('--equations', 'state the equations, recurrences and gradient included')
    .addHelpText(
      'after',
      `
The loss is RNN-T that pays for late labels. With --arcs it is a lattice of two arcs, 20 lines; with --equations the
same with alpha, beta, posteriors and gradient written out.

Examples:
  $ trellis new tally
  $ trellis check ./tally.ts
  $ node --test tally.test.mjs
  $ trellis new tally --equations`,
    )
    .action(runNew);
}

async function runNew(name: string, { equations }: { equations?: boolean }): Promise<void> {
  if (!/^[A-Za-z]\w*$/.test(name)) {
    const near = name
      .replace(/\.(ts|mjs|js)$/, '')
      .replace(/^[^A-Za-z]+/, '')
      .replace(/[^A-Za-z0-9_]+(.)?/g, (_, next: string | undefined) => next?.toUpperCase() ?? '');
    const suggestion = near === '' ? '' : ` (did you mean ${JSON.stringify(near)}?)`;
    throw new UsageError(
      `${JSON.stringify(name)} cannot name a loss${suggestion}; allowed: letters, digits and _, a letter first`,
    );
  }
  const { writeFile, rm } = await import('node:fs/promises');
  const spec = `${name}.ts`;
  const test = `${name}.test.mjs`;
  const write = async (file: string, text: string): Promise<void> => {
    try {
      await writeFile(file, text, { flag: 'wx' });
    } catch (error) {
      const { code, message } = error as NodeJS.ErrnoException;
      throw new UsageError(
        code === 'EEXIST'
          ? `${file} is there already, and stays as it is; choose another name`
          : `cannot write ${file}: ${message}`,
      );
    }
  };
  await write(spec, equations ? equationsSpec(name) : arcsSpec(name));
  try {
    await write(test, testFile(name));
  } catch (error) {
    // Both or none.
    await rm(spec, { force: true });
    throw error;
  }
  print(`${spec}   the loss\n${test}   its test\n`);
  print(`Next:
  trellis check ./${spec}     is it right, and does every device compute it?
  node --test ${test}   its own test
  trellis dump ./${spec} --stage kernels     the loops that it becomes
Then change the loss, and run them again.`);
}
