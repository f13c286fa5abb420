/** `trellis doctor`: what was found on this machine, what is missing, and the line to type for it. */
import type { Command } from 'commander';
import { packageVersion } from '../package.js';
import { formatMilliseconds, print, printJson, withProgress } from './output.js';

type State = 'ok' | 'missing' | 'broken';

interface Finding {
  readonly what: string;
  readonly state: State;
  readonly text: string;
  /** Further lines: what was refused, what to type. */
  readonly notes: readonly string[];
  /** For --json. */
  readonly details: Readonly<Record<string, unknown>>;
}

export function addDoctor(trellis: Command): void {
  trellis
    .command('doctor')
    .summary('tell what was found on this machine and what is missing')
    .description('Tells what Trellis found on this machine, what is missing, and the line to type that brings it in.')
    .option('--json', 'print one JSON object: { device, problems, findings: [{ what, state, text, notes, ... }] }')
    .addHelpText(
      'after',
      `
Exit code: 0 when all that is there works, also where libLLVM is missing (the reference device then does the work,
slowly); 1 when something that is there is broken.

The GPU is optional. One that computes on the CPU (software) is used by --device webgpu, and never by auto.

Environment:
  VK_DRIVER_FILES     the Vulkan driver to use where there are several (Linux)
  TRELLIS_LIBLLVM     a libLLVM file, or the folder it lies in, to use instead of searching
  TRELLIS_CACHE_DIR   the folder for compiled kernels

Examples:
  $ trellis doctor
  $ trellis doctor --json | jq -r .device`,
    )
    .action(async (options: { json?: boolean }) => {
      const findings = await withProgress('looking', examine);
      const has = (what: string): Finding | undefined =>
        findings.find((finding) => finding.what === what && finding.state === 'ok');
      const device = has('GPU')?.details.real === true ? 'webgpu' : has('kernels') ? 'cpu' : 'reference';
      const broken = findings.filter((finding) => finding.state === 'broken');
      if (options.json) {
        const rows = findings.map(({ details, ...rest }) => ({ ...rest, ...details }));
        printJson({
          trellis: packageVersion(),
          device,
          problems: broken.map((finding) => finding.what),
          findings: rows,
        });
      } else {
        printForPeople(findings);
        print(`\ndevice auto will use: ${device}`);
      }
      if (broken.length > 0)
        throw new BrokenError(`broken on this machine: ${broken.map((finding) => finding.what).join(', ')}`);
    });
}

/** Something that is there does not work; the report before it says how. */
class BrokenError extends Error {}

function printForPeople(findings: readonly Finding[]): void {
  const signs: Record<State, string> = { ok: 'ok     ', missing: 'missing', broken: 'BROKEN ' };
  const width = Math.max(...findings.map((finding) => finding.what.length));
  for (const { what, state, text, notes } of findings) {
    print(`${signs[state]}  ${what.padEnd(width)}  ${text}`);
    for (const note of notes) print(`${' '.repeat(width + 11)}${note}`);
  }
}

async function examine(): Promise<Finding[]> {
  const findings = [node(), await machine()];
  const library = await libllvm();
  findings.push(...library.findings);
  findings.push(await kernels(library.usable), await frontEnd(), await specs(), await gpu(), await cache());
  return findings;
}

function node(): Finding {
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
  const old = major < 20 || (major === 20 && minor < 19);
  return {
    what: 'Node',
    state: old ? 'broken' : 'ok',
    text: `${process.versions.node} on ${process.platform} ${process.arch}${old ? '; 20.19 or newer is needed' : ''}`,
    notes: [],
    details: { version: process.versions.node, platform: process.platform, arch: process.arch },
  };
}

async function machine(): Promise<Finding> {
  const { availableParallelism, cpus, totalmem } = await import('node:os');
  const model = cpus()[0]?.model.trim() || 'unknown processor';
  const threads = availableParallelism();
  const gibibytes = totalmem() / 2 ** 30;
  return {
    what: 'machine',
    state: 'ok',
    text: `${model}, ${threads} ${threads === 1 ? 'thread' : 'threads'}, ${gibibytes.toFixed(1)} GiB of memory`,
    notes: [],
    details: { model, threads, memoryBytes: totalmem() },
  };
}

interface Library {
  readonly findings: Finding[];
  readonly usable: boolean;
}

