/**
 * The parallel driver, as LLVM IR text: it is compiled by the same JIT as the kernels it runs.
 *
 * One call runs a whole plan. It starts `threads - 1` threads, works itself, and joins them before it returns, so nothing
 * stays behind between calls: no pool that idles, spins or wants disposing. Phases are parted by a barrier (a mutex and
 * a condition variable: waiting threads sleep). Within a phase threads take chunks of tasks off one atomic counter, so
 * a ragged batch balances itself.
 *
 * On Linux a helper may run on every CPU of the caller's but the one where the caller is at its start. A scheduler that
 * places a new thread beside its maker leaves it there, waiting, until it balances its queues, which takes as long as
 * a whole call.
 */

/** Byte offsets of the plan's fields; see `driverIr` for what each is. */
export const planLayout = {
  args: 0,
  abort: 8,
  threads: 16,
  phases: 24,
  phaseCount: 32,
  /** The driver's own from here on. */
  present: 64,
  arrived: 72,
  generation: 80,
  mutex: 128,
  condition: 384,
  bytes: 640,
} as const;

/** One phase. The counter has a cache line of its own: every thread writes it. */
export const phaseLayout = { launches: 0, chunks: 8, next: 64, bytes: 128 } as const;

/** One kernel of a phase: tasks [0, tasks) in `chunks` chunks of `grain`. */
export const launchLayout = { kernel: 0, tasks: 8, grain: 16, chunks: 24, bytes: 32 } as const;

/** More are never started: their handles lie on the stack. */
export const MOST_THREADS = 256;

interface ThreadApi {
  /** Declarations of what is called. */
  readonly declarations: string;
  /** Return type of a thread's entry, and what it returns. */
  readonly entryType: string;
  readonly entryResult: string;
  readonly init: string;
  readonly lock: string;
  readonly unlock: string;
  readonly wait: string;
  readonly wake: string;
  /** Starts `@worker` with %plan; leaves i1 %started and the handle in %handle. */
  readonly start: string;
  /** Waits for the end of %handle. */
  readonly join: string;
  readonly destroy: string;
  /** Leaves in %set where `%helpers` new threads may run, and in i1 %apart whether they are to be told. */
  readonly survey: string;
  /** Tells so the thread just started. */
  readonly place: string;
  /** What a thread does before it ends. */
  readonly end: string;
}

const posix: ThreadApi = {
  declarations: `declare i32 @pthread_create(ptr, ptr, ptr, ptr)
declare i32 @pthread_join(i64, ptr)
declare i32 @pthread_mutex_init(ptr, ptr)
declare i32 @pthread_mutex_lock(ptr)
declare i32 @pthread_mutex_unlock(ptr)
declare i32 @pthread_mutex_destroy(ptr)
declare i32 @pthread_cond_init(ptr, ptr)
declare i32 @pthread_cond_wait(ptr, ptr)
declare i32 @pthread_cond_broadcast(ptr)
declare i32 @pthread_cond_destroy(ptr)`,
  entryType: 'ptr',
  entryResult: 'ptr null',
  init: `  call i32 @pthread_mutex_init(ptr %mutex, ptr null)
  call i32 @pthread_cond_init(ptr %condition, ptr null)`,
  lock: '  call i32 @pthread_mutex_lock(ptr %mutex)',
  unlock: '  call i32 @pthread_mutex_unlock(ptr %mutex)',
  wait: '  call i32 @pthread_cond_wait(ptr %condition, ptr %mutex)',
  wake: '  call i32 @pthread_cond_broadcast(ptr %condition)',
  start: `  %failure = call i32 @pthread_create(ptr %slot, ptr null, ptr @worker, ptr %plan)
  %started = icmp eq i32 %failure, 0`,
  join: '  call i32 @pthread_join(i64 %handle, ptr null)',
  destroy: `  call i32 @pthread_cond_destroy(ptr %condition)
  call i32 @pthread_mutex_destroy(ptr %mutex)`,
  survey: '',
  place: '',
  end: '',
};

