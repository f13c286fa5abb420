/** The page: says what it runs on, aligns one utterance, and holds the golden cases against what they should give. */
import { adapterInfo, createLoss, type KernelTime, type Loss, type LossResult } from 'trellis-jit/browser';
import { visits } from './alignment.js';
import { caseNames, costError, gradientError, limitsOf, loadCase } from './golden.js';
import { draw, nodeAt, type Picture } from './lattice.js';
import { monotonic, rnnt } from './losses.js';
import { makeUtterance, type Utterance } from './utterance.js';

const element = <Kind extends HTMLElement>(id: string): Kind => document.getElementById(id) as Kind;
const canvas = element<HTMLCanvasElement>('lattice');
const slider = element<HTMLInputElement>('sharpness');

const sentence = 'the quick brown fox';
const frames = 96;

const milliseconds = (value: number): string => `${value.toFixed(value < 10 ? 2 : 0)} ms`;
const error = (value: number): string => (value === 0 ? '0' : value.toExponential(1));

function fill(parent: HTMLElement, ...children: (string | HTMLElement)[]): HTMLElement {
  parent.replaceChildren(...children);
  return parent;
}

function make(tag: string, text: string, className = ''): HTMLElement {
  const made = document.createElement(tag);
  made.textContent = text;
  made.className = className;
  return made;
}

async function showAdapter(): Promise<void> {
  const { name, software, features, limits, subgroupSizes } = await adapterInfo();
  const [smallest, largest] = subgroupSizes;
  const subgroups = features.includes('subgroups')
    ? `subgroups of ${smallest === largest ? largest : `${smallest} to ${largest}`}`
    : 'no subgroups';
  const facts = [
    software ? 'computes on the CPU' : '',
    subgroups,
    `tensors of up to ${Math.round((limits.maxStorageBufferBindingSize ?? 0) / 2 ** 20)} MiB`,
  ];
  const said = facts.filter((fact) => fact !== '').join(', ');
  fill(element('adapter'), 'Runs on ', make('strong', name), `: ${said}.`);
}

// ---- one utterance ----

interface Aligned {
  readonly picture: Picture;
  readonly loss: number;
  readonly milliseconds: number;
}

let kernelTimes: readonly KernelTime[] = [];

async function align(loss: Loss, { text, acts, labels, vocabulary }: Utterance): Promise<Aligned> {
  const U = text.length;
  const result = await loss.forward({
    acts: { data: acts, shape: [1, frames, U + 1, vocabulary] },
    bias: { data: new Float32Array(frames * (U + 1)), shape: [1, frames, U + 1] },
    labels: { data: labels, shape: [1, U] },
  });
  const posterior = Float32Array.from(result.grads?.data ?? [], (value) => -value);
  const picture = { visits: posterior, frames, text };
  return { picture, loss: result.loss.data[0] ?? Number.NaN, milliseconds: result.milliseconds };
}

interface Expected {
  readonly loss: number;
  /** Between the posteriors of both, at most. */
  readonly apart: number;
}

/** The same by the spec itself, run as the TypeScript it is. */
async function expectedOf({ acts, labels, text, vocabulary }: Utterance, actual: Picture): Promise<Expected> {
  const { default: definition } = await import('./visits.js');
  const { evaluateReference } = await import('trellis-jit/dsl');
  const [T, U] = [frames, text.length];
  const inputs = { acts: { data: acts }, bias: { data: new Float32Array(T * (U + 1)) }, labels: { data: labels } };
  const { loss, gradients } = evaluateReference(definition, { inputs, sizes: { T, U, V: vocabulary } });
  const negated = actual.visits.map((value) => -value);
  return { loss, apart: gradientError(negated, gradients.bias ?? []) };
}

function showFigures({ loss, milliseconds: time }: Aligned, expected: Expected | undefined): void {
  const gpu = kernelTimes.reduce((sum, each) => sum + each.milliseconds, 0);
  const figures: [term: string, value: string, note: string][] = [
    ['Loss, on the GPU', loss.toFixed(6), `${sentence.length} letters in ${frames} frames`],
    [
      'Expected, in float64',
      expected === undefined ? '...' : expected.loss.toFixed(6),
      expected === undefined ? 'the spec, run as TypeScript' : `${error(Math.abs(loss / expected.loss - 1))} apart`,
    ],
    [
      'Posteriors, both ways',
      expected === undefined ? '...' : error(expected.apart),
      `apart at most, in ${(frames * (sentence.length + 1)).toLocaleString('en')} nodes`,
    ],
    [
      'Time of the call',
      milliseconds(time),
      kernelTimes.length > 0 ? `${milliseconds(gpu)} of it in kernels` : 'with both transfers',
    ],
  ];
  const parts = figures.flatMap(([term, value, note]) => {
    const shown = make('dd', value);
    shown.append(make('small', note));
    return [make('dt', term), shown];
  });
  const groups = [0, 2, 4, 6].map((at) => fill(document.createElement('div'), parts[at]!, parts[at + 1]!));
  fill(element('figures'), ...groups);
}

