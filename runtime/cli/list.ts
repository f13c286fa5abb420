/** `trellis list`: the specs that come with the package. */
import type { Command } from 'commander';
import { print, printJson, printTable } from './output.js';

export function addList(trellis: Command): void {
  trellis
    .command('list')
    .summary('list the specs that come with the package')
    .description('Lists the losses that come with the package, each with what its spec says about itself.')
    .option('--json', 'print one JSON object: { specs: [{ name, path, doc }] }')
    .addHelpText(
      'after',
      `
Examples:
  $ trellis list
  $ trellis list --json | jq -r '.specs[].path'

To write a loss of your own, copy one of these files and pass its path where a name would stand:
  $ trellis loss ./my-loss.ts --acts acts.npy --labels labels.npy`,
    )
    .action(async (options: { json?: boolean }) => {
      const { listSpecs } = await import('../specs.js');
      const specs = listSpecs();
      if (options.json) return printJson({ specs });
      await printTable(
        ['name', 'what it is'],
        specs.map((spec) => [spec.name, spec.doc]),
      );
      print(`\nSources: ${specs.map((spec) => spec.path).join('\n         ')}`);
    });
}
