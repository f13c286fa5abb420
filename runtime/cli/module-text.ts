/** What `trellis build` writes: losses as an ES module of WGSL and launch plans, and its types. */
import type { SourceSpec } from '../../compiler/compile.js';
import type { WgslTarget } from '../../compiler/wgsl/index.js';
import { type LossModule, type ModuleProgram, moduleFormat } from '../browser/module.js';
import { packageVersion } from '../package.js';
import { signatureOfGraph } from '../signature.js';
import { describeInputs } from './signature.js';

/**
 * The GPUs that text is written for. Every WebGPU adapter has these limits, so what a module holds does not depend on the
 * machine that built it.
 */
const targets: readonly WgslTarget[] = [
  { subgroups: true, workgroupSize: 256, maxWorkgroupStorage: 16384 },
  { subgroups: false, workgroupSize: 256, maxWorkgroupStorage: 16384 },
];

export interface ModuleChoices {
  /** Sizes to compile in, one program for each set; what a set leaves out is read when the kernels run. */
  readonly sizes: readonly Readonly<Record<string, number>>[];
  /** False: score only. */
  readonly gradients: boolean;
  /** Results over the nodes that are wanted as well, where the spec states arcs. */
  readonly perNode: readonly NonNullable<ModuleProgram['perNode']>[];
}

/** Sizes of a spec that the whole batch shares: those that can be compiled in. */
export function sharedSizes({ graph }: SourceSpec): string[] {
  const varying = new Set(graph.lengths.map(({ size }) => size));
  const all = new Set(graph.inputs.flatMap(({ dims }) => dims.flatMap(({ terms }) => Object.keys(terms))));
  return [...all].filter((size) => !varying.has(size)).sort();
}

/** Compiles a spec to a module. @throws SpecError for a mistake in it */
export async function buildModule(source: SourceSpec, choices: ModuleChoices): Promise<LossModule> {
  const { compileToKernels } = await import('../../compiler/compile.js');
  const { bestPathOf } = await import('../compiler/compile.js');
  const { packBuffers } = await import('../gpu/packing.js');
  const { printSized } = await import('../gpu/sized.js');
  const lengths = source.graph.lengths.map(({ argument }) => argument);
  const texts: string[] = [];
  const numberOf = (text: string): number => {
    const known = texts.indexOf(text);
    return known >= 0 ? known : texts.push(text) - 1;
  };
  const programs: ModuleProgram[] = [];
  const withGradients = choices.gradients ? [true, false] : [false];
  const kinds: Pick<ModuleProgram, 'gradients' | 'perNode'>[] = withGradients.map((gradients) => ({ gradients }));
  for (const perNode of source.stated.lattice ? choices.perNode : [])
    for (const gradients of perNode === 'posteriors' ? withGradients : [false]) kinds.push({ gradients, perNode });
  for (const sizes of choices.sizes) {
    const openSizes = sharedSizes(source).filter((size) => sizes[size] === undefined);
    for (const { gradients, perNode } of kinds) {
      const from = perNode === 'best-path' ? bestPathOf(source) : source;
      const wanted = { gradients, perNode: perNode !== undefined, lattice: 'f64' } as const;
      const program = packBuffers(compileToKernels(from, { sizes, openSizes, ...wanted }), lengths);
      for (const target of targets) {
        const { phases, ...launch } = printSized(program, target);
        programs.push({
          sizes,
          gradients,
          ...(perNode ? { perNode } : {}),
          target,
          buffers: program.buffers,
          scalars: program.scalars,
          launch,
          phases: phases.map((kernels) => kernels.map(({ code, ...kernel }) => ({ ...kernel, text: numberOf(code) }))),
        });
      }
    }
  }
  return {
    format: moduleFormat,
    version: packageVersion(),
    signature: signatureOfGraph(source.graph, source.stated),
    programs,
    texts,
  };
}

const reserved = new Set(
  'await break case catch class const continue debugger default delete do else enum export extends false finally for function if implements import in instanceof interface let new null package private protected public return static super switch this throw true try typeof var void while with yield arguments eval'.split(
    ' ',
  ),
);

/** 'rnnt-normalized' as a name in JavaScript: rnntNormalized. */
export function exportName(spec: string): string {
  const [first = '', ...rest] = spec.split(/[^A-Za-z0-9_$]+/).filter((word) => word !== '');
  const name = first + rest.map((word) => word[0]?.toUpperCase() + word.slice(1)).join('');
  return name === '' || /^\d/.test(name) || reserved.has(name) ? `_${name}` : name;
}

const comment = (text: string): string => text.replaceAll('*/', '* /');
const template = (text: string): string => `\`${text.replace(/[\\`]|\$\{/g, (found) => `\\${found}`)}\``;

/** 'any V', 'V = 500 or 1024': the sizes that a module serves. */
export function describeSizes({ signature, programs }: LossModule): string {
  const all = [...new Set(signature.inputs.flatMap(({ dims }) => dims.flatMap(({ terms }) => Object.keys(terms))))];
  const varying = new Set(signature.lengths.map(({ size }) => size));
  const served = all
    .filter((size) => !varying.has(size))
    .map((size) => {
      const values = [...new Set(programs.map((program) => program.sizes[size]))];
      if (values.every((value) => value === undefined)) return `any ${size}`;
      return `${size} = ${values.map((value) => value ?? 'any').join(' or ')}`;
    });
  return served.join(', ');
}

/** The text of the ES module. */
export function moduleText(modules: readonly LossModule[]): string {
  const parts = [
    `// Written by "trellis build" of trellis-jit ${packageVersion()}; build it again rather than change it.\n` +
      `// import { createLoss } from 'trellis-jit/browser';\n`,
  ];
  for (const module of modules) {
    const { signature, texts, ...rest } = module;
    const name = exportName(signature.name);
    const { programs, ...head } = rest;
    const entries = [
      ...Object.entries({ ...head, signature }).map(([key, value]) => `  ${key}: ${JSON.stringify(value)},`),
      `  programs: [\n${programs.map((program) => `    ${JSON.stringify(program)},`).join('\n')}\n  ],`,
      `  texts: [\n${texts.map((text) => template(`\n${text}`)).join(',\n')},\n  ],`,
    ];
    parts.push(`${docOf(module)}\nexport const ${name} = {\n${entries.join('\n')}\n};\n`);
  }
  if (modules.length === 1) parts.push(`export default ${exportName(modules[0]!.signature.name)};\n`);
  return parts.join('\n');
}

/** The text of its declarations. */
export function declarationText(modules: readonly LossModule[]): string {
  const parts = [`import type { LossModule } from 'trellis-jit/browser';\n`];
  for (const module of modules) {
    parts.push(`${docOf(module)}\nexport declare const ${exportName(module.signature.name)}: LossModule;\n`);
  }
  if (modules.length === 1) parts.push(`export default ${exportName(modules[0]!.signature.name)};\n`);
  return parts.join('\n');
}

function docOf(module: LossModule): string {
  const { signature } = module;
  const lengths = signature.lengths.map(({ argument }) => `${argument}: int [B]`);
  const params = signature.params.map(({ name, default: value }) => `${name} = ${value}`).join(', ');
  return [
    '/**',
    ` * ${comment(signature.doc)}.`,
    ` * Arguments: ${[describeInputs(signature), ...lengths].join(', ')}.`,
    ...(params === '' ? [] : [` * Parameters: ${params}.`]),
    ` * Sizes: ${describeSizes(module) || 'no size is compiled in'}. Gradients: ${module.programs.some((program) => program.gradients) ? signature.gradients.join(', ') : 'none, score only'}.`,
    ' */',
  ].join('\n');
}