/** Bytes of a set of CPUs, glibc's and musl's `cpu_set_t`. On a larger machine asking for them fails, and nothing is placed. */
const CPU_SET = 128;
const CPU_WORDS = CPU_SET / 8;

const linux: ThreadApi = {
  ...posix,
  declarations: `${posix.declarations}
declare i32 @sched_getaffinity(i32, i64, ptr)
declare i32 @sched_getcpu()
declare i32 @pthread_setaffinity_np(i64, i64, ptr)
declare <${CPU_WORDS} x i64> @llvm.ctpop.v${CPU_WORDS}i64(<${CPU_WORDS} x i64>)
declare i64 @llvm.vector.reduce.add.v${CPU_WORDS}i64(<${CPU_WORDS} x i64>)

; Fills a set with the CPUs that the caller may use, less the one it is on. False where those are fewer than the helpers:
; the scheduler knows better then.
define internal i1 @elsewhere(ptr %set, i64 %helpers) {
entry:
  %failure = call i32 @sched_getaffinity(i32 0, i64 ${CPU_SET}, ptr %set)
  %told = icmp eq i32 %failure, 0
  %cpu = call i32 @sched_getcpu()
  %within = icmp ult i32 %cpu, ${8 * CPU_SET}
  %known = and i1 %told, %within
  br i1 %known, label %less, label %unknown
less:
  %word.number = lshr i32 %cpu, 6
  %word.at = getelementptr i64, ptr %set, i32 %word.number
  %word = load i64, ptr %word.at
  %bit.number = and i32 %cpu, 63
  %shift = zext i32 %bit.number to i64
  %bit = shl i64 1, %shift
  %others = xor i64 %bit, -1
  %without = and i64 %word, %others
  store i64 %without, ptr %word.at
  %words = load <${CPU_WORDS} x i64>, ptr %set, align 16
  %counts = call <${CPU_WORDS} x i64> @llvm.ctpop.v${CPU_WORDS}i64(<${CPU_WORDS} x i64> %words)
  %count = call i64 @llvm.vector.reduce.add.v${CPU_WORDS}i64(<${CPU_WORDS} x i64> %counts)
  %enough = icmp sge i64 %count, %helpers
  ret i1 %enough
unknown:
  ret i1 false
}

; Moves a new thread to the CPUs of a set. Where that is refused it stays where it is.
define internal void @place(ptr %slot, ptr %set, i1 %apart) {
entry:
  br i1 %apart, label %move, label %done
move:
  %handle = load i64, ptr %slot
  call i32 @pthread_setaffinity_np(i64 %handle, i64 ${CPU_SET}, ptr %set)
  br label %done
done:
  ret void
}`,
  survey: `  %set = alloca [${CPU_WORDS} x i64], align 16
  %apart = call i1 @elsewhere(ptr %set, i64 %helpers)`,
  place: '  call void @place(ptr %slot, ptr %set, i1 %apart)',
  // A thread that has ended must not be placed: its number is 0 then, which means the caller. Who starts it holds the mutex.
  end: `  %mutex = getelementptr i8, ptr %plan, i64 ${planLayout.mutex}
${posix.lock}
${posix.unlock}`,
};

