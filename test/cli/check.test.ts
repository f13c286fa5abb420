/** `trellis check`: right specs pass, every kind of mistake is found by the check that is there for it, and the command says so. */
import { createHash } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { checkGraph, checkPaths } from '../../runtime/check/float64.js';
import { type CheckItem, type CheckReport, checkSpec } from '../../runtime/check/index.js';
import { Subject } from '../../runtime/check/subject.js';
import { findLibLlvm } from '../../runtime/cpu/libllvm.js';
import { type Batch, type Runner, registerDevice } from '../../runtime/device.js';
import { referenceDevice } from '../../runtime/reference/device.js';
import { callTrellis, root, spawnTrellis, temporaryFolder } from './helpers.js';

const folder = temporaryFolder();
const hasLlvm = !('missing' in findLibLlvm());
const reference = { devices: ['reference'], cases: 12 };

let written = 0;
function specFile(text: string): string {
  const file = join(folder, `spec${written++}.ts`);
  writeFileSync(file, text);
  return file;
}

/** RNN-T by its arcs, with room for a mistake. */
function arcs({ stay = '', emit = '', lattice = '', params = '', weight = 'logp(t, u, labels(u))' }): string {
  return specFile(`import { arc, defineLoss, f32, i32, lattice, log, logSoftmax, max, min } from 'trellis-jit/dsl';
export default defineLoss(
  { name: 'mine', inputs: { acts: f32('T', 'U+1', 'V'), labels: i32('U', { not: 'blank' }) }, params: { blank: 0, ${params} } },
  ({ acts, labels, T, U, V, blank, ${params.replace(/(\w+): [^,]*/g, '$1')} }) => {
    const logp = logSoftmax(acts, V);
    return lattice({
      nodes: [T, U + 1], start: [0, 0], end: [T, U],
      arcs: [
        arc({ name: 'stay', step: [1, 0], weight: (t, u) => logp(t, u, blank), final: true, ${stay} }),
        arc({ name: 'emit', step: [0, 1], weight: (t, u) => ${weight}, ${emit} }),
      ],
      ${lattice}
    });
  },
);
`);
}

/** specs/rnnt-equations.ts with one piece of it replaced. */
function rnntWith(piece: string, replacement: string): string {
  const text = readFileSync(join(root, 'specs/rnnt-equations.ts'), 'utf8');
  expect(text).toContain(piece);
  return specFile(text.replace(piece, replacement));
}

const item = (report: CheckReport, id: string): CheckItem => {
  const found = report.items.find((candidate) => candidate.id === id);
  if (found === undefined) throw new Error(`no item ${id} among ${report.items.map((each) => each.id).join(', ')}`);
  return found;
};
const failures = (report: CheckReport): string[] =>
  report.items.filter(({ status }) => status === 'failed').map(({ id }) => id);

describe('specs that are right', () => {
  test.each(['rnnt', 'rnnt-normalized', 'monotonic', 'multiblank', 'tdt'])('%s, in float64', async (spec) => {
    const report = await checkSpec(spec, reference);
    expect(failures(report)).toEqual([]);
    expect(report.passed).toBe(true);
    expect(item(report, 'differences')).toMatchObject({ status: 'passed', findings: [] });
    expect(item(report, 'paths').status).toBe(report.form === 'arcs' ? 'passed' : 'skipped');
  });

  test.skipIf(!hasLlvm)('rnnt on the cpu, with every check there is', async () => {
    const report = await checkSpec('rnnt', { devices: ['cpu'], cases: 12, cacheDir: false });
    expect(failures(report)).toEqual([]);
    expect(report.items.map(({ id }) => id)).toEqual([
      ...['graph', 'paths', 'differences', 'agreement-cpu', 'edges', 'padding-cpu', 'determinism-cpu', 'length-cpu'],
    ]);
    expect(item(report, 'length-cpu').summary).toMatch(/T=1000/);
  });

  test('places in the lattice are drawn in order, so that windows and alignments leave paths', async () => {
    const report = await checkSpec('pruned', reference);
    expect(report.passed).toBe(true);
    const { summary } = item(report, 'paths');
    const [, pathless = '0'] = /; (\d+) have no path/.exec(summary) ?? [];
    expect(Number(pathless)).toBeLessThan(6);
  });

  test('where no long utterance has a path, the report says that precision was not seen', async () => {
    registerDevice('second', { load: async () => ({ ...referenceDevice, name: 'second' }) });
    const report = await checkSpec(arcs({ stay: 'when: (t, u) => T < 100,' }), { devices: ['second'], cases: 4 });
    expect(report.passed).toBe(true);
    expect(item(report, 'length-second')).toMatchObject({
      status: 'note',
      summary: expect.stringContaining('neither has a path'),
    });
  });

  test('scaled arcs and a clamp are compared with what they ask for', async () => {
    const file = arcs({
      params: 'lambda: 0.5, clamp: 0.2',
      emit: 'scale: 1 + lambda',
      lattice: `loss: (logLik) => -(1 + lambda) * logLik,
        gradient: (g) => (clamp > 0 ? max(-clamp, min(clamp, g)) : g),`,
    });
    const report = await checkSpec(file, reference);
    expect(report.passed).toBe(true);
    const { status, advice } = item(report, 'differences');
    expect(status).toBe('passed');
    expect(advice[0]).toMatch(/^Arcs have a scale: emit \(1\.5\).*With --param lambda=0 --param clamp=0 it is/);
    // And with those parameters the loss itself is.
    const plain = await checkSpec(file, { ...reference, params: { lambda: 0, clamp: 0 } });
    expect(item(plain, 'differences')).toMatchObject({
      status: 'passed',
      title: expect.stringContaining('central differences of the loss'),
      advice: [],
    });
  });
});

