/**
 * Looking inside a compile, by environment variable and without touching code:
 *
 *   TRELLIS_DUMP=folder   each stage's text, as folder/<name>-<n>-<stage>.txt
 *   TRELLIS_TIME=1        milliseconds per stage, on stderr
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

export interface StageReport {
  readonly name: string;
  readonly milliseconds: number;
  /** The stage's result as text; computed only when asked for. */
  readonly text: () => string;
}

export function reportStage(subject: string, number: number, report: StageReport): void {
  if (process.env.TRELLIS_TIME) {
    process.stderr.write(`trellis: ${subject}: ${report.name.padEnd(8)} ${report.milliseconds.toFixed(1)} ms\n`);
  }
  const folder = process.env.TRELLIS_DUMP;
  if (folder) {
    mkdirSync(folder, { recursive: true });
    writeFileSync(join(folder, `${subject}-${number}-${report.name}.txt`), `${report.text()}\n`);
  }
}
