/** Specs written down inside a test, read from a folder of their own. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { readSpec, type SpecReading } from '../../compiler/frontend/index.js';
import { printGraph } from '../../compiler/graph/print.js';
import { verifyGraph } from '../../compiler/graph/verify.js';

/** Reads `spec.ts` among these files; the graph is verified. */
export function readFiles(files: Readonly<Record<string, string>>): SpecReading {
  const folder = mkdtempSync(join(tmpdir(), 'trellis-spec-'));
  try {
    for (const [name, text] of Object.entries(files)) {
      mkdirSync(dirname(join(folder, name)), { recursive: true });
      writeFileSync(join(folder, name), text);
    }
    const reading = readSpec(join(folder, 'spec.ts'));
    verifyGraph(reading.graph);
    return reading;
  } finally {
    rmSync(folder, { recursive: true });
  }
}

export const words =
  "import { abs, defineLoss, exp, f32, field, i32, log, logAddExp, logSumExp, logZero, max, maxOver, min, recurrence, sum, tanh } from 'trellis-jit/dsl';";

/** A spec around a body, with inputs acts and labels, parameters blank, skip and scale, statics durations and factor. */
export const spec = (body: string, top = ''): string => `${words}
${top}
export default defineLoss(
  {
    name: 'scratch',
    inputs: { acts: f32('T', 'U+1', 'V'), labels: i32('U') },
    params: { blank: 0, skip: 0, scale: 1 },
    statics: { durations: [1, 2], factor: 3 },
  },
  ({ acts, labels, T, U, V, blank, skip, scale, durations, factor }) => {
    ${body}
  },
);`;

/** The lines between the body's braces as the graph prints them, from a body or from whole files. */
export function printed(body: string | Readonly<Record<string, string>>, top?: string): string[] {
  const { graph } = readFiles(typeof body === 'string' ? { 'spec.ts': spec(body, top) } : body);
  const lines = printGraph(graph).split('\n');
  const first = lines.findIndex((line) => line.startsWith('  ({'));
  return lines.slice(first + 1, lines.lastIndexOf('  },')).map((line) => line.slice(4));
}
