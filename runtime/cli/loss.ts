/** `trellis loss`: the loss, and its gradient, of a batch kept in `.npy` files. */
import type { Command } from 'commander';
import type { HalfDType, LossResult, Tensor } from '../index.js';
import type { DeviceChoice, Infeasible } from '../options.js';
import { type Reduction, reductionNames } from '../reduction.js';
import type { SpecSignature } from '../signature.js';
import { checkWritable, readNpy, writeNpy } from './npy.js';
import { collect, putOnce, readDtypes, readNumber, readPositiveInteger, splitPair } from './options.js';
import { formatCosts, formatMilliseconds, formatNumber, print, printJson, printTable, withProgress } from './output.js';
import { describeInputs, sizesOf } from './signature.js';
import { UsageError } from './usage.js';

interface LossOptions {
  acts?: string;
  labels?: string;
  actLens?: string;
  labelLens?: string;
  input?: string[];
  lengths?: string[];
  dtype?: string[];
  param?: string[];
  blank?: string;
  fastemitLambda?: string;
  clamp?: string;
  device: string;
  reduction: string;
  infeasible: string;
  threads?: string;
  grads?: string[];
  cache: boolean;
  json?: boolean;
}

export function addLoss(trellis: Command): void {
  trellis
    .command('loss')
    .summary('compute a loss (and its gradient) of .npy tensors')
    .description(
      'Computes a loss of a batch of utterances kept in .npy files (numpy.save), and its gradient where asked for.\n' +
        'Floats of 16, 32 and 64 bits and integers of any width are read, in C or Fortran order. float16 is read\n' +
        'as it is stored, without a copy in float32, and its gradient is written as float16.',
    )
    .argument('<spec>', 'a name from "trellis list", or a path to a spec file')
    .option('--acts <file>', 'the logits: float [B, T, U+1, V]')
    .option('--labels <file>', 'the labels: int [B, U]')
    .option('--act-lens <file>', 'frames of each utterance: int [B] (default: all of T)')
    .option('--label-lens <file>', 'labels of each utterance: int [B] (default: all of U)')
    .option('--input <name=file>', 'any input of the spec by its name; repeatable', collect)
    .option('--lengths <name=file>', 'any length argument of the spec by its name; repeatable', collect)
    .option('--dtype <name=type>', 'what the bits in a uint16 file are: float16 or bfloat16; repeatable', collect)
    .option('--param <name=value>', 'a parameter of the spec; repeatable', collect)
    .option('--blank <index>', 'short for --param blank=<index>')
    .option('--fastemit-lambda <number>', 'short for --param fastemitLambda=<number>')
    .option('--clamp <number>', 'short for --param clamp=<number>')
    .option('--device <name>', 'where to compute: webgpu, cpu, reference, or auto: a real GPU, else the CPU', 'auto')
    .option('--reduction <name>', `how costs become one loss: ${reductionNames.join(', ')}`, 'mean')
    .option('--infeasible <what>', 'an utterance without any path: its cost is inf or zero, or it is an error', 'inf')
    .option('--threads <n>', 'threads on the CPU (default: one for each core)')
    .option(
      '--grads <file>',
      'write the gradient here, float16 if the input is; name=file where a spec has several',
      collect,
    )
    .option('--no-cache', 'compile anew, and keep nothing on disk')
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
  // Everything that can be refused without the compiler is refused first.
  const params = readParams(options);
  const dtypes = readDtypes(options.dtype);
  const inputFiles = filesByName(options.input, '--input', { acts: options.acts, labels: options.labels });
  const lengthFiles = filesByName(options.lengths, '--lengths', {
    actLens: options.actLens,
    labelLens: options.labelLens,
  });
  const threads = options.threads === undefined ? {} : { threads: readPositiveInteger(options.threads, '--threads') };

  const { loadLoss } = await import('../index.js');
  const loss = await withProgress(`reading ${spec}`, () =>
    loadLoss(spec, {
      // Refused there, in the library's words, where they are none of these.
      device: options.device as DeviceChoice,
      reduction: options.reduction as Reduction,
      infeasible: options.infeasible as Infeasible,
      params,
      ...threads,
      ...(options.cache ? {} : { cacheDir: false as const }),
    }),
  );
  const { signature } = loss;
  checkNames(signature, inputFiles, lengthFiles);
  const gradFiles = await readGradFiles(options.grads ?? [], signature);

  const inputs = withDtypes(await readAll(inputFiles), dtypes, signature);
  const lengths = await readAll(lengthFiles);
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

function readParams(options: LossOptions): Record<string, number> {
  const params: Record<string, number> = {};
  for (const pair of options.param ?? []) {
    const [name, text] = splitPair(pair, '--param', 'number');
    putOnce(params, name, readNumber(text, `--param ${name}`), '--param');
  }
  const shortcuts = { blank: '--blank', fastemitLambda: '--fastemit-lambda', clamp: '--clamp' } as const;
  for (const [name, option] of Object.entries(shortcuts) as [keyof typeof shortcuts, string][]) {
    const text = options[name];
    if (text !== undefined) putOnce(params, name, readNumber(text, option), option);
  }
  return params;
}

/** Where each named argument lies, and the option that said so. */
type Files = Map<string, { path: string; option: string }>;

function filesByName(pairs: string[] | undefined, option: string, spelled: Record<string, string | undefined>): Files {
  const files: Files = new Map();
  for (const [name, path] of Object.entries(spelled)) {
    if (path !== undefined) files.set(name, { path, option: spelling(name) });
  }
  for (const pair of pairs ?? []) {
    const [name, path] = splitPair(pair, option, 'file');
    if (files.has(name)) throw new UsageError(`${option}: ${name} is given twice`);
    files.set(name, { path, option: `${option} ${name}` });
  }
  return files;
}

/** The option of an argument: actLens is --act-lens. */
const spelling = (name: string): string => `--${name.replace(/[A-Z]/g, (capital) => `-${capital.toLowerCase()}`)}`;

const spelled = new Set(['acts', 'labels', 'actLens', 'labelLens']);
const howToGive = (name: string, general: string): string =>
  spelled.has(name) ? `${spelling(name)} <file>` : `${general} ${name}=<file>`;

function checkNames(signature: SpecSignature, inputFiles: Files, lengthFiles: Files): void {
  const inputs = signature.inputs.map((input) => input.name);
  const lengths = signature.lengths.map((length) => length.argument);
  for (const [name, { option }] of inputFiles) {
    if (inputs.includes(name)) continue;
    throw new UsageError(
      `${option}: the spec ${signature.name} has no input ${name}; it takes ${describeInputs(signature)}`,
    );
  }
  for (const [name, { option }] of lengthFiles) {
    if (lengths.includes(name)) continue;
    throw new UsageError(
      `${option}: the spec ${signature.name} has no length argument ${name}; ${lengths.length > 0 ? `it has ${lengths.join(', ')}` : 'it has none'}`,
    );
  }
  const missing = inputs.filter((name) => !inputFiles.has(name));
  if (missing.length === 0) return;
  const give = missing.map((name) => howToGive(name, '--input')).join(' ');
  throw new UsageError(
    `the input ${missing.join(', ')} of the spec ${signature.name} is missing: give ${give}. It takes ${describeInputs(signature)}`,
  );
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

async function readAll(files: Files): Promise<Record<string, Tensor>> {
  const tensors: Record<string, Tensor> = {};
  for (const [name, { path, option }] of files) tensors[name] = await readNpy(path, option);
  return tensors;
}

/** Tensors with what the user said of their bits. A gradient of bfloat16 is a file of uint16 as well: the format has no bfloat16. */
function withDtypes(
  tensors: Record<string, Tensor>,
  dtypes: Readonly<Record<string, HalfDType>>,
  { name: spec, inputs }: SpecSignature,
): Record<string, Tensor> {
  for (const [name, dtype] of Object.entries(dtypes)) {
    const tensor = tensors[name];
    if (tensor === undefined || inputs.find((input) => input.name === name)?.element !== 'f32') {
      throw new UsageError(`--dtype: the spec ${spec} has no input ${name} of reals`);
    }
    if (!(tensor.data instanceof Uint16Array) || (tensor.dtype ?? dtype) !== dtype) {
      const holds = tensor.dtype ?? tensor.data.constructor.name.replace('Array', '').toLowerCase();
      throw new UsageError(`--dtype ${name}: the file of ${name} holds ${holds}; ${dtype} bits are uint16`);
    }
    tensors[name] = { ...tensor, dtype };
  }
  return tensors;
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
