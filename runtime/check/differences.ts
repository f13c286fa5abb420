/**
 * The gradient against central differences of the loss, in float64. A gradient that is meant to be another one (scaled
 * arcs, a clamp) is compared, in arcs form, with what the arcs ask for; which parameters make it so is found by trying.
 */
import type { DrawnUtterance } from './draw.js';
import { closeness } from './float64.js';
import { complete, enumeratePaths, latticeNumbers } from './paths.js';
import { type CheckItem, Comparison, cellAt } from './report.js';
import { type Params, printSizes, type Subject } from './subject.js';

/** Differences with this step are good to some 1e-9. */
const step = 1e-5;
const tolerance = { absolute: 1e-6, relative: 1e-6 };
/** Cells of one input of one utterance that are moved. */
const cellsMoved = 40;

type Score = (utterance: DrawnUtterance) => number;

interface Outcome {
  readonly comparison: Comparison;
  readonly utterances: number;
  /** gradient / difference, where both are well away from zero. */
  readonly ratios: number[];
  /** By input: cells compared. */
  readonly cells: Record<string, number>;
}

/** Compares gradients with what `differentiate` makes of differences of a score. */
function compare(
  subject: Subject,
  params: Params,
  utterances: readonly DrawnUtterance[],
  scoreOf: (utterance: DrawnUtterance) => { score: Score; finish: (difference: number) => number } | undefined,
  who: string,
  expired: () => boolean,
): Outcome {
  const comparison = new Comparison([who, 'gradient'], tolerance);
  const ratios: number[] = [];
  const cells: Record<string, number> = {};
  const random = subject.random(2);
  let done = 0;
  for (const utterance of utterances) {
    if (expired()) break;
    const { loss, gradients } = subject.evaluate(utterance, params);
    // Where there is no path the gradient is zero by rule, and the loss has no derivative.
    if (!Number.isFinite(loss)) continue;
    const judged = scoreOf(utterance);
    if (judged === undefined) continue;
    for (const [name, { data: gradient, shape }] of Object.entries(gradients)) {
      const { data } = utterance.inputs[name] as { data: Float64Array };
      const order = shuffled(data.length, random).slice(0, cellsMoved);
      for (const i of order) {
        const value = data[i] as number;
        data[i] = value + step;
        const above = judged.score(utterance);
        data[i] = value - step;
        const below = judged.score(utterance);
        data[i] = value;
        const difference = judged.finish((above - below) / (2 * step));
        const own = gradient[i] as number;
        cells[name] = (cells[name] ?? 0) + 1;
        if (Math.min(Math.abs(own), Math.abs(difference)) > 1e-3) ratios.push(own / difference);
        const what = `the gradient of ${name}`;
        comparison.number(difference, own, { sizes: utterance.sizes, what, cell: cellAt(i, shape) });
      }
    }
    done++;
  }
  return { comparison, utterances: done, ratios, cells };
}

function shuffled(count: number, random: () => number): number[] {
  const order = Array.from({ length: count }, (_, i) => i);
  for (let i = count - 1; i > 0; i--) {
    const other = Math.floor(random() * (i + 1));
    [order[i], order[other]] = [order[other] as number, order[i] as number];
  }
  return order;
}

export function checkDifferences(subject: Subject, expired: () => boolean): CheckItem {
  const title = 'the gradient against central differences of the loss';
  const without = subject.signature.inputs.filter(
    ({ name, element }) => element === 'f32' && !subject.signature.gradients.includes(name),
  );
  const missing = without.map(({ name }) => `The spec states no gradient for ${name}.`);
  if (subject.signature.gradients.length === 0) {
    return {
      id: 'differences',
      title,
      status: 'skipped',
      summary: 'the spec states no gradient',
      findings: [],
      advice: [],
    };
  }
  const utterances = subject.small;
  const against = (params: Params, some: readonly DrawnUtterance[]): Outcome => {
    const score = (utterance: DrawnUtterance): number => subject.score(utterance, params);
    return compare(
      subject,
      params,
      some,
      () => ({ score, finish: (difference) => difference }),
      'differences of the loss',
      expired,
    );
  };
  const plain = against(subject.params, utterances);
  const counted = Object.entries(plain.cells).map(([name, count]) => `${count} cells of ${name}`);
  const summary = `${plain.utterances} utterances, ${counted.join(', ')}, ${closeness(plain.comparison.worst)}`;
  if (plain.utterances === 0) {
    return {
      id: 'differences',
      title,
      status: 'skipped',
      summary: 'no utterance with a path was looked at',
      findings: [],
      advice: missing,
    };
  }
  if (plain.comparison.disagreeing === 0) {
    return { id: 'differences', title, status: 'passed', summary, findings: [], advice: missing };
  }

  const cause = causeOf(subject, (params) => {
    const { comparison, utterances: done } = against(params, utterances.slice(0, 6));
    return done > 0 && comparison.disagreeing === 0;
  });
  const meant = subject.form === 'arcs' ? onPurpose(subject, utterances) : undefined;
  if (meant !== undefined) {
    const arcs = compare(
      subject,
      subject.params,
      utterances,
      (utterance) => weighted(subject, utterance),
      'posteriors times scales',
      expired,
    );
    const failed = arcs.comparison.disagreeing > 0;
    return {
      id: 'differences',
      title: 'the gradient against posteriors times scales, through central differences of the weights',
      status: failed ? 'failed' : 'passed',
      summary: `${arcs.utterances} utterances, ${closeness(arcs.comparison.worst)}`,
      findings: arcs.comparison.findings,
      advice: [
        `${meant}, so the gradient is on purpose not the derivative of the loss${cause === '' ? '' : `. With ${cause} it is, and is compared with the loss itself`}.`,
        ...missing,
      ],
    };
  }
  return {
    id: 'differences',
    title,
    status: 'failed',
    summary: `${summary}; ${plain.comparison.disagreeing} of ${plain.comparison.compared} disagree`,
    findings: plain.comparison.findings,
    advice: [...explain(subject, plain, cause), ...missing],
  };
}

