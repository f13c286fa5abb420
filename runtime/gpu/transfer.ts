/**
 * Copies between typed arrays and GPU buffers, through mapped staging buffers. What fits into one staging buffer goes
 * along with the kernels in one submission; more is cut into pieces, a few of which are under way at a time, so that
 * staging never takes as much memory as the tensors do.
 */
import type { TrellisError } from '../errors.js';
import { mapMode, usage } from './buffers.js';
import { wholeWords } from './call.js';
import type { GpuSession } from './session.js';

/** Bytes of one staging buffer at most. */
const PIECE = 32 * 1024 * 1024;
/** Staging buffers of one call in each direction. */
const IN_FLIGHT = 3;

/** Where what the device says of the call's work is gathered. */
export type Problems = Promise<TrellisError | undefined>[];

interface Copy {
  readonly target: GPUBuffer;
  readonly offset: number;
  readonly from: number;
  readonly bytes: number;
}

/** Uploads of one call or one piece of it. */
export class Uploader {
  #staging: GPUBuffer | undefined;
  #view = new Uint8Array(0);
  #used = 0;
  #copies: Copy[] = [];
  readonly #returning: Promise<void>[] = [];
  readonly #capacity: number;

  /** @param total bytes that will be added, each source rounded up to whole words */
  constructor(
    private readonly session: GpuSession,
    total: number,
    private readonly problems: Problems,
  ) {
    this.#capacity = Math.min(PIECE, Math.max(4, total));
  }

