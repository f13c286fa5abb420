/**
 * Loads and stores. The shape of the index decides: contiguous vectors where it grows by one from lane to lane (or falls
 * by one, reversed), one scalar where it is the same in all lanes, a gather or scatter otherwise. Memory is touched only
 * in lanes that are active and where a load's mask is true.
 */

import { typeOfElement } from '../kernel/build.js';
import { isHalf } from '../kernel/half.js';
import type { ElementType, KLoad, KPrefetch, KStore } from '../kernel/kernel.js';
import { CompilerBug } from '../source.js';
import { halfLiteral, narrow, widen } from './half.js';
import { elementBytes, literal, mangled, memoryType, registerType, vectorOf } from './types.js';
import { andMask, asVector, type KernelContext, lanesOf, type Scope, uniform, type Value, varying } from './values.js';

function bufferOf(context: KernelContext, name: string) {
  const buffer = context.buffers.get(name);
  if (buffer === undefined) throw new CompilerBug('llvm', `buffer '${name}' is not declared`);
  return buffer;
}

/** `index` and `mask` are the load's operands, printed already. */
export function emitLoad(
  context: KernelContext,
  scope: Scope,
  load: KLoad,
  index: Value,
  mask: Value | undefined,
): Value {
  const { writer } = context;
  const { decl, pointer } = bufferOf(context, load.buffer);
  const scalar = memoryType[decl.element];
  const expected = typeOfElement(decl.element);
  if (load.type !== expected) {
    throw new CompilerBug('llvm', `load of ${load.type} from '${load.buffer}', whose elements are ${decl.element}`);
  }
  const bytes = elementBytes[decl.element];
  const other = isHalf(decl.element) ? halfLiteral(decl.element, load.other ?? 0) : literal(expected, load.other ?? 0);

  /** One element, or `other` where the condition is false: then its address is that of a constant instead. */
  const loadScalar = (at: string, condition: string | undefined): string => {
    let address = element(context, pointer, scalar, at);
    if (condition !== undefined) {
      const outside = writer.parts.constant(`outside.${scalar}.${load.other ?? 0}`, scalar, other);
      address = writer.emit('address', `select i1 ${condition}, ptr ${address}, ptr ${outside}`);
    }
    return writer.emit(load.buffer, `load ${scalar}, ptr ${address}, align ${bytes}`);
  };

  if (index.shape === 'uniform' && (mask === undefined || mask.shape === 'uniform')) {
    const value = loadScalar(index.text, mask?.text);
    return uniform(load.type, toRegister(context, load.buffer, decl.element, 0, value));
  }

  const { lanes } = scope;
  const vector = vectorOf(scalar, lanes);
  const bools = vectorOf('i1', lanes);
  const active = andMask(context, lanes, scope.mask, mask === undefined ? undefined : asVector(context, scope, mask));
  let value: string;
  if (index.shape === 'uniform') {
    const any = writer.parts.declare(`llvm.vector.reduce.or.v${lanes}i1`, 'i1', [bools]);
    const read = loadScalar(index.text, writer.emit('any', `call i1 ${any}(${bools} ${active})`));
    const [one, none] = [writer.splat(scalar, lanes, read), writer.splat(scalar, lanes, other)];
    value = writer.emit(load.buffer, `select ${bools} ${active}, ${vector} ${one}, ${vector} ${none}`);
  } else if (index.shape === 'affine' && Math.abs(index.stride) === 1) {
    const reversed = index.stride === -1;
    const address = element(context, pointer, scalar, lowest(context, lanes, index.text, reversed));
    if (active === undefined) {
      value = writer.emit(load.buffer, `load ${vector}, ptr ${address}, align ${bytes}`);
    } else {
      const mangle = `${mangled(scalar, lanes)}.p0`;
      const symbol = writer.parts.declare(`llvm.masked.load.${mangle}`, vector, ['ptr', 'i32', bools, vector]);
      const lit = reversed ? reverse(context, bools, lanes, active) : active;
      const rest = writer.splat(scalar, lanes, other);
      const operands = `ptr ${address}, i32 ${bytes}, ${bools} ${lit}, ${vector} ${rest}`;
      value = writer.emit(load.buffer, `call ${vector} ${symbol}(${operands})`);
    }
    if (reversed) value = reverse(context, vector, lanes, value);
  } else {
    const pointers = vectorOf('ptr', lanes);
    const addresses = elements(context, scope, pointer, scalar, index);
    const mangle = `${mangled(scalar, lanes)}.v${lanes}p0`;
    const symbol = writer.parts.declare(`llvm.masked.gather.${mangle}`, vector, [pointers, 'i32', bools, vector]);
    const lit = active ?? writer.splat('i1', lanes, 'true');
    const rest = writer.splat(scalar, lanes, other);
    const operands = `${pointers} ${addresses}, i32 ${bytes}, ${bools} ${lit}, ${vector} ${rest}`;
    value = writer.emit(load.buffer, `call ${vector} ${symbol}(${operands})`);
  }
  return varying(load.type, toRegister(context, load.buffer, decl.element, lanes, value));
}

