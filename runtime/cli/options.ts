/** Readers for the values of command-line options. Each throws UsageError naming the option and the value. */
import { dtypeNames, type HalfDType } from '../half.js';
import { UsageError } from './usage.js';

/** Collects a repeatable `name=value` option. */
export const collect = (text: string, sofar: readonly string[] = []): string[] => [...sofar, text];

/** 'name=value' apart, at the first '='. */
export function splitPair(text: string, option: string, what: string): [name: string, value: string] {
  const at = text.indexOf('=');
  if (at < 1 || at === text.length - 1) throw new UsageError(`${option} ${text}: expected name=${what}`);
  return [text.slice(0, at), text.slice(at + 1)];
}

/** A number as people write it; 'inf' and '-inf' too. */
export function readNumber(text: string, option: string): number {
  const special = { inf: Infinity, '+inf': Infinity, '-inf': -Infinity }[text.trim().toLowerCase()];
  const value = special ?? (text.trim() === '' ? Number.NaN : Number(text));
  if (Number.isNaN(value)) throw new UsageError(`${option}: ${JSON.stringify(text)} is not a number`);
  return value;
}

export function readPositiveInteger(text: string, option: string): number {
  const value = readNumber(text, option);
  if (!Number.isInteger(value) || value < 1) throw new UsageError(`${option}: ${text} is not an integer of at least 1`);
  return value;
}

/** Puts a `name=value` into a record, once. */
export function putOnce<Value>(record: Record<string, Value>, name: string, value: Value, option: string): void {
  if (Object.hasOwn(record, name)) throw new UsageError(`${option}: ${name} is given twice`);
  record[name] = value;
}

/** Types of half precision by input name, from words such as 'acts=bfloat16'. */
export function readDtypes(pairs: readonly string[] | undefined): Record<string, HalfDType> {
  const names: readonly string[] = Object.values(dtypeNames);
  const dtypes: Record<string, HalfDType> = {};
  for (const pair of pairs ?? []) {
    const [name, dtype] = splitPair(pair, '--dtype', 'type');
    if (!names.includes(dtype))
      throw new UsageError(`--dtype ${name}: ${dtype} is no type; there are ${names.join(' and ')}`);
    putOnce(dtypes, name, dtype as HalfDType, '--dtype');
  }
  return dtypes;
}
