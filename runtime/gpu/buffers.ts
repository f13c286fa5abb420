/**
 * GPU buffers, kept for the next call and freed when no call needs them. Sizes come in classes, so that calls of
 * changing shape share buffers.
 */
import type { GpuSession } from './session.js';

/** Calls after which a buffer that nobody took is freed. */
const CALLS_KEPT = 16;
/** And time, for the last call's. */
const MILLISECONDS_KEPT = 5_000;

/** The flags of the specification, by value: browsers have them as globals, Node has not. */
export const usage = {
  mapRead: 0x0001,
  mapWrite: 0x0002,
  copySource: 0x0004,
  copyTarget: 0x0008,
  uniform: 0x0040,
  storage: 0x0080,
  queryResolve: 0x0200,
} as const;

export const mapMode = { read: 1, write: 2 } as const;

export interface PoolStats {
  /** Buffers that exist, and their bytes. */
  readonly buffers: number;
  readonly bytes: number;
  /** Those of them that wait for the next call. */
  readonly idleBuffers: number;
  readonly idleBytes: number;
}

interface Idle {
  readonly buffer: GPUBuffer;
  readonly since: number;
}

/** The smallest of 256 * {1, 1.25, 1.5, 1.75} * 2^k that holds so many bytes: at most a quarter of a buffer is waste. */
export function sizeClass(bytes: number): number {
  const wanted = Math.max(256, bytes);
  const octave = 2 ** Math.floor(Math.log2(wanted));
  const quarter = octave / 4;
  return Math.ceil(wanted / quarter) * quarter;
}

export class BufferPool {
  readonly #idle = new Map<string, Idle[]>();
  readonly #all = new Set<GPUBuffer>();
  #bytes = 0;
  #calls = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #abandoned = false;

  constructor(private readonly session: Pick<GpuSession, 'device' | 'limits'>) {}

  get stats(): PoolStats {
    const idle = [...this.#idle.values()].flat();
    return {
      buffers: this.#all.size,
      bytes: this.#bytes,
      idleBuffers: idle.length,
      idleBytes: idle.reduce((sum, { buffer }) => sum + buffer.size, 0),
    };
  }

  /**
   * A buffer of at least so many bytes, with any contents. One for MAP_WRITE is mapped.
   * To be called within the session's guard.
   */
  take(bytes: number, flags: number): GPUBuffer {
    const idle = this.takeIdle(bytes, flags);
    if (idle !== undefined) return idle;
    const size = this.#sizeFor(bytes);
    const mappedAtCreation = (flags & usage.mapWrite) !== 0;
    const buffer = this.session.device.createBuffer({ size, usage: flags, mappedAtCreation });
    this.#all.add(buffer);
    this.#bytes += buffer.size;
    return buffer;
  }

  /** The same where one is waiting, for which nothing has to be guarded. */
  takeIdle(bytes: number, flags: number): GPUBuffer | undefined {
    return this.#idle.get(keyOf(this.#sizeFor(bytes), flags))?.pop()?.buffer;
  }

  /** A class may be larger than a buffer can be; then exactly what is asked for. */
  #sizeFor(bytes: number): number {
    const rounded = sizeClass(bytes);
    return rounded > this.session.limits.bufferBytes ? Math.ceil(bytes / 16) * 16 : rounded;
  }

  /** Whether the pool has made a buffer, and not freed it. */
  owns(buffer: GPUBuffer): boolean {
    return this.#all.has(buffer);
  }

  /** Takes a buffer back that no submitted work uses any more. */
  give(buffer: GPUBuffer): void {
    if (!this.#all.has(buffer)) return;
    if (this.#abandoned) {
      this.#destroy(buffer);
      return;
    }
    const key = keyOf(buffer.size, buffer.usage);
    const list = this.#idle.get(key);
    const idle = { buffer, since: this.#calls };
    if (list === undefined) this.#idle.set(key, [idle]);
    else list.push(idle);
  }

  /** Frees a buffer that something went wrong with. */
  discard(buffer: GPUBuffer): void {
    if (this.#all.has(buffer)) this.#destroy(buffer);
  }

  /** To be called at the end of each call: frees what the latest calls had no use for. */
  endCall(): void {
    this.#calls++;
    this.#free(({ since }) => this.#calls - since > CALLS_KEPT);
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#free(() => true), MILLISECONDS_KEPT);
    // It must not keep the process alive. In browsers a timer is a number.
    (this.#timer as { unref?: () => void }).unref?.();
  }

  /** The device is gone: nothing is kept any more. */
  abandon(): void {
    this.#abandoned = true;
    clearTimeout(this.#timer);
    for (const buffer of [...this.#all]) this.#destroy(buffer);
    this.#idle.clear();
  }

  #free(when: (idle: Idle) => boolean): void {
    for (const [key, list] of this.#idle) {
      const kept = list.filter((idle) => {
        if (when(idle)) this.#destroy(idle.buffer);
        else return true;
        return false;
      });
      if (kept.length === 0) this.#idle.delete(key);
      else this.#idle.set(key, kept);
    }
  }

  #destroy(buffer: GPUBuffer): void {
    this.#all.delete(buffer);
    this.#bytes -= buffer.size;
    buffer.destroy();
  }
}

const keyOf = (size: number, flags: number): string => `${flags} ${size}`;
