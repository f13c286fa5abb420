/** The kernels of one loss object, one per shape class, and how often each was used. */
import type { Runner, ShapeClass } from './device.js';
import { dtypeNames } from './half.js';
import type { SpecSignature } from './signature.js';

export interface CacheEntry {
  /** e.g. 'V=1024 gradients': what the kernel is compiled for. */
  readonly shapeClass: string;
  /** Calls it served after the one that built it. */
  readonly hits: number;
  /** Time to build it, or to load it from disk. */
  readonly compileMilliseconds: number;
  /** 'disk': found among compiled objects of an earlier process. */
  readonly source: 'compiled' | 'disk';
}

export interface CacheStats {
  /** Calls served by a kernel that was there, or on its way. */
  readonly hits: number;
  /** Calls that had to build one. */
  readonly misses: number;
  /** All builds together. */
  readonly compileMilliseconds: number;
  /** Shape class of the latest call; undefined before the first. */
  readonly lastShapeClass: string | undefined;
  readonly entries: readonly CacheEntry[];
}

interface Slot {
  /** The build until it is done, then what it built, which forwardSync can use. */
  runner: Promise<Runner> | Runner;
  hits: number;
  /** Once it is built. */
  built: { readonly milliseconds: number; readonly source: Runner['source'] } | undefined;
}

/** Sizes that all utterances share are compiled in; those that vary between utterances are not. */
export function shapeClassOf(
  signature: SpecSignature,
  sizes: Readonly<Record<string, number>>,
  {
    gradients,
    perNode,
    storage = {},
  }: Pick<ShapeClass, 'gradients' | 'perNode'> & Partial<Pick<ShapeClass, 'storage'>>,
): ShapeClass {
  const varying = new Set(signature.lengths.map(({ size }) => size));
  const fixed = Object.entries(sizes)
    .filter(([size]) => !varying.has(size))
    .sort(([a], [b]) => (a < b ? -1 : 1));
  const halves = Object.entries(storage.inputs ?? {});
  const results = [gradients ? 'gradients' : 'score', perNode].filter((word) => word !== undefined);
  const words = [
    ...fixed.map(([size, value]) => `${size}=${value}`),
    ...halves.map(([name, type]) => `${name}:${dtypeNames[type]}`),
    // A best path has neither loss nor gradients.
    ...(perNode === 'best-path' ? [perNode] : results),
    // A gradient is of its input's type unless it is said not to be.
    ...halves.flatMap(([name]) =>
      gradients && signature.gradients.includes(name) && storage.gradients?.[name] === undefined
        ? [`grad_${name}:float32`]
        : [],
    ),
  ];
  return {
    sizes: Object.fromEntries(fixed),
    gradients,
    ...(perNode ? { perNode } : {}),
    storage,
    key: words.join(' '),
  };
}

export class KernelCache {
  readonly #slots = new Map<string, Slot>();
  #hits = 0;
  #misses = 0;
  #milliseconds = 0;
  #last: string | undefined;

  get stats(): CacheStats {
    const entries = [...this.#slots].flatMap(([shapeClass, { hits, built }]) =>
      built === undefined ? [] : [{ shapeClass, hits, compileMilliseconds: built.milliseconds, source: built.source }],
    );
    return {
      hits: this.#hits,
      misses: this.#misses,
      compileMilliseconds: this.#milliseconds,
      lastShapeClass: this.#last,
      entries,
    };
  }

  /** The runner of a class; one build is in flight per class, and one that fails is forgotten. */
  async get(shapeClass: ShapeClass, build: () => Promise<Runner>): Promise<Runner> {
    const found = this.#find(shapeClass);
    if (found !== undefined) return found.runner;
    const start = performance.now();
    const slot: Slot = { runner: build(), hits: 0, built: undefined };
    this.#slots.set(shapeClass.key, slot);
    try {
      const runner = await slot.runner;
      this.#finish(slot, runner, start);
      return runner;
    } catch (error) {
      if (this.#slots.get(shapeClass.key) === slot) this.#slots.delete(shapeClass.key);
      throw error;
    }
  }

  /** As `get`, at once. A build in flight cannot be waited for, so the class is then built a second time. */
  getSync(shapeClass: ShapeClass, build: () => Runner): Runner {
    const slot = this.#slots.get(shapeClass.key);
    if (slot !== undefined && !(slot.runner instanceof Promise)) {
      this.#find(shapeClass);
      return slot.runner;
    }
    this.#misses++;
    this.#last = shapeClass.key;
    const start = performance.now();
    const runner = build();
    const built: Slot = { runner, hits: 0, built: undefined };
    this.#finish(built, runner, start);
    this.#slots.set(shapeClass.key, built);
    return runner;
  }

  #find(shapeClass: ShapeClass): Slot | undefined {
    this.#last = shapeClass.key;
    const slot = this.#slots.get(shapeClass.key);
    if (slot === undefined) {
      this.#misses++;
      return undefined;
    }
    this.#hits++;
    slot.hits++;
    return slot;
  }

  #finish(slot: Slot, runner: Runner, start: number): void {
    const milliseconds = performance.now() - start;
    slot.runner = runner;
    slot.built = { milliseconds, source: runner.source };
    this.#milliseconds += milliseconds;
  }
}
