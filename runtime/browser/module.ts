/**
 * A loss as `trellis build` writes it: WGSL, how it is launched, and the arguments it takes. Plain data.
 */
import type { BufferDecl, ScalarDecl } from '../../compiler/kernel/kernel.js';
import type { WgslKernel, WgslProgram, WgslTarget } from '../../compiler/wgsl/types.js';
import type { ShapeClass } from '../device.js';
import { describe, InputError, listOf, TrellisError } from '../errors.js';
import type { GpuProgram } from '../gpu/program.js';
import type { SpecSignature } from '../signature.js';

/** Grows when modules of an earlier version can no longer be run. */
export const moduleFormat = 1;

/** A kernel whose text is one of the module's. */
export interface ModuleKernel extends Omit<WgslKernel, 'code'> {
  readonly text: number;
}

/** All kernels of the loss, for one choice of sizes and one kind of GPU. */
export interface ModuleProgram {
  /** Sizes compiled in. Any other is read when it runs. */
  readonly sizes: Readonly<Record<string, number>>;
  /** False: score only. */
  readonly gradients: boolean;
  /** Results over the nodes, as in ShapeClass. */
  readonly perNode?: NonNullable<ShapeClass['perNode']>;
  readonly target: WgslTarget;
  readonly buffers: readonly BufferDecl[];
  readonly scalars: readonly ScalarDecl[];
  readonly launch: Omit<WgslProgram, 'phases'>;
  readonly phases: readonly (readonly ModuleKernel[])[];
}

export interface LossModule {
  readonly format: number;
  /** Version of the compiler that wrote it. */
  readonly version: string;
  readonly signature: SpecSignature;
  readonly programs: readonly ModuleProgram[];
  /** WGSL modules. Kernels that are the same in several programs share theirs. */
  readonly texts: readonly string[];
}

/** @throws InputError for what is no module, or one of another format */
export function checkModule(value: unknown): asserts value is LossModule {
  const refuse = (problem: string): InputError =>
    new InputError({
      code: 'type',
      argument: 'module',
      problem,
      value,
      allowed: 'what a file written by "trellis build" exports',
    });
  if (typeof value !== 'object' || value === null) throw refuse(`is ${describe(value)}`);
  const { format, version, signature, programs, texts } = value as Partial<LossModule>;
  if (typeof format !== 'number' || signature === undefined || !Array.isArray(programs) || !Array.isArray(texts)) {
    const exported = Object.keys(value).filter((name) => isModule((value as Record<string, unknown>)[name]));
    throw refuse(
      exported.length > 0
        ? `is a whole file of modules; take ${listOf([...new Set(exported)])} of it`
        : `is ${describe(value)}`,
    );
  }
  if (format !== moduleFormat) {
    throw refuse(
      `has format ${format} (trellis-jit ${version}), and this version runs format ${moduleFormat}: build it again`,
    );
  }
}

const isModule = (value: unknown): boolean =>
  typeof value === 'object' && value !== null && 'format' in value && 'programs' in value;

/**
 * The module's program for a shape class on a target: the one with the most sizes compiled in.
 * @throws InputError for sizes or gradients that the module was not built for, TrellisError 'not-supported' for a GPU that can run none
 */
export function programFor(module: LossModule, shapeClass: ShapeClass, target: WgslTarget): GpuProgram {
  const { signature } = module;
  const forClass = programsFor(module, shapeClass);
  const fitting = forClass.filter(({ target: own }) => own.workgroupSize <= target.workgroupSize);
  const runnable = fitting.filter(({ target: own }) => target.subgroups || !own.subgroups);
  if (runnable.length === 0) {
    throw new TrellisError(
      'not-supported',
      `the kernels of ${signature.name} have workgroups of ${forClass[0]?.target.workgroupSize}, and this GPU allows ${target.workgroupSize}`,
    );
  }
  const rank = (program: ModuleProgram): number =>
    2 * Object.keys(program.sizes).length + (program.target.subgroups ? 1 : 0);
  const best = runnable.reduce((a, b) => (rank(b) > rank(a) ? b : a));
  return {
    name: signature.name,
    buffers: best.buffers,
    scalars: best.scalars,
    text: {
      ...best.launch,
      phases: best.phases.map((kernels) =>
        kernels.map(({ text, ...kernel }): WgslKernel => ({ ...kernel, code: module.texts[text] ?? '' })),
      ),
    },
  };
}

/** The programs that can serve a shape class. @throws InputError where there is none, saying how to get it */
export function programsFor(
  { signature, programs }: LossModule,
  { sizes, gradients, perNode }: Omit<ShapeClass, 'key'>,
): ModuleProgram[] {
  const ofSizes = programs.filter((program) =>
    Object.entries(program.sizes).every(([size, value]) => sizes[size] === value),
  );
  if (ofSizes.length === 0) {
    const print = (each: Readonly<Record<string, number>>): string =>
      Object.entries(each)
        .map(([size, value]) => `${size} = ${value}`)
        .join(', ');
    const holder = signature.inputs.find(({ dims }) =>
      dims.some(({ terms }) => Object.keys(terms).some((size) => size in sizes)),
    );
    throw new InputError({
      code: 'shape',
      argument: holder?.name ?? signature.name,
      problem: `has ${print(sizes)}, which the module was not built for`,
      value: sizes,
      allowed: `${listOf([...new Set(programs.map((program) => print(program.sizes)))])}; "trellis build" without --size serves every size`,
    });
  }
  const ofKind = ofSizes.filter((program) => program.perNode === perNode);
  if (ofKind.length === 0) {
    const option = perNode === 'best-path' ? '--align' : '--posteriors';
    throw new InputError({
      code: 'option',
      argument: perNode === 'best-path' ? 'align' : 'posteriors',
      problem: `is not in the module of ${signature.name}, which was built without ${option}`,
      value: true,
      allowed: `modules built with ${option}`,
    });
  }
  const found = ofKind.filter((program) => program.gradients === gradients);
  if (found.length > 0) return found;
  throw new InputError({
    code: 'option',
    argument: 'grads',
    problem: `is ${gradients}, but the module was built with --no-grads`,
    value: gradients,
    allowed: 'grads: false',
  });
}