async function showAlignment(): Promise<void> {
  const loss = await createLoss(visits, {
    reduction: 'sum',
    profile: (times) => {
      kernelTimes = times;
    },
  });
  let shown: Aligned | undefined;
  let running = false;
  const update = async (): Promise<void> => {
    if (running) return;
    running = true;
    // The slider may have moved on by the time a result is there.
    let drawn = Number.NaN;
    while (drawn !== Number(slider.value)) {
      drawn = Number(slider.value);
      shown = await align(loss, makeUtterance(sentence, frames, drawn));
      draw(canvas, shown.picture);
      showFigures(shown, undefined);
    }
    running = false;
  };
  const compare = async (): Promise<void> => {
    const settled = shown;
    if (settled === undefined) return;
    const expected = await expectedOf(makeUtterance(sentence, frames, Number(slider.value)), settled.picture);
    if (settled === shown) showFigures(settled, expected);
    demo.expected = expected;
  };
  slider.addEventListener('input', () => void update().catch(fail));
  slider.addEventListener('change', () => void update().then(compare).catch(fail));
  const redraw = (): void => {
    if (shown !== undefined) draw(canvas, shown.picture);
  };
  window.addEventListener('resize', redraw);
  window.matchMedia('(prefers-color-scheme: dark)').addEventListener('change', redraw);
  canvas.addEventListener('pointermove', ({ offsetX, offsetY }) => {
    if (shown === undefined) return;
    const { picture } = shown;
    const node = nodeAt(canvas, picture, offsetX, offsetY);
    const value = node && picture.visits[node.t * (sentence.length + 1) + node.u];
    element('probe').textContent =
      node === undefined
        ? '\u00a0'
        : `frame ${node.t}, ${node.u} of ${sentence.length} letters out (\u201c${sentence.slice(0, node.u)}\u201d): ${value?.toFixed(4)}`;
  });

  await update();
  await update();
  await compare();
  demo.alignment = {
    visits: [...(shown?.picture.visits ?? [])],
    frames,
    rows: sentence.length + 1,
    loss: shown?.loss ?? Number.NaN,
  };
}

// ---- golden cases ----

async function showCases(): Promise<void> {
  let failed = 0;
  for (const name of caseNames) {
    const one = await loadCase(name);
    const [B, T, U1, V] = one.shape;
    const loss = await createLoss(one.spec === 'monotonic' ? monotonic : rnnt, {
      params: one.params,
      reduction: 'sum',
    });
    const run = (): Promise<LossResult> =>
      loss.forward(
        { data: one.acts, shape: [B, T, U1, V] },
        { data: one.labels, shape: [B, U1 - 1] },
        one.actLens,
        one.labelLens,
      );
    await run();
    const result = await run();
    const grads = result.grads?.data ?? new Float32Array(0);
    const limits = limitsOf(name);
    const [cost, gradient] = [costError(result.costs.data, one.costs), gradientError(grads, one.grads)];
    const good = cost <= limits.cost && gradient <= limits.gradient;
    if (!good) failed++;
    const row = document.createElement('tr');
    row.append(
      make('td', name),
      make('td', String(result.loss.data[0]?.toFixed(6)).replace('Infinity', '\u221e'), 'number'),
      make('td', error(cost), 'number'),
      make('td', error(gradient), 'number'),
      make('td', milliseconds(result.milliseconds), 'number'),
      make('td', good ? 'agrees' : 'differs', good ? 'good' : 'bad'),
    );
    element('cases').append(row);
    demo.cases.push({ name, costs: [...result.costs.data], gradients: [...grads] });
  }
  const verdict = element('verdict');
  verdict.textContent =
    failed === 0
      ? `All ${caseNames.length} cases agree with float64.`
      : `${failed} of ${caseNames.length} cases differ.`;
  verdict.classList.add(failed === 0 ? 'good' : 'bad');
}

// ---- the whole page ----

/** What was computed, for the console and for tests: `demo` there. */
const demo = {
  cases: [] as { name: string; costs: number[]; gradients: number[] }[],
  alignment: undefined as { visits: number[]; frames: number; rows: number; loss: number } | undefined,
  expected: undefined as Expected | undefined,
};
Object.assign(window, { demo });

function fail(reason: unknown): void {
  const message = reason instanceof Error ? reason.message : String(reason);
  element('problem-text').textContent = `${message.charAt(0).toUpperCase()}${message.slice(1)}.`;
  element('problem').hidden = false;
  const unavailable = (reason as { code?: unknown }).code === 'device-unavailable';
  if (!unavailable) element('problem').querySelector('h2')!.textContent = 'Something went wrong';
  element('adapter').hidden = unavailable;
  for (const section of document.querySelectorAll<HTMLElement>('.content')) section.hidden = unavailable;
  document.body.dataset.state = 'failed';
}

try {
  await showAdapter();
  await showAlignment();
  await showCases();
  document.body.dataset.state = 'done';
} catch (reason) {
  fail(reason);
}
