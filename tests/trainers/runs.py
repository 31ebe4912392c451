"""Runs that tests train in this process, and what these have written."""

import contextlib
import json
import zipfile

import h5py

from tests.models import ROOT
from trainers import flags, rundir
from trainers.run import train


def train_here(run_dir, *arguments):
    with contextlib.chdir(ROOT):  # flagfiles name each other from there
        train(flags.parse(["trainers.run", f"--run_dir={run_dir}", *arguments]))
    return run_dir


def state(run_dir):
    """Every number of the newest checkpoint: weights, optimizers and step."""
    with zipfile.ZipFile(rundir.checkpoints(run_dir)[-1][1]) as archive, archive.open("model.weights.h5") as file:
        numbers = {}
        h5py.File(file).visititems(lambda name, x: numbers.update({name: x[()]} if isinstance(x, h5py.Dataset) else {}))
        return numbers


def logs(run_dir):
    """The lines of metrics.jsonl, but for how fast it went."""
    lines = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "steps_per_second"} for line in lines]


def contents(run_dir, *left_out):
    return {file: file.read_bytes() for file in run_dir.rglob("*") if file.is_file() and file.name not in left_out}


def temporary_files(run_dir):
    return list(run_dir.rglob("*tmp*"))
