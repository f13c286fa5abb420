/**
 * From LLVM IR text to object code, and from object code to addresses in this process.
 *
 * The two halves are apart on purpose: objects go to the on-disk cache, and a process that finds one there only links it.
 */
import type { HalfInstructions } from '../../compiler/llvm/index.js';
import { koffi } from './koffi.js';
import {
  archOfTriple,
  callbackType,
  check,
  errorText,
  fail,
  initialiseTarget,
  type Llvm,
  LlvmError,
  type NativeFunction,
  newBuffer,
  openLlvm,
  type Pointer,
  takeBuffer,
  takeMessage,
} from './llvm-c.js';

/** What code is made for. */
export interface CpuTarget {
  /** 'x86_64-pc-linux-gnu' */
  readonly triple: string;
  /** LLVM's name: 'znver4', 'x86-64-v3', 'apple-m1'. One that it does not know means the baseline, with a line on stderr. */
  readonly cpu: string;
  /** '+avx2,+fma,...'; empty: those that `cpu` implies. */
  readonly features: string;
  /** Width of the vectors that code for it should use. */
  readonly vectorBits: 128 | 256 | 512;
  /** Which conversions of 16-bit reals it has instructions for. */
  readonly halves: HalfInstructions;
  /** Whether it has AVX-512's instruction for a * 2^n. */
  readonly scalef: boolean;
}

export interface TargetOptions {
  readonly triple?: string;
  readonly cpu?: string;
  readonly features?: string;
}

export interface CompileOptions {
  /** A name for messages; default 'module'. */
  readonly name?: string;
  /** Pass pipeline; default 'default<O3>'. '' runs none. */
  readonly passes?: string;
  /** Return the IR text after the passes as well. */
  readonly optimisedIr?: boolean;
  /** Return assembly text as well. */
  readonly assembly?: boolean;
  /** Default true. Off: for assembly of a foreign target. */
  readonly object?: boolean;
}

export interface Compiled {
  /** Relocatable object file; empty with `object: false`. */
  readonly object: Uint8Array;
  readonly optimisedIr?: string;
  readonly assembly?: string;
}

/** Linked code. It stays valid until disposed of; nothing of it may be running then. */
export interface LoadedObject {
  /** Address of a defined symbol. Throws LlvmError for one that is not there, or that needs one that is not there. */
  lookup(symbol: string): bigint;
  /** A callable for a symbol, with koffi type names: func('add', 'float', ['float', 'float']). Calls are unchecked. */
  func(symbol: string, result: string, args: readonly string[]): NativeFunction;
  dispose(): void;
}

const codegenLevelAggressive = 3;
const relocationPic = 2;
const codeModelDefault = 0;
const fileAssembly = 0;
const fileObject = 1;
const severityError = 0;

/** A native call of a compile: which function, with which arguments. Run on this thread, or on a worker thread. */
type Step = readonly [fn: keyof Llvm, ...args: unknown[]];

/** Vector width that a feature list allows: AVX-512, AVX, or 128 bits (SSE, NEON and all else). */
export function vectorBitsOf(features: string): 128 | 256 | 512 {
  const has = (name: string) => features.split(',').includes(`+${name}`);
  return has('avx512f') ? 512 : has('avx') ? 256 : 128;
}

/** Before this version LLVM does not use the instructions for bfloat16 as an ordinary conversion. */
const firstWithBfloat16 = 18;

/** Of the host, by its features: F16C and AVX512-BF16 on x86, the base instructions on ARM64. */
function halvesOf(triple: string, features: string, version: string): HalfInstructions {
  if (archOfTriple(triple) !== 'X86') return { float16: archOfTriple(triple) === 'AArch64', bfloat16: false };
  const has = (name: string) => features.split(',').includes(`+${name}`);
  const bfloat16 = has('avx512bf16') && has('avx512vl') && Number.parseInt(version, 10) >= firstWithBfloat16;
  return { float16: has('f16c'), bfloat16 };
}

const scalefOf = (triple: string, vectorBits: number): boolean => archOfTriple(triple) === 'X86' && vectorBits === 512;

export class LlvmJit {
  readonly llvm: Llvm;
  /** The machine this process runs on. */
  readonly host: CpuTarget;
  /** What `compile` makes code for: the host, unless options said otherwise. */
  readonly target: CpuTarget;
  #machine: Pointer;
  #running = 0;
  #disposed = false;

