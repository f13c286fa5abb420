/**
 * Other implementations of the RNN-T loss beside ours, on the same tensors, one shape after the other:
 *
 *   python3 -m venv peers && peers/bin/pip install -r bench/peers/requirements.txt
 *   npm run bench:peers -- --python peers/bin/python [B,T,U,V ...] [--threads n] [--seconds n] [--json file]
 */
import { writeFileSync } from 'node:fs';
import os from 'node:os';
import { parseArgs } from 'node:util';
import { machineText } from '../../runtime/cli/bench/table.js';
import { readNumber, readPositiveInteger } from '../../runtime/cli/options.js';
import { print, printTable, progressLine, report } from '../../runtime/cli/output.js';
import { UsageError } from '../../runtime/cli/usage.js';
import { peersTable, peerVersions, runPeers } from './peers.js';

async function main(): Promise<void> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      python: { type: 'string', default: 'python3' },
      threads: { type: 'string' },
      seconds: { type: 'string', default: '2' },
      json: { type: 'string' },
    },
  });
  const threads =
    values.threads === undefined ? os.availableParallelism() : readPositiveInteger(values.threads, '--threads');
  const seconds = readNumber(values.seconds, '--seconds');
  if (!(seconds > 0)) throw new UsageError(`--seconds: ${values.seconds} is not a time`);
  const line = progressLine();
  const outcome = await runPeers({
    python: values.python,
    shapes: positionals,
    threads,
    seconds,
    progress: line.show,
  }).finally(line.wipe);
  if (values.json !== undefined) writeFileSync(values.json, `${JSON.stringify(outcome, null, 1)}\n`);
  print(`${machineText(outcome.ours)}\n${peerVersions(outcome)}\n`);
  const { head, rows } = peersTable(outcome);
  await printTable(head, rows);
}

try {
  await main();
} catch (error) {
  process.exitCode = report(error);
}
