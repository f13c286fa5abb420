/**
 * Writing one function: instructions in order, unique readable names, basic blocks.
 * What a function needs of the module (declarations of intrinsics, helper functions, constants) is collected beside it.
 */
import { commentText, identifier, type LlvmTarget, mangled, vectorOf } from './types.js';

/** Parts of a module that functions ask for, each emitted once, in the order they were first asked for. */
export class ModuleParts {
  readonly #declarations = new Map<string, string>();
  readonly #definitions = new Map<string, string>();
  readonly #constants = new Map<string, string>();
  #loops = 0;

  constructor(readonly target: LlvmTarget) {}

  /** An intrinsic or external function; returns '@name'. */
  declare(name: string, result: string, args: readonly string[]): string {
    this.#declarations.set(name, `declare ${result} @${name}(${args.join(', ')})`);
    return `@${name}`;
  }

  /** An internal helper function, written by `write` at its first use; returns '@name'. */
  define(name: string, write: () => string): string {
    if (!this.#definitions.has(name)) {
      this.#definitions.set(name, ''); // keeps its place before the helpers that it asks for itself
      this.#definitions.set(name, write());
    }
    return `@${name}`;
  }

  constant(name: string, type: string, value: string): string {
    const spelled = `@${identifier(name)}`;
    this.#constants.set(spelled, `${spelled} = private unnamed_addr constant ${type} ${value}`);
    return spelled;
  }

  /** Metadata for one loop's back edge. !0 says non-temporal, !1 that a loop is not to be unrolled. */
  loop(): string {
    return `!${2 + this.#loops++}`;
  }

  get metadata(): string[] {
    if (this.#loops === 0) return ['!0 = !{i32 1}'];
    const loops = Array.from({ length: this.#loops }, (_, loop) => `!${loop + 2} = distinct !{!${loop + 2}, !1}`);
    return ['!0 = !{i32 1}', '!1 = !{!"llvm.loop.unroll.disable"}', ...loops];
  }

  get constants(): string[] {
    return [...this.#constants.values()];
  }
  get definitions(): string[] {
    return [...this.#definitions.values()];
  }
  get declarations(): string[] {
    return [...this.#declarations.values()].sort();
  }
}

/** The text of one function's body. */
export class FunctionWriter {
  readonly parts: ModuleParts;
  readonly #lines: string[] = [];
  readonly #used = new Map<string, number>();
  /** Splats of the block being written, by type and scalar. */
  readonly #splats = new Map<string, string>();
  #block = 'entry';

  constructor(parts: ModuleParts, reserved: readonly string[]) {
    this.parts = parts;
    for (const name of ['entry', ...reserved]) this.#used.set(name, 1);
  }

  /** An unused name made from `hint`, without its '%'. Blocks and values share one name space in LLVM. */
  fresh(hint: string): string {
    const count = this.#used.get(hint) ?? 0;
    this.#used.set(hint, count + 1);
    if (count === 0) return hint;
    return this.fresh(`${hint}.${count}`);
  }

  /** `%hint = text`; returns '%hint'. */
  emit(hint: string, text: string): string {
    const name = `%${identifier(this.fresh(hint))}`;
    this.#lines.push(`  ${name} = ${text}`);
    return name;
  }

  /** An instruction without a result. */
  run(text: string): void {
    this.#lines.push(`  ${text}`);
  }

  comment(text: string): void {
    for (const line of commentText(text)) this.#lines.push(`  ; ${line}`);
  }

  /** Starts a block. The block before must have been ended by a branch. `name` comes from `fresh`. */
  startBlock(name: string): void {
    this.#block = name;
    this.#splats.clear();
    this.#lines.push(`${identifier(name)}:`);
  }

  branch(name: string): void {
    this.run(`br label %${identifier(name)}`);
  }

  /**
   * The back edge of a loop. LLVM is told not to unroll it: what gains by copies has been printed with copies,
   * and where trip counts are constants it would unroll the rest into long code that takes long to compile.
   */
  branchBack(name: string): void {
    this.run(`br label %${identifier(name)}, !llvm.loop ${this.parts.loop()}`);
  }

  branchIf(condition: string, yes: string, no: string): void {
    this.run(`br i1 ${condition}, label %${identifier(yes)}, label %${identifier(no)}`);
  }

  /** The block being written: what a phi in a later block names as its predecessor. */
  get block(): string {
    return this.#block;
  }

  /**
   * A phi of which one incoming value is known only later: `%name = phi type [first, from], <rest>`.
   * Returns the value and a function that fills in the rest.
   */
  phi(
    hint: string,
    type: string,
    incoming: readonly Incoming[],
  ): { value: string; add: (...more: Incoming[]) => void } {
    const value = `%${identifier(this.fresh(hint))}`;
    const all = [...incoming];
    const at = this.#lines.length;
    const print = () => {
      const pairs = all.map(({ value: text, block }) => `[ ${text}, %${identifier(block)} ]`);
      this.#lines[at] = `  ${value} = phi ${type} ${pairs.join(', ')}`;
    };
    this.#lines.push('');
    print();
    return {
      value,
      add: (...more) => {
        all.push(...more);
        print();
      },
    };
  }

  /** `value` in every lane. `lanes` 0: the value itself. */
  splat(scalar: string, lanes: number, value: string): string {
    if (lanes === 0) return value;
    const vector = vectorOf(scalar, lanes);
    const key = `${vector} ${value}`;
    const known = this.#splats.get(key);
    if (known !== undefined) return known;
    const symbol = `splat.${mangled(scalar, lanes)}`;
    const helper = this.parts.define(symbol, () =>
      [
        `define internal ${vector} @${symbol}(${scalar} %x) #1 {`,
        `  %first = insertelement ${vector} poison, ${scalar} %x, i64 0`,
        `  %all = shufflevector ${vector} %first, ${vector} poison, <${lanes} x i32> zeroinitializer`,
        `  ret ${vector} %all`,
        '}',
      ].join('\n'),
    );
    const splat = this.emit('splat', `call ${vector} ${helper}(${scalar} ${value})`);
    this.#splats.set(key, splat);
    return splat;
  }

  /**
   * Gives the value of the last instruction a better name, if that is what `value` is (nothing can have used it yet);
   * returns the name to go on with.
   */
  rename(value: string, hint: string): string {
    const last = this.#lines.at(-1);
    if (last === undefined || !last.startsWith(`  ${value} = `)) return value;
    const name = `%${identifier(this.fresh(hint))}`;
    this.#lines[this.#lines.length - 1] = `  ${name}${last.slice(2 + value.length)}`;
    return name;
  }

  get text(): string {
    return this.#lines.join('\n');
  }
}

export interface Incoming {
  readonly value: string;
  readonly block: string;
}
