/** A benchmark's figures as rows of text: for the terminal, and for Markdown. */
import { formatMilliseconds } from '../output.js';
import { type BenchReport, type CompileTimes, isMeasured, type Summary, shapeText, sizeNames } from './report.js';

export interface TextTable {
  readonly head: readonly string[];
  readonly rows: readonly (readonly string[])[];
}

const percent = (share: number): string => `${(100 * share).toFixed(0)} %`;
const mebibytes = (bytes: number): string => `${(bytes / 2 ** 20).toFixed(bytes < 10 * 2 ** 20 ? 1 : 0)} MiB`;

/** '39.5 ms', and where it lay for half of the rounds: '(38.1 to 42.0)'. */
function spread({ median, lower, upper }: Summary): string {
  const scale = median >= 1000 ? 1000 : 1;
  const digits = (value: number) => (value / scale).toPrecision(3);
  return `${formatMilliseconds(median)} (${digits(lower)} to ${digits(upper)})`;
}

/** The times beside their floors. */
export function timesTable({ shapes }: BenchReport): TextTable {
  return {
    head: [
      ...[sizeNames(shapes), 'loss + gradient', 'floor', 'ratio', 'GB/s'],
      ...['loss alone', 'one read', 'ratio', 'GB/s', 'adds', 'tensors', 'rounds'],
    ],
    rows: shapes.map((shape) => {
      if (!isMeasured(shape)) return [shapeText(shape.sizes), `left out: ${shape.skipped}`, ...Array(10).fill('')];
      const { milliseconds: ms, ratio, gigabytesPerSecond: speed } = shape;
      return [
        shapeText(shape.sizes),
        spread(ms.lossAndGradient),
        formatMilliseconds(ms.floor.median),
        ratio.lossAndGradient.median.toFixed(2),
        speed.lossAndGradient.toFixed(1),
        spread(ms.loss),
        formatMilliseconds(ms.read.median),
        ratio.loss.median.toFixed(2),
        speed.loss.toFixed(1),
        shape.addedBytes === null ? '' : mebibytes(shape.addedBytes),
        mebibytes(shape.tensorBytes),
        String(shape.rounds),
      ];
    }),
  };
}

/** Where the time of the loss with its gradient goes. A row for each phase, or for each kernel where phases are not told. */
export function kernelsTable({ shapes }: BenchReport): TextTable {
  const rows = shapes.filter(isMeasured).flatMap((shape) => {
    const parts =
      shape.phases.length > 0
        ? shape.phases.map(({ median }, p) => ({
            median,
            kernels: shape.kernels.filter(({ phase }) => phase === p + 1),
          }))
        : shape.kernels.map((kernel) => ({ median: kernel.milliseconds.median, kernels: [kernel] }));
    const all = parts.reduce((sum, { median }) => sum + median, 0);
    return parts.map(({ median, kernels }, p) => [
      p === 0 ? shapeText(shape.sizes) : '',
      kernels.length === 1
        ? (kernels[0]?.kernel ?? '')
        : kernels.map(({ kernel, milliseconds }) => `${kernel} ${formatMilliseconds(milliseconds.median)}`).join(', '),
      formatMilliseconds(median),
      percent(all === 0 ? 0 : median / all),
    ]);
  });
  return { head: [sizeNames(shapes), 'kernels', 'time', 'share'], rows };
}

/** What more threads gain. */
export function threadsTable({ shapes }: BenchReport): TextTable {
  return {
    head: [sizeNames(shapes), 'threads', 'loss + gradient', 'times as fast', 'floor', 'times as fast'],
    rows: shapes
      .filter(isMeasured)
      .flatMap((shape) =>
        shape.threads.map(({ threads, milliseconds, floor, gain, floorGain }, n) => [
          n === 0 ? shapeText(shape.sizes) : '',
          String(threads),
          spread(milliseconds),
          n === 0 ? '' : gain.median.toFixed(2),
          formatMilliseconds(floor.median),
          n === 0 ? '' : floorGain.median.toFixed(2),
        ]),
      ),
  };
}

/** What a process waits for before its first result. */
export function compileTable({ compiles, device }: BenchReport): TextTable {
  const backend = device === 'cpu' ? 'LLVM' : 'pipelines';
  const stages = [...new Set(compiles.flatMap(({ cold }) => Object.keys(cold.stages)))];
  const cells = ({ total, loading, stages: times, backend: last }: CompileTimes): string[] =>
    [total, loading, ...stages.map((name) => times[name]), last].map((time) =>
      time === undefined ? '' : formatMilliseconds(time),
    );
  return {
    head: ['', 'cache', 'in all', 'loading', ...stages, backend],
    rows: compiles.flatMap(({ sizes, cold, warm }) => [
      [
        Object.entries(sizes)
          .map(([name, value]) => `${name}=${value}`)
          .join(' '),
        'cold',
        ...cells(cold),
      ],
      ...(warm === undefined ? [] : [['', 'warm', ...cells(warm)]]),
    ]),
  };
}

/** 'AMD EPYC, 2 cores, 2 threads used, 23.5 GiB; linux x64, Node 20.20.2, libLLVM 19.1.7'. */
export function machineText({ machine, threads, device }: BenchReport): string {
  const { processor, cores, memoryBytes, platform, node, backend } = machine;
  const used = device === 'cpu' ? `, ${threads} ${threads === 1 ? 'thread' : 'threads'} used` : '';
  const gib = (memoryBytes / 2 ** 30).toFixed(1);
  return `${processor}, ${cores} ${cores === 1 ? 'core' : 'cores'}${used}, ${gib} GiB; ${platform}, Node ${node}, ${backend}`;
}
