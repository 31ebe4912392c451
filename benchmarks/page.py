"""Writes docs/speed.md of what the others here found: `python -m benchmarks.page`."""

import json
import statistics
from pathlib import Path

from common.files import write_atomically

ROOT = Path(__file__).parents[1]
TRAINING, PROFILES, SAMPLING, ON_GPU = (
    ROOT / "benchmarks" / f"{name}.json" for name in ("training", "profiles", "sampling", "gpu")
)
PAGE = ROOT / "docs" / "speed.md"
OURS, OTHERS = ("graph", "xla"), ("eager", "compiled")
KINDS = ("products", "optimizers", "backward", "forward")  # of operations

TITLE = """\
# Speed

This page is written by `python -m benchmarks.page`.
"""

HEAD = """\
## Training on a CPU

Milliseconds of a training step, medians of {rounds} rounds in which all sides take their turn, each in a process of its
own; ratios are of one round, their median and in brackets their range. Ours is a step of the real run, with its data
and its loop, by the faster compiler; the other is the faster of eager PyTorch and `torch.compile`, with the same
networks, losses and optimizers on one batch that lies in memory; of `rbm`, scikit-learn.

```sh
python -m benchmarks.training --torch --seconds={seconds} --rounds={rounds} --out=benchmarks/training.json
```

on {num_cores} cores of {cpu}, commit {commit}; large matrix products reach {gflops:.0f} GFLOP/s there.
"""

TABLE = """\
| model | graph | XLA | PyTorch, eager | compiled | scikit-learn | ours / other | aim | outside our step | of the peak |
| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |
"""

AIMS = {"dcgan": 1.0, "cgan": 1.0}  # of convolutional models; of others:
AIM = 0.7

NOTES = """\
"Aim" is what the ratio is to be at most. "Outside our step" is the share of a step of the run that the compiled step
alone does not take. "Of the peak" are the operations of matrix products and convolutions, as PyTorch counts them, over
the time of our whole step.

| model | first step, s: graph | XLA | PyTorch, eager | compiled | memory, GiB: ours | PyTorch |
| --- | --- | --- | --- | --- | --- | --- |
"""

OPERATIONS = """\
## Where the time goes

Of models whose aim is missed: the share of each kind of operation in the time of all of them, by TensorFlow's profiler,
the step by the faster compiler. "Products" are those of matrices and convolutions; "backward" is what else the
gradients take, and "forward" the rest. What XLA has fused counts as its last operation. The last column is what "ours /
other" would be if all but the products cost nothing.

```sh
python -m benchmarks.profiles
```

on {num_cores} cores of {cpu}, commit {commit}.

| model | compiler | products | optimizers | backward | forward | products / other |
| --- | --- | --- | --- | --- | --- | --- |
"""

SAMPLERS = """\
## Sampling on a CPU

Samples per second in minibatches of {batch}, medians of {rounds} rounds in turns as above; the ratio is that of what is
exported to the faster PyTorch, so that more is better. Ours draw each row by a seed of its own, whatever minibatch it
is in; PyTorch's draw all rows by one generator. A sample of `dbm` is 500 sweeps of a Gibbs sampler, ours in float64;
one of `made` costs PyTorch a pass through the network for each pixel.

```sh
python -m benchmarks.sampling --torch --batch={batch} --seconds={seconds} --rounds={rounds} \\
    --out=benchmarks/sampling.json
```

on {num_cores} cores of {cpu}, commit {commit}.

| model | graph | XLA | exported | PyTorch, eager | compiled | exported / other |
| --- | --- | --- | --- | --- | --- | --- |
"""

GPU = """\
## Training on a GPU

Milliseconds of a training step, medians of turns, on an {device}: the models in two calls, each with a card of its own.
Ours is the step with its data, a hundred in one call, as XLA compiles it outside of TensorFlow (`trainers.program`);
PyTorch's has one batch that lies on the card. Of small networks that is mostly what it takes to start an operation,
which a program of many steps does not pay; CUDA graphs, by which PyTorch saves it too where a step allows them, were
not tried. The last column is what one step there differs from one by TensorFlow on a CPU, both in full float32: the
largest difference of a variable, by its length.

```sh
python -m benchmarks.gpu prepare FOLDER
python benchmarks/gpu.py run FOLDER --out=benchmarks/gpu.json
```

| model | ours | PyTorch, eager | compiled | ours / other | difference |
| --- | --- | --- | --- | --- | --- |
"""


def median(rounds, side, key):
    """The median of a side's figure over the rounds, None where it has none."""
    values = [one[side][key] for one in rounds if key in one.get(side, {})]
    return statistics.median(values) if values else None


def text(value, digits=2):
    return "" if value is None else f"{value:.{digits}f}"


def with_range(values):
    """Their median, and in brackets the smallest and the largest of them."""
    return f"**{statistics.median(values):.2f}** ({min(values):.2f} to {max(values):.2f})" if values else ""


def ratios(rounds):
    """Of each round, our better side's time over that of the best other."""
    found = []
    for one in rounds:
        ours = [one[side]["ms"] for side in OURS]
        others = [figures["ms"] for side, figures in one.items() if side not in OURS and "ms" in figures]
        if others:
            found.append(min(ours) / min(others))
    return found


