import os from 'node:os';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { driverFor, enterQueue, type Launch, leaveQueue, planBytes, writePlan } from '../../runtime/cpu/driver.js';
import { driverIr, phaseLayout, planLayout } from '../../runtime/cpu/driver-ir.js';
import { LlvmJit, type LoadedObject } from '../../runtime/cpu/jit.js';
import type { NativeFunction } from '../../runtime/cpu/llvm-c.js';
import { addressOf, alignedArray } from '../../runtime/cpu/memory.js';
import { describeLlvm, libraries, llvmMissing, testLlvm } from '../lanes.js';

/**
 * `mark` adds 1 to counts[i] for each of its tasks, after some work that the compiler cannot remove.
 * `ordered` does so only where `mark` has been at all of the first `n` elements: it counts what it finds missing in counts[n].
 */
const kernels = `
define void @mark(ptr %args, i64 %begin, i64 %end) {
entry:
  %counts = load ptr, ptr %args
  %spin.at = getelementptr i64, ptr %args, i64 1
  %spin = load i64, ptr %spin.at
  br label %head
head:
  %i = phi i64 [ %begin, %entry ], [ %i.next, %add ]
  %more = icmp slt i64 %i, %end
  br i1 %more, label %loop, label %done
loop:
  %k = phi i64 [ 0, %head ], [ %k.next, %loop ]
  %unused = load volatile i64, ptr %spin.at
  %k.next = add i64 %k, 1
  %again = icmp slt i64 %k.next, %spin
  br i1 %again, label %loop, label %add
add:
  %at = getelementptr i32, ptr %counts, i64 %i
  %old = load i32, ptr %at
  %new = add i32 %old, 1
  store i32 %new, ptr %at
  %i.next = add i64 %i, 1
  br label %head
done:
  ret void
}

define void @ordered(ptr %args, i64 %begin, i64 %end) {
entry:
  %counts = load ptr, ptr %args
  %n.at = getelementptr i64, ptr %args, i64 2
  %n = load i64, ptr %n.at
  %wrong = getelementptr i32, ptr %counts, i64 %n
  br label %head
head:
  %i = phi i64 [ 0, %entry ], [ %i.next, %next ]
  %more = icmp slt i64 %i, %n
  br i1 %more, label %body, label %done
body:
  %at = getelementptr i32, ptr %counts, i64 %i
  %count = load i32, ptr %at
  %missing = icmp eq i32 %count, 0
  br i1 %missing, label %report, label %next
report:
  %old = atomicrmw add ptr %wrong, i32 1 monotonic
  br label %next
next:
  %i.next = add i64 %i, 1
  br label %head
done:
  ret void
}
`;

let jit: LlvmJit;
let code: LoadedObject;
let mark: bigint;
let ordered: bigint;
let run: NativeFunction;
beforeAll(() => {
  if (llvmMissing !== undefined) return;
  jit = new LlvmJit({ library: libraries[0]! });
  code = jit.load(jit.compile(kernels).object);
  mark = code.lookup('mark');
  ordered = code.lookup('ordered');
  run = driverFor(jit).run;
});
afterAll(() => code?.dispose());

interface Setup {
  readonly elements: number;
  readonly spin?: number;
  readonly threads: number;
  readonly phases: readonly (readonly Launch[])[];
}

/** Native code has only addresses of these; without a reference they would be collected. */
const alive: unknown[] = [];
afterEach(() => {
  alive.length = 0;
});

/** A plan over a fresh array of counts. */
function setUp({ elements, spin = 0, threads, phases }: Setup) {
  const counts = alignedArray('i32', elements + 1);
  const abort = new Int32Array(1);
  const args = new BigUint64Array([addressOf(counts), BigInt(spin), BigInt(elements)]);
  const memory = alignedArray('f64', planBytes(phases.length, phases.flat().length) / 8);
  const words = new BigUint64Array(memory.buffer, memory.byteOffset, memory.length);
  const plan = addressOf(memory);
  const most = writePlan(words, plan, { args: addressOf(args), abort: addressOf(abort), threads, phases });
  alive.push(counts, abort, args, memory);
  return { counts, abort, words, plan, most };
}

const callAsync = (run: NativeFunction, plan: bigint): Promise<number> =>
  new Promise((resolve, reject) => {
    run.async(plan, (error: unknown, result: number) => (error ? reject(error) : resolve(result)));
  });

testLlvm('one driver a JIT', () => expect(driverFor(jit)).toBe(driverFor(jit)));

