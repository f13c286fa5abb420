/**
 * The part of LLVM's C API that is used, declared for koffi, with its error conventions turned into exceptions.
 *
 * Only functions that LLVM 15 and the newest release share. ORC's thread-safe contexts and modules, whose API changed
 * with LLVM 21, are avoided: modules become object files, and object files are what the JIT is given.
 */
import type { LibraryHandle, TypeObject } from 'koffi';
import { koffi } from './koffi.js';
import { findLibLlvm, loadLibrary } from './libllvm.js';

/** What LLVM said about IR it was given, or about a request it cannot serve. */
export class LlvmError extends Error {
  override readonly name = 'LlvmError';
  constructor(
    message: string,
    /** LLVM's own message, with line and column where it is about IR text. */
    readonly llvmMessage: string,
  ) {
    super(message);
  }
}

/** A pointer into native memory; null is NULL. */
export type Pointer = bigint | null;

/** A function of koffi's: called as it is, or on a worker thread through `.async`, whose last argument is a callback. */
export type NativeFunction = ReturnType<LibraryHandle['func']>;

/** Types that have no spelling of their own in koffi; made when the library is opened. */
const out = 'out pointer';
const outAddress = 'out address';
const diagnosticHandler = 'diagnostic handler';
const p = 'void *';
type Prototype = readonly [result: string, args: readonly string[]];

let callback: TypeObject | undefined;
/** void (*)(void *, void *): what LLVM calls back with. */
export function callbackType(): TypeObject {
  callback ??= koffi().pointer(koffi().proto('void', ['void *', 'void *'])) as unknown as TypeObject;
  return callback;
}

const prototypes = {
  LLVMContextCreate: [p, []],
  LLVMContextDispose: ['void', [p]],
  LLVMContextSetDiagnosticHandler: ['void', [p, diagnosticHandler, p]],
  LLVMGetDiagInfoDescription: [p, [p]],
  LLVMGetDiagInfoSeverity: ['int', [p]],
  LLVMCreateMemoryBufferWithMemoryRangeCopy: [p, [p, 'size_t', 'str']],
  LLVMDisposeMemoryBuffer: ['void', [p]],
  LLVMGetBufferStart: [p, [p]],
  LLVMGetBufferSize: ['size_t', [p]],
  LLVMParseIRInContext: ['int', [p, p, out, out]],
  LLVMVerifyModule: ['int', [p, 'int', out]],
  LLVMDisposeModule: ['void', [p]],
  LLVMCloneModule: [p, [p]],
  LLVMSetTarget: ['void', [p, 'str']],
  LLVMSetModuleDataLayout: ['void', [p, p]],
  LLVMPrintModuleToString: [p, [p]],
  LLVMDisposeMessage: ['void', [p]],
  LLVMGetDefaultTargetTriple: [p, []],
  LLVMGetHostCPUName: [p, []],
  LLVMGetHostCPUFeatures: [p, []],
  LLVMGetTargetFromTriple: ['int', ['str', out, out]],
  LLVMCreateTargetMachine: [p, [p, 'str', 'str', 'str', 'int', 'int', 'int']],
  LLVMDisposeTargetMachine: ['void', [p]],
  LLVMCreateTargetDataLayout: [p, [p]],
  LLVMDisposeTargetData: ['void', [p]],
  LLVMTargetMachineEmitToMemoryBuffer: ['int', [p, p, 'int', out, out]],
  LLVMCreatePassBuilderOptions: [p, []],
  LLVMDisposePassBuilderOptions: ['void', [p]],
  LLVMRunPasses: [p, [p, 'str', p, p]],
  LLVMGetErrorMessage: [p, [p]],
  LLVMDisposeErrorMessage: ['void', [p]],
  LLVMOrcCreateLLJIT: [p, [out, p]],
  LLVMOrcDisposeLLJIT: [p, [p]],
  LLVMOrcLLJITGetMainJITDylib: [p, [p]],
  LLVMOrcLLJITGetGlobalPrefix: ['char', [p]],
  LLVMOrcLLJITGetExecutionSession: [p, [p]],
  LLVMOrcExecutionSessionSetErrorReporter: ['void', [p, diagnosticHandler, p]],
  LLVMOrcLLJITAddObjectFile: [p, [p, p, p]],
  LLVMOrcLLJITLookup: [p, [p, outAddress, 'str']],
  LLVMOrcCreateDynamicLibrarySearchGeneratorForProcess: [p, [out, 'char', p, p]],
  LLVMOrcJITDylibAddGenerator: ['void', [p, p]],
} as const satisfies Record<string, Prototype>;

type Functions = { readonly [name in keyof typeof prototypes]: NativeFunction };