describe('mistakes in specs', () => {
  test('a loss that the gradient does not follow', async () => {
    const report = await checkSpec(arcs({ lattice: 'loss: (logLik) => -3 * logLik,' }), reference);
    expect(failures(report)).toEqual(['differences']);
    const { findings, advice } = item(report, 'differences');
    const [moved, gradient] = findings[0]!.values.map(([, value]) => value) as [number, number];
    expect(moved / gradient).toBeCloseTo(3, 5);
    expect(findings[0]).toMatchObject({ what: 'the gradient of acts', sizes: { V: 4 } });
    expect(findings[0]?.cell).toHaveLength(3);
    expect(advice.join(' ')).toMatch(/gradient is 0\.33333 times the difference.*`loss` changes by -3 for each nat/);
  });

  test('a wrong term in a gradient written by hand', async () => {
    const file = rnntWith('(v === labels(u) ? emitted(t, u) : 0)', '(v === labels(u) ? stayed(t, u) : 0)');
    const report = await checkSpec(file, reference);
    expect(failures(report)).toEqual(['differences']);
    expect(item(report, 'differences').advice[0]).toMatch(/not the derivative of the loss/);
  });

  test('FastEmit in equations fails, and the report names the parameter', async () => {
    const report = await checkSpec('rnnt-equations', { ...reference, params: { fastemitLambda: 0.3 } });
    expect(failures(report)).toEqual(['differences']);
    expect(item(report, 'differences').advice.join(' ')).toMatch(/With --param fastemitLambda=0 they agree/);
  });

  test('no path at all', async () => {
    const report = await checkSpec(arcs({ stay: 'when: (t, u) => t < T - 1,' }), reference);
    expect(failures(report)).toContain('paths');
    expect(item(report, 'paths').advice[0]).toMatch(/^No utterance has a path/);
  });

  test('NaN where there is no path', async () => {
    const report = await checkSpec(arcs({ lattice: 'loss: (logLik) => logLik - 2 * logLik,' }), reference);
    expect(failures(report)).toEqual(['edges']);
    expect(item(report, 'edges').advice[0]).toMatch(/The loss is NaN at .*T=0/);
  });

  test('a row of nothing but log 0 is worth a note', async () => {
    const report = await checkSpec(rnntWith('logit === -Infinity ? -Infinity : logit - z', 'logit - z'), reference);
    expect(report.passed).toBe(true);
    expect(item(report, 'edges')).toMatchObject({ status: 'note', advice: [expect.stringMatching(/logSoftmax/)] });
  });

  test('an error thrown by the spec is a failed check', async () => {
    const subject = new Subject(join(root, 'specs/rnnt.ts'), { seed: 1, cases: 2, params: {}, sizes: {} });
    expect(() =>
      checkGraph(
        Object.create(subject, { run: { value: () => subject.score({ sizes: {}, inputs: {} }) } }),
        () => false,
      ),
    ).toThrow();
    const report = await checkSpec('rnnt', { ...reference, devices: ['cpu-that-is-none'] });
    expect(failures(report)).toEqual(['agreement-cpu-that-is-none']);
    expect(item(report, 'agreement-cpu-that-is-none').summary).toMatch(/^stopped: .*cpu-that-is-none/);
  });
});

