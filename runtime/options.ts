/** Options of losses and of calls: which there are, and what each takes. */
import { checkDeviceName } from './device.js';
import { describe, didYouMean, InputError, listOf } from './errors.js';
import type { HalfArray } from './half.js';
import type { ParamValues } from './params.js';
import { checkReduction, type Reduction } from './reduction.js';
import { isGpuBuffer } from './tensor.js';

export type DeviceChoice = 'auto' | 'cpu' | 'webgpu' | 'reference';

/**
 * What a sample without any possible path costs: +Infinity, 0, or an error that names it. Its gradient is zero in any case.
 */
export type Infeasible = 'inf' | 'zero' | 'error';
const infeasibleNames = ['inf', 'zero', 'error'] as const;

/** Options that every loss takes. */
export interface CommonOptions {
  /**
   * Default 'auto': a GPU if there is a real one, else the CPU where libLLVM is found, else the reference, saying so in one line
   * on stderr. 'webgpu' takes any adapter, also one that computes on the CPU.
   */
  readonly device?: DeviceChoice;
  /** Default 'mean'. */
  readonly reduction?: Reduction;
  /** Default 'inf'. */
  readonly infeasible?: Infeasible;
  /** Upper limit of threads, at least 1. Default: all cores. Results do not depend on it. */
  readonly threads?: number;
  /** Folder for compiled objects, or false for none. Default: the user's cache folder. */
  readonly cacheDir?: string | false;
}

export interface LossOptions extends CommonOptions {
  /** Values for the spec's parameters, by name; the others have the spec's defaults. */
  readonly params?: ParamValues;
  /** Values for the spec's statics, by name; the others have the spec's own. Code is compiled for each set of them. */
  readonly statics?: Readonly<Record<string, number | readonly number[]>>;
}

export interface CallOptions {
  /**
   * true (default): gradients in new arrays, of half precision if the input is. false: score only. A Float32Array, or for an input of half
   * precision also an array as the input's own: where to write the gradient, as many elements as the input has. 'in-place': over the input itself. A GPUBuffer: where to write it on the webgpu device. For an input in GPU memory, true makes a
   * GPUBuffer, which the caller destroys.
   */
  readonly grads?: boolean | Float32Array | HalfArray | GPUBuffer | 'in-place';
  /**
   * true: the result has the posteriors of the arcs and the occupancy of the nodes as well. For a spec that states arcs; default false.
   */
  readonly posteriors?: boolean;
  /** Aborting rejects with the signal's reason; the loss stays usable. What an output array then holds is not specified. */
  readonly signal?: AbortSignal;
  /** Parameters for this call only. */
  readonly params?: ParamValues;
}

/** Checked options with their defaults. */
export interface Settings {
  readonly device: string;
  readonly reduction: Reduction;
  readonly infeasible: Infeasible;
  readonly threads: number | undefined;
  readonly cacheDir: string | false | undefined;
}

export const commonNames = ['device', 'reduction', 'infeasible', 'threads', 'cacheDir'] as const;
export const callNames = ['grads', 'posteriors', 'signal', 'params'] as const;
/** What `align` takes of them. */
export const alignNames = ['signal', 'params'] as const;

const refuse = (argument: string, value: unknown, allowed: string): InputError =>
  new InputError({ code: 'option', argument, problem: `is ${describe(value)}`, value, allowed });

/**
 * The options as an object whose keys are all known.
 * @param what where the options were given, for the message
 * @throws InputError naming the option, with a near name where there is one
 */
export function checkOptionNames(
  what: string,
  options: unknown,
  names: readonly string[],
): Readonly<Record<string, unknown>> {
  if (options === undefined) return {};
  if (typeof options !== 'object' || options === null || Array.isArray(options) || ArrayBuffer.isView(options)) {
    throw new InputError({
      code: 'type',
      argument: what,
      problem: `is ${describe(options)}`,
      value: options,
      allowed: 'an object',
    });
  }
  for (const name of Object.keys(options)) {
    if (names.includes(name)) continue;
    throw new InputError({
      code: 'option',
      argument: name,
      problem: `is not an option${didYouMean(name, names)}`,
      value: (options as Record<string, unknown>)[name],
      allowed: listOf(names),
    });
  }
  return options as Record<string, unknown>;
}

