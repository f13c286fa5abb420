import { spawnSync } from 'node:child_process';
import { beforeAll, expect, test } from 'vitest';
import { driverIr } from '../../runtime/cpu/driver-ir.js';
import { LlvmJit, type TargetOptions, vectorBitsOf } from '../../runtime/cpu/jit.js';
import { LlvmError } from '../../runtime/cpu/llvm-c.js';
import { describeLlvm, libraries } from '../lanes.js';

const arithmetic = `define float @add(float %a, float %b) {
  %c = fadd float %a, %b
  ret float %c
}
declare float @expf(float)
define float @exponential(float %a) {
  %c = call float @expf(float %a)
  ret float %c
}`;

const vectorAdd = `define <4 x float> @twice(<4 x float> %a) {
  %b = fadd <4 x float> %a, %a
  ret <4 x float> %b
}`;

function caught(action: () => unknown): LlvmError {
  try {
    action();
  } catch (error) {
    expect(error).toBeInstanceOf(LlvmError);
    return error as LlvmError;
  }
  throw new Error('nothing was thrown');
}

describeLlvm.each(libraries)('LLVM $version', (library) => {
  const open = (options: TargetOptions = {}): LlvmJit => new LlvmJit({ ...options, library });
  let jit: LlvmJit;
  beforeAll(() => {
    jit = open();
  });

  test('text becomes functions, which may call libm', () => {
    const compiled = jit.compile(arithmetic);
    expect(compiled.optimisedIr).toBeUndefined();
    expect(compiled.assembly).toBeUndefined();
    const code = jit.load(compiled.object);
    expect(code.func('add', 'float', ['float', 'float'])(1.5, 2.25)).toBe(3.75);
    expect(code.func('exponential', 'float', ['float'])(1)).toBeCloseTo(Math.E, 6);
    expect(code.lookup('add')).not.toBe(code.lookup('exponential'));
    code.dispose();
    code.dispose();
    expect(() => code.lookup('add')).toThrow("'add' is looked up in code that has been disposed of");
  });

  test('two objects may define the same symbol', () => {
    const [three, four] = [3, 4].map((n) => jit.load(jit.compile(`define i32 @f() {\n  ret i32 ${n}\n}`).object));
    expect([three, four].map((code) => code!.func('f', 'int', [])())).toEqual([3, 4]);
  });

  test('optimised IR and assembly on request', () => {
    const text = `define i32 @f(i32 %a) {
  %slot = alloca i32
  store i32 %a, ptr %slot
  %b = load i32, ptr %slot
  ret i32 %b
}`;
    const compiled = jit.compile(text, { optimisedIr: true, assembly: true });
    expect(compiled.optimisedIr).toContain('ret i32 %a');
    expect(compiled.optimisedIr).not.toContain('alloca');
    expect(compiled.assembly).toMatch(/^_?f:/m);
    expect(compiled.object.length).toBeGreaterThan(100);
    expect(jit.compile(text, { optimisedIr: true, passes: '' }).optimisedIr).toContain('alloca');
  });

  test('the object does not depend on what else was asked for', () => {
    const text = driverIr();
    const plain = jit.compile(text).object;
    expect(jit.compile(text, { optimisedIr: true, assembly: true }).object).toEqual(plain);
  });

  test('an object made earlier is linked without compiling', () => {
    const { object } = jit.compile(arithmetic);
    const code = open().load(new Uint8Array(object));
    expect(code.func('add', 'float', ['float', 'float'])(1, 2)).toBe(3);
  });

  test('compileAsync gives the same, and the event loop goes on meanwhile', async () => {
    const many = Array.from({ length: 400 }, (_, i) => arithmetic.replaceAll(/@(add|exponential)/g, `@$1${i}`)).join(
      '\n',
    );
    const text = many.replaceAll('declare float @expf(float)\n', '').concat('\ndeclare float @expf(float)\n');
    let ticks = 0;
    const timer = setInterval(() => ticks++, 1);
    const [one, two] = await Promise.all([jit.compileAsync(text), jit.compileAsync(arithmetic)]);
    clearInterval(timer);
    expect(ticks).toBeGreaterThan(0);
    expect(one.object).toEqual(jit.compile(text).object);
    expect(two.object).toEqual(jit.compile(arithmetic).object);
  });

  test('bad text: the message has line and column', () => {
    const error = caught(() => jit.compile('define float @f(float %a) {\n  ret double %a\n}', { name: 'mine.ll' }));
    expect(error.message).toMatch(/^LLVM cannot parse mine\.ll: mine\.ll:2:14: error: '%a' defined with type 'float'/);
    expect(error.llvmMessage).toMatch(/^mine\.ll:2:14: error/);
  });

  test('the verifier, the passes and the code generator report as well', async () => {
    const order = `define i32 @f(i32 %a) {
  %b = add i32 %c, 1
  br label %x
x:
  %c = add i32 %a, 1
  ret i32 %b
}`;
    expect(caught(() => jit.compile(order)).message).toContain('Instruction does not dominate all uses');
    expect(caught(() => jit.compile(arithmetic, { passes: 'default<O9>' })).message).toMatch(
      /LLVM's passes 'default<O9>' on module: .*O9/,
    );
    const assembler = 'define void @f() {\n  call void asm "bogus", ""()\n  ret void\n}';
    expect(caught(() => jit.compile(assembler)).message).toContain('LLVM cannot make code for module');
    await expect(jit.compileAsync(assembler)).rejects.toThrow('LLVM cannot make code for module');
    await expect(jit.compileAsync('nonsense')).rejects.toThrow('module:1:1: error: expected top-level entity');
  });

  test('a missing symbol is named, be it looked up or needed', () => {
    const code = jit.load(
      jit.compile(
        'declare void @nowhere_to_be_found()\ndefine void @f() {\n  call void @nowhere_to_be_found()\n  ret void\n}',
      ).object,
    );
    expect(caught(() => code.lookup('g')).message).toMatch(/symbol 'g': .*not found.*g/i);
    expect(caught(() => code.lookup('f')).message).toContain('nowhere_to_be_found');
  });

  test('what is no object file is an error', () => {
    expect(caught(() => jit.load(new Uint8Array(100)).lookup('f')).message).toMatch(/./);
    expect(caught(() => jit.load(new Uint8Array(0)).lookup('f')).message).toMatch(/./);
  });

  test('code for another CPU has its vector width', () => {
    if (!jit.host.triple.startsWith('x86_64')) return expect(jit.host.vectorBits).toBe(128);
    for (const [cpu, bits] of [
      ['x86-64', 128],
      ['x86-64-v3', 256],
      ['x86-64-v4', 512],
      ['skylake-avx512', 512],
    ] as const) {
      const other = open({ cpu });
      expect(other.target).toMatchObject({ cpu, vectorBits: bits, features: '', scalef: bits === 512 });
      expect(other.host).toEqual(jit.host);
      expect(other.fingerprint).not.toBe(jit.fingerprint);
      other.dispose();
    }
    expect(open({ features: '+avx2' }).target).toMatchObject({ cpu: jit.host.cpu, features: '+avx2' });
  });

  test('an unknown CPU counts as the oldest', () => {
    // In a process of its own, because LLVM remarks on it directly on stderr.
    const source = new URL('../../runtime/cpu/jit.ts', import.meta.url).href;
    const program = `
      const { LlvmJit } = await import(${JSON.stringify(source)});
      const jit = new LlvmJit({ cpu: 'no-such-cpu', library: ${JSON.stringify(library)} });
      console.log(jit.target.vectorBits);`;
    const words = ['--import', 'tsx', '--input-type=module', '--eval', program];
    const { stdout, stderr } = spawnSync(process.execPath, words, { encoding: 'utf8' });
    expect(stdout, stderr).toBe('128\n');
    expect(stderr).toContain("'no-such-cpu' is not a recognized processor");
  });

  test('assembly for a foreign target', () => {
    for (const [triple, line] of [
      ['aarch64-linux-gnu', /fadd\s+v0\.4s, v0\.4s, v0\.4s/],
      ['x86_64-linux-gnu', /addps\s/],
    ] as const) {
      const foreign = open({ triple });
      expect(foreign.target.vectorBits).toBe(128);
      expect(foreign.compile(vectorAdd, { object: false, assembly: true }).assembly).toMatch(line);
    }
    expect(caught(() => open({ triple: 'pdp11-unknown-unix' })).message).toContain("'pdp11-unknown-unix'");
  });

  test("the driver's text for Windows compiles", () => {
    const windows = open({ triple: 'x86_64-pc-windows-msvc' });
    expect(windows.compile(driverIr('win32'), { assembly: true, object: false }).assembly).toContain('CreateThread');
  });

  test('after dispose nothing is compiled, twice is fine', () => {
    const mine = open();
    mine.dispose();
    mine.dispose();
    expect(() => mine.compile(arithmetic)).toThrow('disposed of');
  });

  test('dispose during a compile is refused', async () => {
    const mine = open();
    const compiling = mine.compileAsync(arithmetic);
    expect(() => mine.dispose()).toThrow('is compiling');
    await compiling;
    mine.dispose();
  });
});

test('vector widths of feature lists', () => {
  expect(vectorBitsOf('+sse2,+avx,+avx2,+avx512f')).toBe(512);
  expect(vectorBitsOf('+avx,-avx512f')).toBe(256);
  expect(vectorBitsOf('+sse4.2,-avx')).toBe(128);
  expect(vectorBitsOf('+neon,+fp-armv8')).toBe(128);
  expect(vectorBitsOf('')).toBe(128);
});
