"""Writes docs/speed.md of what `benchmarks/training.py` found: `python -m benchmarks.page`."""

import json
import statistics
from pathlib import Path

from common.files import write_atomically

ROOT = Path(__file__).parents[1]
FOUND, PAGE = ROOT / "benchmarks" / "speed.json", ROOT / "docs" / "speed.md"
OURS = ("graph", "xla")

HEAD = """\
# Speed

Milliseconds of a training step, medians of {rounds} rounds in which all sides take their turn, each in a process of its
own; ratios are of one round, their median and in brackets their range. Ours is a step of the real run, with its data
and its loop, by the faster compiler; the other is the faster of eager PyTorch and `torch.compile`, with the same
networks, losses and optimizers on one batch that lies in memory; of `rbm`, scikit-learn. This page is written by
`python -m benchmarks.page`, of what

```sh
python -m benchmarks.training --torch --steps={steps} --rounds={rounds} --out=benchmarks/speed.json
```

found on {num_cores} cores of {cpu}, commit {commit}; large matrix products reach {gflops:.0f} GFLOP/s there.
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


def render(found):
    """The page as Markdown, of what speed.json holds."""
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


if __name__ == "__main__":
    page = render(json.loads(FOUND.read_text()))
    write_atomically(PAGE, lambda temporary: temporary.write_text(page))
    print(PAGE.relative_to(ROOT))
