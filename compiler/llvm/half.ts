/**
 * Between float32 in registers and 16-bit storage, which memory instructions see as i16 (so that masks, gathers and streaming stores
 * are those of integers). The other way rounds to the nearest, halves to even; NaN stays NaN.
 *
 *   bf16  is the upper half of a float32: a shift, and on the way back a rounding by integer addition, or the machine's instruction
 *   f16   by the machine's instructions, else by integer arithmetic: without them LLVM would call functions of a runtime library that
 *         a JIT does not have
 */
import { encodeHalf, type HalfType } from '../kernel/half.js';
import { Arithmetic } from './arithmetic.js';
import { defineInline } from './math.js';
import { type HalfInstructions, mangled, vectorOf } from './types.js';
import type { FunctionWriter } from './writer.js';

/** A literal of 16-bit storage, as LLVM writes it: the bits as an integer. */
export const halfLiteral = (type: HalfType, value: number): string => String(encodeHalf(type, value));

/** `bits`, an i16 or a vector of them, as float. */
export function widen(
  writer: FunctionWriter,
  type: HalfType,
  has: HalfInstructions,
  lanes: number,
  bits: string,
): string {
  const [from, to] = [vectorOf('i16', lanes), vectorOf('float', lanes)];
  return called(writer, `widen.${type}`, lanes, to, from, bits, (m) => {
    if (type === 'f16' && has.float16) {
      const half = vectorOf('half', lanes);
      const value = m.writer.emit('half', `bitcast ${from} %x to ${half}`);
      return fence(m, m.writer.emit('real', `fpext ${half} ${value} to ${to}`));
    }
    const wide = m.writer.emit('wide', `zext ${from} %x to ${m.integer}`);
    const constant = (value: number) => m.integerConstant(BigInt(value));
    if (type === 'bf16') return m.fromBits(m.integerOp('shl', wide, constant(16), 'bits'));
    const sign = m.integerOp('shl', m.integerOp('and', wide, constant(0x8000), 'sign'), constant(16), 'sign');
    const size = m.integerOp('shl', m.integerOp('and', wide, constant(0x7fff), 'size'), constant(13), 'size');
    // With its exponent counted from where float's begins; subnormal ones become normal by the product.
    const scaled = m.bits(m.mul(m.fromBits(size), m.constant(2 ** 112), 'scaled'));
    const special = m.writer.emit('special', `icmp uge ${m.integer} ${size}, ${constant(0x7c00 << 13)}`);
    const endless = m.integerOp('or', size, constant(0x7f800000), 'endless');
    return m.fromBits(m.integerOp('or', choose(m, special, endless, scaled), sign, 'bits'));
  });
}

/** `real`, a float or a vector of them, as the bits of the nearest 16-bit number. */
export function narrow(
  writer: FunctionWriter,
  type: HalfType,
  has: HalfInstructions,
  lanes: number,
  real: string,
): string {
  const [from, to] = [vectorOf('float', lanes), vectorOf('i16', lanes)];
  return called(writer, `narrow.${type}`, lanes, to, from, real, (m) => {
    if (type === 'f16' ? has.float16 : has.bfloat16) {
      const half = vectorOf(type === 'f16' ? 'half' : 'bfloat', lanes);
      const value = m.writer.emit('half', `fptrunc ${from} ${fence(m, '%x')} to ${half}`);
      return m.writer.emit('bits', `bitcast ${half} ${value} to ${to}`);
    }
    const constant = (value: number) => m.integerConstant(BigInt(value));
    const bits = m.bits('%x');
    const isNan = m.compare('uno', '%x', '%x', 'isNaN');
    /** Adds just less than half of what is cut off, and a little more where the last bit kept is odd. */
    const rounded = (size: string, cut: number): string => {
      const odd = m.integerOp('and', m.integerOp('lshr', size, constant(cut), 'odd'), constant(1), 'odd');
      const almost = m.integerOp('add', size, constant(2 ** (cut - 1) - 1), 'almost');
      return m.integerOp('lshr', m.integerOp('add', almost, odd, 'nearest'), constant(cut), 'nearest');
    };
    let result: string;
    if (type === 'bf16') result = choose(m, isNan, constant(0x7fc0), rounded(bits, 16));
    else {
      const sign = m.integerOp('lshr', m.integerOp('and', bits, constant(0x80000000), 'sign'), constant(16), 'sign');
      const size = m.integerOp('and', bits, constant(0x7fffffff), 'size');
      const normal = rounded(m.integerOp('sub', size, constant(112 << 23), 'moved'), 13);
      // In steps of 2^-24: those of float between 1/2 and 1, so the sum with 1/2 is rounded as it should be.
      const steps = m.bits(m.add(m.fromBits(size), m.constant(0.5)));
      const subnormal = m.integerOp('sub', steps, constant(0x3f000000), 'subnormal');
      const small = m.writer.emit('small', `icmp ult ${m.integer} ${size}, ${constant(113 << 23)}`);
      // From 65520 on, which is half a step beyond the largest.
      const large = m.writer.emit('large', `icmp uge ${m.integer} ${size}, ${constant(0x477ff000)}`);
      const finite = choose(m, small, subnormal, normal);
      const whole = choose(m, isNan, constant(0x7e00), choose(m, large, constant(0x7c00), finite));
      result = m.integerOp('or', whole, sign, 'bits');
    }
    return m.writer.emit('narrow', `trunc ${m.integer} ${result} to ${to}`);
  });
}

/**
 * The same value, unseen through: LLVM would compare and compute in half where it finds a conversion next to an operation, element
 * after element, since machines that only convert have no such instructions.
 */
function fence(m: Arithmetic, value: string): string {
  const symbol = m.writer.parts.declare(`llvm.arithmetic.fence.${mangled('float', m.lanes)}`, m.real, [m.real]);
  return m.writer.emit('fenced', `call ${m.real} ${symbol}(${m.real} ${value})`);
}

function choose(m: Arithmetic, condition: string, yes: string, no: string): string {
  return m.writer.emit('choice', `select ${m.bool} ${condition}, ${m.integer} ${yes}, ${m.integer} ${no}`);
}

function called(
  writer: FunctionWriter,
  name: string,
  lanes: number,
  result: string,
  argument: string,
  value: string,
  write: (m: Arithmetic) => string,
): string {
  const symbol = lanes === 0 ? name : `${name}.v${lanes}`;
  const spelled = writer.parts.define(symbol, () =>
    defineInline(writer.parts, symbol, result, ['x'], argument, (inner) => write(new Arithmetic(inner, 'f32', lanes))),
  );
  return writer.emit(name.split('.')[0]!, `call ${result} ${spelled}(${argument} ${value})`);
}