  /** The source may be changed once this has settled. The target has room for whole words, of which the last may get any bytes beyond the source. */
  async add(source: ArrayBufferView, target: GPUBuffer, offset = 0): Promise<void> {
    const bytes = new Uint8Array(source.buffer, source.byteOffset, source.byteLength);
    for (let at = 0; at < bytes.length; ) {
      if (this.#used === this.#capacity) await this.#ship();
      if (this.#staging === undefined) this.#open();
      const count = Math.min(bytes.length - at, this.#capacity - this.#used);
      this.#view.set(bytes.subarray(at, at + count), this.#used);
      const whole = wholeWords(count);
      this.#copies.push({ target, offset: offset + at, from: this.#used, bytes: whole });
      this.#used += whole;
      at += count;
    }
  }

  #open(): void {
    const { session } = this;
    const made = session.guard('staging memory', () => {
      const staging = session.pool.take(this.#capacity, usage.mapWrite | usage.copySource);
      return { staging, view: new Uint8Array(staging.getMappedRange()) };
    });
    this.problems.push(made.problem);
    this.#staging = made.result.staging;
    this.#view = made.result.view;
    this.#used = 0;
  }

  /** Records the copies of what is staged; to be called within a guard, before `submitted`. */
  record(encoder: GPUCommandEncoder): void {
    if (this.#staging === undefined) return;
    this.#view = new Uint8Array(0);
    this.#staging.unmap();
    for (const { target, offset, from, bytes } of this.#copies) {
      encoder.copyBufferToBuffer(this.#staging, from, target, offset, bytes);
    }
    this.#copies = [];
  }

  /** After the submission: the staging buffer is mapped again when the GPU has read it, and kept for the next use. */
  submitted(): void {
    const staging = this.#staging;
    if (staging === undefined) return;
    this.#staging = undefined;
    this.#used = 0;
    const { pool } = this.session;
    this.#returning.push(
      staging.mapAsync(mapMode.write).then(
        () => pool.give(staging),
        () => pool.discard(staging),
      ),
    );
  }

  async #ship(): Promise<void> {
    const { session } = this;
    const { problem } = session.guard('an upload', () => {
      const encoder = session.device.createCommandEncoder();
      this.record(encoder);
      session.device.queue.submit([encoder.finish()]);
    });
    this.problems.push(problem);
    this.submitted();
    if (this.#returning.length >= IN_FLIGHT) await this.#returning.shift();
  }

  /** Waits for staging buffers that are under way, and lets go of one that was never submitted. */
  async finish(): Promise<void> {
    if (this.#staging !== undefined) this.session.pool.discard(this.#staging);
    this.#staging = undefined;
    await Promise.all(this.#returning);
  }
}

/** One range of a GPU buffer that is wanted on the host. */
export interface Download {
  readonly source: GPUBuffer;
  /** Bytes; multiples of 4. */
  readonly offset: number;
  readonly bytes: number;
  /** Called with the words in order, `first` being the index of the part's first one. */
  deliver(part: Float32Array, first: number): void;
}

interface Part {
  readonly download: Download;
  /** Offset within the download, and within the staging buffer. */
  readonly from: number;
  readonly at: number;
  readonly bytes: number;
}

interface Piece {
  readonly parts: readonly Part[];
  readonly bytes: number;
}

/** Downloads at the end of one submission. */
export class Downloader {
  readonly #pieces: Piece[];
  #recorded: GPUBuffer | undefined;

  constructor(
    private readonly session: GpuSession,
    downloads: readonly Download[],
    private readonly problems: Problems,
  ) {
    this.#pieces = cut(downloads);
  }

  /** Records the copies where they fit into one staging buffer. To be called within a guard, last before the submission. */
  record(encoder: GPUCommandEncoder): void {
    const [only, ...more] = this.#pieces;
    if (only !== undefined && more.length === 0) this.#recorded = this.#stage(only, encoder);
  }

  /**
   * After the submission: waits, and delivers.
   * @param wanted asked before each delivery; false: the caller has gone, and its arrays are not touched
   */
  async collect(wanted: () => boolean): Promise<void> {
    const { session } = this;
    const [first] = this.#pieces;
    if (first !== undefined && this.#recorded !== undefined) return this.#read(first, this.#recorded, wanted);
    const underWay: Promise<void>[] = [];
    try {
      for (const piece of this.#pieces) {
        if (!wanted()) break;
        if (underWay.length >= IN_FLIGHT) await underWay.shift();
        const { result: staging, problem } = session.guard('a download', () => {
          const encoder = session.device.createCommandEncoder();
          const buffer = this.#stage(piece, encoder);
          session.device.queue.submit([encoder.finish()]);
          return buffer;
        });
        this.problems.push(problem);
        underWay.push(this.#read(piece, staging, wanted));
      }
    } finally {
      await Promise.all(underWay);
    }
  }

  #stage(piece: Piece, encoder: GPUCommandEncoder): GPUBuffer {
    const staging = this.session.pool.take(piece.bytes, usage.mapRead | usage.copyTarget);
    for (const { download, from, at, bytes } of piece.parts) {
      encoder.copyBufferToBuffer(download.source, download.offset + from, staging, at, bytes);
    }
    return staging;
  }

  async #read(piece: Piece, staging: GPUBuffer, wanted: () => boolean): Promise<void> {
    const { pool } = this.session;
    try {
      await staging.mapAsync(mapMode.read);
      if (wanted()) {
        const range = staging.getMappedRange();
        for (const { download, from, at, bytes } of piece.parts) {
          download.deliver(new Float32Array(range, at, bytes / 4), from / 4);
        }
      }
      staging.unmap();
    } catch (error) {
      pool.discard(staging);
      throw error;
    }
    pool.give(staging);
  }
}

function cut(downloads: readonly Download[]): Piece[] {
  const pieces: Piece[] = [];
  let parts: Part[] = [];
  let used = 0;
  const close = (): void => {
    if (parts.length > 0) pieces.push({ parts, bytes: used });
    parts = [];
    used = 0;
  };
  for (const download of downloads) {
    for (let from = 0; from < download.bytes; ) {
      if (used === PIECE) close();
      const bytes = Math.min(download.bytes - from, PIECE - used);
      parts.push({ download, from, at: used, bytes });
      used += bytes;
      from += bytes;
    }
  }
  close();
  return pieces;
}