/** Options that make the gradient agree: each parameter that is not 0 set to 0 alone, then all of them. */
function causeOf(subject: Subject, agrees: (params: Params) => boolean): string {
  const live = subject.signature.params.filter(({ name, type }) => type === 'real' && subject.params[name] !== 0);
  const sets = live.length > 1 ? [...live.map((one) => [one]), live] : live.map((one) => [one]);
  for (const set of sets) {
    const zero = Object.fromEntries(set.map(({ name }) => [name, 0]));
    if (agrees({ ...subject.params, ...zero })) return set.map(({ name }) => `--param ${name}=0`).join(' ');
  }
  return '';
}

/** How the arcs form says that its gradient is meant to be another one; undefined where it does not. */
function onPurpose(subject: Subject, utterances: readonly DrawnUtterance[]): string | undefined {
  const [first] = utterances;
  if (first === undefined) return undefined;
  const at = { ...first, params: subject.params };
  const scaled = latticeNumbers(subject.stated, at).arcs.filter(({ scale }) => scale !== 1);
  if (scaled.length > 0) {
    const list = scaled.map(({ name, scale }) => `${name} (${Number(scale.toPrecision(6))})`).join(', ');
    return `Arcs have a scale: ${list}`;
  }
  // A factor is no change of shape: it may be there to follow the loss, and then has to fit it.
  const bounded = [1, 10, 100].some((g) => {
    const [once, less] = [
      complete(subject.stated, 'gradient', g, at),
      complete(subject.stated, 'gradient', g / 1e6, at),
    ];
    return Math.abs(once - 1e6 * less) > 1e-9 * Math.abs(1e6 * less);
  });
  return bounded ? 'The lattice changes gradients by its `gradient` (a clamp?)' : undefined;
}

/** The sum of weights times scaled posteriors, those held fast: its differences are what the arcs ask for. */
function weighted(
  subject: Subject,
  utterance: DrawnUtterance,
): { score: Score; finish: (difference: number) => number } | undefined {
  const params = subject.params;
  const numbers = latticeNumbers(subject.stated, { ...utterance, params });
  const listed = enumeratePaths(numbers);
  if (listed === undefined) return undefined;
  const score = (moved: DrawnUtterance): number => {
    let total = 0;
    for (const [k, { scale, weights }] of latticeNumbers(subject.stated, { ...moved, params }).arcs.entries()) {
      for (const [node, posterior] of (listed.posteriors[k] as Float64Array).entries()) {
        if (posterior > 0) total -= scale * posterior * (weights[node] as number);
      }
    }
    return total;
  };
  return { score, finish: (difference) => complete(subject.stated, 'gradient', difference, { ...utterance, params }) };
}

function explain(subject: Subject, { ratios, comparison }: Outcome, cause: string): string[] {
  const advice: string[] = [];
  const [first] = comparison.findings;
  const sorted = [...ratios].sort((a, b) => a - b);
  const [low, high] = [sorted[0] ?? 0, sorted[sorted.length - 1] ?? 0];
  if (ratios.length > 5 && high - low < 1e-4 * Math.abs(high)) {
    advice.push(
      `Everywhere the gradient is ${Number(low.toPrecision(5))} times the difference: a factor that one of them lacks.`,
    );
  }
  if (subject.form === 'arcs') {
    const utterance = subject.small.find(({ sizes }) => sizes === first?.sizes) ?? subject.small[0];
    if (utterance !== undefined) {
      const at = { ...utterance, params: subject.params };
      const slope =
        (complete(subject.stated, 'loss', -5 + step, at) - complete(subject.stated, 'loss', -5 - step, at)) /
        (2 * step);
      if (Math.abs(slope + 1) > 1e-6) {
        advice.push(
          `The lattice's \`loss\` changes by ${Number(slope.toPrecision(5))} for each nat of log-likelihood (at ${printSizes(utterance.sizes)}), and a gradient is derived as if that were -1: ` +
            'from posteriors and scales alone. Give its `gradient` the same factor, or every arc as its `scale`.',
        );
      }
    }
  } else if (cause === '') {
    const rest = subject.signature.gradients.length > 1 ? ' Inputs that are not listed here agree.' : '';
    advice.push(
      "The equation of the gradient is not the derivative of the loss. Usual slips: an arc's posterior that reads beta at the wrong cell; the last arc, which enters the end; " +
        `a label's or a blank's own term; a field of probabilities that needs { outside: 0 }.${rest}`,
    );
  }
  if (cause !== '') {
    advice.push(
      `With ${cause} they agree. FastEmit and a clamp change the gradient and not the loss on purpose, and must fail here; if that is what the parameter does, check with ${cause}. Otherwise its part of the gradient is wrong.`,
    );
  }
  return advice;
}