describeLlvm.each([1, 2, 3, 8])('%i threads', (threads) => {
  test.each([
    [1, 1],
    [1000, 1],
    [1000, 7],
    [1000, 1000],
    [1000, 5000],
    [0, 1],
  ])('each of %i tasks in chunks of %i is run exactly once', (tasks, grain) => {
    const phases = [[{ kernel: mark, tasks, grain }]];
    const { counts, plan, most } = setUp({ elements: 1000, threads, phases });
    expect(most).toBe(Math.ceil(tasks / grain));
    expect(run(plan)).toBe(0);
    expect([...counts]).toEqual(Array.from({ length: 1001 }, (_, i) => (i < tasks ? 1 : 0)));
  });

  test('kernels of a phase share one queue', () => {
    const launch = (tasks: number): Launch => ({ kernel: mark, tasks, grain: 1 });
    const phases = [[launch(10), launch(0), launch(6), launch(3)]];
    // With one thread there are no races on the counts; with more, each kernel gets a place of its own by its phase.
    const { counts, plan } = setUp({ elements: 10, threads: 1, phases });
    expect(run(plan)).toBe(0);
    expect([...counts.subarray(0, 10)]).toEqual([3, 3, 3, 2, 2, 2, 1, 1, 1, 1]);
    const many = setUp({ elements: 10, threads, phases: [[launch(10)], [launch(6)], [], [launch(3)]] });
    expect(run(many.plan)).toBe(0);
    expect([...many.counts.subarray(0, 10)]).toEqual([3, 3, 3, 2, 2, 2, 1, 1, 1, 1]);
  });

  test('a phase begins when the one before has ended, and sees its stores', () => {
    for (let round = 0; round < 50; round++) {
      const phases = [
        [{ kernel: mark, tasks: 64, grain: 1 }],
        [{ kernel: ordered, tasks: 16, grain: 1 }],
        [{ kernel: mark, tasks: 64, grain: 1 }],
        [{ kernel: ordered, tasks: 16, grain: 1 }],
      ];
      const { counts, plan } = setUp({ elements: 64, spin: 50 * round, threads, phases });
      expect(run(plan)).toBe(0);
      expect(counts[64]).toBe(0);
      expect(counts.subarray(0, 64).every((count) => count === 2)).toBe(true);
    }
  });

  test('an abort flag that is set beforehand stops all', () => {
    const phases = [[{ kernel: mark, tasks: 100, grain: 1 }], [{ kernel: mark, tasks: 100, grain: 1 }]];
    const { counts, abort, plan } = setUp({ elements: 100, threads, phases });
    abort[0] = 1;
    expect(run(plan)).toBe(1);
    expect(counts.every((count) => count === 0)).toBe(true);
  });

  test('an abort flag that is set on the way stops soon', async () => {
    const tasks = 1_000_000;
    const phases = [[{ kernel: mark, tasks, grain: 1 }], [{ kernel: mark, tasks, grain: 1 }]];
    const { counts, abort, plan } = setUp({ elements: tasks, spin: 100_000, threads, phases });
    // The flag is set as soon as a task is seen to be done, however long the threads took to start: so the event loop goes on
    // during the call, which without the flag would take minutes.
    let seen = 0;
    const watching = setInterval(() => {
      seen = counts[0]!;
      if (seen > 0) abort[0] = 1;
    }, 1);
    expect(await callAsync(run, plan)).toBe(1);
    clearInterval(watching);
    expect(seen).toBe(1);
    expect(counts[tasks - 1]).toBe(0);
  });
});

describeLlvm('when threads cannot be started', () => {
  const startsOnly = (limit: number): NativeFunction => {
    const text = driverIr()
      .replace('call i32 @pthread_create', 'call i32 @limited_create')
      .concat(`
@started = internal global i32 0
define i32 @limited_create(ptr %a, ptr %b, ptr %c, ptr %d) {
  %count = load i32, ptr @started
  %full = icmp sge i32 %count, ${limit}
  br i1 %full, label %refuse, label %create
refuse:
  ret i32 11
create:
  %more = add i32 %count, 1
  store i32 %more, ptr @started
  %result = call i32 @pthread_create(ptr %a, ptr %b, ptr %c, ptr %d)
  ret i32 %result
}`);
    return jit.load(jit.compile(text).object).func('trellis_run', 'int', ['void *']);
  };

  test.each([0, 1, 3])('%i helpers do the work of 7', (limit) => {
    const phases = [
      [{ kernel: mark, tasks: 64, grain: 1 }],
      [{ kernel: ordered, tasks: 16, grain: 1 }],
      [{ kernel: mark, tasks: 64, grain: 1 }],
    ];
    const { counts, plan } = setUp({ elements: 64, spin: 1000, threads: 8, phases });
    expect(startsOnly(limit)(plan)).toBe(0);
    expect(counts.subarray(0, 64).every((count) => count === 2)).toBe(true);
    expect(counts[64]).toBe(0);
  });
});

