import { mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, test } from 'vitest';
import { findLibLlvm, installHint, isLibLlvmName, usualFolders, versionOfFileName } from '../../runtime/cpu/libllvm.js';
import { libraries, testLlvm } from '../lanes.js';

const made: string[] = [];
const folder = (): string => {
  const path = mkdtempSync(join(tmpdir(), 'trellis-lib-'));
  made.push(path);
  return path;
};
afterEach(() => {
  for (const path of made.splice(0)) rmSync(path, { recursive: true });
});

describe('names', () => {
  test.each([
    ['libLLVM.so.19.1', [19, 1]],
    ['libLLVM.so.20.1', [20, 1]],
    ['libLLVM-15.so.1', [15]],
    ['libLLVM-15.so', [15]],
    ['libLLVM-14.0.6.so.1', [14, 0, 6]],
    ['libLLVM-17.dylib', [17]],
    ['libLLVM.so', null],
    ['libLLVM.so.1', null],
    ['libLLVM.dylib', null],
    ['LLVM-C.dll', null],
  ])('%s', (name, version) => {
    expect(isLibLlvmName(name)).toBe(true);
    expect(versionOfFileName(name)).toEqual(version);
  });

  test.each(['libLLVMCore.a', 'libLLVMSupport.so', 'libLLVM.a', 'libLLVM.so.19.1-rust-1.83.0-stable', 'LTO.dll'])(
    '%s is not the library',
    (name) => expect(isLibLlvmName(name)).toBe(false),
  );
});

describe('search', () => {
  testLlvm('finds a library here, with its version', () => {
    const found = findLibLlvm();
    if ('missing' in found) throw new Error(found.missing);
    expect(Number.parseInt(found.version, 10)).toBeGreaterThanOrEqual(15);
  });

  testLlvm('takes the newest of a folder that can be loaded, and says why not the others', () => {
    const [usable] = libraries;
    const place = folder();
    writeFileSync(join(place, 'libLLVM-14.so.1'), 'old');
    writeFileSync(join(place, 'libLLVM.so.99.1'), 'no library at all');
    symlinkSync(usable!.path, join(place, 'libLLVM.so'));
    symlinkSync(join(place, 'gone'), join(place, 'libLLVM.so.98.1'));
    const found = findLibLlvm({ env: {}, folders: [place, join(place, 'missing')] });
    if ('missing' in found) throw new Error(found.missing);
    expect(found.path).toBe(usable!.path);
    expect(found.version).toBe(usable!.version);
    expect(found.refused).toHaveLength(1);
    expect(found.refused[0]!.path).toBe(join(place, 'libLLVM.so.99.1'));
    expect(found.refused[0]!.reason).toMatch(/^cannot be loaded: .*(libLLVM|invalid|file too short)/);
  });

  test('refuses what is too old without loading it', () => {
    const place = folder();
    writeFileSync(join(place, 'libLLVM-14.so.1'), '');
    const found = findLibLlvm({ env: {}, folders: [place] });
    expect(found).toMatchObject({
      missing: expect.stringContaining('LLVM 14 is too old: version 15 or newer is needed (opaque pointers)'),
      refused: [{ path: join(place, 'libLLVM-14.so.1') }],
    });
  });

  testLlvm('TRELLIS_LIBLLVM decides alone: a file, a folder, or an error', () => {
    const [usable] = libraries;
    expect(findLibLlvm({ env: { TRELLIS_LIBLLVM: usable!.path } })).toMatchObject({ path: usable!.path });

    const place = folder();
    symlinkSync(usable!.path, join(place, 'libLLVM.so'));
    expect(findLibLlvm({ env: { TRELLIS_LIBLLVM: place } })).toMatchObject({ path: usable!.path });

    const nowhere = join(place, 'nowhere.so');
    expect(findLibLlvm({ env: { TRELLIS_LIBLLVM: nowhere } })).toMatchObject({
      missing: `TRELLIS_LIBLLVM names a library that cannot be used: ${nowhere}: no such file`,
      advice: 'correct TRELLIS_LIBLLVM, or unset it to use what is installed',
    });
  });

  test('another library of that name is refused', () => {
    const report = process.report.getReport() as unknown as { sharedObjects: string[] };
    const libc = report.sharedObjects.find((path) => /libc\.|libSystem|ntdll|ld-musl/.test(path));
    expect(libc).toBeDefined();
    const found = findLibLlvm({ env: { TRELLIS_LIBLLVM: libc } });
    expect(found).toMatchObject({ missing: expect.stringContaining('it lacks LLVMRunPasses') });
  });

  test('looks where each platform puts it', () => {
    expect(usualFolders('linux', 'x64')).toContain('/usr/lib/x86_64-linux-gnu');
    expect(usualFolders('linux', 'arm64')).toContain('/usr/lib/aarch64-linux-gnu');
    expect(usualFolders('linux', 'x64')).toContain('/usr/lib64');
    expect(usualFolders('darwin', 'arm64')).toContain('/opt/homebrew/opt/llvm/lib');
    expect(usualFolders('win32', 'x64')).toContain('C:\\Program Files\\LLVM\\bin');
  });
});

test.each([
  ['linux', 'ID=debian\nVERSION_ID="12"\n', 'sudo apt-get install libllvm19'],
  ['linux', 'NAME="Ubuntu"\nID=ubuntu\nID_LIKE=debian\nVERSION_ID="24.04"\n', 'sudo apt-get install libllvm18'],
  ['linux', 'ID=ubuntu\nID_LIKE=debian\nVERSION_ID="22.04"\n', 'sudo apt-get install libllvm15'],
  ['linux', 'ID=linuxmint\nID_LIKE="ubuntu debian"\nVERSION_ID="22"\n', 'sudo apt-get install libllvm18'],
  ['linux', 'ID=fedora\n', 'sudo dnf install llvm-libs'],
  ['linux', 'ID="rocky"\nID_LIKE="rhel centos fedora"\n', 'sudo dnf install llvm-libs'],
  ['linux', 'ID=arch\n', 'sudo pacman -S llvm-libs'],
  ['linux', 'ID=alpine\n', 'sudo apk add llvm19-libs'],
  ['darwin', '', 'brew install llvm'],
  ['win32', '', 'winget install LLVM.LLVM'],
  ['linux', 'ID=nixos\n', /TRELLIS_LIBLLVM/],
] as const)('what to type on %s %j', (platform, release, line) => {
  expect(installHint(platform, release)).toMatch(line);
});
