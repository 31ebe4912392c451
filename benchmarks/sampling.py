"""What drawing samples costs, beside others: `python -m benchmarks.sampling [--models=vae,dcgan] [--torch=PYTHON]`.

For each model of a flagfile, untrained: samples per second of the model itself, as a graph and under XLA, of its
exported signature `sample`, and of the same networks in PyTorch, eager and by `torch.compile`. Ours draw each row by a
seed of its own; PyTorch's all rows by one generator. Each of these is measured in a process of its own, all in turns.
--out=FILE.json keeps what was found; `python -m benchmarks.page` makes a part of docs/speed.md of it.
"""

import functools
import json
import os
import sys
import tempfile
from pathlib import Path

from benchmarks import training, turns
from common import cli

MODELS = [name for name in training.MODELS if name != "rbm"]  # scikit-learn draws one sweep of a chain at a time
OURS = ("graph", "xla", "exported")


def sampler_of(model, how, directory, batch):
    """A function of int64 seeds [batch] that draws rows."""
    import tensorflow as tf

    from export.saved_model import export_model

    label = {name: tf.range(batch, dtype=spec.dtype) % 10 for name, spec in model.label_spec.items()}
    if how != "exported":
        sample = tf.function(model.sample, jit_compile=how == "xla")
        return lambda seeds: sample(seeds, **label)
    exported = tf.saved_model.load(str(export_model(model, directory, metadata={}, signatures=["sample"])))
    return lambda seeds: exported.signatures["sample"](seed=seeds, **label)[model.data_name]


def ours(name, how, batch, seconds):
    """Dict: `per_second`, samples in minibatches of so many."""
    import tensorflow as tf

    from trainers import rundir
    from trainers.data import load

    with tempfile.TemporaryDirectory() as directory:
        settings = training.settings_of(name, directory)
        model = rundir.make_model(settings, rundir.facts_of(settings, load(settings.dataset, settings.data_dir)))
        sample, seeds = sampler_of(model, how, f"{directory}/export", batch), tf.range(batch, dtype=tf.int64)
        return {"per_second": 1e3 * batch / training.median_ms(lambda: {"rows": sample(seeds)}, seconds)}


def sides_of(name, python, batch, seconds):
    """Dict, side -> function that measures it."""
    command = [sys.executable, "-m", "benchmarks.sampling", f"--batch={batch}", f"--seconds={seconds}"]
    sides = {how: functools.partial(turns.child, [*command, f"--side={name}:{how}"], f"{name} ({how})") for how in OURS}
    return sides | turns.others("samplers", python, name, batch, seconds)


def main(argv):
    parser = turns.arguments(__doc__, MODELS)
    parser.add_argument("--batch", type=turns.positive, default=64, help="rows of a minibatch")
    arguments = parser.parse_args(argv[1:])
    if arguments.side:
        name, _, how = arguments.side.partition(":")
        with cli.starting_tensorflow():
            import tensorflow as tf  # noqa: F401
        return print(json.dumps(ours(name, how, arguments.batch, arguments.seconds)))
    turns.check(arguments, MODELS)
    numbers = arguments.batch, arguments.seconds
    facts = {"batch": arguments.batch}
    turns.measure_all(arguments, facts, lambda name: sides_of(name, arguments.torch, *numbers), "per_second")


if __name__ == "__main__":
    os.chdir(Path(__file__).parents[1])
    cli.run(main)
