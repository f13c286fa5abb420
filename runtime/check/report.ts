/** What a check of a spec finds, as data: the command prints it, programs read it. */

/** 'note': nothing is wrong, but something could not be checked, or is worth knowing. */
export type Status = 'passed' | 'failed' | 'note' | 'skipped';

/** One disagreement: where it is, and the two values. */
export interface Finding {
  /** The utterance's own sizes. */
  readonly sizes: Readonly<Record<string, number>>;
  /** What disagrees: 'the loss', 'the gradient of acts', 'the posterior of arc emit'. */
  readonly what: string;
  /** Indices of the cell within the utterance; empty for a loss. */
  readonly cell: readonly number[];
  /** Who says what: [['TypeScript', 1.5], ['compiled graph', 1.25]]. */
  readonly values: readonly (readonly [who: string, value: number])[];
}

export interface CheckItem {
  /** Short and stable, for programs: 'paths', 'differences'. */
  readonly id: string;
  /** What was compared with what. */
  readonly title: string;
  readonly status: Status;
  /** How much was compared and how close it is, or why it was not. */
  readonly summary: string;
  /** The first disagreements, worst kinds only. */
  readonly findings: readonly Finding[];
  /** What a failure may come from, and things worth knowing: sentences. */
  readonly advice: readonly string[];
}

export interface CheckReport {
  readonly spec: string;
  readonly file: string;
  readonly form: 'arcs' | 'equations';
  readonly passed: boolean;
  readonly seed: number;
  /** Random utterances per check. */
  readonly cases: number;
  readonly params: Readonly<Record<string, number>>;
  /** Sizes that all utterances share, as they were chosen. */
  readonly sizes: Readonly<Record<string, number>>;
  readonly devices: readonly string[];
  readonly items: readonly CheckItem[];
  readonly milliseconds: number;
}

/** How far two numbers may be apart: absolutely, and relative to the first. */
export interface Tolerance {
  readonly absolute: number;
  readonly relative: number;
}

/** Equal infinities and two NaN agree. */
export function agrees(expected: number, actual: number, { absolute, relative }: Tolerance): boolean {
  if (Object.is(expected, actual) || expected === actual) return true;
  return Math.abs(expected - actual) <= absolute + relative * Math.abs(expected);
}

/** Collects the comparisons of one check. */
export class Comparison {
  readonly findings: Finding[] = [];
  /** Numbers compared, and those that disagree. */
  compared = 0;
  disagreeing = 0;
  /** Largest difference seen between finite numbers, over max(1, |expected|). */
  worst = 0;

  constructor(
    private readonly who: readonly [expected: string, actual: string],
    private readonly tolerance: Tolerance,
  ) {}

  /** Compares one number, in units of `unit`. Of each `what`, the first disagreement is kept. */
  number(
    expected: number,
    actual: number,
    where: { sizes: Readonly<Record<string, number>>; what: string; cell: readonly number[] },
    unit = 1,
  ): void {
    this.compared++;
    const apart = Math.abs(expected - actual) / Math.max(unit, Math.abs(expected));
    if (Number.isFinite(apart) && apart > this.worst) this.worst = apart;
    if (agrees(expected / unit, actual / unit, this.tolerance)) return;
    this.disagreeing++;
    if (this.findings.length < 4 && !this.findings.some(({ what }) => what === where.what)) {
      this.findings.push({
        ...where,
        values: [
          [this.who[0], expected],
          [this.who[1], actual],
        ],
      });
    }
  }

  /** Compares two dense arrays of one shape. */
  arrays(
    expected: ArrayLike<number>,
    actual: ArrayLike<number>,
    shape: readonly number[],
    where: { sizes: Readonly<Record<string, number>>; what: string },
    unit = 1,
  ): void {
    for (let flat = 0; flat < expected.length; flat++) {
      const [a, b] = [expected[flat] as number, actual[flat] as number];
      // Cells are named only where it matters.
      const cell = agrees(a / unit, b / unit, this.tolerance) ? [] : cellAt(flat, shape);
      this.number(a, b, { ...where, cell }, unit);
    }
  }
}

/** The indices of an element of a dense array. */
export function cellAt(flat: number, shape: readonly number[]): number[] {
  const cell: number[] = [];
  let rest = flat;
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    const extent = shape[axis] as number;
    cell.unshift(rest % extent);
    rest = Math.floor(rest / extent);
  }
  return cell;
}
