/**
 * Calls that must be refused, with the whole message each must give. Every device and the command line are held to this one table.
 * A good call to start from has batch 2, T = 4, U = 2, V = 5.
 */
import type { ErrorCode } from 'trellis-jit';

export interface BadInput {
  /** What is wrong. */
  readonly name: string;
  /** Tensors that replace the good ones. */
  readonly tensors?: Partial<Record<keyof GoodCall, unknown>>;
  /** Options of `new RNNTLoss`. */
  readonly options?: Readonly<Record<string, unknown>>;
  /** Call options. */
  readonly call?: Readonly<Record<string, unknown>>;
  readonly code: ErrorCode;
  readonly argument: string;
  readonly message: string;
  /** True when .npy files and flags can express it: tensors are { data, shape } with typed arrays; options are device, reduction or blank. */
  readonly cli?: true;
}

export interface GoodCall {
  readonly acts: { data: Float32Array; shape: number[] };
  readonly labels: { data: Int32Array; shape: number[] };
  readonly actLens: { data: Int32Array; shape: number[] };
  readonly labelLens: { data: Int32Array; shape: number[] };
}

export function goodCall(): GoodCall {
  return {
    acts: { data: Float32Array.from({ length: 2 * 4 * 3 * 5 }, (_, i) => Math.sin(i)), shape: [2, 4, 3, 5] },
    labels: { data: Int32Array.of(1, 2, 3, 4), shape: [2, 2] },
    actLens: { data: Int32Array.of(4, 3), shape: [2] },
    labelLens: { data: Int32Array.of(2, 1), shape: [2] },
  };
}

const reals = (...shape: number[]) => ({ data: new Float32Array(shape.reduce((a, b) => a * b, 1)), shape });
const ints = (shape: number[], ...values: number[]) => ({ data: Int32Array.from(values), shape });

function detached(): Float32Array {
  const data = new Float32Array(120);
  structuredClone(data.buffer, { transfer: [data.buffer] });
  return data;
}

const tensorForms = '{ data, shape } with a typed array, or nested arrays of numbers';
const intForms = 'Int32Array, BigInt64Array, another integer typed array, or an ordinary array of integers';
const deviceList = 'auto, cpu, webgpu or reference';

