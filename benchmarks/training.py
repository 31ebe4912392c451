"""What a training step costs, beside others: `python -m benchmarks.training [--models=vae,dcgan] [--torch=PYTHON]`.

For each model the step of its flagfile, as a graph and under XLA, and the same networks, losses and optimizers in
PyTorch, eager and by `torch.compile` (of the restricted Boltzmann machine: in scikit-learn). Each of these is measured
in a process of its own, all in turns, several rounds of them: on a noisy machine only ratios of one round mean
anything. --out=FILE.json keeps what was found; `python -m benchmarks.page` makes docs/speed.md of it.
"""

import functools
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import turns
from common import cli

MODELS = {  # the flagfile of each, and what else is set
    "vae": ["vae_binarized_mnist"],
    "avb": ["avb_binarized_mnist"],
    "dcgan": ["dcgan_mnist_original"],
    "cgan": ["cgan_mnist"],
    "ali": ["bigan_mnist"],
    "dbm": ["dbm_binarized_mnist", "--pretraining_steps="],  # the phase that takes nearly all steps
    "rbm": ["dbm_binarized_mnist", "--pretraining_steps=", "--hidden_units=500", "--gibbs_steps=1", "--nocentered"],
    "made": ["made_binarized_mnist"],
    "nice": ["nice_mnist"],
    "gmmn": ["gmmn_mnist"],
}
OURS = {"graph": False, "xla": True}
REPEATS = 5  # within a measurement, of which the median counts
SIZE = 2048  # of the matrices whose product is the machine's peak


# --- One side, in a process of its own -------------------------------------------------------------------------------


def settings_of(name, directory, *more):
    from trainers import flags

    flagfile, *own = MODELS[name]
    return flags.parse(["", f"--flagfile=configs/{flagfile}.cfg", f"--run_dir={directory}", *own, *more])


def median_ms(step, seconds):
    """Median over repeats of the mean milliseconds of one call; the first is not counted, the second says how many."""
    for _ in range(2):
        start = time.perf_counter()
        wait_for(step())
        once = time.perf_counter() - start
    number, times = max(1, round(seconds / REPEATS / once)), []
    for _ in range(REPEATS):
        start = time.perf_counter()
        for _ in range(number):
            result = step()
        wait_for(result)
        times.append(1e3 * (time.perf_counter() - start) / number)
    return statistics.median(times)


def wait_for(result):
    for value in result.values() if isinstance(result, dict) else ():
        value.numpy()


def ours(name, compiler, seconds):
    """Dict: `ms` of a step of the run, with its data and its loop; `step_ms` of the compiled step alone; `gib`."""
    import tensorflow as tf

    from trainers import callbacks, run, rundir
    from trainers.data import load

    tf.config.experimental.enable_op_determinism()  # as in a run
    with tempfile.TemporaryDirectory() as directory:
        settings = settings_of(name, directory)
        data = load(settings.dataset, settings.data_dir)
        facts = rundir.facts_of(settings, data)
        at_once = run.steps_per_execution(settings, 0)
        model = rundir.make_model(settings, facts, jit_compile=OURS[compiler], steps_per_execution=at_once)
        batches = run.training_data(settings, data, model, tf.distribute.get_strategy(), 0)
        batch = next(iter(batches))
        step = tf.function(model.train_step, jit_compile=OURS[compiler])
        alone = median_ms(lambda: step(batch), seconds)

        num_steps = at_once * max(1, round(1e3 * seconds / alone / at_once))
        board = callbacks.Board(Path(directory) / "tensorboard", 0)
        log = callbacks.Log(Path(directory), num_steps, 0, 2 * num_steps, board=board)
        log.verbose = False
        model.fit(batches, steps_per_epoch=2 * num_steps, callbacks=[log], shuffle=False, verbose=0)
        lines = (Path(directory) / "metrics.jsonl").read_text().splitlines()
        in_run = 1e3 / json.loads(lines[-1])["steps_per_second"]  # the second half: nothing is compiled any more
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {"ms": in_run, "step_ms": alone, "gib": memory}


def peak():
    """Dict: `gflops`, 10^9 operations a second of a product of large matrices."""
    import tensorflow as tf

    a = tf.random.stateless_normal([SIZE, SIZE], [0, 0])
    product = tf.function(lambda: tf.reduce_sum(a @ a))
    ms = median_ms(lambda: {"sum": product()}, 3.0)
    return {"gflops": 2 * SIZE**3 / ms / 1e6}


# --- All sides, in turns ---------------------------------------------------------------------------------------------


def our_side(name, compiler, seconds):
    """What `ours` found, and `first`, seconds from a command to the end of its first step, with its checkpoint."""
    own = [sys.executable, "-m", "benchmarks.training", f"--side={name}:{compiler}", f"--seconds={seconds}"]
    found = turns.child(own, f"{name} by {compiler}")
    with tempfile.TemporaryDirectory() as directory:
        flagfile, *more = MODELS[name]
        more += ["--num_steps=1", "--log_every=1", "--checkpoint_every=1", "--noexport"]
        more += [f"--jit_compile={str(OURS[compiler]).lower()}", f"--run_dir={directory}/run"]
        start = time.perf_counter()
        command = [sys.executable, "-m", "trainers.run", f"--flagfile=configs/{flagfile}.cfg", *more]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return found | {"first": time.perf_counter() - start}


def sides_of(name, python, seconds):
    """Dict, side -> function that measures it."""
    sides = {compiler: functools.partial(our_side, name, compiler, seconds) for compiler in OURS}
    if name == "rbm":
        return sides | {"scikit-learn": lambda: turns.other("steps", sys.executable, name, "eager", seconds)}
    return sides | turns.others("steps", python, name, seconds)


def main(argv):
    parser = turns.arguments(__doc__, MODELS)
    arguments = parser.parse_args(argv[1:])
    if arguments.side:
        name, _, compiler = arguments.side.partition(":")
        with cli.starting_tensorflow():
            import tensorflow as tf  # noqa: F401
        return print(json.dumps(peak() if name == "peak" else ours(name, compiler, arguments.seconds)))
    turns.check(arguments, MODELS)
    gflops = turns.child([sys.executable, "-m", "benchmarks.training", "--side=peak"], "the peak")["gflops"]
    print(f"peak of matrix products: {gflops:.0f} GFLOP/s", flush=True)
    facts = {"gflops": gflops}
    turns.measure_all(arguments, facts, lambda name: sides_of(name, arguments.torch, arguments.seconds), "ms")


if __name__ == "__main__":
    os.chdir(Path(__file__).parents[1])
    cli.run(main)
