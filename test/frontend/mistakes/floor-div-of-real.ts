// @ts-nocheck
// floor-div-operand: logZ(t, 0)
import { defineLoss, f32, field, floorDiv, i32, logSumExp } from 'trellis-jit/dsl';

export default defineLoss(
  { name: 'wrong', inputs: { acts: f32('T', 'U+1', 'V'), labels: i32('U') }, params: { blank: 0, scale: 0.5 } },
  ({ acts, labels, T, U, V, blank, scale }) => {
    const logZ = field([T, U + 1], (t, u) => logSumExp(V, (v) => acts(t, u, v)));
    const a = field([T], (t) => acts(floorDiv(logZ(t, 0), 2), 0, 0));
    return { loss: -logZ(0, 0), gradients: {} };
  },
);
