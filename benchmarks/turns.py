"""Measurements side by side: each side in a process of its own, all in turns, in several rounds.

On a noisy machine only ratios of one round mean anything.
"""

import argparse
import functools
import json
import statistics
import subprocess
import sys
from pathlib import Path

from common import cli
from common.files import to_json, write_atomically


def child(command, whose):
    """What a process prints last, as JSON. Raises `UserError` with its last line where it fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except OSError as error:
        raise cli.UserError(f"--torch={command[0]} can not be run: {error.strerror}.") from error
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"it ended with status {done.returncode}, out of memory perhaps"]
        raise cli.UserError(f"{whose} could not be measured: {lines[-1].rstrip('.')}.")
    return json.loads(done.stdout.splitlines()[-1])


def other(script, python, name, how, *numbers):
    """What others/SCRIPT.py finds, in a process of its own: PyTorch does not live beside TensorFlow in one."""
    command = [python, str(Path(__file__).parent / "others" / f"{script}.py"), name, how, *map(str, numbers)]
    return child(command, "scikit-learn" if name == "rbm" else f"PyTorch ({how})")


def others(script, python, name, *numbers):
    """Dict, side -> function that measures it: those of PyTorch, or none without its Python."""
    hows = ("eager", "compiled") if python else ()
    return {how: functools.partial(other, script, python, name, how, *numbers) for how in hows}


def measure(sides, rounds):
    """List of a dict for each round, side -> what it found; of a side that can not be measured, {"refused": why}."""
    refused, found = {}, []
    for _ in range(rounds):
        found.append({})
        for side, measure_side in sides.items():
            if side not in refused:
                try:
                    found[-1][side] = measure_side()
                    continue
                except cli.UserError as error:
                    if side != "compiled":  # of which some steps are beyond
                        raise
                    refused[side] = {"refused": str(error)}
            found[-1][side] = refused[side]
    return found


def line(name, rounds, key):
    """One line of a terminal: the medians of all sides."""
    medians = {
        side: statistics.median(one[side][key] for one in rounds) for side in rounds[0] if key in rounds[0][side]
    }
    return f"{name:6}" + "".join(f"  {side} {value:.2f}" for side, value in medians.items()) + f"  ({key})"


def positive(text):
    if int(text) < 1:
        raise ValueError(text)
    return int(text)


def arguments(description, models):
    """A parser of what such measurements have in common."""
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    help_text = "compare with PyTorch (extra `bench`), of this Python or another"
    parser.add_argument("--torch", nargs="?", const=sys.executable, metavar="PYTHON", help=help_text)
    parser.add_argument("--models", default=",".join(models), help="which, separated by commas")
    parser.add_argument("--rounds", type=positive, default=3, help="rounds of all sides")
    parser.add_argument("--seconds", type=positive, default=2, help="of steps, or of samples, in each measurement")
    parser.add_argument("--out", metavar="FILE.json", help="where to keep what was found; what it has of others stays")
    parser.add_argument("--side", help=argparse.SUPPRESS)
    return parser


def check(arguments, models):
    """Raises `UserError` for models that are not there, or where TensorFlow is missing."""
    if unknown := [name for name in arguments.models.split(",") if name not in models]:
        raise cli.UserError(f"--models={','.join(unknown)}: choose of {', '.join(models)}.")
    cli.require_tensorflow()


def measure_all(arguments, facts, sides_of, key):
    """Measures each of the models, prints a line of `key` for each, and keeps all of it with the `facts` in --out."""
    from common import provenance

    out = Path(arguments.out) if arguments.out else None
    kept = json.loads(out.read_text()) if out and out.exists() else {"models": {}}
    kept |= provenance.here() | {"seconds": arguments.seconds} | facts
    for name in arguments.models.split(","):
        kept["models"][name] = measure(sides_of(name), arguments.rounds)
        print(line(name, kept["models"][name], key), flush=True)
        if out:
            write_atomically(out, lambda temporary: temporary.write_text(to_json(kept, indent=1) + "\n"))
