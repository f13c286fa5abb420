// @ts-nocheck
// argument-type: 1
import { defineLoss, f32 } from 'trellis-jit/dsl';

export default defineLoss({ name: 'wrong', inputs: { acts: f32('T') } }, 1);
