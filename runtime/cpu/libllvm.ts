/**
 * Finds a usable libLLVM (15 or newer) on this machine, and says why every other candidate was refused.
 *
 * Order: the TRELLIS_LIBLLVM environment variable; the folders where distributions put it, newest version
 * first; and only if those hold nothing usable, what `llvm-config` names (starting a process costs more than the look).
 */
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, realpathSync } from 'node:fs';
import { basename, join } from 'node:path';
import type { LibraryHandle } from 'koffi';
import { koffi } from './koffi.js';

/** Opaque pointers are the default from here on, and the printed IR uses them. */
export const OLDEST_LLVM = 15;

export interface RefusedLibrary {
  readonly path: string;
  readonly reason: string;
}
export interface FoundLibrary {
  readonly path: string;
  /** As exact as the library tells: '19.1.7' from LLVM 16 on, else what the file name says ('15'). */
  readonly version: string;
  readonly refused: readonly RefusedLibrary[];
}
export interface MissingLibrary {
  /** One line for people: what was looked for and why nothing was taken. */
  readonly missing: string;
  /** What to do about it: 'type:  sudo apt-get install libllvm19'. */
  readonly advice: string;
  readonly refused: readonly RefusedLibrary[];
}

export interface FindOptions {
  /** Environment to read TRELLIS_LIBLLVM and PATH from; default process.env. */
  readonly env?: Record<string, string | undefined>;
  /** Folders to search instead of the usual ones of this platform. */
  readonly folders?: readonly string[];
}

const handles = new Map<string, LibraryHandle>();

/** dlopen, once per path. Throws what the loader says. */
export function loadLibrary(path: string): LibraryHandle {
  let handle = handles.get(path);
  if (!handle) {
    handle = koffi().load(path);
    handles.set(path, handle);
  }
  return handle;
}

/** Version numbers in a library's file name: libLLVM-15.so.1 -> [15], libLLVM.so.19.1 -> [19, 1]; null where the name has none. */
export function versionOfFileName(name: string): number[] | null {
  const match =
    /^libLLVM-(\d+(?:\.\d+)*)\.(?:so|dylib)/.exec(name) ?? /^libLLVM\.so\.(\d+(?:\.\d+)*)$/.exec(name) ?? null;
  // libLLVM.so.1 is the soname of some old builds and says nothing about the version.
  if (!match?.[1] || match[1] === '1') return null;
  return match[1].split('.').map(Number);
}

/** libLLVM itself, in the spellings of the platforms; not libLLVMCore and friends, not development archives. */
export function isLibLlvmName(name: string): boolean {
  return (
    /^libLLVM(-\d+(\.\d+)*)?\.so(\.\d+)*$/.test(name) ||
    /^libLLVM(-\d+|-C)?\.dylib$/.test(name) ||
    name === 'LLVM-C.dll'
  );
}

function subfolders(parent: string, pattern: RegExp, rest: string): string[] {
  try {
    return readdirSync(parent)
      .filter((name) => pattern.test(name))
      .map((name) => join(parent, name, rest));
  } catch {
    return [];
  }
}

/** Where Debian, Ubuntu, Fedora, Arch, Alpine, Homebrew, MacPorts and the Windows installer put the library. */
export function usualFolders(platform: NodeJS.Platform = process.platform, arch: string = process.arch): string[] {
  if (platform === 'win32') {
    const roots = [process.env.ProgramFiles, 'C:\\Program Files', process.env.LOCALAPPDATA];
    return [...new Set(roots.filter((root): root is string => !!root).map((root) => `${root}\\LLVM\\bin`))];
  }
  if (platform === 'darwin') {
    return [
      ...['/opt/homebrew/opt', '/usr/local/opt'].flatMap((brew) => [
        join(brew, 'llvm/lib'),
        ...subfolders(brew, /^llvm@\d+$/, 'lib'),
      ]),
      ...subfolders('/opt/local/libexec', /^llvm-\d+$/, 'lib'),
    ];
  }
  const triple = { x64: 'x86_64-linux-gnu', arm64: 'aarch64-linux-gnu' }[arch];
  return [
    ...(triple ? [`/usr/lib/${triple}`] : []),
    '/usr/lib64',
    '/usr/lib',
    '/usr/local/lib',
    ...['/usr/lib', '/usr/lib64'].flatMap((parent) => subfolders(parent, /^llvm-?\d+$/, 'lib')),
    ...subfolders('/usr/lib64', /^llvm\d+$/, 'lib64'),
  ];
}

