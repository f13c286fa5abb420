/**
 * Kernels as WGSL, side by side where they can be, each with as many invocations as its work has use for: the rows of a small vocabulary would leave
 * most of a large workgroup idle, and barriers and reductions cost more the larger it is.
 */
import type { Kernel, KernelProgram, KLoop, KStmt } from '../../compiler/kernel/kernel.js';
import {
  fitTogether,
  guaranteedStorageBuffers,
  lanesFor,
  printWgsl,
  type WgslProgram,
  type WgslTarget,
} from '../../compiler/wgsl/index.js';

/** A subgroup of most GPUs: fewer invocations gain nothing. */
const FEWEST = 32;

/**
 * As `printWgsl`, with at most the target's number of invocations. Kernels of one phase that take workgroups of one size
 * are one dispatch, as far as the buffers allow that it may bind.
 * @param together false: every kernel has a dispatch of its own, in the program's order, and every task a workgroup
 */
export function printSized(program: KernelProgram, target: WgslTarget, together = true): WgslProgram {
  const { workgroupSize: most, storageBuffers = guaranteedStorageBuffers, vectors = true } = target;
  const groups = program.phases.map((phase) => {
    const groups: Group[] = [];
    for (const kernel of phase) {
      const workgroupSize = invocations(kernel, most);
      const suited = groups.find(
        (group) => together && sameSize(group, kernel, workgroupSize) && fits([...group.kernels, kernel]),
      );
      if (suited === undefined) {
        groups.push({ kernels: [kernel], workgroupSize });
        continue;
      }
      suited.kernels.push(kernel);
      suited.workgroupSize = Math.max(suited.workgroupSize, workgroupSize);
    }
    return groups;
  });
  return printWgsl(program, together ? target : { ...target, wholeTasks: true }, groups);

  function fits(kernels: readonly Kernel[]): boolean {
    return fitTogether(program, kernels, storageBuffers, vectors);
  }
}

interface Group {
  readonly kernels: Kernel[];
  workgroupSize: number;
}

/** A kernel without neighbours to share out does as well in a workgroup of any size. */
function sameSize({ kernels, workgroupSize }: Group, kernel: Kernel, own: number): boolean {
  const anySize = (each: Kernel): boolean => lanesLoops(each.body).length === 0;
  return workgroupSize === own || anySize(kernel) || kernels.every(anySize);
}

/** A power of two; the most where the number of neighbours is not known before the call, as on a diagonal. */
export function invocations(kernel: Kernel, most: number): number {
  const counts = lanesLoops(kernel.body).map(({ from, to }) =>
    from.op === 'const' && to.op === 'const' ? to.value - from.value : Number.POSITIVE_INFINITY,
  );
  const widest = Math.max(0, ...counts);
  if (widest === Number.POSITIVE_INFINITY) return most;
  return Math.min(most, Math.max(FEWEST, lanesFor(widest)));
}

function lanesLoops(body: readonly KStmt[]): KLoop[] {
  return body.flatMap((statement) => {
    if (statement.kind === 'if') return [...lanesLoops(statement.then), ...lanesLoops(statement.otherwise)];
    if (statement.kind !== 'loop') return [];
    return statement.mode === 'lanes' ? [statement] : lanesLoops(statement.body);
  });
}

/** All kernels for people: each a module of its own, under what its launch is. */
export function printLaunches({ phases }: WgslProgram): string {
  const texts = phases.flatMap((kernels, phase) =>
    kernels.map(({ name, workgroupSize, bindings, code }) => {
      const bound = bindings.map(({ binding, buffer, access }) => `${binding} ${buffer} (${access})`).join(', ');
      return `// kernel ${name}: phase ${phase + 1} of ${phases.length}, ${workgroupSize} invocations\n// bindings: 0 launch (uniform), ${bound}\n\n${code.trim()}\n`;
    }),
  );
  return texts.join('\n\n');
}
