/** Every variant once more: its arcs as the papers state them, written without a look at the specs. */
import { type Lattice, logSoftmax, logSum, lossByPaths, type Node, type Step } from './enumerate.js';
import { at, row, type Sample, type Shapes } from './samples.js';

export interface Variant extends Shapes {
  readonly loss: (sample: Sample) => number;
}

const onNodes = { real: { acts: ['T', 'U+1', 'V'] } } as const;

/** The numbers of a sample by the names of the papers. */
function numbers(sample: Sample) {
  const { T, U } = sample.sizes;
  const blank = sample.params.blank as number;
  const labels = Array.from(sample.inputs.labels?.data ?? []);
  return { T, U, blank, labels };
}

/** Probabilities of blank and label at a node, in logs. */
type Symbols = (t: number, u: number) => { readonly b: number; readonly e: number };

function softmaxSymbols(sample: Sample): Symbols {
  const { blank, labels } = numbers(sample);
  const rows = row(sample, 'acts');
  return (t, u) => {
    const logp = logSoftmax(rows(t, u));
    return { b: logp[blank] as number, e: u < labels.length ? (logp[labels[u] as number] as number) : -Infinity };
  };
}

/** RNN-T over given symbols, with whatever else leaves a node. */
function rnnt(sample: Sample, symbols: Symbols, more: (t: number, u: number) => readonly Step[] = () => []): Lattice {
  const { T, U } = numbers(sample);
  const from = ([t, u]: Node): Step[] => {
    const [frame, out] = [t as number, u as number];
    const { b, e } = symbols(frame, out);
    const steps: Step[] = [...more(frame, out)];
    if (frame < T - 1) steps.push({ to: [frame + 1, out], logWeight: b });
    else if (out === U) steps.push({ to: 'end', logWeight: b });
    if (out < U) steps.push({ to: [frame, out + 1], logWeight: e });
    return steps;
  };
  return { start: [0, 0], from };
}

/** One symbol a frame; `lastLabel`: whether the last may be a label; `context`: what a label pays besides. */
function monotonic(sample: Sample, lastLabel: boolean, context: (t: number, u: number) => number = () => 0): Lattice {
  const { T, U } = numbers(sample);
  const symbols = softmaxSymbols(sample);
  const enter = (t: number, u: number, logWeight: number): Step[] => {
    if (t < T) return [{ to: [t, u], logWeight }];
    return u === U ? [{ to: 'end', logWeight }] : [];
  };
  const from = ([t, u]: Node): Step[] => {
    const [frame, out] = [t as number, u as number];
    const { b, e } = symbols(frame, out);
    const label = out < U && (frame < T - 1 || lastLabel);
    return [...enter(frame + 1, out, b), ...(label ? enter(frame + 1, out + 1, e + context(frame, out)) : [])];
  };
  return { start: [0, 0], from };
}

const weightOf = (random: () => number): number => (random() < 0.2 ? 0 : random() * 4 - 3);

