"""A training step as others write it: `benchmarks/other_steps.py NAME eager|compiled STEPS`, printed as JSON.

In PyTorch (packages: torch only), as it is or by `torch.compile`; of `rbm`, in scikit-learn. Networks, losses and
optimizers are those of the flagfiles that `benchmarks/training.py` names. An object is printed: `first`, seconds from
the start of the process to the end of the first step; `ms` of one step; `gib` of memory at most; `gflop` of matrix
products and convolutions in one step, where the step is eager.
"""

import itertools
import json
import resource
import statistics
import sys
import time

from other_models import ali, avb, binary, cgan, dcgan, vae

START = time.perf_counter()


# --- Energy ----------------------------------------------------------------------------------------------------------


def dbm(wrap):
    """One step along statistics of five sweeps of mean field and two of Gibbs sampling, centred."""
    import torch

    sizes = (784, 500, 1000)
    W = [(0.01 * torch.randn(a, b)).requires_grad_() for a, b in itertools.pairwise(sizes)]
    b = [torch.zeros(n, requires_grad=True) for n in sizes]
    average = [p.detach().clone() for p in (*W, *b)]
    optimizer = torch.optim.SGD([*W, *b], lr=0.005, momentum=0.9)
    x = binary(100)
    chains = [torch.full((100, n), 0.5) for n in sizes]

    def means_of_0(h1):
        return torch.sigmoid(h1 @ W[0].T + b[0])

    def means_of_1(v, h2):
        return torch.sigmoid(v @ W[0] + h2 @ W[1].T + b[1])

    def means_of_2(h1):
        return torch.sigmoid(h1 @ W[1] + b[2])

    def statistics_of(states):
        return [a.T @ c / len(a) for a, c in itertools.pairwise(states)], [a.mean(0) for a in states]

    @wrap
    def delta(v, h1, h2):
        m1 = torch.sigmoid(2 * (x @ W[0]) + b[1])
        m2, below = means_of_2(m1), x @ W[0]
        for _ in range(5):
            m1 = torch.sigmoid(below + m2 @ W[1].T + b[1])
            m2 = means_of_2(m1)
        for _ in range(2):
            v, h2 = torch.bernoulli(means_of_0(h1)), torch.bernoulli(means_of_2(h1))
            h1 = torch.bernoulli(means_of_1(v, h2))
        (dW, db), (mW, mb) = statistics_of([x, m1, m2]), statistics_of([v, means_of_1(v, h2), h2])
        dW, middle = [p - q for p, q in zip(dW, mW, strict=True)], [0.5 * (p + q) for p, q in zip(db, mb, strict=True)]
        db = [p - q for p, q in zip(db, mb, strict=True)]
        dW = [p - torch.outer(middle[i], db[i + 1]) - torch.outer(db[i], middle[i + 1]) for i, p in enumerate(dW)]
        for i, p in enumerate(dW):
            db[i], db[i + 1] = db[i] - p @ middle[i + 1], db[i + 1] - p.T @ middle[i]
        return dW + db, (v, h1, h2)

    def step():
        nonlocal chains
        with torch.no_grad():
            deltas, chains = delta(*chains)
            for parameter, change in zip((*W, *b), deltas, strict=True):
                parameter.grad = -change
            optimizer.step()
            torch._foreach_lerp_(average, [*W, *b], 0.001)

    return step


def rbm(wrap):
    """One update by persistent chains of scikit-learn's machine, which has no compiler."""
    import numpy as np
    from sklearn.neural_network import BernoulliRBM

    machine = BernoulliRBM(500, batch_size=100, learning_rate=0.01)
    x = (np.random.default_rng(0).random((100, 784)) < 0.13).astype(np.float32)
    return lambda: machine.partial_fit(x)


STEPS = {make.__name__: make for make in (vae, dcgan, cgan, ali, avb, dbm, rbm)}


def gflop(step):
    """Of matrix products and convolutions, forward and backward, by PyTorch's own formulas."""
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils.flop_counter import flop_registry

    class Counter(TorchDispatchMode):
        total = 0

        def __torch_dispatch__(self, function, types, arguments=(), options=None):
            result = function(*arguments, **(options or {}))
            if count := flop_registry.get(function._overloadpacket):
                self.total += count(*arguments, **(options or {}), out_val=result)
            return result

    with Counter() as counter:
        step()
    return counter.total / 1e9


def main(name, how, steps):
    wrap = (lambda function: function) if name == "rbm" or how == "eager" else __import__("torch").compile
    step, number = STEPS[name](wrap), max(1, int(steps) // 5)
    step()
    found = {"first": time.perf_counter() - START}
    step()  # what compiles anew for gradients that are there by now
    times = []
    for _ in range(5):
        start = time.perf_counter()
        for _ in range(number):
            step()
        times.append(1e3 * (time.perf_counter() - start) / number)
    found |= {"ms": statistics.median(times), "gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20}
    if how == "eager" and name != "rbm":
        found["gflop"] = gflop(step)
    print(json.dumps(found))


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except ModuleNotFoundError as error:
        sys.exit(
            f"{error.name} is missing here: install the extra `bench`, or name a Python that has it by --torch=PYTHON"
        )
