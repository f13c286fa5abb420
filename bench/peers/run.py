"""Times other implementations of the RNN-T loss on the tensors of one shape, after checking that they compute the same.

    python run.py FOLDER [--threads N] [--seconds S]

FOLDER: acts.npy, labels.npy, actLens.npy and labelLens.npy, with our costs.npy and grad_acts.npy, as `trellis bench --save`
writes them. Prints one JSON object: what each implementation takes, or why it could not be measured.
"""

import argparse
import json
import os
import time
import warnings
from pathlib import Path

# Costs relative to themselves; elements of the gradient (of the sum of costs) absolute, both sides in float32.
TOLERANCE = 1e-4
# These libraries keep the lattice in float32 as well: a sum near the cost is rounded to 2^-24 of it at each of many
# steps, and a posterior is the exponential of such sums. Theirs is that error; ours keeps the lattice in float64.
LATTICE_STEPS = 24
FEWEST, MOST = 3, 51
# A run that takes so many seconds is measured once.
LONG = 1


class LeftOut(Exception):
    """Why something is not measured."""


def summarize(values):
    import numpy as np

    lower, median, upper = np.quantile(values, [0.25, 0.5, 0.75])
    return {"median": float(median), "lower": float(lower), "upper": float(upper)}


def warprnnt_numba():
    """Log-softmax by PyTorch within the loss, as it does for tensors on the CPU."""
    import importlib.metadata

    import torch
    from warprnnt_numba import RNNTLossNumba

    loss = RNNTLossNumba(blank=0, reduction="none", fastemit_lambda=0.0, clamp=-1)
    version = f"{importlib.metadata.version('warprnnt-numba')}, PyTorch {torch.__version__}"
    return version, lambda tensors: loss(*tensors)


# Its lattice on the CPU is walked by Python.
warprnnt_numba.most_nodes = 20_000


def torchaudio():
    import torchaudio
    from torchaudio.functional import rnnt_loss

    return torchaudio.__version__, lambda tensors: rnnt_loss(*tensors, blank=0, reduction="none")


torchaudio.most_nodes = 10_000_000


def time_of(run, seconds):
    """Quartiles of the milliseconds of a run that has been warmed up, and of how many runs."""

    def once():
        start = time.perf_counter()
        run()
        return 1e3 * (time.perf_counter() - start)

    first = once()
    if first > 1e3 * LONG:
        return summarize([first]), 1
    rounds = max(FEWEST, min(MOST, int(seconds * 1e3 / first)))
    return summarize([once() for _ in range(rounds)]), rounds


def log_softmax_alone(tensors, grads, seconds):
    """No loss: what PyTorch takes for the log-softmax that a loss begins with, forward and backward, as a measure."""
    import torch

    acts = tensors[0]
    upstream = torch.from_numpy(grads)

    def both():
        acts.grad = None
        torch.log_softmax(acts, -1).backward(upstream)

    def alone():
        with torch.no_grad():
            torch.log_softmax(acts, -1)

    both()
    full, rounds = time_of(both, seconds)
    score, _ = time_of(alone, seconds)
    return {"version": torch.__version__, "lossAndGradient": full, "loss": score, "rounds": rounds}


def measure(make, tensors, costs, grads, seconds):
    import numpy as np
    import torch

    acts = tensors[0]
    nodes = acts[..., 0].numel()
    if nodes > make.most_nodes:
        raise LeftOut(f"{nodes} lattice nodes would take it minutes")
    version, loss = make()

    def both():
        acts.grad = None
        result = loss(tensors)
        result.sum().backward()
        return result

    def alone():
        with torch.no_grad():
            return loss(tensors)

    computed = both().detach().numpy().reshape(-1)
    cost_error = float(np.max(np.abs(computed - costs) / np.maximum(1, np.abs(costs))))
    grad_error = float(np.max(np.abs(acts.grad.numpy() - grads)))
    allowed = TOLERANCE + LATTICE_STEPS * float(np.max(np.abs(costs))) * 2**-24
    if not (cost_error < TOLERANCE and grad_error < allowed):
        raise LeftOut(f"it disagrees: costs by {cost_error:.1e}, gradients by {grad_error:.1e}")

    full, rounds = time_of(both, seconds)
    score, _ = time_of(alone, seconds)
    return {
        "version": version,
        "lossAndGradient": full,
        "loss": score,
        "rounds": rounds,
        "costError": cost_error,
        "gradientError": grad_error,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--seconds", type=float, default=3, help="for each measurement")
    options = parser.parse_args()
    # Before the libraries are loaded, which read it then.
    os.environ["NUMBA_NUM_THREADS"] = str(options.threads)
    os.environ["OMP_NUM_THREADS"] = str(options.threads)
    warnings.filterwarnings("ignore")

    import numpy as np
    import torch

    torch.set_num_threads(options.threads)
    load = lambda name: np.load(options.folder / f"{name}.npy")  # noqa: E731
    acts = torch.from_numpy(load("acts")).requires_grad_(True)
    ints = [torch.from_numpy(load(name)) for name in ("labels", "actLens", "labelLens")]
    costs, grads = load("costs"), load("grad_acts")

    peers = {}
    for make in (warprnnt_numba, torchaudio):
        try:
            peers[make.__name__] = measure(make, (acts, *ints), costs, grads, options.seconds)
        except LeftOut as why:
            peers[make.__name__] = {"missing": str(why)}
        except Exception as error:  # one that is missing must not hide the other
            peers[make.__name__] = {"missing": f"{type(error).__name__}: {error}"}
    peers["log_softmax"] = log_softmax_alone((acts, *ints), grads, options.seconds)
    print(json.dumps(peers))


if __name__ == "__main__":
    main()