export const variants: Readonly<Record<string, Variant>> = {
  rnnt: { ...onNodes, loss: (sample) => lossByPaths(rnnt(sample, softmaxSymbols(sample))) },

  hat: {
    ...onNodes,
    loss: (sample) => {
      const { blank, labels } = numbers(sample);
      const rows = row(sample, 'acts');
      return lossByPaths(
        rnnt(sample, (t, u) => {
          const logits = rows(t, u);
          const z = logits[blank] as number;
          const others = logSoftmax(logits.map((logit, v) => (v === blank ? -Infinity : logit)));
          const b = -Math.log1p(Math.exp(-z));
          const e = u < labels.length ? (others[labels[u] as number] as number) - Math.log1p(Math.exp(z)) : -Infinity;
          return { b, e };
        }),
      );
    },
  },

  'delay-penalty': {
    ...onNodes,
    params: (random) => ({ delayPenalty: random() < 0.2 ? -0.3 : random() }),
    loss: (sample) => {
      const symbols = softmaxSymbols(sample);
      const penalty = sample.params.delayPenalty as number;
      const { T } = numbers(sample);
      return lossByPaths(
        rnnt(sample, (t, u) => {
          const { b, e } = symbols(t, u);
          return { b, e: penalty > 0 ? e + penalty * ((T - 1) / 2 - t) : e };
        }),
      );
    },
  },

  restricted: {
    ...onNodes,
    ints: ({ T, U }, random) => ({
      alignment: Array.from({ length: U }, () => Math.floor(random() * T)).sort((a, c) => a - c),
    }),
    params: (random) => ({ left: Math.floor(random() * 3), right: Math.floor(random() * 3) }),
    loss: (sample) => {
      const symbols = softmaxSymbols(sample);
      const { left, right } = sample.params as { left: number; right: number };
      const frame = at(sample, 'alignment');
      return lossByPaths(
        rnnt(sample, (t, u) => {
          const { b, e } = symbols(t, u);
          return { b, e: frame(u) - left <= t && t <= frame(u) + right ? e : -Infinity };
        }),
      );
    },
  },

  'monotonic-final': { ...onNodes, loss: (sample) => lossByPaths(monotonic(sample, false)) },
  monotonic: { ...onNodes, loss: (sample) => lossByPaths(monotonic(sample, true)) },
  constrained: {
    ...onNodes,
    loss: (sample) => {
      const symbols = softmaxSymbols(sample);
      return lossByPaths(monotonic(sample, true, (t, u) => symbols(t, u + 1).b));
    },
  },

  star: {
    ...onNodes,
    params: (random) => ({ skipWeight: weightOf(random) }),
    loss: (sample) => {
      const { T } = numbers(sample);
      const logWeight = sample.params.skipWeight as number;
      const skip = (t: number, u: number): Step[] => (t < T - 1 ? [{ to: [t + 1, u], logWeight }] : []);
      return lossByPaths(rnnt(sample, softmaxSymbols(sample), skip));
    },
  },

  wildcard: {
    ...onNodes,
    params: (random) => ({ wildcardWeight: weightOf(random), forceFinal: random() < 0.5 ? 1 : 0 }),
    loss: (sample) => {
      const { T, U } = numbers(sample);
      const { wildcardWeight: logWeight, forceFinal } = sample.params as Record<string, number> & {
        wildcardWeight: number;
      };
      const symbols = softmaxSymbols(sample);
      // A node by itself behind the wildcard, so that it is not followed by another one: [-1] is "the last blank is due".
      const jumps = (t: number, u: number): Step[] => {
        const steps: Step[] = [];
        if (t === 0 && u === 0) for (let to = 1; to < T; to++) steps.push({ to: [to, 0], logWeight });
        if (u === U && t < T - 1) steps.push({ to: forceFinal === 1 ? [-1] : 'end', logWeight });
        return steps;
      };
      const { start, from } = rnnt(sample, symbols, jumps);
      const due: Step[] = [{ to: 'end', logWeight: symbols(T - 1, U).b }];
      return lossByPaths({ start, from: (node) => (node.length === 1 ? due : from(node)) });
    },
  },

  additive: {
    real: { am: ['T', 'V'], lm: ['U+1', 'V'] },
    loss: (sample) => {
      const { blank, labels } = numbers(sample);
      const [am, lm] = [row(sample, 'am'), row(sample, 'lm')];
      return lossByPaths(
        rnnt(sample, (t, u) => {
          const context = lm(u);
          const logp = logSoftmax(am(t).map((score, v) => score + (context[v] as number)));
          return { b: logp[blank] as number, e: u < labels.length ? (logp[labels[u] as number] as number) : -Infinity };
        }),
      );
    },
  },

  'additive-smoothed': {
    real: { am: ['T', 'V'], lm: ['U+1', 'V'] },
    params: (random) => ({
      lmScale: random() < 0.3 ? 0 : random() / 2,
      amScale: random() < 0.3 ? 0 : random() / 2,
    }),
    loss: (sample) => {
      const { U, blank, labels } = numbers(sample);
      const { lmScale = 0, amScale = 0 } = sample.params;
      const [am, lm] = [row(sample, 'am'), row(sample, 'lm')];
      const shares = Array.from({ length: U + 1 }, (_, u) => logSoftmax(lm(u)).map(Math.exp));
      const unigram = shares[0]!.map((_, v) => shares.reduce((sum, share) => sum + (share[v] || 0), 0) / (U + 1));
      return lossByPaths(
        rnnt(sample, (t, u) => {
          const both = logSoftmax(am(t).map((score, v) => score + (lm(u)[v] as number)));
          const alone = logSoftmax(lm(u));
          const frame = logSoftmax(am(t).map((score, v) => score + Math.log(unigram[v] as number)));
          const of = (v: number): number =>
            (1 - lmScale - amScale) * (both[v] as number) +
            (lmScale && lmScale * (alone[v] as number)) +
            (amScale && amScale * (frame[v] as number));
          return { b: of(blank), e: u < labels.length ? of(labels[u] as number) : -Infinity };
        }),
      );
    },
  },

  pruned: {
    real: { acts: ['T', 'S', 'V'] },
    ints: ({ T, U, S }, random) => {
      // Windows that rise by less than their width from 0 to the end, mostly; some leave no path.
      const last = Math.max(0, U + 1 - (S as number));
      const ranges = Array.from({ length: T }, () => Math.floor(random() * (last + 1))).sort((a, c) => a - c);
      if (random() < 0.7) {
        ranges[0] = 0;
        ranges[T - 1] = T === 1 ? 0 : last;
      }
      return { ranges };
    },
    loss: (sample) => {
      const { blank, labels } = numbers(sample);
      const rows = row(sample, 'acts');
      const first = at(sample, 'ranges');
      const S = sample.sizes.S as number;
      return lossByPaths(
        rnnt(sample, (t, u) => {
          const s = u - first(t);
          if (s < 0 || s >= S) return { b: -Infinity, e: -Infinity };
          const logp = logSoftmax(rows(t, s));
          return { b: logp[blank] as number, e: u < labels.length ? (logp[labels[u] as number] as number) : -Infinity };
        }),
      );
    },
  },

  // The defaults of its durations: 2 and 4.
  multiblank: {
    ...onNodes,
    classes: { V: 6, labels: 3, blank: 5 },
    params: (random) => ({ sigma: random() < 0.5 ? 0 : 0.05 }),
    loss: (sample) => {
      const { T, U, blank, labels } = numbers(sample);
      const rows = row(sample, 'acts');
      const sigma = sample.params.sigma as number;
      const durations = [1, 2, 4];
      return lossByPaths({
        start: [0, 0],
        from: ([t, u]) => {
          const [frame, out] = [t as number, u as number];
          const logp = logSoftmax(rows(frame, out));
          const steps = durations.flatMap((d, n): Step[] => {
            const logWeight = (logp[blank - n] as number) - sigma;
            if (frame + d < T) return [{ to: [frame + d, out], logWeight }];
            return frame + d === T && out === U ? [{ to: 'end', logWeight }] : [];
          });
          const label = { to: [frame, out + 1], logWeight: (logp[labels[out] as number] as number) - sigma };
          return out < U ? [...steps, label] : steps;
        },
      });
    },
  },

  // The defaults of its durations: 0 to 4, whose logits come after those of 4 tokens.
  tdt: {
    ...onNodes,
    classes: { V: 9, labels: 3, blank: 3 },
    params: (random) => ({ sigma: random() < 0.5 ? 0 : 0.05 }),
    loss: (sample) => {
      const { T, U, blank, labels } = numbers(sample);
      const rows = row(sample, 'acts');
      const sigma = sample.params.sigma as number;
      return lossByPaths({
        start: [0, 0],
        from: ([t, u]) => {
          const [frame, out] = [t as number, u as number];
          const logits = rows(frame, out);
          const [token, lasts] = [logSoftmax(logits.slice(0, 4)), logSoftmax(logits.slice(4))];
          return lasts.flatMap((duration, d): Step[] => {
            const steps: Step[] = [];
            const stay = (token[blank] as number) - sigma + duration;
            if (d > 0 && frame + d < T) steps.push({ to: [frame + d, out], logWeight: stay });
            if (d > 0 && frame + d === T && out === U) steps.push({ to: 'end', logWeight: stay });
            const emit = (token[labels[out] as number] as number) - sigma + duration;
            if (out < U && frame + d < T) steps.push({ to: [frame + d, out + 1], logWeight: emit });
            return steps;
          });
        },
      });
    },
  },

  'tdt-tokens': {
    ...onNodes,
    classes: { V: 9, labels: 3, blank: 3 },
    loss: (sample) => {
      const { blank, labels } = numbers(sample);
      const rows = row(sample, 'acts');
      return lossByPaths(
        rnnt(sample, (t, u) => {
          const token = logSoftmax(rows(t, u).slice(0, 4));
          return {
            b: token[blank] as number,
            e: u < labels.length ? (token[labels[u] as number] as number) : -Infinity,
          };
        }),
      );
    },
  },

  ctc: {
    real: { acts: ['T', 'V'] },
    // All V^T words: merge repeats, drop blanks, and keep those that leave the labels.
    loss: (sample) => {
      const { T, blank, labels } = numbers(sample);
      const logp = Array.from({ length: T }, (_, t) => logSoftmax(row(sample, 'acts')(t)));
      const V = sample.sizes.V;
      const words: number[] = [];
      const read = (word: readonly number[]): string =>
        word.filter((symbol, n) => symbol !== blank && symbol !== word[n - 1]).join();
      const extend = (word: readonly number[], logWeight: number): void => {
        if (word.length < T)
          for (let v = 0; v < V; v++) extend([...word, v], logWeight + (logp[word.length]?.[v] as number));
        else if (read(word) === labels.join()) words.push(logWeight);
      };
      extend([], 0);
      return -logSum(words);
    },
  },
};
