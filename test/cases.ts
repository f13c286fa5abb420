/** The golden cases of test/cases/*.json: small batches with costs and gradients computed in float64 elsewhere. */
import { readdirSync, readFileSync } from 'node:fs';
import type { TensorView } from '../dsl/index.js';

/** One batch. Arrays are dense and padded; lengths say how much of each utterance is real. */
export interface Case {
  readonly name: string;
  /** Name of the spec in specs/. */
  readonly spec: string;
  readonly note: string;
  readonly params: Readonly<Record<string, number | readonly number[]>>;
  /** [B, T, U + 1, V] of acts and grads. */
  readonly shape: readonly [B: number, T: number, U1: number, V: number];
  /** float32 values, +-Infinity included. */
  readonly acts: Float32Array;
  /** [B, U] */
  readonly labels: Int32Array;
  readonly actLens: readonly number[];
  readonly labelLens: readonly number[];
  /** [B], +Infinity where there is no path. */
  readonly costs: Float64Array;
  /** [B, T, U + 1, V], rounded to ten digits; zero over padding. */
  readonly grads: Float64Array;
}

type JsonNumber = number | 'inf' | '-inf' | 'nan';

interface JsonCase {
  name: string;
  spec: string;
  note: string;
  params: Record<string, number | number[]>;
  shape: [number, number, number, number];
  acts: JsonNumber[];
  labels: number[][];
  actLens: number[];
  labelLens: number[];
  costs: JsonNumber[];
  grads: JsonNumber[];
}

const folder = new URL('./cases/', import.meta.url);

function expand(value: JsonNumber): number {
  if (typeof value === 'number') return value;
  if (value === 'nan') return Number.NaN;
  return value === 'inf' ? Number.POSITIVE_INFINITY : Number.NEGATIVE_INFINITY;
}

/** @throws Error when the file does not hold what its shape says. */
export function loadCase(name: string): Case {
  const json = JSON.parse(readFileSync(new URL(`${name}.json`, folder), 'utf8')) as JsonCase;
  const [B, T, U1, V] = json.shape;
  const size = B * T * U1 * V;
  if (json.acts.length !== size || json.grads.length !== size || json.costs.length !== B) {
    throw new Error(`case ${name}: acts, grads or costs do not have the length that the shape [${json.shape}] says`);
  }
  return {
    ...json,
    acts: Float32Array.from(json.acts, expand),
    labels: Int32Array.from(json.labels.flat()),
    costs: Float64Array.from(json.costs, expand),
    grads: Float64Array.from(json.grads, expand),
  };
}

/** All cases, in order of their names; those of one spec if it is given. */
export function loadCases(spec?: string): Case[] {
  const names = readdirSync(folder)
    .filter((file) => file.endsWith('.json'))
    .map((file) => file.slice(0, -'.json'.length))
    .sort();
  return names.map(loadCase).filter((one) => spec === undefined || one.spec === spec);
}

/** One utterance of a case: views of its own part of acts and labels, its lengths, and what is expected. */
export interface CaseUtterance {
  readonly acts: TensorView;
  readonly labels: TensorView;
  readonly sizes: { readonly T: number; readonly U: number; readonly V: number };
  readonly cost: number;
  /** Expected gradient at (t, u, v), of the padded tensor. */
  grad(t: number, u: number, v: number): number;
}

export function utteranceOf(one: Case, b: number): CaseUtterance {
  const [, padT, padU1, V] = one.shape;
  const offset = b * padT * padU1 * V;
  const padU = padU1 - 1;
  return {
    acts: { data: one.acts, offset, strides: [padU1 * V, V, 1] },
    labels: { data: one.labels, offset: b * padU, strides: [1] },
    sizes: { T: one.actLens[b] as number, U: one.labelLens[b] as number, V },
    cost: one.costs[b] as number,
    grad: (t, u, v) => one.grads[offset + (t * padU1 + u) * V + v] as number,
  };
}
