/** SVG to PNG, by the optional package @napi-rs/canvas. */
import { TrellisError } from '../errors.js';

/** Dots for each unit of the drawing: sharp on a screen of double density, and in print. */
const SCALE = 2;

/** @throws TrellisError 'not-supported' where the package is not installed, saying what to type */
export async function pngOf(svg: string): Promise<Uint8Array> {
  let canvas: typeof import('@napi-rs/canvas');
  try {
    canvas = await import('@napi-rs/canvas');
  } catch (error) {
    throw new TrellisError(
      'not-supported',
      'PNG files need the package @napi-rs/canvas, which is not installed: npm install @napi-rs/canvas, or write an .svg file',
      { cause: error },
    );
  }
  // This renderer does not know shifts in units of the type's size: 12, as our drawings have it.
  const shifted = svg.replace(/dy="(-?[\d.]+)em"/g, (_, em: string) => `dy="${(12 * Number(em)).toFixed(2)}"`);
  const image = await canvas.loadImage(Buffer.from(shifted));
  const [width, height] = [image.width * SCALE, image.height * SCALE];
  const surface = canvas.createCanvas(width, height);
  surface.getContext('2d').drawImage(image, 0, 0, width, height);
  return surface.encode('png');
}
