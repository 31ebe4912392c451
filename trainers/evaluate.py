"""Measures a trained model on held-out data: `python -m trainers.evaluate --run_dir=RUN_DIR`.

`trainers.metrics.METRICS` names the metrics. Results are printed as a table and kept in RUN_DIR/evaluation.json after
each metric, with the command, the options that the metric read and the seconds it took; TensorBoard gets them, too. The
same command again goes on where it was stopped, and other metrics join what is there. A metric is measured anew when
the run has got further, the data are others, or an option that it read has changed. Of a
directory that `trainers.run --seeds` has made, each run is measured, and all together in summary.json.
"""

import math
import shlex
import time

from absl import flags as absl_flags

from common import cli, files
from common import flags as common_flags

ALL = "all"


class Noted:
    """Options that remember which of them were asked for: `read`, a dict."""

    def __init__(self, options):
        self.options, self.read = options, {}

    def __getattr__(self, name):
        value = self.read[name] = getattr(self.options, name)
        return value


def evaluate(run_dir, options, arguments):
    """Applies every metric of `options.metrics` that fits the run and is not known yet; prints and returns the results.

    `arguments` are what was parsed into the options: the command is kept with the results.

    Returns:
        The dict of evaluation.json: step, data_checksum, `results`, metric -> dict of numbers and text, and `measured`,
        metric -> dict of command, options and seconds.

    Raises:
        UserError: if the directory holds no run or no checkpoint, or its data can not be had.
    """
    from trainers import callbacks, rundir, tables
    from trainers.data import load, require_rows
    from trainers.metrics import METRICS, DoesNotApply

    run = rundir.load(run_dir)
    settings = run.settings
    data_dir = options.data_dir or settings.data_dir
    data = load(settings.dataset, data_dir, settings.image_side, settings.image_channels, settings.splits)
    require_rows(data, "test")
    file, names, reasons = run.path / "evaluation.json", chosen(options.metrics), {}
    about = {"step": run.step, "data_checksum": data.checksum}
    measured = read(file, about)["measured"]
    if kept := [name for name in names if name in measured and agrees(name, measured[name]["options"], options)]:
        print(f"kept from {file} (without it all is measured anew): {', '.join(kept)}")
    command = shlex.join(["python", "-m", "trainers.evaluate", *arguments])
    for name in [name for name in names if name not in kept]:
        noted, start = Noted(options), time.perf_counter()
        try:
            found = METRICS[name](run, data, noted)
        except DoesNotApply as reason:
            reasons[name] = reason
            continue
        seconds = round(time.perf_counter() - start, 3)
        keep(file, about, name, found, {"command": command, "options": noted.read, "seconds": seconds})
    report = read(file, about)
    results = {name: report["results"][name] for name in names if name in report["results"] and name not in reasons}
    if results:
        with cli.writing(run.path):
            callbacks.Board(run.path / "tensorboard" / "evaluation", run.step - 1).write(run.step, scalars(report))
        print("\n" + tables.terminal(results, tables.published(tables.name_of(run.path))))
    for name, reason in reasons.items():
        print(f"{name} does not apply: {reason}")
    print(f"kept in {file}" if results else f"nothing was measured of {run.path}")
    return report


def read(file, about):
    """The evaluation in a file if it is `about` the same step and data, else one without results."""
    known = files.read_json(file, *about, "results", "measured") or {}
    return known if about.items() <= known.items() else {**about, "results": {}, "measured": {}}


def keep(file, about, name, found, how):
    """Writes what a metric returned, and how, into the evaluation in a file, which another command may have changed."""
    from trainers import rundir

    if lost := [key for key, value in found.items() if isinstance(value, float) and not math.isfinite(value)]:
        print(f"{name}: left out, not finite: {', '.join(lost)}")
    report = read(file, about)
    report["results"][name] = {key: value for key, value in found.items() if key not in lost}
    report["measured"][name] = how
    rundir.write_text(file, files.to_json(report, indent=2) + "\n")


def agrees(metric, noted, options):
    """Whether options that a metric has read are the same now; what was compared stays if nothing is to be compared."""
    from trainers.metrics import METRICS

    if options.against and getattr(METRICS[metric], "compares_runs", False):
        noted = {"against": None} | noted  # of before there was this option
    elif noted.get("against"):
        noted = {name: value for name, value in noted.items() if name != "against"}
    return all(getattr(options, name, None) == value for name, value in noted.items())


