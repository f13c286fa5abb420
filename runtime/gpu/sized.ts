/**
 * Kernels as WGSL, each with as many invocations as its work has use for: the rows of a small vocabulary would leave
 * most of a large workgroup idle, and barriers and reductions cost more the larger it is.
 */
import type { Kernel, KernelProgram, KLoop, KStmt } from '../../compiler/kernel/kernel.js';
import { printWgsl, type WgslProgram, type WgslTarget } from '../../compiler/wgsl/index.js';

/** A subgroup of most GPUs: fewer invocations gain nothing. */
const FEWEST = 32;
/** Neighbours that one invocation works through one after the other, before another invocation helps. */
const EACH = 4;

/** As `printWgsl`, with at most the target's number of invocations. */
export function printSized(program: KernelProgram, target: WgslTarget): WgslProgram {
  const bySize = new Map<number, WgslProgram>();
  const printed = (workgroupSize: number): WgslProgram => {
    let text = bySize.get(workgroupSize);
    if (text === undefined) {
      text = printWgsl(program, { ...target, workgroupSize });
      bySize.set(workgroupSize, text);
    }
    return text;
  };
  const phases = program.phases.map((phase, p) =>
    phase.map((kernel, n) => printed(invocations(kernel, target.workgroupSize)).phases[p]![n]!),
  );
  // The scalars' places do not depend on the size.
  return { ...printed(target.workgroupSize), phases };
}

/** A power of two; the most where the number of neighbours is not known before the call, as on a diagonal. */
export function invocations(kernel: Kernel, most: number): number {
  const counts = lanesLoops(kernel.body).map(({ from, to }) =>
    from.op === 'const' && to.op === 'const' ? to.value - from.value : Number.POSITIVE_INFINITY,
  );
  const widest = Math.max(1, ...counts);
  if (widest === Number.POSITIVE_INFINITY) return most;
  return Math.min(most, Math.max(FEWEST, 2 ** Math.ceil(Math.log2(widest / EACH))));
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
