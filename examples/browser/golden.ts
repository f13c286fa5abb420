/** The golden cases: small batches whose costs and gradients were computed elsewhere in float64. */

export interface GoldenCase {
  readonly name: string;
  readonly spec: string;
  readonly params: Readonly<Record<string, number>>;
  /** [B, T, U + 1, V] */
  readonly shape: readonly [number, number, number, number];
  readonly acts: Float32Array;
  readonly labels: Int32Array;
  readonly actLens: readonly number[];
  readonly labelLens: readonly number[];
  readonly costs: readonly number[];
  readonly grads: readonly number[];
}

type JsonNumber = number | 'inf' | '-inf' | 'nan';
const expand = (value: JsonNumber): number =>
  typeof value === 'number' ? value : { inf: Infinity, '-inf': -Infinity, nan: Number.NaN }[value];

const files = import.meta.glob<string>(
  ['../../test/cases/rnnt-*.json', '../../test/cases/published-*.json', '../../test/cases/monotonic.json'],
  { query: '?url', import: 'default', eager: true },
);

export const caseNames = Object.keys(files).map((path) => path.replace(/^.*\/|\.json$/g, ''));

/** Fetches one case. */
export async function loadCase(name: string): Promise<GoldenCase> {
  const path = Object.keys(files).find((file) => file.endsWith(`/${name}.json`));
  const response = await fetch(files[path ?? ''] ?? '');
  if (!response.ok) throw new Error(`${name}: ${response.status} ${response.statusText}`);
  const json = await response.json();
  return {
    ...json,
    acts: Float32Array.from(json.acts as JsonNumber[], expand),
    labels: Int32Array.from((json.labels as number[][]).flat()),
    costs: (json.costs as JsonNumber[]).map(expand),
    grads: (json.grads as JsonNumber[]).map(expand),
  };
}

/** How far costs are from what is expected, relative to it; equal infinities are no distance. */
export function costError(actual: ArrayLike<number>, expected: ArrayLike<number>): number {
  let worst = 0;
  for (let b = 0; b < expected.length; b++) {
    if (actual[b] === expected[b]) continue;
    const error = Math.abs(actual[b]! - expected[b]!) / Math.max(1, Math.abs(expected[b]!));
    if (!(error <= worst)) worst = error;
  }
  return worst;
}

/** The largest difference of two gradients. */
export function gradientError(actual: ArrayLike<number>, expected: ArrayLike<number>): number {
  let worst = 0;
  for (let at = 0; at < expected.length; at++) {
    const error = Math.abs(actual[at]! - expected[at]!);
    if (!(error <= worst)) worst = error;
  }
  return worst;
}

/** Where logits reach hundreds, half a unit in the last place of one float32 logit is 4e-6, and they add up. */
export const limitsOf = (name: string): { readonly cost: number; readonly gradient: number } => ({
  cost: 2e-5,
  gradient: name === 'rnnt-huge-logits' ? 3e-4 : 1e-5,
});
