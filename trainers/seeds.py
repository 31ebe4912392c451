"""One run for each of several seeds, in RUN_DIR/seed_0 and so on, and what they show together: RUN_DIR/summary.json."""

import re
import sys
from pathlib import Path

import keras
import numpy as np

from common import files
from common.cli import UserError
from trainers import rundir, tables
from trainers.flags import LARGEST_SEED

BESIDE = ("_standard_error", "_floor", "_floor_deviation")  # ends of names that stand beside a number


def train_each(settings, train):
    """Calls `train` with the settings of each of `--seeds` runs, one after the other, and summarises their metrics.

    Each is an ordinary run: it ends with the same bits as by itself, its `config.cfg` reruns it, and the same command
    again goes on where it was stopped.

    Raises:
        UserError: for settings or a directory that are not for several seeds, and as `train` does.
        Stopped: after Ctrl-C or SIGTERM.
    """
    path, seeds = Path(settings.run_dir), range(settings.seed, settings.seed + settings.seeds)
    if settings.strategy == "multi_worker":
        raise UserError(
            f"--seeds={len(seeds)} is not for --strategy=multi_worker: give each seed its own --seed and --run_dir."
        )
    if seeds[-1] > LARGEST_SEED:
        raise UserError(f"--seed={seeds[0]} --seeds={len(seeds)} ends beyond {LARGEST_SEED}: give a smaller --seed.")
    if (path / "config.cfg").exists():
        raise UserError(f"{path} holds a run of one seed: give another --run_dir for --seeds={len(seeds)}.")
    for seed in seeds:
        print(f"seed {seed} of {seeds[0]} to {seeds[-1]}")
        keras.backend.clear_session()  # what the run before has left
        settings = settings.having(jit_compile=train(of_seed(settings, seed)).jit_compile)  # one compiler for all
    if settings.metrics:
        summarise(path)


def of_seed(settings, seed):
    """The settings of the run of one seed."""
    return settings.having(seed=seed, seeds=None, run_dir=str(Path(settings.run_dir) / f"seed_{seed}"))


def runs(run_dir):
    """The runs in a directory that `--seeds` has made, dict seed -> path; none in that of a single run."""
    path = Path(run_dir)
    if (path / "config.cfg").exists():
        return {}
    found = {int(match[1]): path / match[0] for each in path.glob("seed_*") if (match := _seed_of(each.name))}
    return {seed: found[seed] for seed in sorted(found) if (found[seed] / "config.cfg").exists()}


def _seed_of(name):
    return re.fullmatch(r"seed_(0|[1-9]\d*)", name)


def summarise(run_dir):
    """Prints a table of what the runs' evaluation.json hold, and keeps it in RUN_DIR/summary.json, which it returns.

    Of each number of each metric: `values` in the order of `seeds`, None where a run lacks it, their `mean`,
    `standard_deviation` (of one draw, n - 1 below; None of a single one), `min` and `max`. Settings are left out.
    """
    reports = {seed: files.read_json(path / "evaluation.json", "results") for seed, path in runs(run_dir).items()}
    if missing := [seed for seed, report in reports.items() if report is None]:
        print(f"{run_dir}: not evaluated yet, seeds {', '.join(map(str, missing))}", file=sys.stderr)
    reports = {seed: report for seed, report in reports.items() if report is not None}
    results = {}
    for metric in dict.fromkeys(name for report in reports.values() for name in report["results"]):
        of_seeds = [report["results"].get(metric, {}) for report in reports.values()]
        settings = {name for found in of_seeds for name in tables.numbers(found)[1]}
        for name in dict.fromkeys(name for found in of_seeds for name in found):
            values = [found.get(name) for found in of_seeds]
            known = [value for value in values if value is not None]
            if known and name not in settings:
                results.setdefault(metric, {})[name] = {
                    "mean": float(np.mean(known)),
                    "standard_deviation": float(np.std(known, ddof=1)) if len(known) > 1 else None,
                    "min": min(known),
                    "max": max(known),
                    "values": values,
                }
    steps = [report.get("step") for report in reports.values()]
    summary = {"seeds": list(reports), "steps": steps, "results": results}
    print(_table(summary))
    file = Path(run_dir) / "summary.json"
    rundir.write_text(file, files.to_json(summary, indent=2) + "\n")
    print(f"kept in {file}")
    return summary


def _table(summary):
    """The numbers of a summary as lines of text, without those that stand beside another."""
    columns = ("mean", "standard_deviation", "min", "max")
    rows = [(f"{len(summary['seeds'])} seeds", "mean", "deviation", "min", "max")]
    for metric, numbers in summary["results"].items():
        for name, of_seeds in numbers.items():
            if not any(name.endswith(end) and name.removesuffix(end) in numbers for end in BESIDE):
                shown = [tables.rounded(of_seeds[column])[0] for column in columns]
                rows.append((metric if name == metric else f"{metric}: {name}", *shown))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        f"{name:<{widths[0]}}" + "".join(f"  {text:>{width}}" for text, width in zip(texts, widths[1:], strict=True))
        for name, *texts in rows
    )