// Written from the Win32 documentation, and only parsed and compiled by the tests, for want of a Windows machine to run it on.
const win32: ThreadApi = {
  declarations: `declare ptr @CreateThread(ptr, i64, ptr, ptr, i32, ptr)
declare i32 @WaitForSingleObject(ptr, i32)
declare i32 @CloseHandle(ptr)
declare void @InitializeSRWLock(ptr)
declare void @AcquireSRWLockExclusive(ptr)
declare void @ReleaseSRWLockExclusive(ptr)
declare void @InitializeConditionVariable(ptr)
declare i32 @SleepConditionVariableSRW(ptr, ptr, i32, i32)
declare void @WakeAllConditionVariable(ptr)`,
  entryType: 'i32',
  entryResult: 'i32 0',
  init: `  call void @InitializeSRWLock(ptr %mutex)
  call void @InitializeConditionVariable(ptr %condition)`,
  lock: '  call void @AcquireSRWLockExclusive(ptr %mutex)',
  unlock: '  call void @ReleaseSRWLockExclusive(ptr %mutex)',
  wait: '  call i32 @SleepConditionVariableSRW(ptr %condition, ptr %mutex, i32 -1, i32 0)',
  wake: '  call void @WakeAllConditionVariable(ptr %condition)',
  start: `  %new = call ptr @CreateThread(ptr null, i64 0, ptr @worker, ptr %plan, i32 0, ptr null)
  store ptr %new, ptr %slot
  %started = icmp ne ptr %new, null`,
  join: `  %thread = inttoptr i64 %handle to ptr
  call i32 @WaitForSingleObject(ptr %thread, i32 -1)
  call i32 @CloseHandle(ptr %thread)`,
  destroy: '',
  survey: '',
  place: '',
  end: '',
};

/**
 * The driver's IR. It defines `i32 trellis_run(ptr plan)`: 0 when all was done, 1 when the abort flag was seen set.
 * If a thread cannot be started the others do its work.
 */
