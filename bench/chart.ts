/**
 * Draws the ratios of a benchmark as SVG, for the documentation:
 *
 *   npm run chart -- bench.json chart.svg
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import * as Plot from '@observablehq/plot';
import { parseHTML } from 'linkedom';
import { type BenchReport, isMeasured, type Summary, shapeText, sizeNames } from '../runtime/cli/bench/report.js';

/** Both are legible on white and on black. */
const colours = { 'loss + gradient': '#3b82d6', 'loss alone': '#d9822b' } as const;
type Series = keyof typeof colours;

/** What is used of the DOM, whose types are not among this project's. */
interface Element {
  textContent: string | null;
  readonly outerHTML: string;
  setAttribute(name: string, value: string): void;
  append(...children: Element[]): void;
}
interface Document {
  createElementNS(space: string, name: string): Element;
}
const svgSpace = 'http://www.w3.org/2000/svg';

interface Bar {
  readonly shape: string;
  readonly series: Series;
  readonly ratio: Summary;
}

/** Bars of the ratio to the floor for each measured shape, with the quartiles, and a line at 1. @returns a stand-alone SVG file */
export function drawRatios(report: BenchReport): string {
  const shapes = report.shapes.filter(isMeasured);
  const bars: Bar[] = shapes.flatMap(({ sizes, ratio }) => [
    { shape: shapeText(sizes), series: 'loss + gradient', ratio: ratio.lossAndGradient },
    { shape: shapeText(sizes), series: 'loss alone', ratio: ratio.loss },
  ]);
  const { document } = parseHTML('<html><body></body></html>') as unknown as { document: Document };
  const largest = Math.max(1, ...bars.map(({ ratio }) => ratio.upper));
  const at = { y: 'series', fy: 'shape' } as const;
  const width = 760;
  const left = 150;
  const svg = Plot.plot({
    document: document as never,
    width,
    height: 84 + 36 * shapes.length,
    marginLeft: left,
    marginRight: 20,
    marginTop: 44,
    marginBottom: 40,
    style: { background: 'transparent', fontFamily: 'system-ui, sans-serif', fontSize: '12px' },
    x: {
      label: 'times the floor',
      labelAnchor: 'right',
      labelArrow: 'none',
      labelOffset: 36,
      domain: [0, largest * 1.08],
      grid: true,
      ticks: 6,
    },
    y: { axis: null, domain: Object.keys(colours), padding: 0.08 },
    fy: { label: null, domain: shapes.map(({ sizes }) => shapeText(sizes)), padding: 0.22 },
    color: { domain: Object.keys(colours), range: Object.values(colours) },
    marks: [
      Plot.barX(bars, { ...at, x: ({ ratio }: Bar) => ratio.median, fill: 'series' }),
      Plot.ruleY(bars, {
        ...at,
        x1: ({ ratio }: Bar) => ratio.lower,
        x2: ({ ratio }: Bar) => ratio.upper,
        stroke: 'currentColor',
        strokeWidth: 1.2,
      }),
      Plot.text(bars, {
        ...at,
        x: ({ ratio }: Bar) => Math.max(ratio.median, ratio.upper),
        text: ({ ratio }: Bar) => ratio.median.toFixed(2),
        textAnchor: 'start',
        dx: 5,
        fill: 'currentColor',
        fontSize: 11,
      }),
      Plot.ruleX([0], { stroke: 'currentColor', strokeOpacity: 0.5 }),
      Plot.ruleX([1], { stroke: 'currentColor', strokeWidth: 1.5, strokeDasharray: '4 3' }),
    ],
  }) as unknown as Element;
  svg.setAttribute('xmlns', svgSpace);
  svg.setAttribute('role', 'img');
  svg.setAttribute('aria-label', describe(bars));
  // Opened by itself the file follows the reader's light or dark; within a page so does an <img>.
  const own = document.createElementNS(svgSpace, 'style');
  own.textContent = 'svg { color: #1f2328 } @media (prefers-color-scheme: dark) { svg { color: #e6edf3 } }';
  svg.append(own, ...legend(document, report, left));
  return `${svg.outerHTML}\n`;
}

/** What the colours and the line mean, above the bars: Plot's own legends are HTML. */
function legend(document: Document, { spec, device, shapes }: BenchReport, left: number): Element[] {
  const make = (name: string, attributes: Record<string, string | number>, text = ''): Element => {
    const element = document.createElementNS(svgSpace, name);
    // Plot's root anchors text in its middle.
    if (name === 'text') element.setAttribute('text-anchor', 'start');
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, String(value));
    element.textContent = text;
    return element;
  };
  const items = (Object.entries(colours) as [Series, string][]).flatMap(([name, colour], n) => {
    const x = left + 120 * n;
    return [
      make('rect', { x, y: 10, width: 12, height: 12, fill: colour }),
      make('text', { x: x + 18, y: 20, fill: 'currentColor' }, name),
    ];
  });
  const x = left + 240;
  return [
    make('text', { x: 4, y: 20, fill: 'currentColor', 'font-weight': 600 }, `${spec} on ${device}`),
    ...items,
    make('text', { x: left - 9, y: 40, fill: 'currentColor', 'text-anchor': 'end' }, sizeNames(shapes)),
    make('line', {
      x1: x,
      x2: x + 24,
      y1: 16,
      y2: 16,
      stroke: 'currentColor',
      'stroke-width': 1.5,
      'stroke-dasharray': '4 3',
    }),
    make('text', { x: x + 32, y: 20, fill: 'currentColor' }, 'the floor: what moving the tensors takes'),
  ];
}

const describe = (bars: readonly Bar[]): string =>
  `Ratio to the memory floor: ${bars.map(({ shape, series, ratio }) => `${shape} ${series} ${ratio.median.toFixed(2)}`).join('; ')}`;

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [from, to, ...rest] = process.argv.slice(2);
  if (from === undefined || to === undefined || rest.length > 0) {
    process.stderr.write('usage: npm run chart -- <bench.json, from trellis bench --json bench.json> <chart.svg>\n');
    process.exitCode = 2;
  } else {
    writeFileSync(to, drawRatios(JSON.parse(readFileSync(from, 'utf8')) as BenchReport));
  }
}
