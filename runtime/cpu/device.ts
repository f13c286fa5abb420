/**
 * The cpu device: a spec is compiled through LLVM to native code for this machine, or found compiled on disk.
 *
 * Two things are kept on disk: what a spec's file says about its arguments, and for each shape class the object code
 * with its launch plan. With both, a process starts without reading the spec and without LLVM's optimiser.
 */
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { KernelProgram } from '../../compiler/kernel/kernel.js';
import { CacheStore, type JsonValue } from '../cache-store.js';
import type { Batch, Device, DeviceOptions, DeviceSpec, Runner, ShapeClass } from '../device.js';
import { TrellisError, throwIfAborted } from '../errors.js';
import { type SpecSignature, signatureOfGraph } from '../signature.js';
import { CpuExecutor } from './executor.js';
import { LlvmJit } from './jit.js';
import { findLibLlvm, installHint } from './libllvm.js';

type Compiler = typeof import('../../compiler/compile.js');
type SourceSpec = ReturnType<Compiler['compileToGraph']>;
type NativeCall = Parameters<CpuExecutor['run']>[0];
