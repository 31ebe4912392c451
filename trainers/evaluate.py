"""Measures a trained model on held-out data: `python -m trainers.evaluate --run_dir=RUN_DIR`.

`trainers.metrics.METRICS` names the metrics. Results are printed and kept in RUN_DIR/evaluation.json; of a directory
that `trainers.run --seeds` has made, in that of each run, and together in RUN_DIR/summary.json.
"""

import math
import shlex

from absl import flags as absl_flags

from common import cli, files
from common import flags as common_flags


def evaluate(run_dir, options, arguments):
    """Applies every metric of `options.metrics` that fits the run; prints and returns the results.

    `arguments` are what was parsed into the options: the command is kept with the results.

    Raises:
        UserError: if the directory holds no run or no checkpoint, or its data can not be had.
    """
    from trainers import rundir
    from trainers.data import load, require_rows
    from trainers.metrics import METRICS, ON_REQUEST, DoesNotApply

    run = rundir.load(run_dir)
    settings = run.settings
    data_dir = options.data_dir or settings.data_dir
    data = load(settings.dataset, data_dir, settings.image_side, settings.image_channels)
    require_rows(data, "test")
    file = run.path / "evaluation.json"
    results = {}
    for name in dict.fromkeys(options.metrics or []) or [name for name in METRICS if name not in ON_REQUEST]:
        try:
            measured = METRICS[name](run, data, options)
        except DoesNotApply as reason:
            print(f"{name} does not apply: {reason}")
            continue
        lost = [key for key, value in measured.items() if isinstance(value, float) and not math.isfinite(value)]
        results[name] = known = {key: value for key, value in measured.items() if key not in lost}
        if lost:
            print(f"{name}: left out, not finite: {', '.join(lost)}")
        shown = {key: round(value, 4) if isinstance(value, float) else value for key, value in known.items()}
        print(name + ": " + ", ".join(f"{key} {value}" for key, value in shown.items()))
    report = {
        "command": shlex.join(["python", "-m", "trainers.evaluate", *arguments]),
        "step": run.step,
        "seed": options.seed,
        "data_checksum": data.checksum,
        "results": results,
    }
    rundir.write_text(file, files.to_json(report, indent=2) + "\n")
    print(f"kept in {file}")
    return report


def define_options():
    """The flags of an evaluation, not parsed yet."""
    from trainers.metrics import METRICS, ON_REQUEST, coverage, sample_quality

    options = absl_flags.FlagValues()
    own = {"flag_values": options}
    common_flags.define_path(options, "run_dir", None, "The run to evaluate, or a directory of --seeds.")
    common_flags.define_path(options, "data_dir", None, "Where the data lies, if not where the run found it.")
    text = f"Metrics to apply, separated by commas; default all but {' and '.join(sorted(ON_REQUEST))}."
    common_flags.define_list(options, "metrics", None, text, choices=sorted(METRICS))
    count = {"lower_bound": 1, **own}
    absl_flags.DEFINE_integer("num_importance_samples", 200, "Draws of z for each example.", **count)
    absl_flags.DEFINE_integer("num_ais_examples", 100, "Test examples for ais_nll.", **count)
    absl_flags.DEFINE_integer("num_ais_chains", 16, "Chains for each example of ais_nll.", **count)
    absl_flags.DEFINE_integer("num_ais_temperatures", 1000, "Steps from prior to posterior in ais_nll.", **count)
    absl_flags.DEFINE_integer("num_ais_leapfrog_steps", 10, "Leapfrog steps of each transition of ais_nll.", **count)
    of_modes = f"{coverage.NUM_SAMPLES}, or of images {coverage.NUM_OF_MODE} a class where that is more"
    number = f"Samples drawn from the model; default {sample_quality.NUM_SAMPLES}, for modes of points {of_modes}."
    absl_flags.DEFINE_integer("num_model_samples", None, number, **count)
    absl_flags.DEFINE_integer("num_betas", 10000, "Steps of annealed importance sampling.", **count)
    absl_flags.DEFINE_integer("num_runs", 100, "Runs of annealed importance sampling.", **count)
    absl_flags.DEFINE_integer("batch_size", 100, "Examples at a time.", **count)
    absl_flags.DEFINE_integer("seed", 0, "Seed of the noise of the evaluation.", **own)
    return options


def evaluate_by(metrics, run_dir):
    """`evaluate` by these metrics, other options at their defaults."""
    options, arguments = define_options(), [f"--run_dir={run_dir}", *(f"--metrics={name}" for name in metrics)]
    options(["trainers.evaluate", *arguments])
    return evaluate(run_dir, options, arguments)


def check_metrics(names):
    """The names themselves. Raises `UserError` for one that is none of `METRICS`."""
    from trainers.metrics import METRICS

    if unknown := {name for name in names if name.lower() not in METRICS}:
        raise cli.UserError(f"--metrics={','.join(sorted(unknown))} is not a measure; there are {', '.join(METRICS)}.")
    return names


def main(argv):
    cli.require_tensorflow()
    with cli.quiet():
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
