/**
 * Running reductions: partial results per invocation, then one result across the invocations of a row: the workgroup, or each
 * part of it that has a row to itself. The order is fixed by the code alone, so two runs on one device give the same bits.
 *
 * With subgroups, invocations exchange values directly and only one partial result per subgroup goes through workgroup
 * memory. That counts on subgroups being made of neighbours in a workgroup of one dimension, as they are everywhere.
 */
import type { KReduce } from '../kernel/kernel.js';
import { spellPrimitive } from './expr.js';
import { literal, valueType } from './types.js';
import { atom, type KernelContext, type Value } from './values.js';

type Reduction = Pick<KReduce, 'op' | 'type'>;

const neutral = { sum: 0, max: Number.NEGATIVE_INFINITY, min: Number.POSITIVE_INFINITY } as const;
const combining = { sum: 'add', max: 'max', min: 'min' } as const;

export function neutralOf(reduction: Reduction): string {
  return literal(reduction.type, neutral[reduction.op]);
}

/** Two partial results become one. NaN in either gives NaN. */
export function combine(reduction: Reduction, a: Value, b: Value): string {
  return spellPrimitive(combining[reduction.op], reduction.type, [a, b]).text;
}

/** The partial results of four neighbours become one, each two first. */
export function acrossFour(reduction: Reduction, partial: string): string {
  const [x, y, z, w] = ['x', 'y', 'z', 'w'].map((part) => atom(reduction.type, `${partial}.${part}`, false));
  const name = combining[reduction.op];
  const halves = [spellPrimitive(name, reduction.type, [x!, y!]), spellPrimitive(name, reduction.type, [z!, w!])];
  return spellPrimitive(name, reduction.type, halves).text;
}

/** The call that combines the partial results of a row's invocations; each gets the same bits. Contains barriers. */
export function acrossRow(context: KernelContext, reduction: Reduction, partial: string, lanes: number): string {
  if (lanes === 1) return partial;
  const across: Across = { ...reduction, lanes, workgroupSize: context.workgroupSize };
  context.shared.across.set(functionOf(across), across);
  context.barriers++;
  return `${functionOf(across)}(${partial}, lane${context.subgroups ? ', subgroup_lane, subgroup_size' : ''})`;
}

/** A reduction across each `lanes` neighbours of a workgroup. */
export interface Across extends Reduction {
  readonly lanes: number;
  readonly workgroupSize: number;
}

function functionOf({ op, type, lanes, workgroupSize }: Across): string {
  return `${op}_across_${lanes < workgroupSize ? `${lanes}_` : ''}${type === 'f32' ? 'f32' : 'double'}`;
}

/** What invocations of a workgroup share, as far as the kernels of a module have turned out to need it. */
export interface Shared {
  agreed: boolean;
  /** By the function's name. */
  readonly across: Map<string, Across>;
}

/** Texts of the shared variables and functions that were asked for. */
export function sharedTexts(workgroupSize: number, subgroups: boolean, shared: Shared): string[] {
  const texts: string[] = [];
  for (const type of ['f32', 'f64'] as const) {
    const asked = (['sum', 'max', 'min'] as const).flatMap((op) =>
      [...shared.across.values()].filter((each) => each.type === type && each.op === op),
    );
    if (asked.length === 0) continue;
    texts.push(`var<workgroup> ${partialsOf(type)}: array<${valueType[type]}, ${workgroupSize}>;`);
    for (const each of asked) texts.push(subgroups ? bySubgroups(each) : byHalves(each));
  }
  if (shared.agreed) {
    texts.push('var<workgroup> first_value: i32;');
    texts.push(`// The first invocation's value, which is every invocation's, in a way that WGSL's analysis can see.
fn agreed(value: i32, lane: i32) -> i32 {
  if (lane == 0) {
    first_value = value;
  }
  return workgroupUniformLoad(&first_value);
}`);
  }
  return texts;
}

/** Bytes of workgroup memory that one invocation's share of all shared variables takes, at most. */
export const sharedBytesPerInvocation = 4 + 8;

const partialsOf = (type: 'f32' | 'f64'): string => (type === 'f32' ? 'partials_f32' : 'partials_double');
const value = (type: 'f32' | 'f64', text: string): Value => atom(type, text, false);

function byHalves(across: Across): string {
  const { type, lanes, workgroupSize } = across;
  const partials = partialsOf(type);
  const both = combine(across, value(type, `${partials}[lane]`), value(type, `${partials}[lane + half]`));
  const whole = lanes === workgroupSize;
  return `// Upper half into lower half, down to one${whole ? '' : ` of each ${lanes}`}.
fn ${functionOf(across)}(partial_result: ${valueType[type]}, lane: i32) -> ${valueType[type]} {
  workgroupBarrier(); // the last reduction has been read
  ${partials}[lane] = partial_result;
  for (var half = ${lanes / 2}; half > 0; half >>= 1u) {
    workgroupBarrier();
    if (${whole ? 'lane' : `(lane & ${lanes - 1})`} < half) {
      ${partials}[lane] = ${both};
    }
  }
  workgroupBarrier();
  return ${partials}[${whole ? '0' : `lane & ~${lanes - 1}`}];
}`;
}

function bySubgroups(across: Across): string {
  const { type, lanes, workgroupSize } = across;
  const partials = partialsOf(type);
  const whole = lanes === workgroupSize;
  const exchanged = combine(across, value(type, 'total'), value(type, 'subgroupShuffleXor(total, apart)'));
  const next = combine(across, value(type, 'total'), value(type, `${partials}[${whole ? '' : 'first + '}number]`));
  return `// Neighbours first within each subgroup, then one subgroup after the other${whole ? '' : `, each ${lanes} apart from the others`}.
fn ${functionOf(across)}(partial_result: ${valueType[type]}, lane: i32, subgroup_lane: u32, subgroup_size: u32) -> ${valueType[type]} {
  var total = partial_result;
  let together = min(subgroup_size, ${lanes}u);
  for (var apart = 1u; apart < together; apart <<= 1u) {
    total = ${exchanged};
  }
  workgroupBarrier(); // the last reduction has been read
  if (${whole ? 'subgroup_lane' : 'subgroup_lane % together'} == 0u) {
    ${partials}[u32(lane) / together] = total;
  }
  workgroupBarrier();${whole ? '' : `\n  let first = u32(lane & ~${lanes - 1}) / together;`}
  total = ${partials}[${whole ? '0' : 'first'}];
  for (var number = 1u; number < ${lanes}u / together; number++) {
    total = ${next};
  }
  return total;
}`;
}
