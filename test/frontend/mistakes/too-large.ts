// @ts-nocheck
// too-large: a
import { defineLoss, f32, max } from 'trellis-jit/dsl';

const n = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10];
const all = (f) => max(...n.map(f));

export default defineLoss({ name: 'wrong', inputs: { acts: f32('T') } }, () => {
  const huge = all((a) => all((b) => all((c) => all((d) => all((e) => all((f) => a * b * c * d * e * f))))));
  return { loss: huge, gradients: {} };
});
