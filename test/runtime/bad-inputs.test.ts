import { InputError, RNNTLoss, type RNNTLossOptions } from 'trellis-jit';
import { describe, expect, test } from 'vitest';
import { type BadInput, badInputs, goodCall } from './bad-inputs.js';
import { present } from './devices.js';

describe.each(present)('$device', ({ device }) => {
  /** The error of one bad call, whether the constructor or the call gives it. */
  async function errorOf(bad: BadInput, sync: boolean): Promise<unknown> {
    const { acts, labels, actLens, labelLens } = { ...goodCall(), ...bad.tensors } as ReturnType<typeof goodCall>;
    try {
      const loss = new RNNTLoss({ device, ...bad.options } as RNNTLossOptions);
      if (sync) loss.forwardSync(acts, labels, actLens, labelLens, bad.call);
      else await loss.forward(acts, labels, actLens, labelLens, bad.call);
    } catch (error) {
      return error;
    }
    return undefined;
  }

  describe('bad input is refused before anything runs', () => {
    test('the call they start from is good', async () => {
      const { acts, labels, actLens, labelLens } = goodCall();
      const { costs } = await new RNNTLoss({ device }).forward(acts, labels, actLens, labelLens);
      expect(costs.data.every((cost) => cost > 0 && cost < 100)).toBe(true);
    });

    test.each(badInputs)('$name', async (bad) => {
      for (const sync of [false, true]) {
        const error = await errorOf(bad, sync);
        expect(error).toBeInstanceOf(InputError);
        const { message, code, argument } = error as InputError;
        expect({ message, code, argument }).toEqual({ message: bad.message, code: bad.code, argument: bad.argument });
      }
    });

    test('an output array is untouched by a call that is refused', async () => {
      const { acts, actLens, labelLens } = goodCall();
      const grads = new Float32Array(120).fill(7);
      const labels = [
        [1, 2],
        [5, 4],
      ];
      await expect(new RNNTLoss({ device }).forward(acts, labels, actLens, labelLens, { grads })).rejects.toThrow(
        'labels[1][0] is 5',
      );
      expect(grads.every((value) => value === 7)).toBe(true);
    });

    test('a partly overlapping output array', async () => {
      const memory = new Float32Array(180);
      const { labels, actLens, labelLens } = goodCall();
      const acts = { data: memory.subarray(0, 120), shape: [2, 4, 3, 5] };
      const loss = new RNNTLoss({ device });
      await expect(loss.forward(acts, labels, actLens, labelLens, { grads: memory.subarray(60) })).rejects.toThrow(
        'grads overlaps the memory of acts in part; allowed: memory of its own, or exactly that of acts',
      );
    });

    test('too many arguments', async () => {
      const { acts, labels, actLens, labelLens } = goodCall();
      const forward = new RNNTLoss({ device }).forward as (...args: unknown[]) => Promise<unknown>;
      const loss = new RNNTLoss({ device });
      await expect(forward.call(loss, acts, labels, actLens, labelLens, {}, 3)).rejects.toThrow(
        'arguments are 6; the last is 3; allowed: acts, labels, actLens and labelLens, then call options',
      );
    });

    test('a name in a bundle that the spec does not have', async () => {
      const { acts, labels } = goodCall();
      await expect(new RNNTLoss({ device }).forward({ acts, labels, actLen: [4, 3] })).rejects.toThrow(
        'actLen is not an input of rnnt (did you mean "actLens"?); allowed: acts, labels, actLens and labelLens',
      );
    });

    test('a length given as undefined in a bundle is missing, not full', async () => {
      const { acts, labels } = goodCall();
      const bundle = { acts, labels, actLens: undefined } as never;
      await expect(new RNNTLoss({ device }).forward(bundle)).rejects.toThrow('actLens is missing');
    });
  });
});
