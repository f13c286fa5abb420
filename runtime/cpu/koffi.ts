/**
 * koffi, the foreign-function interface to libLLVM and to compiled code. It is loaded at first use and not at import: a program
 * that only lists specs does not wait for it, and a platform it has no binary for still has the reference device.
 */
import { createRequire } from 'node:module';

type Koffi = typeof import('koffi')['default'];

let loaded: Koffi | undefined;

/** @throws Error where koffi is missing or has no binary for this platform */
export function koffi(): Koffi {
  loaded ??= createRequire(import.meta.url)('koffi') as Koffi;
  return loaded;
}
