/**
 * Checks a spec: for authors of losses, and for anybody who wants to know what a loss is worth. Everything random comes
 * from one seed; sizes are small; and there is a limit of time, after which the rest is left out and said to be.
 */
import { findLibLlvm } from '../cpu/libllvm.js';
import { TrellisError } from '../errors.js';
import { findSpec } from '../specs.js';
import { checkAgreement, checkDeterminism, checkEdges, checkLength, checkPadding, DeviceUnderTest } from './devices.js';
import { checkDifferences } from './differences.js';
import { checkGraph, checkPaths } from './float64.js';
import type { CheckItem, CheckReport } from './report.js';
import { printSizes, Subject } from './subject.js';

export type { CheckItem, CheckReport, Finding, Status } from './report.js';

export interface CheckOptions {
  /** Devices to check. Default: the reference, and the CPU where libLLVM is found. */
  readonly devices?: readonly string[];
  /** Default 1. */
  readonly seed?: number;
  /** Random utterances per check. Default 40. */
  readonly cases?: number;
  /** Values of parameters; the others have the spec's defaults. */
  readonly params?: Readonly<Record<string, number>>;
  /** Values of sizes that all utterances share (V); the others are chosen small. */
  readonly sizes?: Readonly<Record<string, number>>;
  /** After this long no further check begins. Default 60. */
  readonly seconds?: number;
  readonly cacheDir?: string | false;
  /** Told what is being done now. */
  readonly progress?: (text: string) => void;
}

interface Step {
  readonly id: string;
  readonly title: string;
  run(): CheckItem | Promise<CheckItem>;
}

/**
 * Checks a spec.
 * @param spec the name of a shipped spec, or the path of a file
 * @throws SpecError where the compiler refuses the spec, InputError for a spec, parameter or size that there is not
 */
export async function checkSpec(spec: string, options: CheckOptions = {}): Promise<CheckReport> {
  const { seed = 1, cases = 40, params = {}, sizes = {}, seconds = 60, progress = () => {} } = options;
  const start = performance.now();
  const secondsLeft = (): number => seconds - (performance.now() - start) / 1000;
  const expired = (): boolean => secondsLeft() <= 0;
  progress('reading the spec');
  const subject = new Subject(findSpec(spec), { seed, cases, params, sizes });

  const items: CheckItem[] = [];
  const devices: DeviceUnderTest[] = [];
  const perform = async ({ id, title, run }: Step): Promise<void> => {
    progress(title);
    // A turn of the event loop, so that the line appears.
    await new Promise((resolve) => setImmediate(resolve));
    if (expired()) {
      const summary = `left out: the ${seconds} s were over (see --seconds)`;
      items.push({ id, title, status: 'skipped', summary, findings: [], advice: [] });
      return;
    }
    subject.at = undefined;
    try {
      items.push(await run());
    } catch (error) {
      items.push(stopped(id, title, error, subject));
    }
  };

  const inFloat64: Step[] = [
    { id: 'graph', title: 'TypeScript against graph', run: () => checkGraph(subject, expired) },
    { id: 'paths', title: 'the list of all paths', run: () => checkPaths(subject, expired) },
    { id: 'differences', title: 'central differences', run: () => checkDifferences(subject, expired) },
  ];
  for (const step of inFloat64) await perform(step);

  const { names, missing } = chooseDevices(options.devices);
  for (const name of names) {
    await perform({
      id: `agreement-${name}`,
      title: `the ${name} device against float64`,
      run: async () => {
        const device = await DeviceUnderTest.open(name, subject, options.cacheDir);
        const item = await checkAgreement(subject, device, expired);
        devices.push(device);
        return item;
      },
    });
  }
  if (missing !== undefined) {
    items.push({
      id: 'agreement-cpu',
      title: 'the cpu device',
      status: 'note',
      summary: `not checked: ${missing}`,
      findings: [],
      advice: [],
    });
  }
  await perform({ id: 'edges', title: 'the smallest lattices', run: () => checkEdges(subject, devices, expired) });
  for (const device of devices) {
    const { name } = device;
    await perform({ id: `padding-${name}`, title: `padding on ${name}`, run: () => checkPadding(subject, device) });
    await perform({
      id: `determinism-${name}`,
      title: `determinism on ${name}`,
      run: () => checkDeterminism(subject, device),
    });
    // The reference is float64 itself.
    if (name === 'reference') continue;
    await perform({
      id: `length-${name}`,
      title: `length on ${name}`,
      run: () => checkLength(subject, device, secondsLeft),
    });
  }

  return {
    spec: subject.graph.name,
    file: subject.file,
    form: subject.form,
    passed: items.every(({ status }) => status !== 'failed'),
    seed,
    cases,
    params: subject.params,
    sizes: subject.shared,
    devices: devices.map(({ name }) => name),
    items,
    milliseconds: performance.now() - start,
  };
}

function chooseDevices(asked: readonly string[] | undefined): { names: readonly string[]; missing?: string } {
  if (asked !== undefined && asked.length > 0) return { names: [...new Set(asked)] };
  let found: ReturnType<typeof findLibLlvm>;
  try {
    found = findLibLlvm();
  } catch (error) {
    return { names: ['reference'], missing: `koffi cannot be loaded: ${(error as Error).message}` };
  }
  return 'missing' in found ? { names: ['reference'], missing: found.missing } : { names: ['reference', 'cpu'] };
}

/** A check that could not be finished: something threw. */
function stopped(id: string, title: string, error: unknown, subject: Subject): CheckItem {
  const message = error instanceof Error ? error.message : String(error);
  const at = subject.at === undefined ? '' : ` (at ${printSizes(subject.at)})`;
  const own = error instanceof TrellisError;
  return {
    id,
    title,
    status: 'failed',
    summary: `stopped: ${message}${at}`,
    findings: [],
    advice: own ? [] : ['The spec, or what runs it, threw an error.'],
  };
}
