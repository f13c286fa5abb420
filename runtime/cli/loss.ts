/** `trellis loss`: the loss, and its gradient, of a batch kept in `.npy` files. */
import type { Command } from 'commander';
import type { LossResult, Tensor } from '../index.js';
import { reductionNames } from '../reduction.js';
import type { SpecSignature } from '../signature.js';
import { type BatchOptions, openBatch, withBatchOptions } from './batch.js';
import { checkWritable, writeNpy } from './npy.js';
import { collect } from './options.js';
import { formatCosts, formatMilliseconds, formatNumber, print, printJson, printTable, withProgress } from './output.js';
import { sizesOf } from './signature.js';
import { UsageError } from './usage.js';

interface LossOptions extends BatchOptions {
  reduction: string;
  grads?: string[];
}

export function addLoss(trellis: Command): void {
  withBatchOptions(
    trellis
      .command('loss')
      .summary('compute a loss (and its gradient) of .npy tensors')
      .description(
        'Computes a loss of a batch of utterances kept in .npy files (numpy.save), and its gradient where asked for.\n' +
          'Floats of 16, 32 and 64 bits and integers of any width are read, in C or Fortran order. float16 is read\n' +
          'as it is stored, without a copy in float32, and its gradient is written as float16.',
      )
      .argument('<spec>', 'a name from "trellis list", or a path to a spec file'),
  )
    .option('--reduction <name>', `how costs become one loss: ${reductionNames.join(', ')}`, 'mean')
    .option(
      '--grads <file>',
      'write the gradient here, float16 if the input is; name=file where a spec has several',
      collect,
    )
    .option('--json', 'print one JSON object with loss, costs, reduction, device, milliseconds and more')
    .addHelpText(
      'after',
      `
Reductions: none (the loss is the costs), sum, mean (each cost divided by its target length, then the mean over
the batch), mean_batch (sum / B), mean_volume (sum / total target length).

With --json, numbers that JSON cannot say are the strings "inf", "-inf" and "nan".

Examples:
  $ trellis loss rnnt --acts acts.npy --labels labels.npy --act-lens t.npy --label-lens u.npy
  $ trellis loss rnnt --acts acts.npy --labels labels.npy --fastemit-lambda 0.01 --grads grads.npy
  $ trellis loss ./my-loss.ts --input acts=a.npy --input labels=l.npy --param blank=3 --device reference
  $ trellis loss rnnt --acts acts.npy --labels labels.npy --device webgpu
  $ trellis loss rnnt --acts bits.npy --dtype acts=bfloat16 --labels labels.npy --grads bits-of-grads.npy
  $ trellis loss rnnt --acts acts.npy --labels labels.npy --reduction sum --json | jq .loss`,
    )
    .action(runLoss);
}

async function runLoss(spec: string, options: LossOptions): Promise<void> {
  let gradFiles: ReadonlyMap<string, string> = new Map();
  const { loss, params, inputs, lengths } = await openBatch(spec, options, options.reduction, async (signature) => {
    gradFiles = await readGradFiles(options.grads ?? [], signature);
  });
  const { signature } = loss;
  const result = await withProgress('computing', () =>
    loss.forward({ ...inputs, ...lengths }, { grads: gradFiles.size > 0 }),
  );
  for (const [input, path] of gradFiles) {
    const gradient = result.gradients[input];
    if (!gradient) throw new UsageError(`--grads: the spec ${signature.name} states no gradient for ${input}`);
    const { data, shape, dtype } = gradient as Tensor;
    await writeNpy(
      path,
      data as Float32Array | Float64Array | Uint16Array,
      shape,
      dtype === 'float16' ? dtype : undefined,
    );
  }
  const defaults = Object.fromEntries(signature.params.map((param) => [param.name, param.default]));
  const compileMilliseconds = loss.cache.compileMilliseconds;
  const answer = { signature, options, params: { ...defaults, ...params }, inputs, lengths, result };
  if (options.json) printJson(asJson({ ...answer, compileMilliseconds }, gradFiles));
  else await printForPeople({ ...answer, compileMilliseconds }, gradFiles);
}

