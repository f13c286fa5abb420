/** Options of the losses that are classes: what each takes, its default, and what of the spec it sets. */
import { describe, InputError } from './errors.js';
import { checkOptionNames, checkSettings, commonNames, type Settings } from './options.js';
import type { ParamValues } from './params.js';

type StaticValue = number | readonly number[];

interface Rule {
  /** In words, for messages. */
  readonly allowed: string;
  readonly fits: (value: unknown) => boolean;
  /** What the spec is given; absent: the value as it is. */
  readonly convert?: (value: never) => number;
}

const finite = (value: unknown): value is number => typeof value === 'number' && Number.isFinite(value);
const share: Rule = { allowed: 'a number from 0 to 1', fits: (value) => finite(value) && value >= 0 && value <= 1 };
const durationsFrom = (least: number, few: number): Rule => ({
  allowed: `an array of different integers, each at least ${least}${few > 0 ? ', one of them at least 1' : ''}`,
  fits: (value) =>
    Array.isArray(value) &&
    value.every((each) => Number.isInteger(each) && each >= least) &&
    new Set(value).size === value.length &&
    (few === 0 || value.some((each) => each >= 1)),
});

/** By option name: one option means one thing in every loss that has it. */
const rules = {
  blank: { allowed: 'an integer', fits: Number.isInteger },
  fastemitLambda: { allowed: 'a finite number, at least 0', fits: (value) => finite(value) && value >= 0 },
  clamp: {
    allowed: 'a number; 0 or less is off',
    fits: (value) => typeof value === 'number' && !Number.isNaN(value),
    // An infinite bound bounds nothing.
    convert: (value: number) => (value > 0 && value < Number.POSITIVE_INFINITY ? value : 0),
  },
  normalized: { allowed: 'true or false', fits: (value) => typeof value === 'boolean' },
  finalBlank: { allowed: 'true or false', fits: (value) => typeof value === 'boolean' },
  sigma: { allowed: 'a finite number', fits: finite },
  durations: durationsFrom(0, 1),
  bigBlankDurations: durationsFrom(2, 0),
  omega: share,
  sampling: { allowed: "'batch' or 'expectation'", fits: (value) => value === 'batch' || value === 'expectation' },
  seed: {
    allowed: `an integer from 0 to ${2 ** 32 - 1}`,
    fits: (value) => Number.isInteger(value) && (value as number) >= 0 && (value as number) < 2 ** 32,
  },
  lmScale: share,
  amScale: share,
} satisfies Record<string, Rule>;
export type OptionName = keyof typeof rules;

/** @throws InputError naming the option, its value and what is allowed */
export function checkOption(name: OptionName, value: unknown): void {
  const { allowed, fits } = rules[name];
  if (fits(value)) return;
  const code = typeof value === 'number' ? 'range' : 'type';
  throw new InputError({ code, argument: name, problem: `is ${describe(value)}`, value, allowed });
}

/** The value as the spec's parameter. */
export const asParam = (name: OptionName, value: unknown): number => {
  const { convert } = rules[name] as Rule;
  return convert ? convert(value as never) : (value as number);
};

/** What a class takes: defaults by option, for what sets parameters of its spec, its statics, and the class itself. */
export interface Form {
  readonly params: Partial<Readonly<Record<OptionName, number>>>;
  readonly statics?: Partial<Readonly<Record<OptionName, StaticValue>>>;
  /** Undefined: there is no default, and the option may be left out. */
  readonly own?: Partial<Readonly<Record<OptionName, unknown>>>;
}

export interface ReadForm {
  readonly settings: Settings;
  readonly params: ParamValues;
  readonly statics: Readonly<Record<string, StaticValue>>;
  readonly own: Readonly<Partial<Record<OptionName, unknown>>>;
}

/** @throws InputError for an option that does not exist or cannot have its value */
export function readForm({ params, statics = {}, own = {} }: Form, options: unknown): ReadForm {
  const defaults: Readonly<Record<string, unknown>> = { ...params, ...statics, ...own };
  const given = checkOptionNames('options', options, [...Object.keys(defaults), ...commonNames]);
  const value = (name: OptionName): unknown => given[name] ?? defaults[name];
  for (const name of Object.keys(defaults) as OptionName[])
    if (given[name] !== undefined) checkOption(name, given[name]);
  const pick = <Value>(of: object, as: (name: OptionName) => Value): Record<string, Value> =>
    Object.fromEntries((Object.keys(of) as OptionName[]).map((name) => [name, as(name)]));
  return {
    settings: checkSettings(given),
    params: pick(params, (name) => asParam(name, value(name))),
    // A copy: what the caller does to an array later changes nothing.
    statics: pick(statics, (name) => {
      const given = value(name) as StaticValue;
      return typeof given === 'number' ? given : [...given];
    }),
    own: pick(own, value),
  };
}
