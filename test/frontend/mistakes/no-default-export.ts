// @ts-nocheck
// no-default-export: import { f32 } from 'trellis-jit/dsl';
import { f32 } from 'trellis-jit/dsl';

export const acts = f32('T');
