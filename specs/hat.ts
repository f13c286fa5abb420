/**
 * HAT, the hybrid autoregressive transducer (Variani et al., arXiv 2003.07705): the blank is decided by a sigmoid of
 * its own, and the labels share a softmax among themselves. The lattice is that of RNN-T (rnnt.ts), FastEmit (arXiv 2010.11148)
 * and the clamp are as there.
 *
 *   b(t, u) = sigmoid(z_blank)
 *   e(t, u) = (1 - sigmoid(z_blank)) softmax over v != blank of z, at label u
 *
 * with z = acts(t, u, .). With the posteriors q0 of staying and qy of emitting, the gradient with respect to the logits is
 *
 *   sigmoid(z_blank) (q0 + qy) - q0 for the blank, and softmax_v qy - [v = label] qy for any other v.
 *
 * A blank of logit +-Infinity is decided: the gradient of its logit is 0.
 */
import { arc, defineLoss, f32, field, i32, lattice, logSumExp, max, min, softplus } from 'trellis-jit/dsl';

export default defineLoss(
  {
    name: 'hat',
    doc: 'HAT, hybrid autoregressive transducer: sigmoid for the blank, softmax over the labels; FastEmit and clamp',
    inputs: { acts: f32('T', 'U+1', 'V'), labels: i32('U', { not: 'blank' }) },
    params: { blank: 0, fastemitLambda: 0, clamp: 0 },
  },
  ({ acts, labels, T, U, V, blank, fastemitLambda, clamp }) => {
    const logZ = field([T, U + 1], (t, u) => logSumExp(V, (v) => (v === blank ? -Infinity : acts(t, u, v))));
    // A label of logit log 0 is impossible even in a row of nothing else, where the softmax would be 0 / 0.
    const label = (t: number, u: number) =>
      acts(t, u, labels(u)) === -Infinity ? -Infinity : acts(t, u, labels(u)) - logZ(t, u);
    return lattice({
      nodes: [T, U + 1],
      start: [0, 0],
      end: [T, U],
      arcs: [
        arc({ name: 'stay', step: [1, 0], weight: (t, u) => -softplus(-acts(t, u, blank)), final: true }),
        arc({
          name: 'emit',
          step: [0, 1],
          weight: (t, u) => label(t, u) - softplus(acts(t, u, blank)),
          scale: 1 + fastemitLambda,
        }),
      ],
      loss: (logLik) => -(1 + fastemitLambda) * logLik,
      gradient: (g) => (clamp > 0 ? max(-clamp, min(clamp, g)) : g),
    });
  },
);
