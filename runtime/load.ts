/** Losses from spec files. */
import { Loss } from './loss.js';
import {
  checkOptionNames,
  checkParamsObject,
  checkSettings,
  checkStaticsObject,
  commonNames,
  type LossOptions,
} from './options.js';
import { kernelsOfFile } from './spec-file.js';
import { findSpec } from './specs.js';

/**
 * Loads a loss from a spec: a shipped one by name, or anybody's by path.
 * @throws InputError for an unknown spec or option, SpecError for a mistake in the spec, TrellisError when the device is not available
 */
export async function loadLoss(specNameOrPath: string | URL, options?: LossOptions): Promise<Loss> {
  const checked = checkOptionNames('options', options, [...commonNames, 'params', 'statics']);
  const settings = checkSettings(checked);
  const params = checkParamsObject(checked.params);
  const statics = checkStaticsObject(checked.statics);
  const kernels = kernelsOfFile(findSpec(specNameOrPath), settings.device, settings, statics);
  return Loss.over(kernels, settings, params).ready();
}