describeLlvm('where threads can be placed', () => {
  const canBe = process.platform === 'linux' && os.availableParallelism() > 1;
  const SET = 128;
  /** Stores the set of CPUs that each task's thread may use, after some work, so that all threads have a part. */
  const allowed = `
declare i32 @sched_getaffinity(i32, i64, ptr)
define void @allowed(ptr %args, i64 %begin, i64 %end) {
entry:
  %sets = load ptr, ptr %args
  br label %work
work:
  %k = phi i64 [ 0, %entry ], [ %k.next, %work ]
  %unused = load volatile ptr, ptr %args
  %k.next = add i64 %k, 1
  %again = icmp slt i64 %k.next, 300000
  br i1 %again, label %work, label %ask
ask:
  %offset = mul i64 %begin, ${SET}
  %set = getelementptr i8, ptr %sets, i64 %offset
  %failure = call i32 @sched_getaffinity(i32 0, i64 ${SET}, ptr %set)
  ret void
}`;

  test.runIf(canBe)('helpers are kept off the CPU their caller is on, which stays as free as it was', () => {
    const loaded = jit.load(jit.compile(allowed).object);
    const tasks = 64;
    const sets = (threads: number): Set<bigint> => {
      const phases = [[{ kernel: loaded.lookup('allowed'), tasks, grain: 1 }]];
      const { plan, words } = setUp({ elements: tasks, threads, phases });
      const stored = alignedArray('f64', (tasks * SET) / 8);
      const args = new BigUint64Array([addressOf(stored)]);
      words[0] = addressOf(args);
      alive.push(stored, args);
      expect(run(plan)).toBe(0);
      const bits = new BigUint64Array(stored.buffer, stored.byteOffset, stored.length);
      const set = (task: number): bigint => {
        const own = bits.subarray((task * SET) / 8, ((task + 1) * SET) / 8);
        return own.reduce((all, word, i) => all | (word << BigInt(64 * i)), 0n);
      };
      return new Set(Array.from({ length: tasks }, (_, task) => set(task)));
    };
    const [own, ...none] = sets(1);
    expect(none).toEqual([]);
    // On a busy machine the caller may have done everything before its helper has run.
    let both = sets(2);
    for (let tries = 0; tries < 100 && both.size === 1; tries++) both = sets(2);
    expect(both).toContain(own);
    both.delete(own!);
    // Of the helper's: one CPU less than the caller's. The caller may be moved from one call to the next, so any one.
    const [less, ...more] = both;
    expect(more).toEqual([]);
    expect(less).toBeDefined();
    const missing = own! ^ less!;
    expect(missing & own!).toBe(missing);
    expect(missing.toString(2).replaceAll('0', '')).toBe('1');
    // Helpers that find nothing to do, and end as soon as they are started.
    const idle = setUp({ elements: 2, threads: 2, phases: [[{ kernel: mark, tasks: 2, grain: 1 }]] });
    const next = planLayout.bytes / 8 + phaseLayout.next / 8;
    for (let call = 0; call < 3000; call++) {
      idle.words[next] = 2n;
      run(idle.plan);
    }
    expect(sets(1)).toEqual(new Set([own]));
    // With more helpers than CPUs none is kept anywhere.
    expect(sets(os.availableParallelism() + 1)).toEqual(new Set([own]));
    expect(sets(1)).toEqual(new Set([own]));
    loaded.dispose();
  });
});

testLlvm('more threads than are ever started, or than there are chunks, are not asked for', () => {
  const threadsIn = (threads: number, tasks: number): bigint =>
    setUp({ elements: 1, threads, phases: [[{ kernel: mark, tasks, grain: 1 }]] }).words[2]!;
  expect(threadsIn(4, 100)).toBe(4n);
  expect(threadsIn(4, 3)).toBe(3n);
  expect(threadsIn(4, 0)).toBe(1n);
  expect(threadsIn(100_000, 100_000)).toBe(256n);
});

test('the queue lets a few in, and each that leaves lets one more in', async () => {
  const log: number[] = [];
  const enter = async (n: number): Promise<void> => {
    await enterQueue();
    log.push(n);
  };
  const all = Array.from({ length: 11 }, (_, n) => enter(n));
  await Promise.all(all.slice(0, 8));
  await new Promise((resolve) => setTimeout(resolve, 5));
  expect(log).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
  leaveQueue();
  await all[8];
  expect(log).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8]);
  for (let n = 0; n < 10; n++) leaveQueue();
  await Promise.all(all);
  expect(log).toHaveLength(11);
});
