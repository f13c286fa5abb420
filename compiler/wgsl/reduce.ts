/**
 * Running reductions: partial results per invocation, then one result across the workgroup. The order is fixed by the code
 * alone, so two runs on one device give the same bits.
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

/** The call that combines the partial results of all invocations; each gets the same bits. Contains barriers. */
export function acrossWorkgroup(context: KernelContext, reduction: Reduction, partial: string): string {
  const name = `${reduction.op}_across_${reduction.type === 'f32' ? 'f32' : 'double'}`;
  const key = `${reduction.op} ${reduction.type}`;
  context.shared.add(key);
  context.barriers++;
  return context.subgroups ? `${name}(${partial}, lane, subgroup_lane, subgroup_size)` : `${name}(${partial}, lane)`;
}

/** Texts of the shared variables and functions that were asked for. */
export function sharedTexts(workgroupSize: number, subgroups: boolean, shared: ReadonlySet<string>): string[] {
  const texts: string[] = [];
  for (const type of ['f32', 'f64'] as const) {
    const ops = (['sum', 'max', 'min'] as const).filter((op) => shared.has(`${op} ${type}`));
    if (ops.length === 0) continue;
    texts.push(`var<workgroup> ${partialsOf(type)}: array<${valueType[type]}, ${workgroupSize}>;`);
    for (const op of ops)
      texts.push(subgroups ? bySubgroups(op, type, workgroupSize) : byHalves(op, type, workgroupSize));
  }
  if (shared.has('agreed')) {
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

function byHalves(op: KReduce['op'], type: 'f32' | 'f64', workgroupSize: number): string {
  const partials = partialsOf(type);
  const both = combine({ op, type }, value(type, `${partials}[lane]`), value(type, `${partials}[lane + half]`));
  return `// Upper half into lower half, down to one.
fn ${op}_across_${type === 'f32' ? 'f32' : 'double'}(partial_result: ${valueType[type]}, lane: i32) -> ${valueType[type]} {
  workgroupBarrier(); // the last reduction has been read
  ${partials}[lane] = partial_result;
  for (var half = ${workgroupSize / 2}; half > 0; half >>= 1u) {
    workgroupBarrier();
    if (lane < half) {
      ${partials}[lane] = ${both};
    }
  }
  workgroupBarrier();
  return ${partials}[0];
}`;
}

function bySubgroups(op: KReduce['op'], type: 'f32' | 'f64', workgroupSize: number): string {
  const partials = partialsOf(type);
  const reduction = { op, type };
  const exchanged = combine(reduction, value(type, 'total'), value(type, 'subgroupShuffleXor(total, apart)'));
  const next = combine(reduction, value(type, 'total'), value(type, `${partials}[number]`));
  const name = `${op}_across_${type === 'f32' ? 'f32' : 'double'}`;
  return `// Neighbours first within each subgroup, then one subgroup after the other.
fn ${name}(partial_result: ${valueType[type]}, lane: i32, subgroup_lane: u32, subgroup_size: u32) -> ${valueType[type]} {
  var total = partial_result;
  let together = min(subgroup_size, ${workgroupSize}u);
  for (var apart = 1u; apart < together; apart <<= 1u) {
    total = ${exchanged};
  }
  workgroupBarrier(); // the last reduction has been read
  if (subgroup_lane == 0u) {
    ${partials}[u32(lane) / together] = total;
  }
  workgroupBarrier();
  total = ${partials}[0];
  for (var number = 1u; number < ${workgroupSize}u / together; number++) {
    total = ${next};
  }
  return total;
}`;
}