/** An opened libLLVM: its functions by name, and its text and error conventions. */
export interface Llvm extends Functions {
  readonly path: string;
  readonly version: string;
  readonly library: LibraryHandle;
}

const opened = new Map<string, Llvm>();

/**
 * Opens the library at `path` (default: the one findLibLlvm picks), once per process.
 * Throws an Error saying what is missing where there is none.
 */
export function openLlvm(where?: { path: string; version: string }): Llvm {
  let place = where;
  if (!place) {
    const found = findLibLlvm();
    if ('missing' in found) throw new Error(found.missing);
    place = found;
  }
  const { path, version } = place;
  let llvm = opened.get(path);
  if (!llvm) {
    const library = loadLibrary(path);
    const functions: Record<string, NativeFunction> = {};
    const made: Record<string, TypeObject> = {
      [out]: koffi().out(koffi().pointer('void *')) as unknown as TypeObject,
      [outAddress]: koffi().out(koffi().pointer('uint64')) as unknown as TypeObject,
      [diagnosticHandler]: callbackType(),
    };
    for (const [name, [result, args]] of Object.entries(prototypes as Record<string, Prototype>)) {
      functions[name] = library.func(
        name,
        result,
        args.map((type) => made[type] ?? type),
      );
    }
    llvm = { ...(functions as unknown as Functions), path, version, library };
    opened.set(path, llvm);
  }
  return llvm;
}

/** A C string that LLVM allocated: its text; the string is freed. */
export function takeMessage(llvm: Llvm, message: Pointer): string {
  if (message === null) return '';
  const text: string = koffi().decode.string(message);
  llvm.LLVMDisposeMessage(message);
  return text;
}

/** Consumes an LLVMErrorRef: null is success, else throws. */
export function check(llvm: Llvm, error: Pointer, doing: string): void {
  if (error !== null) fail(doing, errorText(llvm, error));
}

/** Consumes an LLVMErrorRef that is not null. */
export function errorText(llvm: Llvm, error: Pointer): string {
  const message: Pointer = llvm.LLVMGetErrorMessage(error);
  if (message === null) return 'unknown error';
  const text: string = koffi().decode.string(message);
  llvm.LLVMDisposeErrorMessage(message);
  return text;
}

export function fail(doing: string, message: string): never {
  throw new LlvmError(`${doing}: ${message.trimEnd()}`, message.trimEnd());
}

/** Copies a memory buffer's bytes out and disposes of it. */
export function takeBuffer(llvm: Llvm, buffer: Pointer): Uint8Array {
  const size = Number(llvm.LLVMGetBufferSize(buffer));
  const start: Pointer = llvm.LLVMGetBufferStart(buffer);
  const bytes: Uint8Array = size === 0 ? new Uint8Array(0) : koffi().decode(start, 'uint8_t', size);
  llvm.LLVMDisposeMemoryBuffer(buffer);
  return bytes;
}

/** A memory buffer holding a copy of `bytes`; whoever it is given to disposes of it. */
export function newBuffer(llvm: Llvm, bytes: Uint8Array, name: string): Pointer {
  return llvm.LLVMCreateMemoryBufferWithMemoryRangeCopy(bytes, bytes.length, name);
}

export type CpuArch = 'X86' | 'AArch64' | 'RISCV' | 'LoongArch' | 'PowerPC' | 'SystemZ' | 'ARM';

/** LLVM's name for the backend of a target triple, or null for one that is not looked after here. */
export function archOfTriple(triple: string): CpuArch | null {
  const arch = triple.split('-')[0] ?? '';
  if (/^(x86_64|i[3-6]86|amd64)/.test(arch)) return 'X86';
  if (/^(aarch64|arm64)/.test(arch)) return 'AArch64';
  if (/^riscv/.test(arch)) return 'RISCV';
  if (/^loongarch/.test(arch)) return 'LoongArch';
  if (/^(powerpc|ppc)/.test(arch)) return 'PowerPC';
  if (/^(s390x|systemz)/.test(arch)) return 'SystemZ';
  if (/^(arm|thumb)/.test(arch)) return 'ARM';
  return null;
}

const initialised = new Set<string>();

/** Registers a backend with the library; false where the library was built without it. */
export function initialiseTarget(llvm: Llvm, arch: CpuArch): boolean {
  const key = `${arch} ${llvm.path}`;
  if (initialised.has(key)) return true;
  try {
    for (const part of ['TargetInfo', 'Target', 'TargetMC', 'AsmPrinter', 'AsmParser']) {
      llvm.library.func(`LLVMInitialize${arch}${part}`, 'void', [])();
    }
  } catch {
    return false;
  }
  initialised.add(key);
  return true;
}