  /** Throws an Error where there is no libLLVM, and LlvmError for a target it cannot make code for. */
  constructor(options: TargetOptions & { library?: { path: string; version: string } } = {}) {
    const llvm = openLlvm(options.library);
    this.llvm = llvm;
    // Sorted, because the library lists them in no particular order and they are part of cache keys.
    const features = takeMessage(llvm, llvm.LLVMGetHostCPUFeatures()).split(',').sort().join(',');
    const hostTriple = takeMessage(llvm, llvm.LLVMGetDefaultTargetTriple());
    this.host = {
      triple: hostTriple,
      cpu: takeMessage(llvm, llvm.LLVMGetHostCPUName()),
      features,
      vectorBits: vectorBitsOf(features),
      halves: halvesOf(hostTriple, features, llvm.version),
      scalef: scalefOf(hostTriple, vectorBitsOf(features)),
    };
    const triple = options.triple ?? this.host.triple;
    const foreign = options.triple !== undefined && options.triple !== this.host.triple;
    const named = foreign || options.cpu !== undefined || options.features !== undefined;
    const target = {
      triple,
      cpu: options.cpu ?? (foreign ? 'generic' : this.host.cpu),
      features: options.features ?? (named ? '' : features),
      vectorBits: this.host.vectorBits,
      halves: this.host.halves,
      scalef: this.host.scalef,
    };
    this.#machine = newMachine(llvm, target);
    this.target = target;
    if (!named) return;
    const vectorBits = this.#probeVectorBits(target);
    this.target = { ...target, vectorBits, halves: this.#probeHalves(), scalef: scalefOf(triple, vectorBits) };
  }

  /** All that decides what code comes out for a given text, for cache keys. */
  get fingerprint(): string {
    const { triple, cpu, features } = this.target;
    return `llvm ${this.llvm.version}; ${triple}; ${cpu}; ${features}`;
  }

  /** IR text to object code on the calling thread. Throws LlvmError with LLVM's message (line and column for bad text). */
  compile(irText: string, options: CompileOptions = {}): Compiled {
    const steps = this.#compileSteps(irText, options);
    let state = steps.next();
    while (!state.done) {
      const [name, ...args] = state.value;
      const fn = this.llvm[name] as (...args: unknown[]) => unknown;
      state = steps.next(fn(...args));
    }
    return state.value;
  }

  /** The same with LLVM's work on a worker thread, so the event loop goes on. */
  async compileAsync(irText: string, options: CompileOptions = {}): Promise<Compiled> {
    const steps = this.#compileSteps(irText, options);
    this.#running++;
    try {
      let state = steps.next();
      while (!state.done) {
        const [name, ...args] = state.value;
        const fn = this.llvm[name] as { async(...args: unknown[]): void };
        const result = await new Promise((resolve, reject) => {
          fn.async(...args, (error: unknown, value: unknown) => (error ? reject(error) : resolve(value)));
        });
        state = steps.next(result);
      }
      return state.value;
    } finally {
      steps.return(undefined as never); // disposes of the module where a step threw
      this.#running--;
    }
  }

  /** The long native calls are yielded, so that the two callers above share one body. */
  *#compileSteps(irText: string, options: CompileOptions): Generator<Step, Compiled, unknown> {
    if (this.#disposed) throw new Error('this LlvmJit has been disposed of');
    const { llvm } = this;
    const name = options.name ?? 'module';
    const context: Pointer = llvm.LLVMContextCreate();
    // Without a handler, LLVM prints a code generation error and ends the process.
    const problems: string[] = [];
    const handler = koffi().register((info: Pointer) => {
      const isError = llvm.LLVMGetDiagInfoSeverity(info) === severityError;
      const text = takeMessage(llvm, llvm.LLVMGetDiagInfoDescription(info));
      if (isError) problems.push(text);
    }, callbackType());
    llvm.LLVMContextSetDiagnosticHandler(context, handler, null);
    let module: Pointer = null;
    try {
      const message: Pointer[] = [null];
      const slot: Pointer[] = [null];
      const text = newBuffer(llvm, Buffer.from(irText), name);
      // Takes the buffer, also where it fails.
      const parsed = yield ['LLVMParseIRInContext', context, text, slot, message];
      if (parsed !== 0) fail(`LLVM cannot parse ${name}`, takeMessage(llvm, message[0] ?? null));
      module = slot[0] ?? null;
      message[0] = null;
      if (llvm.LLVMVerifyModule(module, 2 /* report, do not abort */, message) !== 0) {
        fail(`LLVM's verifier refuses ${name}`, takeMessage(llvm, message[0] ?? null));
      }
      takeMessage(llvm, message[0] ?? null);

      const machine = this.#machine;
      const layout: Pointer = llvm.LLVMCreateTargetDataLayout(machine);
      llvm.LLVMSetModuleDataLayout(module, layout);
      llvm.LLVMDisposeTargetData(layout);
      llvm.LLVMSetTarget(module, this.target.triple);

      const passes = options.passes ?? 'default<O3>';
      if (passes) {
        const passOptions: Pointer = llvm.LLVMCreatePassBuilderOptions();
        const error = (yield ['LLVMRunPasses', module, passes, machine, passOptions]) as Pointer;
        llvm.LLVMDisposePassBuilderOptions(passOptions);
        check(llvm, error, `LLVM's passes '${passes}' on ${name}`);
      }
      const result: { object: Uint8Array; optimisedIr?: string; assembly?: string } = { object: new Uint8Array(0) };
      if (options.optimisedIr) result.optimisedIr = takeMessage(llvm, llvm.LLVMPrintModuleToString(module));

      const emit = function* (from: Pointer, kind: number): Generator<Step, Uint8Array, unknown> {
        const buffer: Pointer[] = [null];
        message[0] = null;
        const failed = yield ['LLVMTargetMachineEmitToMemoryBuffer', machine, from, kind, message, buffer];
        const doing = `LLVM cannot make code for ${name}`;
        if (failed !== 0) fail(doing, takeMessage(llvm, message[0] ?? null));
        const bytes = takeBuffer(llvm, buffer[0] ?? null);
        if (problems.length > 0) fail(doing, problems.join('\n'));
        return bytes;
      };
      if (options.assembly) {
        // Code generation rewrites the module, so each kind of output gets its own.
        const copy: Pointer = options.object === false ? module : llvm.LLVMCloneModule(module);
        try {
          result.assembly = Buffer.from(yield* emit(copy, fileAssembly)).toString();
        } finally {
          if (copy !== module) llvm.LLVMDisposeModule(copy);
        }
      }
      if (options.object !== false) result.object = yield* emit(module, fileObject);
      return result;
    } finally {
      if (module !== null) llvm.LLVMDisposeModule(module);
      llvm.LLVMContextDispose(context);
      koffi().unregister(handler);
    }
  }

  /** Links an object file made for this host into the process. Symbols it lacks are looked for in the process (libc, libm). */
  load(object: Uint8Array): LoadedObject {
    const { llvm } = this;
    const arch = archOfTriple(this.host.triple);
    if (!arch || !initialiseTarget(llvm, arch)) {
      throw new LlvmError(`this libLLVM has no code generator for ${this.host.triple}`, '');
    }
    const slot: Pointer[] = [null];
    check(llvm, llvm.LLVMOrcCreateLLJIT(slot, null), 'LLVM cannot start its JIT');
    const jit = slot[0] ?? null;
    // What ORC would print to stderr becomes part of the error.
    const reports: string[] = [];
    const reporter = koffi().register((_context: Pointer, error: Pointer) => {
      reports.push(errorText(llvm, error));
    }, callbackType());
    let live = true;
    const dispose = () => {
      if (!live) return;
      live = false;
      const error: Pointer = llvm.LLVMOrcDisposeLLJIT(jit);
      koffi().unregister(reporter);
      check(llvm, error, 'LLVM cannot dispose of its JIT');
    };
    try {
      llvm.LLVMOrcExecutionSessionSetErrorReporter(llvm.LLVMOrcLLJITGetExecutionSession(jit), reporter, null);
      const dylib: Pointer = llvm.LLVMOrcLLJITGetMainJITDylib(jit);
      const generator: Pointer[] = [null];
      check(
        llvm,
        llvm.LLVMOrcCreateDynamicLibrarySearchGeneratorForProcess(
          generator,
          llvm.LLVMOrcLLJITGetGlobalPrefix(jit),
          null,
          null,
        ),
        "LLVM cannot search this process's symbols",
      );
      llvm.LLVMOrcJITDylibAddGenerator(dylib, generator[0]);
      const buffer = newBuffer(llvm, object, 'object');
      check(llvm, llvm.LLVMOrcLLJITAddObjectFile(jit, dylib, buffer), 'LLVM cannot link the object');
    } catch (error) {
      dispose();
      throw error;
    }
    return {
      func(symbol, result, args) {
        return koffi().decode(this.lookup(symbol), koffi().proto(result, [...args])) as NativeFunction;
      },
      lookup(symbol) {
        if (!live) throw new Error(`symbol '${symbol}' is looked up in code that has been disposed of`);
        const address: (number | bigint)[] = [0];
        reports.length = 0;
        const error: Pointer = llvm.LLVMOrcLLJITLookup(jit, address, symbol);
        if (error !== null) fail(`symbol '${symbol}'`, [errorText(llvm, error), ...reports].join('; '));
        return BigInt(address[0] ?? 0);
      },
      dispose,
    };
  }

  /** Frees the target machine. Loaded objects live on. Throws while a compileAsync is running. */
  dispose(): void {
    if (this.#running > 0) throw new Error('this LlvmJit is compiling and cannot be disposed of now');
    if (this.#disposed) return;
    this.#disposed = true;
    this.llvm.LLVMDisposeTargetMachine(this.#machine);
    this.#machine = null;
  }

  /** Which vector registers code for a named CPU uses: asked of LLVM itself, by compiling an addition of 512 bits. */
  #probeVectorBits(target: { triple: string }): 128 | 256 | 512 {
    if (archOfTriple(target.triple) !== 'X86') return 128;
    const text = this.compile(
      `define void @probe(ptr %p) "prefer-vector-width"="512" "min-legal-vector-width"="512" {
  %x = load <16 x float>, ptr %p
  %y = fadd <16 x float> %x, %x
  store <16 x float> %y, ptr %p
  ret void
}`,
      { assembly: true, object: false, passes: '' },
    ).assembly;
    return text?.includes('%zmm') ? 512 : text?.includes('%ymm') ? 256 : 128;
  }

  /** Without instructions for it, a conversion is a call of a function whose name begins with two underscores. */
  #probeHalves(): HalfInstructions {
    const probe = (type: string): string | undefined =>
      this.compile(
        `define void @probe(ptr %p) {
  %half = load <4 x ${type}>, ptr %p
  %real = fpext <4 x ${type}> %half to <4 x float>
  %sum = fadd <4 x float> %real, %real
  %back = fptrunc <4 x float> %sum to <4 x ${type}>
  store <4 x ${type}> %back, ptr %p
  ret void
}`,
        { assembly: true, object: false, passes: '' },
      ).assembly;
    const float16 = !/\b__(extendhf|truncsf|gnu_)/.test(probe('half') ?? '__gnu_');
    const bfloat16 = Number.parseInt(this.llvm.version, 10) >= firstWithBfloat16;
    return { float16, bfloat16: bfloat16 && /\bvcvtneps2bf16/.test(probe('bfloat') ?? '') };
  }
}

function newMachine(llvm: Llvm, target: Omit<CpuTarget, 'vectorBits' | 'halves' | 'scalef'>): Pointer {
  const arch = archOfTriple(target.triple);
  if (!arch || !initialiseTarget(llvm, arch)) {
    throw new LlvmError(`the library ${llvm.path} makes no code for the target '${target.triple}'`, '');
  }
  const slot: Pointer[] = [null];
  const message: Pointer[] = [null];
  if (llvm.LLVMGetTargetFromTriple(target.triple, slot, message) !== 0) {
    fail(`target '${target.triple}'`, takeMessage(llvm, message[0] ?? null));
  }
  const { triple, cpu } = target;
  // A CPU that this LLVM does not know counts as the oldest one; without this LLVM would then end the process.
  const long = triple.startsWith('x86_64') && !target.features.includes('+64bit');
  const features = long ? [target.features, '+64bit'].filter(Boolean).join(',') : target.features;
  const machine: Pointer = llvm.LLVMCreateTargetMachine(
    slot[0],
    triple,
    cpu,
    features,
    codegenLevelAggressive,
    relocationPic,
    codeModelDefault,
  );
  if (machine === null) throw new LlvmError(`the target '${triple}' with CPU '${cpu}' cannot be set up`, '');
  return machine;
}
