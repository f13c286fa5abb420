/**
 * An alignment as a picture: the lattice's nodes shaded by how much of the probability passes them, and the best path over
 * them. Frames run to the right, the transcript from bottom to top.
 */
import type { Markish, PlotOptions } from '@observablehq/plot';

export interface AlignmentPicture {
  readonly title: string;
  /** Extents of the two axes of the lattice: across and up. */
  readonly width: number;
  readonly height: number;
  /** [width, height], row-major: the probability of passing each node. */
  readonly occupancy: ArrayLike<number>;
  /** The nodes of the best path, in order, [across, up]. */
  readonly path: readonly (readonly [number, number])[];
  /** What the arcs of the path spell: beside the row that each leads to. */
  readonly labels: readonly { readonly row: number; readonly text: string }[];
}

/** Shaded rectangles at most: a longer lattice is shown in larger ones, each as dark as its darkest node. */
const COLUMNS = 240;
const ROWS = 120;
/** Below it a node is not drawn: it would not be seen. */
const FAINT = 2e-3;

/** Tick labels at most: more would lie over each other. */
const TICKS = 40;

interface Cell {
  readonly x1: number;
  readonly x2: number;
  readonly y1: number;
  readonly y2: number;
  readonly share: number;
}

function cellsOf({ width, height, occupancy }: AlignmentPicture): Cell[] {
  const [across, up] = [Math.ceil(width / COLUMNS), Math.ceil(height / ROWS)];
  const cells: Cell[] = [];
  for (let x = 0; x < width; x += across) {
    for (let y = 0; y < height; y += up) {
      let share = 0;
      for (let i = x; i < Math.min(x + across, width); i++)
        for (let j = y; j < Math.min(y + up, height); j++) share = Math.max(share, Number(occupancy[i * height + j]));
      if (!(share >= FAINT)) continue;
      cells.push({
        x1: x - 0.5,
        x2: Math.min(x + across, width) - 0.5,
        y1: y - 0.5,
        y2: Math.min(y + up, height) - 0.5,
        share,
      });
    }
  }
  return cells;
}

/** The picture as the text of an SVG file. */
export async function alignmentSvg(picture: AlignmentPicture): Promise<string> {
  // Loaded here: only who plots waits for it.
  const [Plot, { parseHTML }] = await Promise.all([import('@observablehq/plot'), import('linkedom')]);
  const { document } = parseHTML('<html><body></body></html>');
  const { title, width, height, path, labels } = picture;
  const every = Math.ceil(labels.length / TICKS);
  const shown = labels.filter((_, n) => n % every === 0);
  const textOf = new Map(shown.map(({ row, text }) => [row, text]));
  const left = 16 + 7 * Math.max(4, ...shown.map(({ text }) => text.length));
  const marks: Markish[] = [
    Plot.rect(cellsOf(picture), { x1: 'x1', x2: 'x2', y1: 'y1', y2: 'y2', fill: 'share', inset: 0 }),
    Plot.line(path, { x: '0', y: '1', stroke: '#d1495b', strokeWidth: 2, strokeLinejoin: 'round' }),
    ...(path.length <= 400 ? [Plot.dot(path, { x: '0', y: '1', r: 2.5, fill: '#d1495b' })] : []),
    Plot.frame({ stroke: '#999' }),
  ];
  const options: PlotOptions = {
    document: document as never,
    style: { background: 'white', color: '#222', fontFamily: 'sans-serif', fontSize: '12px' },
    width: Math.max(480, Math.min(1200, left + 40 + 14 * width)),
    height: Math.max(260, Math.min(800, 110 + 22 * height)),
    marginLeft: left,
    marginTop: 52,
    marginBottom: 44,
    // No ticks' lines: the shades make them plain, and renderers do not agree on where the text stands beside them.
    x: {
      label: 'frame',
      labelAnchor: 'center',
      labelArrow: 'none',
      tickSize: 0,
      tickPadding: 10,
      domain: [-0.5, width - 0.5],
      tickFormat: (at: number) => (Number.isInteger(at) ? String(at) : ''),
    },
    y: {
      label: null,
      tickSize: 0,
      tickPadding: 8,
      domain: [-0.5, height - 0.5],
      ticks: [...textOf.keys()],
      tickFormat: (row: number) => textOf.get(row) ?? '',
    },
    // Square root: small shares are seen as well.
    color: { type: 'sqrt', domain: [0, 1], range: ['#f4f8f8', '#0b4f5c'] },
    marks: [
      ...marks,
      Plot.text([title], { frameAnchor: 'top-left', dy: -34, fontSize: 14, fontWeight: 'bold' }),
      Plot.text(['shade: share of the probability that passes a node; line: the best path'], {
        frameAnchor: 'top-left',
        dy: -17,
        fill: '#666',
      }),
    ],
  };
  const svg = Plot.plot(options) as unknown as { setAttribute(name: string, value: string): void; outerHTML: string };
  svg.setAttribute('xmlns', 'http://www.w3.org/2000/svg');
  svg.setAttribute('role', 'img');
  svg.setAttribute('aria-label', title);
  return `<?xml version="1.0" encoding="UTF-8"?>\n${svg.outerHTML}\n`;
}