describe('mistakes of what runs a spec', () => {
  const subject = (spec: string): Subject =>
    new Subject(join(root, 'specs', `${spec}.ts`), { seed: 3, cases: 6, params: {}, sizes: {} });

  test('a graph that says something else', () => {
    const off = subject('rnnt');
    off.evaluate = (utterance) => ({ ...subject('rnnt').evaluate(utterance), loss: 1 });
    const { status, findings } = checkGraph(off, () => false);
    expect(status).toBe('failed');
    expect(findings[0]).toMatchObject({
      what: 'the loss',
      values: [
        ['TypeScript', expect.any(Number)],
        ['compiled graph', 1],
      ],
    });
  });

  test('a sum that leaves out paths, and posteriors of another arc', () => {
    const off = subject('multiblank');
    const right = subject('multiblank');
    off.run = (utterance) => {
      const result = right.run(utterance);
      const { emit, stay1, ...rest } = result.posteriors as Record<string, Float64Array>;
      return { ...result, loss: result.loss + 1e-6, posteriors: { ...rest, emit: stay1!, stay1: emit! } };
    };
    const { status, findings } = checkPaths(off, () => false);
    expect(status).toBe('failed');
    expect(findings.map(({ what }) => what)).toEqual(
      expect.arrayContaining(['the loss', 'the posterior of arc stay1', 'the posterior of arc emit']),
    );
  });

  const results = new Map<string, Batch['out']>();

  /** Runs a batch on the reference, which is slow: once, though it is the same batch for every device below, and for every thread. */
  async function runOnce(runner: Runner, batch: Batch): Promise<void> {
    const { inputs, lengths, gradScale, out, sizes, params } = batch;
    const hash = createHash('sha256').update(JSON.stringify([sizes, params, Object.keys(out.gradients ?? {})]));
    for (const array of [...Object.values(inputs), ...Object.values(lengths), gradScale]) hash.update(array);
    const key = hash.digest('hex');
    const known = results.get(key);
    if (known === undefined) {
      await runner.run(batch);
      results.set(key, structuredClone(out));
      return;
    }
    out.loss.set(known.loss);
    for (const [name, gradient] of Object.entries(known.gradients ?? {})) out.gradients![name]!.set(gradient);
  }

  /** A device that is the reference, but for what `spoil` does after every run. */
  function brokenDevice(name: string, spoil: (batch: Batch, run: number) => void): void {
    let runs = 0;
    const device: typeof referenceDevice = {
      ...referenceDevice,
      name,
      open: async (file, options) => {
        const spec = await referenceDevice.open(file, options);
        return {
          ...spec,
          prepare: async (shapeClass) => {
            const runner = await spec.prepare(shapeClass);
            return {
              source: 'compiled',
              run: async (batch) => {
                await runOnce(runner, batch);
                spoil(batch, runs++);
              },
            };
          },
        };
      },
    };
    registerDevice(name, { load: async () => device });
  }
  const last = (batch: Batch): number => batch.B - 1;
  /** The first element that lies beyond an utterance, in the batch that has NaN there; else -1. */
  const firstNaN = ({ inputs }: Batch): number => (inputs.acts as Float64Array).findIndex(Number.isNaN);

  test.each<[string, (batch: Batch, run: number) => void, string[]]>([
    [
      'imprecise',
      (batch) => {
        batch.out.loss[last(batch)]! *= 1.001;
      },
      ['agreement', 'edges', 'length'],
    ],
    [
      'wrong in the gradient',
      (batch) => {
        const { acts } = batch.out.gradients!;
        acts![(acts!.length / batch.B) * last(batch)]! += 0.01;
      },
      ['agreement', 'edges', 'length'],
    ],
    [
      'reading the padding',
      (batch) => {
        if (firstNaN(batch) >= 0) batch.out.loss[0] = Number.NaN;
      },
      ['padding'],
    ],
    [
      'writing to the padding',
      (batch) => {
        if (firstNaN(batch) >= 0) batch.out.gradients!.acts![firstNaN(batch)] = 1;
      },
      ['padding'],
    ],
    [
      'different from run to run',
      (batch, run) => {
        if (batch.B === 2) batch.out.loss[0]! += run * 1e-12;
      },
      ['determinism'],
    ],
    [
      'different with one thread',
      (batch) => {
        if (batch.threads === 1) batch.out.loss[0]! += 1e-9;
      },
      ['determinism'],
    ],
    [
      'imprecise at length',
      (batch) => {
        if (batch.sizes.T! >= 300) batch.out.loss[0]! *= 1.001;
      },
      ['length'],
    ],
  ])('a device that is %s', async (what, spoil, wrong) => {
    const name = what.replaceAll(' ', '-');
    brokenDevice(name, spoil);
    const report = await checkSpec('rnnt', { devices: [name], cases: 8 });
    expect(failures(report)).toEqual(wrong.map((id) => (id === 'edges' ? id : `${id}-${name}`)));
    for (const id of ['graph', 'differences']) expect(item(report, id).status).toBe('passed');
  });
});

