/** Checks in float64, without any device: TypeScript against graph, and the loss against the list of all paths. */

import { complete, enumeratePaths, latticeNumbers } from './paths.js';
import { type CheckItem, Comparison } from './report.js';
import { printSizes, type Subject } from './subject.js';

const exactly = { absolute: 1e-9, relative: 1e-9 };

/** Few words for how close numbers are. */
export const closeness = (worst: number): string => (worst === 0 ? 'all the same' : `within ${worst.toPrecision(2)}`);

export function checkGraph(subject: Subject, expired: () => boolean): CheckItem {
  const comparison = new Comparison(['TypeScript', 'compiled graph'], exactly);
  let done = 0;
  for (const utterance of subject.small) {
    if (expired()) break;
    const plain = subject.run(utterance);
    const graph = subject.evaluate(utterance);
    const { sizes } = utterance;
    comparison.number(plain.loss, graph.loss, { sizes, what: 'the loss', cell: [] });
    for (const [name, gradient] of Object.entries(plain.gradients)) {
      const { data, shape } = graph.gradients[name] as { data: Float64Array; shape: readonly number[] };
      comparison.arrays(gradient, data, shape, { sizes, what: `the gradient of ${name}` });
    }
    done++;
  }
  const failed = comparison.disagreeing > 0;
  return {
    id: 'graph',
    title: 'the TypeScript of the spec against the graph that is compiled',
    status: failed ? 'failed' : 'passed',
    summary: `${done} utterances, ${comparison.compared} numbers, ${closeness(comparison.worst)}`,
    findings: comparison.findings,
    advice: failed
      ? [
          'The compiler reads your file differently than JavaScript runs it. That is a fault of the compiler unless the file looks at something outside of it, such as the clock or the environment: please report it with the file.',
        ]
      : [],
  };
}

export function checkPaths(subject: Subject, expired: () => boolean): CheckItem {
  const title = 'the loss and the posteriors of arcs against the list of all paths';
  if (subject.form === 'equations') return countPathless(subject);
  const comparison = new Comparison(['list of paths', 'TypeScript'], exactly);
  const pathless: Readonly<Record<string, number>>[] = [];
  let [done, paths, tooMany] = [0, 0, 0];
  for (const utterance of subject.small) {
    if (expired()) break;
    const { sizes } = utterance;
    const plain = subject.run(utterance);
    const numbers = latticeNumbers(subject.stated, { ...utterance, params: subject.params });
    const listed = enumeratePaths(numbers);
    done++;
    if (listed === undefined) {
      tooMany++;
      continue;
    }
    paths += listed.paths;
    if (listed.paths === 0) pathless.push(sizes);
    const loss = complete(subject.stated, 'loss', listed.logLik, { ...utterance, params: subject.params });
    comparison.number(loss, plain.loss, { sizes, what: 'the loss', cell: [] });
    for (const [k, { name }] of numbers.arcs.entries()) {
      const what = `the posterior of arc ${name}`;
      const posterior = plain.posteriors?.[name] ?? [];
      comparison.arrays(listed.posteriors[k] as Float64Array, posterior, numbers.nodes, { sizes, what });
    }
  }
  const failed = comparison.disagreeing > 0 || (done > 0 && pathless.length === done);
  const without = pathless.length === 0 ? '' : `; ${pathless.length} have no path, the smallest ${smallest(pathless)}`;
  const long = tooMany === 0 ? '' : `; ${tooMany} have too many paths to list`;
  return {
    id: 'paths',
    title,
    status: failed ? 'failed' : tooMany === done && done > 0 ? 'skipped' : 'passed',
    summary: `${done} utterances, ${paths} paths, ${closeness(comparison.worst)}${without}${long}`,
    findings: comparison.findings,
    advice: failed ? adviceOnPaths(comparison, subject) : [],
  };
}

function adviceOnPaths({ findings }: Comparison, subject: Subject): string[] {
  if (findings.length === 0) {
    return [
      'No utterance has a path at all, so nothing was checked. Look at the end of the lattice and at which arcs are final; at `when`; and at sizes that need to be larger (--size V=12).',
    ];
  }
  const advice = [];
  const lossful = findings.some(
    ({ what, values }) => what === 'the loss' && values.some(([, value]) => Number.isNaN(value)),
  );
  if (lossful)
    advice.push('NaN comes from a weight: a log of something negative, or the difference of two infinities.');
  if (findings.some(({ what }) => what.startsWith('the posterior')) && !lossful) {
    advice.push(
      `The lattice of ${subject.stated.name} and what was made of it do not say the same: please report it with the file.`,
    );
  }
  return advice;
}

/** Equations have no arcs to list, but how many utterances have a path can be told. */
function countPathless(subject: Subject): CheckItem {
  const pathless = subject.small.filter((utterance) => subject.score(utterance) === Number.POSITIVE_INFINITY);
  const all = pathless.length === subject.small.length;
  const some =
    pathless.length > 0
      ? `; ${pathless.length} of the utterances have no path, the smallest ${smallest(pathless.map(({ sizes }) => sizes))}`
      : '';
  return {
    id: 'paths',
    title: 'the loss against the list of all paths',
    status: all ? 'failed' : 'skipped',
    summary: `the spec states equations, so there are no arcs to list${some}`,
    findings: [],
    advice: all
      ? [
          'The loss of every utterance is +Infinity, no path, so nothing was checked. Sizes may need to be larger (--size V=12).',
        ]
      : [],
  };
}

/** The sizes of the smallest of these utterances. */
function smallest(all: readonly Readonly<Record<string, number>>[]): string {
  const volume = (sizes: Readonly<Record<string, number>>): number =>
    Object.values(sizes).reduce((sum, size) => sum + size, 0);
  return printSizes([...all].sort((a, b) => volume(a) - volume(b))[0] ?? {});
}
