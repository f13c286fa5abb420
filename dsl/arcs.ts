/**
 * A loss by its lattice: `lattice` of nodes and arcs, in place of equations. Here are the declarations and their checks;
 * lattice.ts sums over the paths.
 */
import type { Arc, ArcOptions, Coordinates, Lattice, LatticeArc, LatticeOptions, Rank } from './types.js';

type UnnamedArc = Omit<LatticeArc, 'name'> & { readonly name: string | undefined };

const identifier = /^[A-Za-z_]\w*$/;

/**
 * A step that a path may take from any node x, to x + step.
 * @param options step, weight, and perhaps name, when, scale, final
 * @throws Error for a step that is not made of integers or leads nowhere, or a name that is no identifier
 */
export function arc<const S extends Coordinates[Rank]>(options: ArcOptions<S>): Arc<S['length']> {
  const { name, step, weight, when, scale = 1, final = false } = options;
  const what = name === undefined ? 'arc' : `arc ${name}`;
  if (name !== undefined && !identifier.test(name)) {
    throw new Error(`an arc is called ${JSON.stringify(name)}; names are letters, digits and _, a letter first`);
  }
  const steps = `[${step.join(', ')}]`;
  for (const part of step) {
    if (!Number.isInteger(part)) throw new Error(`${what} has the step ${steps}; steps are integers`);
  }
  if (step.every((part) => part === 0)) throw new Error(`${what} has the step ${steps}, so it leads nowhere`);
  if (typeof scale !== 'number') throw new Error(`${what} has the scale ${String(scale)}; a scale is a number`);
  return { kind: 'arc', name, rank: step.length, step, weight, when, scale, final };
}

/**
 * A loss as the sum over all paths through a lattice: the body of `defineLoss` returns it instead of equations. An arc
 * exists at node x where its `when` holds and x + step is a node, or, for a final arc, the end. With logLik the log of
 * the sum, over the paths from start to end, of exp(sum of the weights on the path), the loss is -logLik unless `loss`
 * says otherwise. It is +Infinity where there is no path. Gradients are derived by the compiler, for every real input that weights
 * depend on: minus an arc's posterior times its scale is what its weight contributes.
 * @param options nodes, start, end, arcs, and perhaps loss and gradient
 * @throws Error for coordinates of different number, places or steps that are not integers, arcs of one name, a
 *   lattice without arcs, and an end beyond the nodes that no final arc enters
 */
export function lattice<const N extends Coordinates[Rank]>(options: LatticeOptions<N>): Lattice {
  const { nodes, start, end, arcs, loss = (logLik: number) => -logLik, gradient } = options;
  const fail = (problem: string): never => {
    throw new Error(`lattice: ${problem}`);
  };
  const rank = nodes.length;
  if (rank < 1 || rank > 4) fail(`nodes [${nodes.join(', ')}] has ${rank} extents; 1 to 4 are allowed`);
  for (const [what, place] of Object.entries({ nodes, start, end })) {
    if (place.length !== rank) fail(`${what} [${place.join(', ')}] has ${place.length} numbers, but nodes has ${rank}`);
    if (!place.every(Number.isInteger)) fail(`${what} is [${place.join(', ')}]; it must be integers`);
  }
  if (arcs.length === 0) fail('there are no arcs, so there is no path');
  const names = new Set<string>();
  // From here on every node has `rank` indices, which types of one rank at a time cannot say.
  const named = (arcs as readonly unknown[] as readonly UnnamedArc[]).map((one, n) => {
    const name = one.name ?? `arc${n}`;
    if (names.has(name)) fail(`two arcs are called ${name}`);
    names.add(name);
    if (one.step.length !== rank) {
      fail(`arc ${name} has the step [${one.step.join(', ')}]; it must have ${rank} numbers, as nodes has`);
    }
    return { ...one, name };
  });
  const beyond = nodes.every((extent) => extent > 0) && end.some((at, axis) => at >= (nodes[axis] as number));
  if (beyond && !named.some(({ final }) => final)) {
    fail(
      `the end [${end.join(', ')}] lies beyond the nodes [${nodes.join(', ')}], and no arc is final, so none enters it`,
    );
  }
  return { kind: 'lattice', nodes, start, end, arcs: named, loss, ...(gradient === undefined ? {} : { gradient }) };
}
