"""Cures of collapse, side by side: `python -m benchmarks.cures [--seeds=3] [--out=runs/cures] [NAME ...] [-- FLAGS]`.

Each is a flagfile configs/labs/NAME.cfg of the ring of 8 Gaussians, trained for each seed, by default all in `CURES`.
Runs are those of `python -m trainers.run`: stopped ones go on, and finished ones are not trained again. FLAGS are
further flags of theirs, such as --num_steps=100. Ends with a table in Markdown, means and deviations over the seeds.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

from common import cli

CURES = {  # a flagfile in configs/labs -> what it does
    "ring_minimax": "the zero-sum game",
    "ring_non_saturating": "the non-saturating game",
    "ring_packing": "packs of 4 (PacGAN)",
    "ring_minibatch_deviation": "D sees the deviation within the minibatch",
    "ring_unrolled": "the zero-sum game, 5 steps of D unrolled",
    "ring_r1": "R1, equal rates",
    "ring_bayesian": "10 generators by SGHMC (Bayesian GAN)",
}
COLUMNS = {  # of the table -> metric and number
    "modes": ("modes_found", "modes_found"),
    "good samples": ("modes_found", "high_quality_share"),
    "reverse KL, nats": ("modes_found", "reverse_kl"),
    "fewest in the second half": ("modes_over_time", "fewest_modes_in_second_half"),
}


def row(name, results):
    """A line of the table, of the `results` of a run's summary.json."""
    cells = [f"`{name}`", CURES.get(name, "")]
    for metric, number in COLUMNS.values():
        found = results.get(metric, {}).get(number)
        deviation = found and found["standard_deviation"]
        cells.append(
            f"{found['mean']:.2f}" + (f" +- {deviation:.2f}" if deviation is not None else "") if found else ""
        )
    return f"| {' | '.join(cells)} |"


def train(name, out, seeds, flags):
    """Trains and measures a flagfile for as many seeds; returns the `results` of its summary.json."""
    run_dir = Path(out) / name
    command = [sys.executable, "-m", "trainers.run", f"--flagfile=configs/labs/{name}.cfg", f"--run_dir={run_dir}"]
    metrics = ",".join(dict.fromkeys(metric for metric, _ in COLUMNS.values()))
    done = subprocess.run([*command, f"--seeds={seeds}", f"--metrics={metrics}", "--noexport", *flags])
    if done.returncode:
        raise cli.UserError(f"{name} could not be trained: its command ended with status {done.returncode}.")
    return json.loads((run_dir / "summary.json").read_text())["results"]


def main(argv):
    own, flags = (argv[1 : argv.index("--")], argv[argv.index("--") + 1 :]) if "--" in argv else (argv[1:], [])
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(CURES)}")
    parser.add_argument("--seeds", type=int, default=3, help="runs of each")
    parser.add_argument("--out", default="runs/cures", help="the directory of the runs")
    arguments = parser.parse_args(own)
    if unknown := [name for name in arguments.names if name not in CURES]:
        raise cli.UserError(f"there is no cure {unknown[0]}: choose of {', '.join(CURES)}.")
    lines = [row(name, train(name, arguments.out, arguments.seeds, flags)) for name in arguments.names or CURES]
    print("\n".join([f"| NAME | game | {' | '.join(COLUMNS)} |", "|---" * (len(COLUMNS) + 2) + "|", *lines]))


if __name__ == "__main__":
    os.chdir(Path(__file__).parents[1])
    cli.run(main)