export const badInputs: readonly BadInput[] = [
  // Not tensors.
  {
    name: 'acts missing',
    tensors: { acts: undefined },
    code: 'missing',
    argument: 'acts',
    message: `acts is missing; allowed: ${tensorForms}`,
  },
  {
    name: 'lengths missing',
    tensors: { labelLens: undefined },
    code: 'missing',
    argument: 'labelLens',
    message: `labelLens is missing; allowed: ${tensorForms}`,
  },
  {
    name: 'acts a text',
    tensors: { acts: 'acts.npy' },
    code: 'type',
    argument: 'acts',
    message: `acts is not a tensor but "acts.npy"; allowed: ${tensorForms}`,
  },
  {
    name: 'labels null',
    tensors: { labels: null },
    code: 'type',
    argument: 'labels',
    message: `labels is not a tensor but null; allowed: ${tensorForms}`,
  },
  {
    name: 'call options in the place of a tensor',
    tensors: { actLens: { grads: false } },
    code: 'type',
    argument: 'actLens',
    message: `actLens is not a tensor but { grads }; allowed: ${tensorForms}`,
  },
  {
    name: 'data that is no array',
    tensors: { acts: { data: 5, shape: [2, 4, 3, 5] } },
    code: 'type',
    argument: 'acts.data',
    message: 'acts.data is 5; allowed: a typed array, or a flat array of numbers',
  },
  {
    name: 'shape that is no array',
    tensors: { acts: { data: new Float32Array(120), shape: 120 } },
    code: 'type',
    argument: 'acts.shape',
    message: 'acts.shape is 120; allowed: an array of non-negative integers',
  },
  {
    name: 'shape with a fraction',
    tensors: { acts: { data: new Float32Array(120), shape: [2, 4, 7.5, 2] } },
    code: 'shape',
    argument: 'acts.shape',
    message: 'acts.shape[2] is 7.5; allowed: non-negative integers',
  },
  {
    name: 'shape with a negative extent',
    tensors: { acts: { data: new Float32Array(120), shape: [-2, 4, 3, -5] } },
    code: 'shape',
    argument: 'acts.shape',
    message: 'acts.shape[0] is -2; allowed: non-negative integers',
  },
  {
    name: 'data shorter than its shape',
    tensors: { acts: { data: new Float32Array(119), shape: [2, 4, 3, 5] } },
    code: 'shape',
    argument: 'acts.data',
    message: 'acts.data has 119 elements where shape [2, 4, 3, 5] has 120; allowed: exactly 120 elements',
  },
  {
    name: 'more than 2^31 elements claimed',
    tensors: { acts: { data: new Float32Array(120), shape: [65536, 65536, 3, 5] } },
    code: 'shape',
    argument: 'acts.data',
    message:
      'acts.data has 120 elements where shape [65536, 65536, 3, 5] has 64424509440; allowed: exactly 64424509440 elements',
  },
  {
    name: 'column-major data',
    tensors: { acts: { ...reals(2, 4, 3, 5), fortranOrder: true } },
    code: 'shape',
    argument: 'acts',
    message:
      'acts is stored column by column (Fortran order); allowed: row-major data; in NumPy, save np.ascontiguousarray(array)',
  },
  {
    name: 'a detached buffer',
    tensors: { acts: { data: detached(), shape: [2, 4, 3, 5] } },
    code: 'detached',
    argument: 'acts',
    message:
      'acts is a Float32Array whose buffer is detached (it was transferred to a worker or with structuredClone); allowed: an array that still owns its memory',
  },
  // Nested arrays.
  {
    name: 'ragged labels',
    tensors: { labels: [[1, 2], [3]] },
    code: 'ragged',
    argument: 'labels',
    message:
      'labels[1] has 1 elements where labels[0] has 2; allowed: rows of equal length; pad the short ones (what lies in the padding does not matter)',
  },
  {
    name: 'labels nested unevenly',
    tensors: { labels: [[1, 2], 3] },
    code: 'ragged',
    argument: 'labels',
    message: 'labels[1] is 3 where labels[0] is an array; allowed: regular nesting',
  },
  {
    name: 'labels nested too deep in one place',
    tensors: {
      labels: [
        [1, 2],
        [3, [4]],
      ],
    },
    code: 'ragged',
    argument: 'labels',
    message: 'labels[1][1] is an array where labels[0][0] is a single value; allowed: regular nesting',
  },
  {
    name: 'a text among nested acts',
    tensors: { acts: [[[[0, 1, 2, 3, '4']]]], labels: [[]], actLens: [1], labelLens: [0] },
    code: 'type',
    argument: 'acts',
    message: 'acts[0][0][0][4] is "4"; allowed: numbers',
  },
  // Element types.
  {
    name: 'acts of ints',
    tensors: { acts: { data: new Int32Array(120), shape: [2, 4, 3, 5] } },
    code: 'dtype',
    argument: 'acts',
    message: 'acts is an Int32Array; allowed: Float32Array, Float64Array (converted) or nested arrays of numbers',
    cli: true,
  },
  {
    name: 'acts of float16 bits',
    tensors: { acts: { data: new Uint16Array(120), shape: [2, 4, 3, 5] } },
    code: 'dtype',
    argument: 'acts',
    message:
      'acts is a Uint16Array without a dtype; allowed: { data, shape, dtype } with dtype "float16" or "bfloat16" for bits of half precision, Float32Array, Float64Array (converted) or nested arrays of numbers',
  },
  {
    name: 'acts of a half type that does not exist',
    tensors: { acts: { data: new Uint16Array(120), shape: [2, 4, 3, 5], dtype: 'fp16' } },
    code: 'dtype',
    argument: 'acts',
    message:
      'acts is a Uint16Array of dtype "fp16"; allowed: { data, shape, dtype } with dtype "float16" or "bfloat16" for bits of half precision, Float32Array, Float64Array (converted) or nested arrays of numbers',
  },
  {
    name: 'a dtype that the data is not of',
    tensors: { acts: { ...goodCall().acts, dtype: 'bfloat16' } },
    code: 'dtype',
    argument: 'acts',
    message: 'acts has dtype "bfloat16", but its data is a Float32Array; allowed: a Uint16Array of the bits',
  },
  {
    name: 'labels of half precision',
    tensors: { labels: { data: new Uint16Array(4), shape: [2, 2], dtype: 'float16' } },
    code: 'dtype',
    argument: 'labels',
    message: `labels is a tensor of float16; allowed: ${intForms}`,
  },
  {
    name: 'an output array of bits for acts of float32',
    call: { grads: new Uint16Array(120) },
    code: 'dtype',
    argument: 'grads',
    message: 'grads is a Uint16Array, but acts is no tensor of half precision; allowed: a Float32Array',
  },
  {
    name: 'an output array of bits that is too short',
    tensors: { acts: { data: new Uint16Array(120), shape: [2, 4, 3, 5], dtype: 'bfloat16' } },
    call: { grads: new Uint16Array(119) },
    code: 'shape',
    argument: 'grads',
    message: 'grads has 119 elements where acts [2, 4, 3, 5] has 120; allowed: a Uint16Array of exactly 120 elements',
  },
  {
    name: 'labels of floats',
    tensors: { labels: { data: Float32Array.of(1, 2, 3, 4), shape: [2, 2] } },
    code: 'dtype',
    argument: 'labels',
    message: `labels is a Float32Array; allowed: ${intForms}`,
    cli: true,
  },
  {
    name: 'lengths of floats',
    tensors: { actLens: { data: Float64Array.of(4, 3), shape: [2] } },
    code: 'dtype',
    argument: 'actLens',
    message: `actLens is a Float64Array; allowed: ${intForms}`,
    cli: true,
  },
  {
    name: 'acts of bytes seen through a DataView',
    tensors: { acts: { data: new DataView(new ArrayBuffer(480)), shape: [2, 4, 3, 5] } },
    code: 'dtype',
    argument: 'acts',
    message: 'acts is a DataView; allowed: Float32Array, Float64Array, Float16Array, or an integer typed array',
  },
  // Ranks, batch sizes, extents.
  {
    name: 'acts without a batch axis',
    tensors: { acts: reals(4, 3, 5) },
    code: 'rank',
    argument: 'acts',
    message: 'acts has shape [4, 3, 5], 3 axes; allowed: 4 axes [B, T, U + 1, V]',
    cli: true,
  },
  {
    name: 'acts as a flat array',
    tensors: { acts: new Float32Array(120) },
    code: 'rank',
    argument: 'acts',
    message: 'acts has shape [120], 1 axis; allowed: 4 axes [B, T, U + 1, V]',
  },
  {
    name: 'labels in one row',
    tensors: { labels: ints([4], 1, 2, 3, 4) },
    code: 'rank',
    argument: 'labels',
    message: 'labels has shape [4], 1 axis; allowed: 2 axes [B, U]',
    cli: true,
  },
  {
    name: 'lengths in two axes',
    tensors: { actLens: ints([2, 1], 4, 3) },
    code: 'rank',
    argument: 'actLens',
    message: 'actLens has shape [2, 1], 2 axes; allowed: 1 axis [B]',
    cli: true,
  },
  {
    name: 'an empty batch',
    tensors: { acts: reals(0, 4, 3, 5), labels: ints([0, 2]), actLens: ints([0]), labelLens: ints([0]) },
    code: 'batch',
    argument: 'acts',
    message: 'acts has batch size 0 (shape [0, 4, 3, 5]); allowed: at least one sample',
    cli: true,
  },
  {
    name: 'labels of another batch',
    tensors: { labels: ints([3, 2], 1, 2, 3, 4, 1, 2) },
    code: 'batch',
    argument: 'labels',
    message: 'labels has batch size 3 (shape [3, 2]) where acts has 2; allowed: batch size 2',
    cli: true,
  },
  {
    name: 'too many lengths',
    tensors: { labelLens: ints([3], 2, 1, 1) },
    code: 'batch',
    argument: 'labelLens',
    message: 'labelLens has 3 entries where acts has batch size 2; allowed: 2 entries, one for each sample',
    cli: true,
  },
  {
    name: 'no frames',
    tensors: { acts: reals(2, 0, 3, 5) },
    code: 'shape',
    argument: 'acts',
    message: 'acts has shape [2, 0, 3, 5]: axis 1 is T = 0; allowed: T at least 1',
    cli: true,
  },
  {
    name: 'no vocabulary',
    tensors: { acts: reals(2, 4, 3, 0) },
    code: 'shape',
    argument: 'acts',
    message: 'acts has shape [2, 4, 3, 0]: axis 3 is V = 0; allowed: V at least 1',
    cli: true,
  },
  {
    name: 'U rows where U + 1 are needed',
    tensors: { acts: reals(2, 4, 2, 5) },
    code: 'shape',
    argument: 'labels',
    message:
      'labels has shape [2, 2], which does not fit acts: axis 2 of acts [2, 4, 2, 5] says U + 1 = 2, so U = 1, but axis 1 of labels [2, 2] says U = 2. The two axes are equally long, but one is U + 1 and the other U: a sequence of U has U + 1 positions, one before each element and one after the last; allowed: labels of shape [2, 1]',
    cli: true,
  },
  {
    name: 'labels padded too wide',
    tensors: { labels: ints([2, 4], 1, 2, 0, 0, 3, 4, 0, 0) },
    code: 'shape',
    argument: 'labels',
    message:
      'labels has shape [2, 4], which does not fit acts: axis 2 of acts [2, 4, 3, 5] says U + 1 = 3, so U = 2, but axis 1 of labels [2, 4] says U = 4; allowed: labels of shape [2, 2]',
    cli: true,
  },
  // Lengths.
  {
    name: 'a frame count over T',
    tensors: { actLens: ints([2], 4, 5) },
    code: 'range',
    argument: 'actLens',
    message: 'actLens[1] is 5; allowed: integers from 0 to 4 (T of acts, shape [2, 4, 3, 5])',
    cli: true,
  },
  {
    name: 'a negative label count',
    tensors: { labelLens: ints([2], -1, 1) },
    code: 'range',
    argument: 'labelLens',
    message: 'labelLens[0] is -1; allowed: integers from 0 to 2 (U of acts, shape [2, 4, 3, 5])',
    cli: true,
  },
  {
    name: 'an int64 length beyond 2^31',
    tensors: { labelLens: { data: BigInt64Array.of(1n, 4294967297n), shape: [2] } },
    code: 'range',
    argument: 'labelLens',
    message: 'labelLens[1] is 4294967297; allowed: integers from 0 to 2 (U of acts, shape [2, 4, 3, 5])',
    cli: true,
  },
  {
    name: 'a length that is no integer',
    tensors: { actLens: [4, 2.5] },
    code: 'range',
    argument: 'actLens',
    message: 'actLens[1] is 2.5; allowed: integers from 0 to 4 (T of acts, shape [2, 4, 3, 5])',
  },
  // Labels.
  {
    name: 'a label over V',
    tensors: { labels: ints([2, 2], 1, 5, 3, 4) },
    code: 'range',
    argument: 'labels',
    message: 'labels[0][1] is 5; allowed: integers from 0 to 4 (V is 5) except 0 (blank)',
    cli: true,
  },
  {
    name: 'a negative label within the utterance',
    tensors: { labels: ints([2, 2], 1, 2, -1, 4) },
    code: 'range',
    argument: 'labels',
    message: 'labels[1][0] is -1; allowed: integers from 0 to 4 (V is 5) except 0 (blank)',
    cli: true,
  },
  {
    name: 'a label equal to the blank',
    tensors: { labels: ints([2, 2], 0, 2, 3, 4) },
    code: 'range',
    argument: 'labels',
    message: 'labels[0][0] is 0, the value of blank; allowed: integers from 0 to 4 (V is 5) except 0 (blank)',
    cli: true,
  },
  {
    name: 'a label equal to a blank counted from the end',
    tensors: { labels: ints([2, 2], 1, 4, 3, 2) },
    options: { blank: -1 },
    code: 'range',
    argument: 'labels',
    message: 'labels[0][1] is 4, the value of blank; allowed: integers from 0 to 4 (V is 5) except 4 (blank)',
    cli: true,
  },
  {
    name: 'an int64 label equal to the blank',
    tensors: { labels: { data: BigInt64Array.of(1n, 2n, 0n, 4n), shape: [2, 2] } },
    code: 'range',
    argument: 'labels',
    message: 'labels[1][0] is 0, the value of blank; allowed: integers from 0 to 4 (V is 5) except 0 (blank)',
    cli: true,
  },
  {
    name: 'a label that is no integer',
    tensors: {
      labels: [
        [1, 2.5],
        [3, 4],
      ],
    },
    code: 'range',
    argument: 'labels',
    message: 'labels[0][1] is 2.5; allowed: integers from 0 to 4 (V is 5) except 0 (blank)',
  },
  // Parameters and options.
  {
    name: 'a blank outside the vocabulary',
    options: { blank: 5 },
    code: 'range',
    argument: 'blank',
    message: 'blank is 5; allowed: integers from 0 to 4, or from -5 to -1 counted from the end (V is 5)',
    cli: true,
  },
  {
    name: 'a blank before the vocabulary',
    options: { blank: -6 },
    code: 'range',
    argument: 'blank',
    message: 'blank is -6; allowed: integers from 0 to 4, or from -5 to -1 counted from the end (V is 5)',
    cli: true,
  },
  {
    name: 'a blank that is no integer',
    options: { blank: 0.5 },
    code: 'range',
    argument: 'blank',
    message: 'blank is 0.5; allowed: an integer',
    cli: true,
  },
  {
    name: 'a clamp that is NaN',
    options: { clamp: Number.NaN },
    code: 'range',
    argument: 'clamp',
    message: 'clamp is NaN; allowed: a number; 0 or less is off',
  },
  {
    name: 'an infinite FastEmit weight',
    options: { fastemitLambda: Number.POSITIVE_INFINITY },
    code: 'range',
    argument: 'fastemitLambda',
    message: 'fastemitLambda is Infinity; allowed: a finite number, at least 0',
  },
  {
    name: 'a negative FastEmit weight',
    options: { fastemitLambda: -0.1 },
    code: 'range',
    argument: 'fastemitLambda',
    message: 'fastemitLambda is -0.1; allowed: a finite number, at least 0',
  },
  {
    name: 'a reduction that does not exist',
    options: { reduction: 'average' },
    code: 'option',
    argument: 'reduction',
    message: 'reduction is "average"; allowed: none, sum, mean, mean_batch or mean_volume',
    cli: true,
  },
  {
    name: 'a device that does not exist',
    options: { device: 'cuda' },
    code: 'option',
    argument: 'device',
    message: `device is "cuda"; allowed: ${deviceList}`,
    cli: true,
  },
  {
    name: 'a device by half its name',
    options: { device: 'webgp' },
    code: 'option',
    argument: 'device',
    message: `device is "webgp" (did you mean "webgpu"?); allowed: ${deviceList}`,
    cli: true,
  },
  {
    name: 'an unknown policy for impossible samples',
    options: { infeasible: 'skip' },
    code: 'option',
    argument: 'infeasible',
    message: 'infeasible is "skip"; allowed: inf, zero or error',
  },
  {
    name: 'no threads',
    options: { threads: 0 },
    code: 'option',
    argument: 'threads',
    message: 'threads is 0; allowed: integers from 1 to 1024',
  },
  {
    name: 'an option in another spelling',
    options: { fastemit_lambda: 0.1 },
    code: 'option',
    argument: 'fastemit_lambda',
    message:
      'fastemit_lambda is not an option (did you mean "fastemitLambda"?); allowed: blank, fastemitLambda, clamp, normalized, device, reduction, infeasible, threads or cacheDir',
  },
  {
    name: 'normalized that is no boolean',
    options: { normalized: 'yes' },
    code: 'type',
    argument: 'normalized',
    message: 'normalized is "yes"; allowed: true or false',
  },
  {
    name: 'logits passed as log-probabilities',
    tensors: { acts: { data: new Float32Array(120).fill(1), shape: [2, 4, 3, 5] } },
    options: { normalized: true },
    code: 'range',
    argument: 'acts',
    message:
      'acts[0][0][0] sums to 13.59 as probabilities, so it does not hold log-probabilities; allowed: rows whose exponentials sum to at most 1; for logits leave out normalized: true',
  },
  {
    name: 'an unknown call option',
    call: { gradients: false },
    code: 'option',
    argument: 'gradients',
    message: 'gradients is not an option; allowed: grads, posteriors, signal or params',
  },
  {
    name: 'an output array that is too short',
    call: { grads: new Float32Array(119) },
    code: 'shape',
    argument: 'grads',
    message: 'grads has 119 elements where acts [2, 4, 3, 5] has 120; allowed: a Float32Array of exactly 120 elements',
  },
  {
    name: 'an output array of float64',
    call: { grads: new Float64Array(120) },
    code: 'option',
    argument: 'grads',
    message: "grads is Float64Array(120); allowed: true, false, a Float32Array or GPUBuffer to write to, or 'in-place'",
  },
  {
    name: 'an output array that is detached',
    call: { grads: detached() },
    code: 'detached',
    argument: 'grads',
    message:
      'grads is a Float32Array whose buffer is detached (it was transferred to a worker or with structuredClone); allowed: an array that still owns its memory',
  },
  {
    name: 'in place over float64',
    tensors: { acts: { data: new Float64Array(120), shape: [2, 4, 3, 5] } },
    call: { grads: 'in-place' },
    code: 'dtype',
    argument: 'grads',
    message:
      'grads is "in-place", but acts is not a Float32Array that could hold its gradient; allowed: acts as { data: Float32Array, shape }',
  },
  {
    name: 'a signal that is none',
    call: { signal: true },
    code: 'option',
    argument: 'signal',
    message: 'signal is true; allowed: an AbortSignal',
  },
  {
    name: 'an unknown parameter for one call',
    call: { params: { blnk: 1 } },
    code: 'option',
    argument: 'blnk',
    message: 'blnk is not a parameter of rnnt (did you mean "blank"?); allowed: blank, fastemitLambda or clamp',
  },
  {
    name: 'a parameter for one call that is no number',
    call: { params: { clamp: 'off' } },
    code: 'type',
    argument: 'clamp',
    message: 'clamp is "off"; allowed: a finite number',
  },
];
