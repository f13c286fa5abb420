/** TRELLIS_REQUIRE, a list as in 'llvm,webgpu', names the lanes that must run on this machine. */
export const required = (lane: string): boolean =>
  (process.env.TRELLIS_REQUIRE ?? '').split(',').some((name) => name.trim() === lane);