interface Candidate {
  readonly path: string;
  readonly version: readonly number[] | null;
}

/** Names without a version come after all named ones; among named ones, the newest first. */
function newestFirst(a: Candidate, b: Candidate): number {
  if (!a.version || !b.version) return (a.version ? 0 : 1) - (b.version ? 0 : 1);
  for (let i = 0; i < Math.max(a.version.length, b.version.length); i++) {
    const difference = (b.version[i] ?? 0) - (a.version[i] ?? 0);
    if (difference !== 0) return difference;
  }
  return 0;
}

function candidatesIn(folders: readonly string[]): Candidate[] {
  const seen = new Set<string>();
  const found: Candidate[] = [];
  for (const folder of folders) {
    let names: string[];
    try {
      names = readdirSync(folder);
    } catch {
      continue; // not this distribution
    }
    for (const name of names) {
      if (!isLibLlvmName(name)) continue;
      const path = join(folder, name);
      let real: string;
      try {
        real = realpathSync(path);
      } catch {
        continue; // a dangling link, as -dev packages leave them
      }
      if (seen.has(real)) continue;
      seen.add(real);
      found.push({ path: real, version: versionOfFileName(basename(real)) ?? versionOfFileName(name) });
    }
  }
  return found.sort(newestFirst);
}

const tooOld = (version: string): string =>
  `LLVM ${version} is too old: version ${OLDEST_LLVM} or newer is needed (opaque pointers)`;

/** Loads a candidate and asks its version, or says why not. */
function tryLibrary(candidate: Candidate): { version: string } | { reason: string } {
  const named = candidate.version?.join('.');
  if (candidate.version && (candidate.version[0] ?? 0) < OLDEST_LLVM) return { reason: tooOld(named ?? '') };
  let library: LibraryHandle;
  try {
    library = loadLibrary(candidate.path);
  } catch (error) {
    return { reason: `cannot be loaded: ${(error as Error).message}` };
  }
  try {
    library.func('LLVMRunPasses', 'void *', ['void *', 'str', 'void *', 'void *']);
    library.func('LLVMOrcCreateLLJIT', 'void *', ['void *', 'void *']);
  } catch {
    return { reason: 'it lacks LLVMRunPasses or LLVMOrcCreateLLJIT, so it is no libLLVM of version 15 or newer' };
  }
  try {
    const outUint = koffi().out(koffi().pointer('uint'));
    const getVersion = library.func('LLVMGetVersion', 'void', [outUint, outUint, outUint]);
    const [major, minor, patch] = [[0], [0], [0]];
    getVersion(major, minor, patch);
    return { version: [major[0], minor[0], patch[0]].join('.') };
  } catch {
    // LLVMGetVersion came with 16; opaque pointers and the functions above with 15 and before.
    if (named) return { version: named };
    return { reason: `its version is unknown: no number in the file name, and LLVMGetVersion (LLVM 16) is missing` };
  }
}

function llvmConfigFolder(env: Record<string, string | undefined>): string | null {
  const result = spawnSync('llvm-config', ['--libdir'], { env, encoding: 'utf8', timeout: 5000, stdio: 'pipe' });
  const folder = result.status === 0 ? result.stdout.trim() : '';
  return folder && existsSync(folder) ? folder : null;
}

