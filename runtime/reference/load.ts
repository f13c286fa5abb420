/** Runs a spec file as the TypeScript module it is, from wherever it lies, and takes the definition it exports. */
import { createRequire } from 'node:module';
import type { LossDefinition } from '../../dsl/index.js';
import * as dsl from '../../dsl/index.js';
import { TrellisError } from '../errors.js';

/** Loaded at the first use: other devices start without it. */
const lazily = createRequire(import.meta.url);

/**
 * The default export of a spec file. The module is run afresh each time, so edits are seen.
 * `trellis-jit/dsl` means this very package, wherever the file lies and whether or not it could resolve the name itself.
 * @param file absolute path
 * @throws TrellisError when the file cannot be run or does not export a loss
 */
export function loadDefinition(file: string): LossDefinition {
  const { createJiti } = lazily('jiti') as typeof import('jiti');
  const jiti = createJiti(import.meta.url, {
    virtualModules: { 'trellis-jit/dsl': dsl },
    // Edits are seen, and nothing is written beside the user's files. Source maps keep breakpoints in the author's lines.
    moduleCache: false,
    fsCache: false,
    sourceMaps: true,
  });
  let exported: unknown;
  try {
    exported = jiti(file);
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new TrellisError('spec', `${file} cannot be run: ${reason}`, { argument: 'spec', cause: error });
  }
  const definition = (exported as { default?: unknown } | undefined)?.default;
  if (isDefinition(definition)) return definition;
  throw new TrellisError('spec', `${file} has no loss as its default export; write: export default defineLoss(...)`, {
    argument: 'spec',
  });
}

function isDefinition(value: unknown): value is LossDefinition {
  return typeof value === 'object' && value !== null && 'evaluate' in value && 'inputs' in value && 'params' in value;
}