describe('the command', () => {
  test('says in words what it compared; exit code 0', async () => {
    const outcome = await spawnTrellis(['check', 'rnnt', '--device', 'reference', '--cases', '5', '--seed', '9']);
    expect(outcome).toMatchObject({ code: 0, stderr: '' });
    expect(outcome.stdout).toMatch(/^rnnt, stated by its arcs: 5 utterances, seed 9, V=4 blank=0/);
    expect(outcome.stdout).toMatch(/^passed {2}the gradient against central differences of the loss$/m);
    expect(outcome.stdout).toMatch(/\nNothing disagrees: \d+ checks passed in .*s\.\n$/);
  });

  test('a failure: place, values, and how to see it again; exit code 1', async () => {
    const file = arcs({ lattice: 'loss: (logLik) => -3 * logLik,' });
    const words = ['check', file, '--device', 'reference', '--cases', '4', '--size', 'V=5'];
    const { code, stdout, stderr } = await callTrellis(...words);
    expect({ code, stderr }).toEqual({ code: 1, stderr: '' });
    expect(stdout).toMatch(
      /the gradient of acts at \(\d, \d, \d\), in an utterance of V=5 T=\d U=\d\n +differences of the loss +-?\d\S+\n +gradient +-?\d/,
    );
    expect(stdout).toContain(
      `1 of 7 checks failed. The same again: trellis check ${file} --seed 1 --cases 4 --size V=5 --device reference\n`,
    );
    const again = await callTrellis(...words);
    expect(again.stdout).toBe(stdout);
  });

  test('--json is one object, and another seed draws other utterances', async () => {
    const run = async (seed: string) => {
      const { code, stdout } = await callTrellis(
        'check',
        'rnnt',
        '--device',
        'reference',
        '--cases',
        '3',
        '--seed',
        seed,
        '--json',
      );
      expect(code).toBe(0);
      expect(stdout.trim().split('\n')).toHaveLength(1);
      return JSON.parse(stdout) as CheckReport;
    };
    const [one, two] = [await run('1'), await run('2')];
    expect(one).toMatchObject({
      spec: 'rnnt',
      passed: true,
      seed: 1,
      cases: 3,
      form: 'arcs',
      devices: ['reference'],
    });
    expect(item(one, 'paths').summary).not.toBe(item(two, 'paths').summary);
  });

  test('when time is over the rest is left out, by name', async () => {
    const { code, stdout } = await callTrellis('check', 'rnnt', '--device', 'reference', '--seconds', '0.000001');
    expect(code).toBe(0);
    expect(stdout.match(/^skipped/gm)?.length).toBeGreaterThanOrEqual(5);
    expect(stdout).toMatch(/left out: the 0\.000001 s were over/);
    expect(stdout).toMatch(/Nothing disagrees: 0 checks passed in .*; \d were left out/);
  });

  test.each([
    [['nonsense'], /"nonsense" is not a shipped spec/],
    [['rnnt', '--param', 'blnk=1'], /blnk is not a parameter of rnnt \(did you mean "blank"\?\)/],
    [['rnnt', '--param', 'blank=one'], /--param blank: "one" is not a number/],
    [['rnnt', '--size', 'T=3'], /T differs between utterances/],
    [['rnnt', '--size', 'W=3'], /W is not a size of rnnt/],
    [['rnnt', '--size', 'V=1000000'], /more than 10000/],
    [['rnnt', '--seed', '1.5'], /--seed: 1\.5/],
    [['rnnt', '--cases', '0'], /--cases/],
    [['rnnt', '--seconds', '-1'], /--seconds/],
    [['rnnt', '--device', 'gpu'], /gpu/],
    [['rnnt', '--device', 'auto'], /name the devices/],
  ])('%j is refused: exit code 2', async (words, message) => {
    const { code, stdout, stderr } = await callTrellis('check', ...words);
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
    expect(stderr).toMatch(message);
  });

  test('a spec that the compiler refuses: its diagnostic, exit code 2', async () => {
    const { code, stderr } = await callTrellis('check', arcs({ weight: 'logp(t, u)' }));
    expect(code).toBe(2);
    expect(stderr).toMatch(/logp/);
  });

  test('--help has examples with options that there are', async () => {
    const { code, stdout } = await callTrellis('check', '--help');
    expect(code).toBe(0);
    const examples = [...stdout.matchAll(/^ {2}\$ trellis (.*)$/gm)].map(([, line]) => line as string);
    expect(examples.length).toBeGreaterThanOrEqual(3);
    for (const option of examples.join(' ').match(/--[a-z-]+/g) ?? [])
      expect(stdout).toMatch(new RegExp(`^ +${option} `, 'm'));
  });
});
