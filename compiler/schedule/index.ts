/**
 * graph -> kernels. Says how the equations are computed: what is stored and how, what runs after what, what runs
 * side by side. Changes speed, never the loss.
 */
import { readsIn } from '../graph/free.js';
import type { Expr, Graph, SizeExpr } from '../graph/graph.js';
import { printSize } from '../graph/size.js';
import * as k from '../kernel/build.js';
import type { HalfStorage, HalfType } from '../kernel/half.js';
import type { BufferDecl, Kernel, KernelProgram, ScalarDecl } from '../kernel/kernel.js';
import { CompilerBug } from '../source.js';
import { isDiagonal } from './blocks.js';
import { type Equation, type Equations, findEquations } from './equations.js';
import { NoOrder } from './hyperplane.js';
import { type BlockedOutput, type BlockedRows, lossKernel, outputKernels, rowsKernels, waveKernel } from './kernels.js';
import { describeLayout, type Layout, type Skew, skewOf, storageExtents } from './layout.js';
import { longElements } from './long.js';
import { type ProgramContext, paddedSize } from './lower.js';
import { findPhases, type Step } from './phases.js';
import { blockedReading } from './reading.js';
import { byResidues } from './residues.js';
import { blockedWriting } from './writing.js';

export { NoOrder };

export interface ScheduleOptions {
  /** Values of the sizes that are the same for the whole batch (V): compiled in. */
  readonly sizes: Readonly<Record<string, number>>;
  /** Sizes of that kind that are not known yet: kernels then serve any, and read the launch scalar '<name>_max'. */
  readonly openSizes?: readonly string[];
  /** Type of lattice values: float64 on the CPU. */
  readonly lattice: 'f32' | 'f64';
  /** Real inputs, and gradients by the name of their input, that memory holds in 16 bits; the others are f32. */
  readonly storage?: HalfStorage;
  /**
   * Whether rows are worked on in blocks, through local memory: for a processor with vectors and caches. Default: no, as a GPU
   * wants it.
   */
  readonly blocks?: boolean;
  /** Whether gradients are wanted; without them only what the loss needs is computed. */
  readonly gradients: boolean;
  /** Whether results over the nodes are wanted as well, from a graph that has them. Default: no. */
  readonly perNode?: boolean;
}

/**
 * Schedules a graph for given sizes.
 * @throws NoOrder if a recurrence has no possible order of cells
 */
export function schedule(graph: Graph, options: ScheduleOptions): KernelProgram {
  const apart = byResidues(graph);
  try {
    return scheduleEquations(apart, options);
  } catch (error) {
    // As it was written there may be an order, and if not, that is what the author knows.
    if (apart === graph || !(error instanceof NoOrder)) throw error;
    return scheduleEquations(graph, options);
  }
}

function scheduleEquations(graph: Graph, options: ScheduleOptions): KernelProgram {
  const ragged = new Set(graph.lengths.map((length) => length.size));
  const open = (options.openSizes ?? []).filter((name) => !ragged.has(name));
  for (const name of sizesOf(graph))
    if (!ragged.has(name) && options.sizes[name] === undefined && !open.includes(name))
      throw new CompilerBug('schedule', `size ${name} has no value`);
  // A size that varies between utterances is never compiled in, whatever its value in one batch.
  const sizes = Object.fromEntries(
    Object.entries(options.sizes).filter(([name]) => !ragged.has(name) && !open.includes(name)),
  );
  const equations = findEquations(graph, { ...options, sizes });
  const { stored, loss, gradients, perNode, ranges, builder } = equations;
  const phases = findPhases(stored, equations.graph, ranges, builder);

  const layouts = new Map<string, Layout>(stored.map((equation) => [equation.name, { equation }]));
  for (const step of phases.flat()) if (step.kind === 'wave') skewAlong(step, layouts);
  const outputs: { equation: Equation; scaled: boolean; element?: HalfType | undefined }[] = [
    ...gradients.map(({ input, equation }) => ({
      equation,
      scaled: true,
      element: options.storage?.gradients?.[input],
    })),
    ...perNode.map((equation) => ({ equation, scaled: false })),
  ];
  const context: ProgramContext = {
    graph: equations.graph,
    layouts,
    lattice: options.lattice,
    names: equations.names,
    storage: options.storage?.inputs ?? {},
    builder,
    blocks: options.blocks ?? false,
  };

  const plans = phases.map((steps) =>
    steps.map((step) => ({
      step,
      blocked: step.kind === 'rows' ? blockedReading(step.group, context) : undefined,
    })),
  );
  const written = outputs.map((output) => ({ ...output, blocked: blockedWriting(output.equation, context, ranges) }));
  skewAcross(plans.flat(), written, layouts);
  const kernels: Kernel[][] = plans.map((steps) =>
    steps.flatMap(({ step, blocked }) =>
      step.kind === 'rows' ? rowsKernels(step.group, context, blocked) : [waveKernel(step.group, context, ranges)],
    ),
  );
  kernels.push([
    ...written.flatMap(({ equation, scaled, blocked }) => {
      const long = scaled ? longElements(equation, context) : undefined;
      return outputKernels(equation, loss, context, { scaled, blocked, long });
    }),
    lossKernel(loss, context),
  ]);

  const shapeOf = (extents: readonly SizeExpr[]): BufferDecl['shape'] => [
    k.scalar('B', 'index'),
    ...extents.map(paddedSize),
  ];
  const buffers: BufferDecl[] = [
    ...equations.graph.inputs.map(
      (input): BufferDecl => ({
        name: input.name,
        element: context.storage[input.name] ?? input.element,
        role: 'input',
        shape: shapeOf(input.dims),
        layout: `${input.name}[b][${input.dims.map(printSize).join('][')}]`,
      }),
    ),
    ...graph.lengths.map(
      (length): BufferDecl => ({
        name: length.argument,
        element: 'i32',
        role: 'input',
        shape: shapeOf([]),
        layout: `${length.argument}[b]`,
      }),
    ),
    ...(gradients.length > 0
      ? [{ name: 'gradScale', element: 'f64', role: 'input', shape: shapeOf([]), layout: 'gradScale[b]' } as const]
      : []),
    { name: 'loss', element: 'f64', role: 'output', shape: shapeOf([]), layout: 'loss[b]' },
    ...outputs.map(
      ({ equation, element }): BufferDecl => ({
        name: equation.name,
        element: element ?? 'f32',
        role: 'output',
        shape: shapeOf(equation.domain),
        layout: describeLayout({ equation }, ''),
      }),
    ),
    ...[...layouts.values()].map(
      (layout): BufferDecl => ({
        name: layout.equation.name,
        element: options.lattice,
        role: 'scratch',
        shape: shapeOf(storageExtents(layout)),
        layout: describeLayout(layout, layout.skew ? printSize(layout.equation.domain[layout.skew.line]!) : ''),
      }),
    ),
  ];
  const padded = [...ragged, ...open]
    .sort()
    .map((name): ScalarDecl => ({ name: `${name}_max`, type: 'index', role: 'size' }));
  const scalars: ScalarDecl[] = [
    { name: 'B', type: 'index', role: 'size' },
    ...padded,
    ...graph.params.map(
      (param): ScalarDecl => ({ name: param.name, type: param.type === 'int' ? 'index' : 'f64', role: 'param' }),
    ),
  ];
  return { name: graph.name, buffers, scalars, phases: kernels, inPlace: inPlaceInputs(equations) };
}

