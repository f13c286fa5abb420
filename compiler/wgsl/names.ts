/**
 * Identifiers: names of a kernel made legal in WGSL, unique in the module, and never those of a keyword, a built-in
 * function or one of our own functions.
 */

/** Keywords, reserved words, and the types and functions of WGSL that printed code uses or that would read oddly as names. */
const reserved = new Set(
  `alias break case const const_assert continue continuing default diagnostic discard else enable false fn for if let
  loop override requires return struct switch true var while
  NULL Self abstract active alignas alignof as asm asm_fragment async attribute auto await become binding_array cast catch
  class co_await co_return co_yield coherent column_major common compile compile_fragment concept const_cast consteval
  constexpr constinit crate debugger decltype delete demote demote_to_helper do dynamic_cast enum explicit export extends
  extern external fallthrough filter final finally friend from fxgroup get goto groupshared highp impl implements import
  inline instanceof interface layout lowp macro macro_rules match mediump meta mod module move mut mutable namespace new
  nil noexcept noinline nointerpolation noperspective null nullptr of operator package packoffset partial pass patch
  pixelfragment precise precision premerge priv protected pub public readonly ref regardless register reinterpret_cast
  require resource restrict self set shared sizeof smooth snorm static static_assert static_cast std subroutine super
  target template this thread_local throw trait try type typedef typeid typename typeof union unless unorm unsafe unsized
  use using varying virtual volatile wgsl where with writeonly yield
  array atomic bool f16 f32 i32 u32 vec2 vec3 vec4 ptr sampler texture abs all any bitcast ceil clamp exp exp2 floor fma
  ldexp log log2 max min round select sign sqrt tanh storageBarrier workgroupBarrier workgroupUniformLoad
  subgroupShuffleXor Double Launch launch lane main task group groups local_index subgroup_lane subgroup_size HUGE INFINITE LANES`.split(
    /\s+/,
  ),
);

/** The names of one module. */
export class Names {
  private readonly taken: Set<string>;

  /** `functions`: names of the library, which are taken as well. */
  constructor(functions: Iterable<string>) {
    this.taken = new Set([...reserved, ...functions]);
  }

  /** Names that may be the same as those another copy gives out: a function's own. */
  copy(): Names {
    return new Names(this.taken);
  }

  /** A free name like `wanted`: itself, or with an ending. A value that is called like a buffer becomes `<name>_value`. */
  fresh(wanted: string): string {
    let base = wanted.replace(/[^A-Za-z0-9_]/g, '_').replace(/^_+/, '');
    if (!/^[A-Za-z]/.test(base)) base = `x${base}`;
    const candidates = [base, `${base}_value`];
    for (let number = 2; ; number++) {
      const name = candidates.shift() ?? `${base}_${number}`;
      if (this.taken.has(name)) continue;
      this.taken.add(name);
      return name;
    }
  }
}
