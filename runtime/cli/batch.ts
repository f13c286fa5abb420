/** The batch that a command line names: its options, and the spec with the tensors that they lead to. */
import type { Command } from 'commander';
import type { HalfDType, Loss, Tensor } from '../index.js';
import type { DeviceChoice, Infeasible } from '../options.js';
import type { Reduction } from '../reduction.js';
import type { SpecSignature } from '../signature.js';
import { readNpy } from './npy.js';
import { collect, putOnce, readDtypes, readNumber, readPositiveInteger, splitPair } from './options.js';
import { withProgress } from './output.js';
import { describeInputs } from './signature.js';
import { UsageError } from './usage.js';

/** The options that name a batch, a spec's parameters and a device: what every command that computes takes. */
export interface BatchOptions {
  acts?: string;
  labels?: string;
  actLens?: string;
  labelLens?: string;
  input?: string[];
  lengths?: string[];
  dtype?: string[];
  param?: string[];
  static?: string[];
  blank?: string;
  fastemitLambda?: string;
  clamp?: string;
  device: string;
  infeasible: string;
  threads?: string;
  cache: boolean;
  json?: boolean;
}

/** The options of BatchOptions, but for --json, which each command describes itself. */
export const withBatchOptions = (command: Command): Command =>
  command
    .option('--acts <file>', 'the logits: float [B, T, U+1, V]')
    .option('--labels <file>', 'the labels: int [B, U]')
    .option('--act-lens <file>', 'frames of each utterance: int [B] (default: all of T)')
    .option('--label-lens <file>', 'labels of each utterance: int [B] (default: all of U)')
    .option('--input <name=file>', 'any input of the spec by its name; repeatable', collect)
    .option('--lengths <name=file>', 'any length argument of the spec by its name; repeatable', collect)
    .option('--dtype <name=type>', 'what the bits in a uint16 file are: float16 or bfloat16; repeatable', collect)
    .option('--param <name=value>', 'a parameter of the spec; repeatable', collect)
    .option('--static <name=numbers>', 'a static of the spec, as in durations=0,1,2; repeatable', collect)
    .option('--blank <index>', 'short for --param blank=<index>')
    .option('--fastemit-lambda <number>', 'short for --param fastemitLambda=<number>')
    .option('--clamp <number>', 'short for --param clamp=<number>')
    .option('--device <name>', 'where to compute: webgpu, cpu, reference, or auto: a real GPU, else the CPU', 'auto')
    .option('--infeasible <what>', 'an utterance without any path: its cost is inf or zero, or it is an error', 'inf')
    .option('--threads <n>', 'threads on the CPU (default: one for each core)')
    .option('--no-cache', 'compile anew, and keep nothing on disk');

/** A spec with the batch that the options name. */
export interface OpenedBatch {
  readonly loss: Loss;
  readonly params: Readonly<Record<string, number>>;
  readonly inputs: Readonly<Record<string, Tensor>>;
  readonly lengths: Readonly<Record<string, Tensor>>;
}

/**
 * Loads the spec and reads the files. Everything that can be refused without the compiler is refused first.
 * @param check looks at the spec before any tensor is read
 */
export async function openBatch(
  spec: string,
  options: BatchOptions,
  reduction: string,
  check: (signature: SpecSignature) => Promise<void> | void,
): Promise<OpenedBatch> {
  const params = readParams(options);
  const statics = readStatics(options.static);
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
      reduction: reduction as Reduction,
      infeasible: options.infeasible as Infeasible,
      params,
      ...(statics ? { statics } : {}),
      ...threads,
      ...(options.cache ? {} : { cacheDir: false as const }),
    }),
  );
  const { signature } = loss;
  checkNames(signature, inputFiles, lengthFiles);
  await check(signature);
  const inputs = withDtypes(await readAll(inputFiles), dtypes, signature);
  return { loss, params, inputs, lengths: await readAll(lengthFiles) };
}

/** 'durations=0,1,2' as an array, 'reach=3' as a number, and 'durations=3,' as an array of one. */
function readStatics(given: readonly string[] | undefined): Record<string, number | number[]> | undefined {
  if (!given) return undefined;
  const statics: Record<string, number | number[]> = {};
  for (const text of given) {
    const [name, value] = splitPair(text, '--static', 'number, or numbers with commas between them');
    const parts = value.replace(/,$/, '').split(',');
    const numbers = parts.map((part) => readNumber(part, `--static ${name}`));
    putOnce(statics, name, value.includes(',') ? numbers : (numbers[0] as number), '--static');
  }
  return statics;
}

function readParams(options: BatchOptions): Record<string, number> {
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
