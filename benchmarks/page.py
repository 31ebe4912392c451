"""Writes docs/speed.md of what `benchmarks/training.py` and `gpu.py` found: `python -m benchmarks.page`."""

import json
import statistics
from pathlib import Path

from common.files import write_atomically

ROOT = Path(__file__).parents[1]
FOUND, ON_GPU = ROOT / "benchmarks" / "speed.json", ROOT / "benchmarks" / "gpu.json"
PAGE = ROOT / "docs" / "speed.md"
OURS = ("graph", "xla")

TITLE = """\
# Speed

This page is written by `python -m benchmarks.page`.
"""

HEAD = """\
## On a CPU

Milliseconds of a training step, medians of {rounds} rounds in which all sides take their turn, each in a process of its
own; ratios are of one round, their median and in brackets their range. Ours is a step of the real run, with its data
and its loop, by the faster compiler; the other is the faster of eager PyTorch and `torch.compile`, with the same
networks, losses and optimizers on one batch that lies in memory; of `rbm`, scikit-learn.

```sh
python -m benchmarks.training --torch --steps={steps} --rounds={rounds} --out=benchmarks/speed.json
```

on {num_cores} cores of {cpu}, commit {commit}; large matrix products reach {gflops:.0f} GFLOP/s there.
"""

TABLE = """\
| model | graph | XLA | PyTorch, eager | compiled | scikit-learn | ours / other | outside our step | of the peak |
| --- | --- | --- | --- | --- | --- | --- | --- | --- |
"""

NOTES = """\
"Outside our step" is the share of a step of the run that the compiled step alone does not take. "Of the peak" are the
operations of matrix products and convolutions, as PyTorch counts them, over the time of our whole step.

| model | first step, s: graph | XLA | PyTorch, eager | compiled | memory, GiB: ours | PyTorch |
| --- | --- | --- | --- | --- | --- | --- |
"""

GPU = """\
## On a GPU

Milliseconds of a training step on one {device}, medians of turns. Ours is the step with its data, a hundred in one
call, as XLA compiles it outside of TensorFlow (`trainers.program`); PyTorch's has one batch that lies on the card. Of
small networks that is mostly what it takes to start an operation, which a program of many steps does not pay; CUDA
graphs, by which PyTorch saves it too where a step allows them, were not tried. The last column is what one step there
differs from one by TensorFlow on a CPU, both in full float32: the largest difference of a variable, by its length.

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


def ratios(rounds):
    """Of each round, our better side's time over that of the best other."""
    found = []
    for one in rounds:
        ours = [one[side]["ms"] for side in OURS]
        others = [figures["ms"] for side, figures in one.items() if side not in OURS and "ms" in figures]
        if others:
            found.append(min(ours) / min(others))
    return found


def lines_of(name, rounds, gflops):
    ms = {side: median(rounds, side, "ms") for side in (*OURS, "eager", "compiled", "scikit-learn")}
    best = min(OURS, key=ms.get)
    outside = statistics.median(1.0 - one[best]["step_ms"] / one[best]["ms"] for one in rounds)
    gflop = median(rounds, "eager", "gflop")
    share = "" if gflop is None else f"{100 * gflop / (ms[best] / 1e3) / gflops:.0f} %"
    found = sorted(ratios(rounds))
    ratio = f"**{statistics.median(found):.2f}** ({found[0]:.2f} to {found[-1]:.2f})" if found else ""
    cells = [f"`{name}`", *map(text, ms.values()), ratio, f"{100 * outside:.1f} %", share]
    first = [text(median(rounds, side, "first"), 1) for side in (*OURS, "eager", "compiled")]
    memory = [text(median(rounds, best, "gib")), text(median(rounds, "eager", "gib"))]
    return [f"| {' | '.join(line)} |\n" for line in (cells, [f"`{name}`", *first, *memory])]


def of_cpu(found):
    """The part of the page on CPUs, of what speed.json holds."""
    rounds = max(map(len, found["models"].values()))
    lines = [lines_of(name, of_model, found["gflops"]) for name, of_model in found["models"].items()]
    refused = {
        name: figures["refused"]
        for name, of_model in found["models"].items()
        for figures in of_model[0].values()
        if "refused" in figures
    }
    told = "".join(f"\nOf `{name}`, {why}\n" for name, why in refused.items())
    head = HEAD.format(rounds=rounds, **{**found, **found["machine"]})
    return f"{head}\n{TABLE}{''.join(a for a, _ in lines)}\n{NOTES}{''.join(b for _, b in lines)}{told}"


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


def render(cpu, gpu):
    """The page as Markdown, of what the two files hold, or None."""
    parts = [part(found) for part, found in ((of_cpu, cpu), (of_gpu, gpu)) if found]
    return "\n".join([TITLE, *parts])


def load(path):
    return json.loads(path.read_text()) if path.exists() else None


if __name__ == "__main__":
    page = render(load(FOUND), load(ON_GPU))
    write_atomically(PAGE, lambda temporary: temporary.write_text(page))
    print(PAGE.relative_to(ROOT))