export function driverIr(platform: NodeJS.Platform = process.platform): string {
  const api = platform === 'win32' ? win32 : platform === 'linux' ? linux : posix;
  const field = (name: string, of: string, offset: number) =>
    `  %${name} = getelementptr i8, ptr %${of}, i64 ${offset}`;
  const sync = `${field('mutex', 'plan', planLayout.mutex)}\n${field('condition', 'plan', planLayout.condition)}`;
  return `; Runs the phases of a plan on several threads.
${api.declarations}

; Takes chunks of one phase until there are none left, or the abort flag is set.
define internal void @work(ptr %plan, ptr %phase) {
entry:
  %args = load ptr, ptr %plan
${field('abort.at', 'plan', planLayout.abort)}
  %abort = load ptr, ptr %abort.at
  %launches = load ptr, ptr %phase
${field('chunks.at', 'phase', phaseLayout.chunks)}
  %chunks = load i64, ptr %chunks.at
${field('next.at', 'phase', phaseLayout.next)}
  br label %take
take:
  %flag = load atomic i32, ptr %abort monotonic, align 4
  %stop = icmp ne i32 %flag, 0
  br i1 %stop, label %done, label %chunk
chunk:
  %number = atomicrmw add ptr %next.at, i64 1 monotonic
  %left = icmp slt i64 %number, %chunks
  br i1 %left, label %find, label %done
find:
  %launch = phi ptr [ %launches, %chunk ], [ %launch.next, %skip ]
  %local = phi i64 [ %number, %chunk ], [ %local.next, %skip ]
${field('own.at', 'launch', launchLayout.chunks)}
  %own = load i64, ptr %own.at
  %here = icmp slt i64 %local, %own
  br i1 %here, label %call, label %skip
skip:
${field('launch.next', 'launch', launchLayout.bytes)}
  %local.next = sub i64 %local, %own
  br label %find
call:
  %kernel = load ptr, ptr %launch
${field('tasks.at', 'launch', launchLayout.tasks)}
  %tasks = load i64, ptr %tasks.at
${field('grain.at', 'launch', launchLayout.grain)}
  %grain = load i64, ptr %grain.at
  %begin = mul i64 %local, %grain
  %full = add i64 %begin, %grain
  %over = icmp sgt i64 %full, %tasks
  %end = select i1 %over, i64 %tasks, i64 %full
  call void %kernel(ptr %args, i64 %begin, i64 %end)
  br label %take
done:
  ret void
}

; Returns when every thread of the plan has come here. What was stored before is visible after.
define internal void @barrier(ptr %plan) {
entry:
${sync}
${field('present.at', 'plan', planLayout.present)}
${field('arrived.at', 'plan', planLayout.arrived)}
${field('generation.at', 'plan', planLayout.generation)}
${api.lock}
  %present = load i64, ptr %present.at
  %before = load i64, ptr %arrived.at
  %arrived = add i64 %before, 1
  %generation = load i64, ptr %generation.at
  %last = icmp eq i64 %arrived, %present
  br i1 %last, label %release, label %count
release:
  store i64 0, ptr %arrived.at
  %following = add i64 %generation, 1
  store i64 %following, ptr %generation.at
${api.wake}
  br label %leave
count:
  store i64 %arrived, ptr %arrived.at
  br label %sleep
sleep:
${api.wait}
  %now = load i64, ptr %generation.at
  %same = icmp eq i64 %now, %generation
  br i1 %same, label %sleep, label %leave
leave:
${api.unlock}
  ret void
}

; All phases, as one of the plan's threads. After the last phase the join takes the barrier's place.
define internal void @phases(ptr %plan, i1 %alone) {
entry:
${field('phases.at', 'plan', planLayout.phases)}
  %first = load ptr, ptr %phases.at
${field('count.at', 'plan', planLayout.phaseCount)}
  %count = load i64, ptr %count.at
  br label %head
head:
  %i = phi i64 [ 0, %entry ], [ %i.next, %again ]
  %phase = phi ptr [ %first, %entry ], [ %phase.next, %again ]
  %more = icmp slt i64 %i, %count
  br i1 %more, label %body, label %done
body:
  call void @work(ptr %plan, ptr %phase)
  %i.next = add i64 %i, 1
${field('phase.next', 'phase', phaseLayout.bytes)}
  %between = icmp slt i64 %i.next, %count
  %others = xor i1 %alone, true
  %meet = and i1 %between, %others
  br i1 %meet, label %sync, label %again
sync:
  call void @barrier(ptr %plan)
  br label %again
again:
  br label %head
done:
  ret void
}

define internal ${api.entryType} @worker(ptr %plan) {
  call void @phases(ptr %plan, i1 false)
${api.end}
  ret ${api.entryResult}
}

define i32 @trellis_run(ptr %plan) {
entry:
${sync}
${field('threads.at', 'plan', planLayout.threads)}
  %threads = load i64, ptr %threads.at
  %many = icmp sgt i64 %threads, 1
  br i1 %many, label %parallel, label %single
single:
  call void @phases(ptr %plan, i1 true)
  br label %finish
parallel:
  %handles = alloca [${MOST_THREADS} x i64], align 16
  %helpers = sub i64 %threads, 1
${field('present.at', 'plan', planLayout.present)}
${api.survey}
${api.init}
  ; Held while threads are started: who reaches the barrier, or the end, early waits until their number is known.
${api.lock}
  br label %start
start:
  %started.count = phi i64 [ 0, %parallel ], [ %started.next, %counted ]
  %wanted = icmp slt i64 %started.count, %helpers
  br i1 %wanted, label %create, label %running
create:
  %slot = getelementptr i64, ptr %handles, i64 %started.count
${api.start}
  br i1 %started, label %counted, label %running
counted:
${api.place}
  %started.next = add i64 %started.count, 1
  br label %start
running:
  %present = add i64 %started.count, 1
  store i64 %present, ptr %present.at
${api.unlock}
  call void @phases(ptr %plan, i1 false)
  br label %join
join:
  %j = phi i64 [ 0, %running ], [ %j.next, %await ]
  %waiting = icmp slt i64 %j, %started.count
  br i1 %waiting, label %await, label %joined
await:
  %handle.at = getelementptr i64, ptr %handles, i64 %j
  %handle = load i64, ptr %handle.at
${api.join}
  %j.next = add i64 %j, 1
  br label %join
joined:
${api.destroy}
  br label %finish
finish:
${field('abort.at', 'plan', planLayout.abort)}
  %abort = load ptr, ptr %abort.at
  %flag = load atomic i32, ptr %abort monotonic, align 4
  %aborted = icmp ne i32 %flag, 0
  %result = zext i1 %aborted to i32
  ret i32 %result
}
`;
}
