/**
 * RNN-T on the tokens of TDT (tdt.ts; NeMo's omega): the last index of acts has one logit for each duration behind those of the tokens,
 * and this loss does not look at them. The lattice and the rest are those of rnnt.ts, without sigma; the gradient of the durations
 * is zero. TDT is trained with it some of the time, so that the tokens learn to do without durations: see TDTLoss.
 */
import { arc, defineLoss, f32, i32, lattice, logSoftmax, max, min } from 'trellis-jit/dsl';

export default defineLoss(
  {
    name: 'tdt-tokens',
    doc: 'RNN-T on the tokens of TDT, without its durations: what TDT is trained with some of the time; FastEmit and clamp',
    inputs: { acts: f32('T', 'U+1', 'V'), labels: i32('U', { not: 'blank' }) },
    params: { blank: -1, fastemitLambda: 0, clamp: 0 },
    statics: { durations: [0, 1, 2, 3, 4] },
  },
  ({ acts, labels, T, U, V, blank, fastemitLambda, clamp, durations }) => {
    const token = logSoftmax(acts, V - durations.length);
    return lattice({
      nodes: [T, U + 1],
      start: [0, 0],
      end: [T, U],
      arcs: [
        arc({ name: 'stay', step: [1, 0], weight: (t, u) => token(t, u, blank), final: true }),
        arc({ name: 'emit', step: [0, 1], weight: (t, u) => token(t, u, labels(u)), scale: 1 + fastemitLambda }),
      ],
      loss: (logLik) => -(1 + fastemitLambda) * logLik,
      gradient: (g) => (clamp > 0 ? max(-clamp, min(clamp, g)) : g),
    });
  },
);