def aim(name, found):
    """What the ratios of a model are to be at most, and whether their median is."""
    if not found:
        return ""
    most = AIMS.get(name, AIM)
    return f"{most}, {'met' if statistics.median(found) <= most else 'missed'}"


def lines_of(name, rounds, gflops):
    ms = {side: median(rounds, side, "ms") for side in (*OURS, "eager", "compiled", "scikit-learn")}
    best = min(OURS, key=ms.get)
    outside = statistics.median(1.0 - one[best]["step_ms"] / one[best]["ms"] for one in rounds)
    gflop = median(rounds, "eager", "gflop")
    share = "" if gflop is None else f"{100 * gflop / (ms[best] / 1e3) / gflops:.0f} %"
    found = ratios(rounds)
    cells = [f"`{name}`", *map(text, ms.values()), with_range(found), aim(name, found), f"{100 * outside:.1f} %", share]
    first = [text(median(rounds, side, "first"), 1) for side in (*OURS, "eager", "compiled")]
    memory = [text(median(rounds, best, "gib")), text(median(rounds, "eager", "gib"))]
    return [f"| {' | '.join(line)} |\n" for line in (cells, [f"`{name}`", *first, *memory])]


def of_training(found):
    """The part of the page on training on CPUs, of what training.json holds."""
    rounds = max(map(len, found["models"].values()))
    lines = [lines_of(name, of_model, found["gflops"]) for name, of_model in found["models"].items()]
    refused = {
        name: figures["refused"]
        for name, of_model in found["models"].items()
        for figures in of_model[0].values()
        if "refused" in figures
    }
    whys = "".join(f"\nOf `{name}`, {why}\n" for name, why in refused.items())
    head = HEAD.format(rounds=rounds, **{**found, **found["machine"]})
    return f"{head}\n{TABLE}{''.join(a for a, _ in lines)}\n{NOTES}{''.join(b for _, b in lines)}{whys}"


def of_profiles(found):
    """The part of the page on where the time goes, of what profiles.json holds."""
    lines = []
    for name, shares in found["models"].items():
        kinds = [f"{100 * shares[kind]:.0f} %" for kind in KINDS]
        bound = text(shares["products"] * shares["ratio"])
        lines.append(f"| {' | '.join([f'`{name}`', shares['compiler'], *kinds, bound])} |\n")
    return OPERATIONS.format(**{**found, **found["machine"]}) + "".join(lines)


def of_sampling(found):
    """The part of the page on samplers, of what sampling.json holds."""
    lines = []
    for name, rounds in found["models"].items():
        speeds = {side: median(rounds, side, "per_second") for side in ("graph", "xla", "exported", *OTHERS)}
        others = [[one[side]["per_second"] for side in OTHERS if "per_second" in one.get(side, {})] for one in rounds]
        pairs = zip(rounds, others, strict=True)
        ratio = with_range([one["exported"]["per_second"] / max(of_round) for one, of_round in pairs if of_round])
        cells = [
            f"`{name}`",
            *("" if speed is None else f"{float(f'{speed:.3g}'):,g}" for speed in speeds.values()),
            ratio,
        ]
        lines.append(f"| {' | '.join(cells)} |\n")
    rounds = max(map(len, found["models"].values()))
    return SAMPLERS.format(rounds=rounds, **{**found, **found["machine"]}) + "".join(lines)


def of_gpu(found):
    """The part of the page on GPUs, of what gpu.json holds."""
    lines, told = [], []
    for name, sides in found.items():
        ms = {how: statistics.median(sides[how]["ms"]) for how in ("ours", "eager", "compiled") if "ms" in sides[how]}
        ratio = ms["ours"] / min(value for how, value in ms.items() if how != "ours")
        cells = [f"`{name}`", *(text(ms.get(how), 3) for how in ("ours", "eager", "compiled")), f"**{ratio:.2f}**"]
        lines.append(f"| {' | '.join([*cells, format(sides['check']['difference'], '.1g')])} |\n")
        told += [f"\nOf `{name}`, {how}: {side['refused']}\n" for how, side in sides.items() if "refused" in side]
    device = next(iter(found.values()))["check"]["device"]
    return GPU.format(device=device) + "".join(lines + told)


PARTS = ((of_training, TRAINING), (of_profiles, PROFILES), (of_sampling, SAMPLING), (of_gpu, ON_GPU))


def render(*found):
    """The page as Markdown, of what the files of `PARTS` hold, or None for each that is not there."""
    parts = [part(of_file) for (part, _), of_file in zip(PARTS, found, strict=True) if of_file]
    return "\n".join([TITLE, *parts])


def load(path):
    return json.loads(path.read_text()) if path.exists() else None


def stored():
    """The page of what is measured."""
    return render(*(load(path) for _, path in PARTS))


if __name__ == "__main__":
    write_atomically(PAGE, lambda temporary: temporary.write_text(stored()))
    print(PAGE.relative_to(ROOT))