/**
 * The library to use. It has been loaded when this returns it; a library that cannot be loaded is refused and
 * the next is tried. Never throws. With TRELLIS_LIBLLVM set, only that file (or that folder's libraries) counts.
 */
export function findLibLlvm(options: FindOptions = {}): FoundLibrary | MissingLibrary {
  const env = options.env ?? process.env;
  const refused: RefusedLibrary[] = [];
  const pick = (candidates: readonly Candidate[]): FoundLibrary | null => {
    for (const candidate of candidates) {
      if (refused.some((old) => old.path === candidate.path)) continue;
      const outcome = tryLibrary(candidate);
      if ('version' in outcome) {
        if (Number.parseInt(outcome.version, 10) >= OLDEST_LLVM) {
          return { path: candidate.path, version: outcome.version, refused };
        }
        refused.push({ path: candidate.path, reason: tooOld(outcome.version) });
      } else refused.push({ path: candidate.path, reason: outcome.reason });
    }
    return null;
  };
  const reasons = () => refused.map(({ path, reason }) => `${path}: ${reason}`).join('; ');

  const named = env.TRELLIS_LIBLLVM;
  if (named) {
    if (!existsSync(named)) refused.push({ path: named, reason: 'no such file' });
    else {
      const inFolder = candidatesIn([named]);
      const real = realpathSync(named);
      const found = pick(
        inFolder.length > 0
          ? inFolder
          : [{ path: real, version: versionOfFileName(basename(real)) ?? versionOfFileName(basename(named)) }],
      );
      if (found) return found;
    }
    const missing = `TRELLIS_LIBLLVM names a library that cannot be used: ${reasons()}`;
    return { missing, advice: 'correct TRELLIS_LIBLLVM, or unset it to use what is installed', refused };
  }

  const found = pick(candidatesIn(options.folders ?? usualFolders()));
  if (found) return found;
  if (!options.folders) {
    const folder = llvmConfigFolder(env);
    const viaConfig = folder && pick(candidatesIn([folder]));
    if (viaConfig) return viaConfig;
  }
  const missing =
    refused.length === 0
      ? `no libLLVM of version ${OLDEST_LLVM} or newer was found`
      : `no libLLVM here can be used: ${reasons()}`;
  return { missing, advice: `type:  ${installHint()}`, refused };
}

/** The one line to type that installs a libLLVM here, by platform; on Linux by the distribution's /etc/os-release text. */
export function installHint(platform: NodeJS.Platform = process.platform, osRelease?: string): string {
  if (platform === 'darwin') return 'brew install llvm';
  if (platform === 'win32') return 'winget install LLVM.LLVM';
  let release = osRelease ?? '';
  if (osRelease === undefined) {
    try {
      release = readFileSync('/etc/os-release', 'utf8');
    } catch {
      // an unusual system: the general line below
    }
  }
  const ids = [...release.matchAll(/^ID(?:_LIKE)?="?([^"\n]*)"?$/gm)].flatMap((match) => (match[1] ?? '').split(' '));
  const id = (name: string) => ids.includes(name);
  // Ubuntu 22.04 has 15, 24.04 and its successors 18. Its derivatives number themselves, and go with the newer.
  const old = /^ID="?ubuntu/m.test(release) && /^VERSION_ID="?2[0-3]/m.test(release);
  if (id('ubuntu')) return `sudo apt-get install ${old ? 'libllvm15' : 'libllvm18'}`;
  if (id('debian')) return 'sudo apt-get install libllvm19';
  if (id('fedora') || id('rhel')) return 'sudo dnf install llvm-libs';
  if (id('arch')) return 'sudo pacman -S llvm-libs';
  if (id('alpine')) return 'sudo apk add llvm19-libs';
  return `install your system's LLVM library package, version ${OLDEST_LLVM} or newer, or set TRELLIS_LIBLLVM to its path`;
}
