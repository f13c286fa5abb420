/** `trellis align`: which label at which frame, on the best path of each utterance, as a table or as a picture. */
import { readFile, writeFile } from 'node:fs/promises';
import type { Command } from 'commander';
import type { AlignResult, Alignment, Loss, Tensor } from '../index.js';
import { type BatchOptions, openBatch, withBatchOptions } from './batch.js';
import { checkWritable } from './npy.js';
import { readPositiveInteger } from './options.js';
import { formatMilliseconds, formatNumber, print, printJson, printTable, withProgress } from './output.js';
import { UsageError } from './usage.js';

interface AlignOptions extends BatchOptions {
  tokens?: string;
  utterance?: string;
  plot?: string;
}

export function addAlign(trellis: Command): void {
  withBatchOptions(
    trellis
      .command('align')
      .summary('find which label belongs to which frame, and draw it')
      .description(
        "Finds the best path of each utterance through a spec's lattice (the Viterbi alignment): the path of the largest\n" +
          'weight, where the loss sums over all paths. Prints the frames of each label, from 0.',
      )
      .argument('<spec>', 'a name from "trellis list", or a path to a spec file that states arcs'),
  )
    .option('--tokens <file>', 'names of the labels: a line for each id, or lines of a name and its id')
    .option('--utterance <n>', 'the one to print and to draw, from 0 (default: print all, draw the first)')
    .option('--plot <file>', 'draw the lattice with the path, as .svg or .png')
    .option('--json', 'print one JSON object: scores, labels with their frames, and the arcs of every path')
    .addHelpText(
      'after',
      `
start and end are the frames of a label's arcs; weight is their log-probability. The score of a path is the sum of the
weights of all its arcs. With --json, numbers that JSON cannot say are the strings "inf", "-inf" and "nan".

Examples:
  $ trellis align rnnt --acts acts.npy --labels labels.npy --act-lens t.npy --label-lens u.npy
  $ trellis align ctc --acts acts.npy --labels labels.npy --tokens tokens.txt --utterance 3 --plot third.png
  $ trellis align tdt --acts acts.npy --labels labels.npy --json | jq '.alignments[0].labels'`,
    )
    .action(runAlign);
}

async function runAlign(spec: string, options: AlignOptions): Promise<void> {
  const { plot } = options;
  if (plot !== undefined) {
    if (!/\.(svg|png)$/i.test(plot))
      throw new UsageError(`--plot ${plot}: expected a file name that ends in .svg or .png`);
    await checkWritable(plot, '--plot');
  }
  const chosen = options.utterance === undefined ? undefined : readIndex(options.utterance);
  const nameOf = options.tokens === undefined ? undefined : await readTokens(options.tokens);

  const { loss, inputs, lengths } = await openBatch(spec, options, 'none', ({ name, lattice }) => {
    if (lattice) return;
    throw new UsageError(
      `${name} is written in equations: only a spec that states arcs, by lattice({ ... }), can be aligned`,
    );
  });
  const tensors = { ...inputs, ...lengths };
  const result = await withProgress('aligning', () => loss.align(tensors));
  const { alignments } = result;
  if (chosen !== undefined && chosen >= alignments.length) {
    throw new UsageError(
      `--utterance ${chosen}: the batch has ${alignments.length} utterances, 0 to ${alignments.length - 1}`,
    );
  }
  if (plot !== undefined) await drawTo(plot, loss, tensors, result, chosen ?? 0, nameOf);
  if (options.json) printJson(asJson(loss, result, plot, nameOf));
  else await printForPeople(loss, result, chosen, plot, nameOf);
}

type NameOf = ((label: number) => string) | undefined;

function readIndex(text: string): number {
  return text === '0' ? 0 : readPositiveInteger(text, '--utterance');
}

/** Lines of names, or of names with their ids, as `tokens.txt` of many recipes has them. */
async function readTokens(path: string): Promise<(label: number) => string> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    throw new UsageError(`--tokens ${path}: ${(error as Error).message}`);
  }
  const lines = text.split(/\r?\n/);
  if (lines[lines.length - 1] === '') lines.pop();
  const pairs = lines.map((line) => /^(\S+)\s+(\d+)$/.exec(line.trim()));
  const withIds = pairs.every((pair) => pair !== null);
  const names = new Map(
    withIds ? pairs.map((pair) => [Number(pair?.[2]), pair?.[1] as string]) : lines.map((line, id) => [id, line]),
  );
  return (label) => names.get(label) ?? String(label);
}