/** @throws InputError */
export function checkSettings(options: Readonly<Record<string, unknown>>): Settings {
  const { device = 'auto', reduction = 'mean', infeasible = 'inf', threads, cacheDir } = options;
  checkDeviceName(device);
  checkReduction(reduction);
  if (!(infeasibleNames as readonly unknown[]).includes(infeasible)) {
    throw refuse('infeasible', infeasible, listOf(infeasibleNames));
  }
  if (
    threads !== undefined &&
    !(typeof threads === 'number' && Number.isInteger(threads) && threads >= 1 && threads <= 1024)
  ) {
    throw refuse('threads', threads, 'integers from 1 to 1024');
  }
  if (cacheDir !== undefined && cacheDir !== false && !(typeof cacheDir === 'string' && cacheDir !== '')) {
    throw refuse('cacheDir', cacheDir, 'the path of a folder, or false');
  }
  return { device, reduction, infeasible: infeasible as Infeasible, threads, cacheDir };
}

/** @throws InputError when `params` is given and is not an object. Names and values are checked against the spec later. */
export function checkParamsObject(params: unknown): ParamValues {
  if (params === undefined) return {};
  if (typeof params !== 'object' || params === null || Array.isArray(params)) {
    throw refuse('params', params, 'an object of numbers by parameter name');
  }
  return params as ParamValues;
}

/** @throws InputError when `statics` is given and is not an object of numbers and arrays of numbers. Names are checked against the spec later. */
export function checkStaticsObject(statics: unknown): NonNullable<LossOptions['statics']> | undefined {
  if (statics === undefined) return undefined;
  const isNumber = (value: unknown): boolean => typeof value === 'number' && Number.isFinite(value);
  const fits = (value: unknown): boolean => (Array.isArray(value) ? value.every(isNumber) : isNumber(value));
  if (typeof statics !== 'object' || statics === null || Array.isArray(statics)) {
    throw refuse('statics', statics, 'an object of numbers, and of arrays of numbers, by name');
  }
  for (const [name, value] of Object.entries(statics))
    if (!fits(value)) throw refuse(`statics.${name}`, value, 'a finite number, or an array of finite numbers');
  // A copy: what the caller does to an array later changes nothing.
  const copies = Object.entries(statics).map(([name, value]) => [name, Array.isArray(value) ? [...value] : value]);
  return Object.fromEntries(copies) as NonNullable<LossOptions['statics']>;
}

/** @throws InputError */
export function checkCall(options: unknown, names: readonly string[] = callNames): CallOptions {
  const { grads = true, posteriors = false, signal, params } = checkOptionNames('call options', options, names);
  const isArray = /^\[object (Float32|Float16|Uint16)Array\]$/.test(Object.prototype.toString.call(grads));
  if (typeof grads !== 'boolean' && grads !== 'in-place' && !isArray && !isGpuBuffer(grads)) {
    throw refuse('grads', grads, "true, false, a Float32Array or GPUBuffer to write to, or 'in-place'");
  }
  if (typeof posteriors !== 'boolean') throw refuse('posteriors', posteriors, 'true or false');
  if (
    signal !== undefined &&
    !(typeof signal === 'object' && signal !== null && 'aborted' in signal && 'addEventListener' in signal)
  ) {
    throw refuse('signal', signal, 'an AbortSignal');
  }
  return {
    grads: grads as NonNullable<CallOptions['grads']>,
    posteriors,
    params: checkParamsObject(params),
    ...(signal === undefined ? {} : { signal: signal as AbortSignal }),
  };
}
