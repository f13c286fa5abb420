/** Bind groups, kept for later calls: the pool gives a call like the last one the same buffers again. */
import type { BufferPool } from './buffers.js';
import type { Pipeline } from './pipelines.js';

/** What a binding shows of a buffer. */
export interface Shown {
  readonly buffer: GPUBuffer;
  readonly offset: number;
  readonly size: number;
}

interface Kept {
  readonly layout: GPUBindGroupLayout;
  readonly shown: readonly Shown[];
  readonly group: GPUBindGroup;
}

/** Groups that are kept for each buffer of scalars: those of a few calls that take turns. */
const MOST_KEPT = 32;

export class BindGroups {
  /** By the buffer of their scalars: when the pool lets go of it, so do they. */
  readonly #kept = new WeakMap<GPUBuffer, Kept[]>();

  constructor(
    private readonly device: GPUDevice,
    private readonly pool: BufferPool,
  ) {}

  /** A group of these bindings, numbered as they come; the first has the scalars. To be called within the session's guard. */
  get({ layout }: Pipeline, shown: readonly [Shown, ...Shown[]]): GPUBindGroup {
    const kept = this.#kept.get(shown[0].buffer) ?? [];
    const found = kept.find((each) => each.layout === layout && same(each.shown, shown));
    if (found !== undefined) return found.group;
    const entries = shown.map((resource, binding) => ({ binding, resource }));
    const group = this.device.createBindGroup({ layout, entries });
    // A group would keep alive what the caller has dropped.
    if (!shown.every(({ buffer }) => this.pool.owns(buffer))) return group;
    kept.push({ layout, shown, group });
    if (kept.length > MOST_KEPT) kept.shift();
    this.#kept.set(shown[0].buffer, kept);
    return group;
  }
}

function same(a: readonly Shown[], b: readonly Shown[]): boolean {
  return (
    a.length === b.length &&
    a.every(({ buffer, offset, size }, n) => {
      const other = b[n]!;
      return buffer === other.buffer && offset === other.offset && size === other.size;
    })
  );
}
