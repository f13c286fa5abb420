/** A loss that is nothing but its statics, for the test that replaces them. */
import { defineLoss, f32, logAddExp } from 'trellis-jit/dsl';

export default defineLoss(
  { name: 'unrolled', inputs: { a: f32('T') }, statics: { steps: [1, 2], shift: 0 } },
  ({ a, steps, shift }) => ({ loss: logAddExp(...steps.map((d) => a(d + shift))), gradients: {} }),
);
