"""A training step as others write it: `benchmarks/others/steps.py NAME eager|compiled SECONDS`, printed as JSON.

In PyTorch (packages: torch only), as it is or by `torch.compile`; of `rbm`, in scikit-learn. Networks, losses and
optimizers are those of the flagfiles that `benchmarks/training.py` names. An object is printed: `first`, seconds from
the start of the process to the end of the first step; `ms` of one step; `gib` of memory at most; `gflop` of matrix
products and convolutions in one step, where the step is eager.
"""

import importlib
import json
import resource
import statistics
import sys
import time

START = time.perf_counter()
MODULES = {  # of each model, whose functions are NAME and sample_NAME
    "vae": "variational", "avb": "variational", "dcgan": "adversarial", "cgan": "adversarial", "ali": "adversarial",
    "dbm": "energy", "rbm": "scikit_learn", "made": "autoregressive", "nice": "flows", "gmmn": "implicit",
}  # fmt: skip


def find(name, what=""):
    """The function of a model."""
    return getattr(importlib.import_module(MODULES[name]), what + name)


def wrapper(name, how):
    """What a model's functions get: `torch.compile`, or a function that changes nothing."""
    return (lambda function: function) if name == "rbm" or how == "eager" else __import__("torch").compile


def median_ms(function, seconds, repeats=5):
    """Median over repeats of the mean milliseconds of one call; a first call says how many these are."""
    start = time.perf_counter()
    function()
    number, times = max(1, round(seconds / repeats / (time.perf_counter() - start))), []
    for _ in range(repeats):
        start = time.perf_counter()
        for _ in range(number):
            function()
        times.append(1e3 * (time.perf_counter() - start) / number)
    return statistics.median(times)


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


def tell(measure):
    """Prints what `measure` of the command's arguments found, or what is missing."""
    try:
        print(json.dumps(measure(*sys.argv[1:])))
    except ModuleNotFoundError as error:
        sys.exit(
            f"{error.name} is missing here: install the extra `bench`, or name a Python that has it by --torch=PYTHON"
        )


def main(name, how, seconds):
    step = find(name)(wrapper(name, how))
    step()
    found = {"first": time.perf_counter() - START}
    step()  # what compiles anew for gradients that are there by now
    found["ms"] = median_ms(step, float(seconds))
    found["gib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    if how == "eager" and name != "rbm":
        found["gflop"] = gflop(step)
    return found


if __name__ == "__main__":
    tell(main)