interface Answer {
  readonly signature: SpecSignature;
  readonly options: LossOptions;
  readonly params: Readonly<Record<string, number>>;
  readonly inputs: Readonly<Record<string, Tensor>>;
  readonly lengths: Readonly<Record<string, Tensor>>;
  readonly result: LossResult;
  readonly compileMilliseconds: number;
}

/** Input name -> output file, from `file` (where one input has a gradient) or `name=file`. */
async function readGradFiles(words: readonly string[], signature: SpecSignature): Promise<Map<string, string>> {
  const real = signature.inputs.filter((input) => input.element === 'f32').map((input) => input.name);
  const files = new Map<string, string>();
  for (const word of words) {
    const named = real.find((name) => word.startsWith(`${name}=`));
    const [only] = real;
    if (named === undefined && (real.length !== 1 || only === undefined)) {
      throw new UsageError(`--grads ${word}: expected name=file, where name is one of ${real.join(', ')}`);
    }
    const input = named ?? (only as string);
    const path = named === undefined ? word : word.slice(named.length + 1);
    if (files.has(input)) throw new UsageError(`--grads: a file for the gradient of ${input} is given twice`);
    await checkWritable(path, '--grads');
    files.set(input, path);
  }
  return files;
}

function asJson(answer: Answer, gradFiles: ReadonlyMap<string, string>): Record<string, unknown> {
  const { signature, options, params, inputs, result, compileMilliseconds } = answer;
  const [onlyFile] = gradFiles.values();
  return {
    loss: result.loss.shape.length === 0 ? result.loss.data[0] : [...result.loss.data],
    costs: [...result.costs.data],
    reduction: options.reduction,
    device: result.device,
    milliseconds: result.milliseconds,
    compileMilliseconds,
    spec: signature.name,
    shape: Object.fromEntries(Object.entries(inputs).map(([name, tensor]) => [name, tensor.shape])),
    params,
    ...(gradFiles.size === 1 ? { gradsFile: onlyFile } : {}),
    ...(gradFiles.size > 1 ? { gradsFiles: Object.fromEntries(gradFiles) } : {}),
  };
}

/** Longer batches are cut here; --json has all of it. */
const ROWS_SHOWN = 20;

async function printForPeople(answer: Answer, gradFiles: ReadonlyMap<string, string>): Promise<void> {
  const { signature, options, params, inputs, lengths, result, compileMilliseconds } = answer;
  const sizes = sizesOf(signature, inputs);
  const extents = Object.entries(sizes).map(([name, size]) => `${name}=${size}`);
  const pairs = Object.entries(params).map(([name, value]) => `${name}=${formatNumber(value)}`);
  const compiled = result.device !== 'reference' ? `, ${formatMilliseconds(compileMilliseconds)} to compile` : '';
  const costs = Array.from(result.costs.data, Number);
  const pathless = costs.filter((cost) => cost === Number.POSITIVE_INFINITY).length;
  const because = pathless > 0 ? `, ${pathless} of ${costs.length} without a path` : '';
  const lossText = result.loss.shape.length > 0 ? 'the costs below' : formatNumber(Number(result.loss.data[0]), 8);
  print(signature.doc === '' ? signature.name : `${signature.name}: ${signature.doc}`);
  print(`  loss     ${lossText}  (reduction ${options.reduction}${because})`);
  print(`  shape    ${extents.join('  ')}`);
  if (pairs.length > 0) print(`  params   ${pairs.join('  ')}`);
  print(`  device   ${result.device}, ${formatMilliseconds(result.milliseconds)}${compiled}`);
  for (const [input, path] of gradFiles) print(`  gradient of ${input} in ${path}`);
  print('');
  const columns = signature.lengths.map(({ size, argument }) => ({ size, values: lengths[argument]?.data }));
  await printTable(
    ['utterance', ...columns.map(({ size }) => size), 'cost'],
    formatCosts(costs.slice(0, ROWS_SHOWN)).map((cost, b) => [
      String(b),
      ...columns.map(({ size, values }) => String(values?.[b] ?? sizes[size])),
      cost,
    ]),
  );
  if (costs.length > ROWS_SHOWN) print(`... and ${costs.length - ROWS_SHOWN} more; --json prints all of them`);
}
