/** Other implementations beside ours: what they answer, and how that reads. */
import { execFile } from 'node:child_process';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import {
  type BenchReport,
  isMeasured,
  type Measured,
  type Summary,
  shapeText,
  sizeNames,
} from '../../runtime/cli/bench/report.js';
import { folderOf, runBench } from '../../runtime/cli/bench/run.js';
import type { TextTable } from '../../runtime/cli/bench/table.js';
import { withTemporaryFolder } from '../../runtime/cli/bench/temporary.js';
import { readShapes } from '../../runtime/cli/bench.js';
import { formatMilliseconds } from '../../runtime/cli/output.js';
import { openSpec } from '../../runtime/cli/stages.js';
import { findSpec } from '../../runtime/index.js';

/** What run.py says of one implementation; milliseconds. */
export type Peer =
  | {
      readonly version: string;
      readonly lossAndGradient: Summary;
      readonly loss: Summary;
      readonly rounds: number;
      /** Largest differences from ours: of costs, relative; of elements of the gradient. Absent for what is no loss. */
      readonly costError?: number;
      readonly gradientError?: number;
    }
  | { readonly missing: string };

export interface PeersReport {
  readonly ours: BenchReport;
  /** By shape, as `shapeText` has it, then by name. */
  readonly peers: Readonly<Record<string, Readonly<Record<string, Peer>>>>;
}

/** Lattices and vocabularies of several kinds that the slowest of them can take. */
const usualShapes = ['1,150,40,28', '16,150,40,28', '4,150,20,5000', '8,200,50,1024', '1,1500,300,50'];

export interface PeersOptions {
  /** The interpreter that has them installed. */
  readonly python: string;
  readonly shapes: readonly string[];
  readonly threads: number;
  /** For the rounds of each implementation and shape. */
  readonly seconds: number;
  readonly progress: (text: string) => void;
}

/** Measures ours and theirs, shape by shape, so that both meet the same state of the machine. */
export const runPeers = ({ python, shapes, threads, seconds, progress }: PeersOptions): Promise<PeersReport> =>
  withTemporaryFolder('trellis-peers-', async (folder) => {
    const script = fileURLToPath(new URL('run.py', import.meta.url));
    const peers: Record<string, Record<string, Peer>> = {};
    const { signature } = await openSpec('rnnt');
    const ours = await runBench({
      ...{
        spec: findSpec('rnnt'),
        signature,
        device: 'cpu',
        params: {},
        threads,
        seconds,
        seed: 1,
        saveTo: folder,
        progress,
      },
      shapes: await readShapes(signature, shapes.length > 0 ? shapes : usualShapes, {}),
      shapeDone: async (shape) => {
        if (!isMeasured(shape)) return;
        const name = shapeText(shape.sizes);
        progress(`${name}: others`);
        const tensors = join(folder, folderOf(shape.sizes));
        const words = [script, tensors, '--threads', String(threads), '--seconds', String(seconds)];
        const { stdout } = await promisify(execFile)(python, words, { maxBuffer: 2 ** 24 });
        peers[name] = JSON.parse(stdout) as Record<string, Peer>;
        rmSync(tensors, { recursive: true });
      },
    });
    return { ours, peers };
  });

const titles: Readonly<Record<string, string>> = { log_softmax: "PyTorch's log_softmax, no loss" };

/** A row for each implementation that was measured: times, and how many times ours they are. */
export function peersTable({ ours, peers }: PeersReport): TextTable {
  const rows = ours.shapes.filter(isMeasured).flatMap((shape) => {
    const name = shapeText(shape.sizes);
    const { lossAndGradient, loss } = shape.milliseconds;
    const first = [
      name,
      'Trellis',
      formatMilliseconds(lossAndGradient.median),
      '',
      formatMilliseconds(loss.median),
      '',
      '',
    ];
    const others = Object.entries(peers[name] ?? {}).map(([who, peer]) => [
      '',
      titles[who] ?? who,
      ...peerCells(peer, shape),
    ]);
    return [first, ...others];
  });
  return {
    head: [
      sizeNames(ours.shapes),
      '',
      'loss + gradient',
      'times ours',
      'loss alone',
      'times ours',
      'gradient differs by',
    ],
    rows,
  };
}

function peerCells(peer: Peer, { milliseconds: ours }: Measured): string[] {
  if ('missing' in peer) return [peer.missing, '', '', '', ''];
  const times = (theirs: Summary, mine: Summary) => [
    formatMilliseconds(theirs.median),
    (theirs.median / mine.median).toFixed(1),
  ];
  return [
    ...times(peer.lossAndGradient, ours.lossAndGradient),
    ...times(peer.loss, ours.loss),
    peer.gradientError === undefined ? '' : peer.gradientError.toExponential(1),
  ];
}

/** 'torchaudio 2.8.0, warprnnt_numba 0.4.1', of those that were measured at all. */
export function peerVersions({ peers }: PeersReport): string {
  const all = Object.values(peers).flatMap((byName) =>
    Object.entries(byName).flatMap(([name, peer]) => ('missing' in peer ? [] : [`${name} ${peer.version}`])),
  );
  return [...new Set(all)].join('; ');
}