/** What memory holds, as registers have it. */
function toRegister(context: KernelContext, hint: string, element: ElementType, lanes: number, value: string): string {
  const { writer, halves } = context;
  if (isHalf(element)) return writer.rename(widen(writer, element, halves, lanes, value), hint);
  if (element !== 'i32') return value;
  return writer.emit(hint, `sext ${vectorOf('i32', lanes)} ${value} to ${vectorOf('i64', lanes)}`);
}

/** `index` and `value` are the store's operands, printed already. */
export function emitStore(context: KernelContext, scope: Scope, store: KStore, index: Value, stored: Value): void {
  const { writer } = context;
  const { decl, pointer } = bufferOf(context, store.buffer);
  const { lanes } = scope;
  const scalar = memoryType[decl.element];
  const expected = typeOfElement(decl.element);
  if (stored.type !== expected) {
    throw new CompilerBug('llvm', `store of ${stored.type} to '${store.buffer}', whose elements are ${decl.element}`);
  }
  const bytes = elementBytes[decl.element];
  const vector = vectorOf(scalar, lanes);
  const bools = vectorOf('i1', lanes);
  let value = asVector(context, scope, stored);
  if (decl.element === 'i32') {
    value = writer.emit('narrow', `trunc ${vectorOf(registerType.index, lanes)} ${value} to ${vector}`);
  } else if (isHalf(decl.element)) value = narrow(writer, decl.element, context.halves, lanes, value);
  if (lanes === 0) {
    const address = element(context, pointer, scalar, index.text);
    writer.run(`store ${scalar} ${value}, ptr ${address}, align ${bytes}`);
  } else if (index.shape === 'affine' && Math.abs(index.stride) === 1) {
    const reversed = index.stride === -1;
    const address = element(context, pointer, scalar, lowest(context, lanes, index.text, reversed));
    if (reversed) value = reverse(context, vector, lanes, value);
    if (scope.mask !== undefined) {
      const mangle = `${mangled(scalar, lanes)}.p0`;
      const symbol = writer.parts.declare(`llvm.masked.store.${mangle}`, 'void', [vector, 'ptr', 'i32', bools]);
      const lit = reversed ? reverse(context, bools, lanes, scope.mask) : scope.mask;
      writer.run(`call void ${symbol}(${vector} ${value}, ptr ${address}, i32 ${bytes}, ${bools} ${lit})`);
    } else if (store.streaming && !reversed && scope.streamAligned === store.buffer) {
      writer.run(`store ${vector} ${value}, ptr ${address}, align ${lanes * bytes}, !nontemporal !0`);
      context.streams = true;
    } else {
      writer.run(`store ${vector} ${value}, ptr ${address}, align ${bytes}`);
    }
  } else {
    // Where several lanes store to one address, the last one's value stays.
    const pointers = vectorOf('ptr', lanes);
    const addresses = elements(context, scope, pointer, scalar, index);
    const mangle = `${mangled(scalar, lanes)}.v${lanes}p0`;
    const symbol = writer.parts.declare(`llvm.masked.scatter.${mangle}`, 'void', [vector, pointers, 'i32', bools]);
    const lit = scope.mask ?? writer.splat('i1', lanes, 'true');
    writer.run(`call void ${symbol}(${vector} ${value}, ${pointers} ${addresses}, i32 ${bytes}, ${bools} ${lit})`);
  }
}

/**
 * The line of the first lane's element. To be written it goes into the nearest cache. To be read, into the second: that is where
 * rows are fetched far ahead, and the nearest one can wait for few lines at a time.
 */
export function emitPrefetch(context: KernelContext, prefetch: KPrefetch, index: Value): void {
  const { writer } = context;
  const { decl, pointer } = bufferOf(context, prefetch.buffer);
  if (index.shape === 'varying') throw new CompilerBug('llvm', `prefetch of scattered elements of '${decl.name}'`);
  const address = element(context, pointer, memoryType[decl.element], index.text);
  const symbol = writer.parts.declare('llvm.prefetch.p0', 'void', ['ptr', 'i32', 'i32', 'i32']);
  const [write, locality] = prefetch.forWriting ? [1, 3] : [0, 2];
  writer.run(`call void ${symbol}(ptr ${address}, i32 ${write}, i32 ${locality}, i32 1)`);
}

/** Address of one element. Not `inbounds`: the index may be outside where a mask is false. */
export function element(context: KernelContext, pointer: string, scalar: string, index: string): string {
  return context.writer.emit('at', `getelementptr ${scalar}, ptr ${pointer}, i64 ${index}`);
}

function elements(context: KernelContext, scope: Scope, pointer: string, scalar: string, index: Value): string {
  const indices = asVector(context, scope, index);
  return context.writer.emit(
    'at',
    `getelementptr ${scalar}, ptr ${pointer}, ${vectorOf('i64', scope.lanes)} ${indices}`,
  );
}

/** Index of the lowest of the addresses of a contiguous vector. */
function lowest(context: KernelContext, lanes: number, first: string, reversed: boolean): string {
  return reversed ? context.writer.emit('lowest', `sub nsw i64 ${first}, ${lanes - 1}`) : first;
}

function reverse(context: KernelContext, vector: string, lanes: number, value: string): string {
  const order = lanesOf('i32', lanes, (lane) => String(lanes - 1 - lane));
  return context.writer.emit(
    'reversed',
    `shufflevector ${vector} ${value}, ${vector} poison, ${vectorOf('i32', lanes)} ${order}`,
  );
}