async function drawTo(
  file: string,
  loss: Loss,
  tensors: Readonly<Record<string, Tensor>>,
  { alignments }: AlignResult,
  b: number,
  nameOf: NameOf,
): Promise<void> {
  const { alignmentSvg } = await import('../plot/alignment.js');
  const { posteriors } = await withProgress('posteriors', () =>
    loss.forward(tensors, { grads: false, posteriors: true }),
  );
  const { signature } = loss;
  const occupancy = posteriors?.occupancy as Tensor<Float32Array>;
  const [, ...padded] = occupancy.shape;
  if (padded.length !== 2)
    throw new UsageError(`--plot: the lattice of ${signature.name} has ${padded.length} axes; 2 can be drawn`);
  const [width, height] = padded as [number, number];
  const count = width * height;
  const { path, score } = alignments[b] as Alignment;
  const nodes = path.map(({ from }) => from as readonly [number, number]);
  const last = path[path.length - 1];
  // The end may be a node or lie beyond them; only what is in the picture is drawn.
  if (last && last.to[0]! < width && last.to[1]! < height) nodes.push(last.to as [number, number]);
  const ids = alignments[b]?.labels ?? [];
  const labels = ids.map(({ target, label }) => {
    const step = path.find((one) => one.target === target);
    const arc = signature.lattice?.arcs.find(({ name }) => name === step?.arc);
    // A weight that looks at the frame before its node is paid for having come to the node, not for leaving it.
    const node = (arc?.frame ?? 0) < 0 ? step?.from : step?.to;
    return { row: node?.[1] ?? target, text: nameOf?.(label) ?? String(label) };
  });
  const svg = await alignmentSvg({
    title: `${signature.name}, utterance ${b}: score ${formatNumber(score, 6)}`,
    ...cropped(occupancy.data.subarray(b * count, (b + 1) * count), width, height, nodes),
    path: nodes,
    labels,
  });
  if (/\.svg$/i.test(file)) await writeFile(file, svg);
  else await writeFile(file, await (await import('../plot/png.js')).pngOf(svg));
}

/** The part of padded nodes that anything passes. */
function cropped(
  occupancy: Float32Array | Float64Array,
  width: number,
  height: number,
  nodes: readonly (readonly [number, number])[],
): { width: number; height: number; occupancy: Float32Array } {
  let [right, top] = [1, 1];
  for (let x = 0; x < width; x++)
    for (let y = 0; y < height; y++)
      if ((occupancy[x * height + y] as number) > 0) [right, top] = [Math.max(right, x + 1), Math.max(top, y + 1)];
  for (const [x, y] of nodes) [right, top] = [Math.max(right, x + 1), Math.max(top, y + 1)];
  const part = new Float32Array(right * top);
  for (let x = 0; x < right; x++) for (let y = 0; y < top; y++) part[x * top + y] = occupancy[x * height + y] as number;
  return { width: right, height: top, occupancy: part };
}

function asJson(loss: Loss, result: AlignResult, plot: string | undefined, nameOf: NameOf): Record<string, unknown> {
  return {
    spec: loss.signature.name,
    device: result.device,
    milliseconds: result.milliseconds,
    scores: [...result.scores.data],
    alignments: result.alignments.map(({ score, labels, path }) => ({
      score,
      labels: labels.map((label) => (nameOf ? { ...label, token: nameOf(label.label) } : label)),
      path,
    })),
    ...(plot === undefined ? {} : { plotFile: plot }),
  };
}

/** Longer batches and transcripts are cut here; --json has all of them. */
const UTTERANCES_SHOWN = 10;
const LABELS_SHOWN = 50;

async function printForPeople(
  loss: Loss,
  { alignments, device, milliseconds }: AlignResult,
  chosen: number | undefined,
  plot: string | undefined,
  nameOf: NameOf,
): Promise<void> {
  const { name } = loss.signature;
  print(
    `${name}: the best path of ${alignments.length === 1 ? 'one utterance' : `each of ${alignments.length} utterances`}`,
  );
  print(`  device   ${device}, ${formatMilliseconds(milliseconds)}`);
  if (plot !== undefined) print(`  drawn    ${plot}, utterance ${chosen ?? 0}`);
  const which = chosen === undefined ? [...alignments.keys()].slice(0, UTTERANCES_SHOWN) : [chosen];
  for (const b of which) {
    const { score, labels, path } = alignments[b] as Alignment;
    print('');
    if (path.length === 0) {
      print(`utterance ${b}  ${Number.isNaN(score) ? 'score nan: its input has one' : 'no path'}`);
      continue;
    }
    print(`utterance ${b}  score ${formatNumber(score, 8)}, ${path.length} arcs`);
    await printTable(
      ['', 'label', ...(nameOf ? ['token'] : []), 'start', 'end', 'weight'],
      labels
        .slice(0, LABELS_SHOWN)
        .map(({ target, label, start, end, weight }) => [
          String(target),
          String(label),
          ...(nameOf ? [nameOf(label)] : []),
          String(start),
          String(end),
          weight.toFixed(4),
        ]),
    );
    if (labels.length > LABELS_SHOWN)
      print(`... and ${labels.length - LABELS_SHOWN} more labels; --json prints all of them`);
  }
  if (which.length < alignments.length && chosen === undefined)
    print(
      `\n... and ${alignments.length - which.length} more utterances; --utterance <n> prints one, --json all of them`,
    );
}