function sizesOf(graph: Graph): Set<string> {
  const dims = [...graph.inputs.flatMap((input) => input.dims), ...graph.fields.flatMap((field) => field.domain)];
  return new Set(dims.flatMap((dim) => Object.keys(dim.terms)));
}

/** See KernelProgram.inPlace. Gradients and the loss are computed in one phase, the last, in any order. */
function inPlaceInputs({ gradients, perNode, loss, ranges }: Equations): string[] {
  const readsOf = (expr: Expr, input: string) => readsIn(expr).filter((read) => read.source === input);
  return gradients
    .map(({ input }) => input)
    .filter(
      (input) =>
        readsOf(loss, input).length === 0 &&
        perNode.every(({ body }) => readsOf(body, input).length === 0) &&
        gradients.every(({ input: other, equation: { body, axes } }) =>
          readsOf(body, input).every(
            ({ indices }) =>
              other === input && indices.every((at, axis) => ranges.affine(at).equals(ranges.affine(axes[axis]!))),
          ),
        ),
    );
}

/** Stores a recurrence, and what it reads, so that a step of its wavefront is contiguous. The first wave decides. */
function skewAlong(step: Step & { kind: 'wave' }, layouts: Map<string, Layout>): void {
  const skew: Skew | undefined = skewOf(step.group.wave);
  if (!skew) return;
  const touched = step.group.equations.flatMap((equation) => [
    equation.name,
    ...readsIn(equation.body).map((read) => read.source),
  ]);
  for (const name of touched) {
    const layout = layouts.get(name);
    if (layout && !layout.skew && layout.equation.axes.length === 2) layouts.set(name, { ...layout, skew });
  }
}

/** What is stored by kernels that go along the diagonals of tiles, and read by no others, is stored by its diagonals as well. */
function skewAcross(
  plans: readonly { readonly step: Step; readonly blocked: BlockedRows | undefined }[],
  outputs: readonly { readonly equation: Equation; readonly blocked: BlockedOutput | undefined }[],
  layouts: Map<string, Layout>,
): void {
  const skew = [...layouts.values()].find(isDiagonal)?.skew;
  if (!skew) return;
  const alongRows = [
    ...plans.flatMap(({ step, blocked }) => (blocked?.tiled ? [] : step.group.equations)),
    ...outputs.flatMap(({ equation, blocked }) => (blocked?.tiled ? [] : [equation])),
  ];
  const readAlongRows = new Set(alongRows.flatMap(({ body }) => readsIn(body).map(({ source }) => source)));
  for (const { step, blocked } of plans) {
    if (!blocked?.tiled) continue;
    for (const equation of step.group.equations)
      if (!layouts.get(equation.name)!.skew && !readAlongRows.has(equation.name))
        layouts.set(equation.name, { equation, skew });
  }
}