/** koffi, which calls native code, and libLLVM, which makes it. */
async function libllvm(): Promise<Library> {
  const { koffi } = await import('../cpu/koffi.js');
  const common = { what: 'koffi', notes: [], details: {} };
  try {
    koffi();
  } catch (error) {
    const text = `cannot be loaded: ${(error as Error).message}`;
    const notes = ['it has no prebuilt binary for this platform, or the packages are incomplete: npm install'];
    return { findings: [{ ...common, state: 'broken', text, notes }], usable: false };
  }
  const nativeCalls: Finding = { ...common, state: 'ok', text: 'native calls work' };
  const module = await import('../cpu/libllvm.js');
  const found = module.findLibLlvm();
  const refused = found.refused.map(({ path, reason }) => `refused ${path}: ${reason}`);
  if ('path' in found) {
    const text = `${found.version}  ${found.path}`;
    const details = { version: found.version, path: found.path, refused: found.refused };
    return { findings: [nativeCalls, { what: 'libLLVM', state: 'ok', text, notes: refused, details }], usable: true };
  }
  const text = `version ${module.OLDEST_LLVM} or newer is needed to compile for the CPU; none was found`;
  const notes = [...refused, found.advice];
  const details = { refused: found.refused, install: module.installHint() };
  return { findings: [nativeCalls, { what: 'libLLVM', state: 'missing', text, notes, details }], usable: false };
}

/** Compiles a function, links it and calls it: the whole way that a kernel goes. */
async function kernels(usable: boolean): Promise<Finding> {
  const what = 'kernels';
  if (!usable) return { what, state: 'missing', text: 'need libLLVM', notes: [], details: {} };
  try {
    const { LlvmJit } = await import('../cpu/jit.js');
    const start = performance.now();
    const jit = new LlvmJit();
    const { object } = jit.compile('define i32 @answer(i32 %x) {\n  %y = mul i32 %x, 6\n  ret i32 %y\n}\n');
    const answer = jit.load(object).func('answer', 'int', ['int'])(7);
    const milliseconds = performance.now() - start;
    if (answer !== 42) throw new Error(`a test function gave ${answer}, not 42`);
    const { cpu, features, vectorBits, triple } = jit.host;
    const telling = ['avx512f', 'avx2', 'fma', 'avx', 'sse4.2', 'neon', 'sve'];
    const has = telling.filter((feature) => features.split(',').includes(`+${feature}`));
    return {
      what,
      state: 'ok',
      text: `${vectorBits}-bit vectors for ${cpu} (${has.join(', ')}); a test function compiled and ran in ${formatMilliseconds(milliseconds)}`,
      notes: [],
      details: { cpu, features: has, vectorBits, triple, milliseconds },
    };
  } catch (error) {
    return { what, state: 'broken', text: (error as Error).message, notes: [], details: {} };
  }
}

/** Limits that decide what fits, in words. */
const tellingLimits: readonly [name: string, what: string, inBytes: boolean][] = [
  ['maxStorageBufferBindingSize', 'tensors of up to', true],
  ['maxComputeInvocationsPerWorkgroup', 'invocations in a workgroup:', false],
  ['maxComputeWorkgroupStorageSize', 'shared memory:', true],
  ['maxStorageBuffersPerShaderStage', 'buffers of a kernel:', false],
];

