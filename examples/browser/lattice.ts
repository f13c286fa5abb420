/** Draws the posterior of an alignment: frames from left to right, letters from top to bottom. */

export interface Picture {
  /** [T, U + 1]: the probability of passing each node. */
  readonly visits: Float32Array;
  readonly frames: number;
  /** One letter for each label. */
  readonly text: string;
}

export interface Node {
  readonly t: number;
  readonly u: number;
}

type Color = readonly [number, number, number];

/** From nothing to certainty, on a light and on a dark page. */
const scales: Record<'light' | 'dark', readonly Color[]> = {
  light: [
    [255, 255, 255],
    [205, 232, 228],
    [97, 178, 178],
    [15, 106, 120],
    [8, 48, 71],
  ],
  dark: [
    [30, 33, 36],
    [22, 66, 78],
    [24, 121, 129],
    [118, 198, 172],
    [253, 246, 200],
  ],
};

function colorAt(scale: readonly Color[], position: number): Color {
  const at = Math.min(0.9999, Math.max(0, position)) * (scale.length - 1);
  const below = scale[Math.floor(at)]!;
  const above = scale[Math.floor(at) + 1]!;
  const part = at - Math.floor(at);
  return [0, 1, 2].map((n) => below[n]! + part * (above[n]! - below[n]!)) as unknown as Color;
}

const margin = { left: 30, top: 6, right: 8, bottom: 34 };

/** The node under a point of the canvas, in CSS pixels. */
export function nodeAt(canvas: HTMLCanvasElement, { frames, text }: Picture, x: number, y: number): Node | undefined {
  const { clientWidth, clientHeight } = canvas;
  const t = Math.floor(((x - margin.left) / (clientWidth - margin.left - margin.right)) * frames);
  const u = Math.floor(((y - margin.top) / (clientHeight - margin.top - margin.bottom)) * (text.length + 1));
  return t >= 0 && t < frames && u >= 0 && u <= text.length ? { t, u } : undefined;
}

export function draw(canvas: HTMLCanvasElement, { visits, frames, text }: Picture): void {
  const context = canvas.getContext('2d');
  if (context === null) return;
  const { clientWidth: width, clientHeight: height } = canvas;
  const ratio = window.devicePixelRatio;
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  context.scale(ratio, ratio);
  context.clearRect(0, 0, width, height);
  const rows = text.length + 1;
  const scale = scales[window.matchMedia('(prefers-color-scheme: dark)').matches ? 'dark' : 'light'];

  // One pixel for each node, then stretched without smoothing.
  const small = new OffscreenCanvas(frames, rows);
  const pixels = new ImageData(frames, rows);
  for (let u = 0; u < rows; u++) {
    for (let t = 0; t < frames; t++) {
      // The square root lets small probabilities be seen.
      const color = colorAt(scale, Math.sqrt(visits[t * rows + u] ?? 0));
      pixels.data.set([...color.map(Math.round), 255], 4 * (u * frames + t));
    }
  }
  small.getContext('2d')?.putImageData(pixels, 0, 0);
  const inner = { width: width - margin.left - margin.right, height: height - margin.top - margin.bottom };
  context.imageSmoothingEnabled = false;
  context.drawImage(small, margin.left, margin.top, inner.width, inner.height);

  const style = getComputedStyle(document.documentElement);
  context.strokeStyle = style.getPropertyValue('--line');
  context.strokeRect(margin.left - 0.5, margin.top - 0.5, inner.width + 1, inner.height + 1);
  context.fillStyle = style.getPropertyValue('--quiet');
  context.font = '12px system-ui, sans-serif';
  context.textBaseline = 'middle';
  context.textAlign = 'center';
  // A letter stands on the border that emitting it crosses, from row u to row u + 1.
  for (let u = 0; u < text.length; u++) {
    const letter = text[u] === ' ' ? '\u00b7' : text[u]!;
    context.fillText(letter, margin.left - 14, margin.top + ((u + 1) / rows) * inner.height);
  }
  context.textBaseline = 'top';
  const step = frames > 60 ? 20 : 10;
  for (let t = 0; t < frames; t += step) {
    context.fillText(String(t), margin.left + ((t + 0.5) / frames) * inner.width, height - margin.bottom + 5);
  }
  context.fillText('frame', margin.left + inner.width / 2, height - 14);
}