def scalars(report):
    """The numbers of an evaluation, dict tag -> number; settings are left out."""
    from trainers import tables

    found = {metric: tables.numbers(numbers)[0] for metric, numbers in report["results"].items()}
    return {
        "/".join(["evaluation", metric] + [number.name] * (number.name != metric)): number.value
        for metric, numbers in found.items()
        for number in numbers
    }


def chosen(metrics):
    """The metrics that are asked for, names out of `METRICS` or `ALL`: all but those on request if none are."""
    from trainers.metrics import METRICS, ON_REQUEST

    if ALL in (metrics or []):
        return list(METRICS)
    return list(dict.fromkeys(metrics or [])) or [name for name in METRICS if name not in ON_REQUEST]


def define_options():
    """The flags of an evaluation, not parsed yet."""
    from trainers.metrics import METRICS, ON_REQUEST, coverage, likelihood, sample_quality

    options = absl_flags.FlagValues()
    own = {"flag_values": options}
    common_flags.define_path(options, "run_dir", None, "The run to evaluate, or a directory of --seeds.")
    common_flags.define_path(options, "data_dir", None, "Where the data lies, if not where the run found it.")
    text = f"Metrics to apply, separated by commas, or {ALL}; default all but {', '.join(sorted(ON_REQUEST))}."
    common_flags.define_list(options, "metrics", None, text, choices=[*sorted(METRICS), ALL])
    count = {"lower_bound": 1, **own}
    absl_flags.DEFINE_integer("num_importance_samples", 200, "Draws of z for each example.", **count)
    absl_flags.DEFINE_integer(
        "num_jackknife_samples",
        32,
        "Draws of z for each example of jackknife_nll.",
        **own,
        lower_bound=likelihood.JACKKNIFE_ORDER + 1,
    )
    absl_flags.DEFINE_integer(
        "num_ais_examples", 100, "Examples: of the test set for ais_nll, drawn by the model for ais_gap.", **count
    )
    absl_flags.DEFINE_integer("num_ais_chains", 16, "Chains for each example of ais_nll and ais_gap.", **count)
    absl_flags.DEFINE_integer("num_ais_temperatures", 1000, "Steps between prior and posterior in both.", **count)
    absl_flags.DEFINE_integer("num_ais_leapfrog_steps", 10, "Leapfrog steps of each transition in both.", **count)
    text = "A run: log-likelihoods of rows are compared with those of the same rows by it, which gives `gain`."
    common_flags.define_path(options, "against", None, text)
    text = "Of ais_nll: p(x|z) is Gaussian around what is decoded, with this variance; 0: the model's own likelihood."
    absl_flags.DEFINE_float("decoder_variance", 0.0, text, lower_bound=0.0, **own)
    of_modes = f"{coverage.NUM_SAMPLES}, or of images {coverage.NUM_OF_MODE} a class where that is more"
    number = f"Samples drawn from the model; default {sample_quality.NUM_SAMPLES}, for modes of points {of_modes}."
    absl_flags.DEFINE_integer("num_model_samples", None, number, **count)
    absl_flags.DEFINE_integer("num_betas", 10000, "Steps of annealed importance sampling.", **count)
    runs = "Runs of annealed importance sampling, by whose spread its errors are known."
    absl_flags.DEFINE_integer("num_runs", 100, runs, lower_bound=2, **own)
    absl_flags.DEFINE_integer("batch_size", 100, "Examples at a time.", **count)
    absl_flags.DEFINE_integer("seed", 0, "Seed of the noise of the evaluation.", **own)
    return options


def evaluate_by(metrics, run_dir):
    """`evaluate` by these metrics, other options at their defaults."""
    options, arguments = define_options(), [f"--run_dir={run_dir}", *(f"--metrics={name}" for name in metrics)]
    options(["trainers.evaluate", *arguments])
    return evaluate(run_dir, options, arguments)


def check_metrics(names):
    """The names themselves. Raises `UserError` for one that is neither `ALL` nor one of `METRICS`."""
    from trainers.metrics import METRICS

    if unknown := {name for name in names if name.lower() not in (*METRICS, ALL)}:
        there = ", ".join([*METRICS, ALL])
        raise cli.UserError(f"--metrics={','.join(sorted(unknown))} is not a measure; there are {there}.")
    return names


def main(argv):
    with cli.starting_tensorflow():
        from trainers import seeds

        options = define_options()
    common_flags.parse(options, argv, __doc__, required="run_dir")
    if runs := seeds.runs(options.run_dir):
        for path in runs.values():
            print(path)
            evaluate(path, options, argv[1:])
        seeds.summarise(options.run_dir)
    else:
        evaluate(options.run_dir, options, argv[1:])


if __name__ == "__main__":
    cli.run(main)
