/**
 * The devices that the numeric suite runs on, and how far each may be from float64.
 *
 * A device that this machine lacks is skipped and says so. TRELLIS_REQUIRE (a list, as in 'llvm,webgpu') names what must be
 * there: without it the suite fails instead. TRELLIS_WITHOUT (a list as well) leaves devices out though they are there.
 */
import { type DeviceChoice, type Loss, loadLoss, RNNTLoss, type RNNTLossOptions, TrellisError } from 'trellis-jit';
import { describe, test } from 'vitest';

export interface Limits {
  /** Of a cost: relative, or absolute for costs below 1. */
  readonly cost: number;
  /** Of a gradient element, absolute; elements are at most about 1, and 1 + lambda with FastEmit. */
  readonly grad: number;
  /**
   * Central differences of costs as the device computes them: the step, and the error allowed, absolute. The error is step^2 / 6
   * times the third derivative (at most about 1), and the rounding of two costs divided by twice the step.
   */
  readonly differences: { readonly step: number; readonly error: number };
  /** Sizes that random batches go up to. */
  readonly sizes: { readonly T: number; readonly U: number; readonly V: readonly number[]; readonly runs: number };
  /** True: logits beyond 5e29 are infinite. Default false: all of float32 is finite. */
  readonly narrow?: boolean;
  /** Relative error of a gradient element in a lattice of 1800 steps. Undefined: the device is too slow to be asked. */
  readonly relativeGrad?: number;
  /** The same of elements that are differences, relative to themselves. Undefined: nothing is promised. */
  readonly relativeElement?: number;
}

export interface TestedDevice {
  readonly device: DeviceChoice;
  /** How TRELLIS_REQUIRE names what the device needs. */
  readonly need: string;
  readonly limits: Limits;
}

/** Float64 throughout; a cost of some 1e3 is a sum of as many terms. */
const float64: Limits = {
  cost: 1e-9,
  grad: 1e-9,
  differences: { step: 1e-4, error: 1e-8 },
  sizes: { T: 14, U: 10, V: [2, 3, 5, 9, 17, 40], runs: 40 },
};

/**
 * Rows of logits are summed in float32, the lattice is in float64. A row's logZ is off by about 1e-7 then, a path adds some
 * seventy of them, and an arc's posterior is off by as much, relatively; the gradient is rounded to float32. The rows' errors have
 * either sign and mostly cancel, so what is measured is ten times smaller than these bounds: 2e-7 of both.
 */
const float32Rows: Limits = {
  cost: 1e-5,
  grad: 2e-6,
  // Inputs are float32 as well: on a grid of 2^-10 a step of 2^-7 is exact. 2^-14 / 6 is 1e-5, and 1e-6 / 2^-6 is 6e-5.
  differences: { step: 2 ** -7, error: 1e-4 },
  sizes: { T: 40, U: 30, V: [2, 3, 5, 8, 17, 64, 127, 300], runs: 60 },
  relativeGrad: 1e-5,
};

/** On a long path rows are summed in float64 as well, and what is singled out is computed whole: each element is right by itself. */
const cpu: Limits = { ...float32Rows, relativeElement: 1e-5 };

/**
 * As the cpu device, with pairs of float32 for the lattice and with the GPU's own exp and log, of which WGSL asks no more than
 * 3 + 2 |x| units in the last place. On lavapipe costs are off by 1e-7 and gradients by 5e-7 at most; other GPUs may round otherwise.
 *
 * Random batches are fewer here: on the software rasteriser that this runs on without a GPU, every shape of kernel takes a second to build. Relative errors are not asked for: an element below 2^-126 is flushed to 0, and
 * so are those that are products with one.
 */
const gpu: Limits = {
  cost: 2e-5,
  grad: 1e-5,
  narrow: true,
  differences: { step: 2 ** -7, error: 2e-4 },
  sizes: { T: 20, U: 12, V: [2, 3, 17, 127], runs: 20 },
};

const devices: readonly TestedDevice[] = [
  { device: 'reference', need: 'reference', limits: float64 },
  { device: 'cpu', need: 'llvm', limits: cpu },
  { device: 'webgpu', need: 'webgpu', limits: gpu },
];

/** Why this machine cannot run the device; undefined if it can. Anything but its absence is an error. */
async function missing(device: DeviceChoice): Promise<string | undefined> {
  try {
    await new RNNTLoss({ device, cacheDir: false }).ready();
    return undefined;
  } catch (error) {
    if (error instanceof TrellisError && error.code === 'device-unavailable') return error.message;
    throw error;
  }
}

const listed = (variable: string): string[] => (process.env[variable] ?? '').split(',').map((name) => name.trim());
const required = listed('TRELLIS_REQUIRE');
const without = listed('TRELLIS_WITHOUT');
const known = await Promise.all(
  devices
    .filter(({ need }) => !without.includes(need))
    .map(async (tested) => ({ tested, reason: await missing(tested.device) })),
);

/** `describe` for each device of this machine. */
export function onEveryDevice(body: (tested: TestedDevice) => void): void {
  for (const { tested, reason } of known) {
    const { device, need } = tested;
    if (reason === undefined) {
      describe(device, () => body(tested));
    } else if (required.includes(need) || required.includes(device)) {
      test(`${device} is here, as TRELLIS_REQUIRE asks`, () => {
        throw new Error(`TRELLIS_REQUIRE=${process.env.TRELLIS_REQUIRE} needs ${need}, but ${reason}`);
      });
    } else {
      process.stderr.write(`the ${device} device is not tested here: ${reason}\n`);
      describe.skip(`${device} (${reason})`, () => body(tested));
    }
  }
}

const losses = new Map<string, Promise<Loss>>();

/** One loss per device and spec, with costs left as they are, so that each kernel is compiled once in a test file. */
export function lossOf({ device }: TestedDevice, spec: string): Promise<Loss> {
  const key = `${device} ${spec}`;
  const loss = losses.get(key) ?? loadLoss(spec, { device, reduction: 'none', cacheDir: false });
  losses.set(key, loss);
  return loss;
}

/** The RNN-T loss on a device, ready for forwardSync; reduction 'none' unless asked otherwise. Nothing comes from disk. */
export const rnntOn = ({ device }: TestedDevice, options: RNNTLossOptions = {}): Promise<RNNTLoss> =>
  new RNNTLoss({ device, reduction: 'none', cacheDir: false, ...options }).ready();
