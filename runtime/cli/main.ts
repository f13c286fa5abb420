/**
 * The `trellis` command: parses the words and hands over to one file per command. Commands are imported when they
 * run, so that `--help` and `list` need not wait for the compiler.
 *
 * Exit codes: 0 done; 1 it failed; 2 the command line or an input cannot be used. Results go to stdout, everything
 * else to stderr.
 */
import { Command, CommanderError } from 'commander';
import { packageVersion } from '../package.js';
import { addAlign } from './align.js';
import { addBench } from './bench.js';
import { addBuild } from './build.js';
import { addCheck } from './check.js';
import { addDoctor } from './doctor.js';
import { addDump } from './dump.js';
import { addList } from './list.js';
import { addLoss } from './loss.js';
import { addNew } from './new.js';
import { report } from './output.js';
import { Reported } from './usage.js';

function program(): Command {
  const trellis = new Command('trellis')
    .description('Transducer losses written as equations in TypeScript, compiled to native code.')
    .version(packageVersion())
    .showSuggestionAfterError()
    .helpCommand(false)
    .configureHelp({ helpWidth: Math.min(process.stdout.columns ?? 100, 100) })
    .addHelpText(
      'after',
      `
A spec is named by its name in the shipped list ("rnnt") or by a path to a file ("./my-loss.ts").

Examples:
  $ trellis list                                          the losses that come with the package
  $ trellis loss rnnt --acts acts.npy --labels labels.npy loss of a batch, written by numpy.save
  $ trellis align rnnt --acts acts.npy --labels labels.npy --plot a.svg  which label at which frame
  $ trellis dump rnnt --stage derived                     the equations as the compiler sees them
  $ trellis new tally                                     a first loss of your own, with its test
  $ trellis check ./tally.ts                              is it right, and does every device compute it?
  $ trellis bench 8,200,50,1024                           how fast it is, beside how fast memory is
  $ trellis doctor                                        what was found on this machine, what is missing

"trellis <command> --help" tells more.`,
    );
  addLoss(trellis);
  addAlign(trellis);
  addNew(trellis);
  addCheck(trellis);
  addDump(trellis);
  addBuild(trellis);
  addBench(trellis);
  addDoctor(trellis);
  addList(trellis);
  // Copied to every command: throw instead of ending the process.
  for (const command of [trellis, ...trellis.commands]) {
    command.exitOverride();
    command.showHelpAfterError(
      `(type "${command === trellis ? 'trellis' : `trellis ${command.name()}`} --help" for help)`,
    );
  }
  return trellis;
}

/** Runs one command line (without node and script) and returns its exit code. */
export async function main(words: readonly string[]): Promise<number> {
  try {
    const trellis = program();
    if (words.length === 0) {
      trellis.outputHelp({ error: true });
      return 2;
    }
    await trellis.parseAsync([...words], { from: 'user' });
    return 0;
  } catch (error) {
    // Commander has printed its own message (or the help that was asked for) already.
    // Its own code for misuse is 1, which here says that something failed.
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2;
    if (error instanceof Reported) return 1;
    return report(error);
  }
}