/** The adapters that WebGPU shows, and whether the one that would be taken gives a device. */
async function gpu(): Promise<Finding> {
  const what = 'GPU';
  const { adapterName, installHint, listAdapters } = await import('../gpu/adapter.js');
  let adapters: Awaited<ReturnType<typeof listAdapters>>;
  try {
    adapters = await listAdapters();
  } catch (error) {
    const text = `WebGPU cannot be used: ${(error as Error).message}`;
    return { what, state: 'missing', text, notes: [], details: { adapters: [], real: false } };
  }
  const [first] = adapters;
  if (first === undefined) {
    const details = { adapters: [], real: false, install: installHint() };
    return { what, state: 'missing', text: 'no adapter was found (optional)', notes: [installHint()], details };
  }
  const notes = adapters.flatMap((adapter) => {
    const limits = tellingLimits.flatMap(([name, words, inBytes]) => {
      const value = adapter.limits[name];
      return value === undefined ? [] : [`${words} ${inBytes ? formatBytes(value) : value}`];
    });
    const [smallest, largest] = adapter.subgroupSizes;
    const features = ['subgroups', 'timestamp-query', 'shader-f16'].filter((name) => adapter.features.includes(name));
    return [
      `${adapterName(adapter)}: ${adapter.software ? 'software, computes on the CPU' : 'a real GPU'}`,
      `  ${limits.join(', ')}`,
      `  features: ${features.join(', ') || 'none of those used'}${largest > 0 ? `; subgroups of ${smallest === largest ? largest : `${smallest} to ${largest}`}` : ''}`,
    ];
  });
  if (first.software) notes.push(`for a real GPU: ${installHint()}`);
  const details = { adapters, real: !first.software };
  try {
    const { openGpuDevice } = await import('../gpu/device.js');
    const start = performance.now();
    const device = await openGpuDevice();
    const milliseconds = performance.now() - start;
    (await device.gpuDevice()).destroy();
    const text = `${adapterName(first)}${first.software ? ', software' : ''}; opened in ${formatMilliseconds(milliseconds)}`;
    return { what, state: 'ok', text, notes, details: { ...details, milliseconds } };
  } catch (error) {
    return { what, state: 'broken', text: `${adapterName(first)}: ${(error as Error).message}`, notes, details };
  }
}

/** '128 MiB', '16 KiB'. */
function formatBytes(bytes: number): string {
  if (bytes >= 2 ** 30) return `${(bytes / 2 ** 30).toFixed(1)} GiB`;
  return bytes >= 2 ** 20 ? `${Math.round(bytes / 2 ** 20)} MiB` : `${Math.round(bytes / 2 ** 10)} KiB`;
}

async function frontEnd(): Promise<Finding> {
  const what = 'front end';
  try {
    const start = performance.now();
    await import('../../compiler/frontend/index.js');
    const milliseconds = performance.now() - start;
    const text = `ts-morph loaded in ${formatMilliseconds(milliseconds)}`;
    return { what, state: 'ok', text, notes: [], details: { milliseconds } };
  } catch (error) {
    return { what, state: 'broken', text: `cannot be loaded: ${(error as Error).message}`, notes: [], details: {} };
  }
}

/** Whether the shipped specs start without the parser. */
async function specs(): Promise<Finding> {
  const what = 'specs';
  const { listSpecs } = await import('../specs.js');
  const { prebuiltFolder, shipped } = await import('../known-specs.js');
  const { existsSync } = await import('node:fs');
  const all = listSpecs();
  const anew = all.filter(({ path }) => shipped(path) === undefined).map(({ name }) => name);
  const built = existsSync(prebuiltFolder);
  const text = !built
    ? `${all.length} shipped; a checkout reads them when they are used`
    : anew.length === 0
      ? `${all.length} shipped, all read when the package was built`
      : `${all.length} shipped; changed since the package was built, so read when used: ${anew.join(', ')}`;
  return { what, state: 'ok', text, notes: [], details: { shipped: all.length, prebuilt: all.length - anew.length } };
}

/** The folder of compiled kernels. One that cannot be written costs time, not results. */
async function cache(): Promise<Finding> {
  const { defaultCacheDirectory, makeFolder } = await import('../cache-store.js');
  const { access, constants, readdir, stat } = await import('node:fs/promises');
  const { join } = await import('node:path');
  const what = 'cache';
  const folder = defaultCacheDirectory();
  try {
    makeFolder(folder);
    await access(folder, constants.W_OK);
    const names = (await readdir(folder)).filter((name) => name.endsWith('.bin'));
    const sizes = await Promise.all(
      names.map(async (name) => (await stat(join(folder, name)).catch(() => null))?.size ?? 0),
    );
    const bytes = sizes.reduce((sum, size) => sum + size, 0);
    const text = `${folder}, ${names.length} compiled ${names.length === 1 ? 'kernel' : 'kernels'}, ${(bytes / 2 ** 20).toFixed(1)} MiB`;
    return { what, state: 'ok', text, notes: [], details: { folder, writable: true, entries: names.length, bytes } };
  } catch (error) {
    const text = `${folder} cannot be used: ${(error as Error).message}`;
    const notes = ['kernels are compiled anew in every process; name another folder in TRELLIS_CACHE_DIR'];
    return { what, state: 'missing', text, notes, details: { folder, writable: false } };
  }
}
