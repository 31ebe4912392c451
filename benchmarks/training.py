"""What a training step costs, beside others: `python -m benchmarks.training [--models=vae,dcgan] [--torch=PYTHON]`.

For each model the step of its flagfile, as a graph and under XLA, and the same networks, losses and optimizers in
PyTorch, eager and by `torch.compile` (of the restricted Boltzmann machine: in scikit-learn). Each of these is measured
in a process of its own, all in turns, several rounds of them: on a noisy machine only ratios of one round mean
anything. --out=FILE.json keeps what was found; `python -m benchmarks.page` makes docs/speed.md of it.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from common import cli
from common.files import to_json, write_atomically

MODELS = {  # the flagfile of each, and what else is set
    "vae": ["vae_binarized_mnist"],
    "avb": ["avb_binarized_mnist"],
    "dcgan": ["dcgan_mnist_original"],
    "cgan": ["cgan_mnist"],
    "ali": ["bigan_mnist"],
    "dbm": ["dbm_binarized_mnist", "--pretraining_steps="],  # the phase that takes nearly all steps
    "rbm": ["dbm_binarized_mnist", "--pretraining_steps=", "--hidden_units=500", "--gibbs_steps=1", "--nocentered"],
}
OURS = {"graph": False, "xla": True}
SIZE = 2048  # of the matrices whose product is the machine's peak


# --- One side, in a process of its own -------------------------------------------------------------------------------


def settings_of(name, directory, *more):
    from trainers import flags

    flagfile, *own = MODELS[name]
    return flags.parse(["", f"--flagfile=configs/{flagfile}.cfg", f"--run_dir={directory}", *own, *more])


def median_ms(step, number, repeats=5):
    """Median over repeats of the mean milliseconds of one call; the first call is not counted."""
    step()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        for _ in range(number):
            result = step()
        for value in result.values() if isinstance(result, dict) else ():
            value.numpy()
        times.append(1e3 * (time.perf_counter() - start) / number)
    return statistics.median(times)


def ours(name, compiler, num_steps):
    """Dict: `ms` of a step of the run, with its data and its loop; `step_ms` of the compiled step alone; `gib`."""
    import tensorflow as tf

    from trainers import callbacks, run, rundir
    from trainers.data import load

    tf.config.experimental.enable_op_determinism()  # as in a run
    with tempfile.TemporaryDirectory() as directory:
        settings = settings_of(name, directory, f"--num_steps={2 * num_steps}")
        data = load(settings.dataset, settings.data_dir)
        facts = rundir.facts_of(settings, data)
        model = rundir.make_model(
            settings, facts, jit_compile=OURS[compiler], steps_per_execution=run.steps_per_execution(settings, 0)
        )
        batches = run.training_data(settings, data, model, tf.distribute.get_strategy(), 0)
        batch = next(iter(batches))
        step = tf.function(model.train_step, jit_compile=OURS[compiler])
        alone = median_ms(lambda: step(batch), max(1, num_steps // 5))

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
    ms = median_ms(lambda: {"sum": product()}, 10)
    return {"gflops": 2 * SIZE**3 / ms / 1e6}


# --- All sides, in turns ---------------------------------------------------------------------------------------------


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


def our_side(name, compiler, num_steps):
    """What `ours` found, and `first`, seconds from a command to the end of its first step, with its checkpoint."""
    own = [sys.executable, "-m", "benchmarks.training", f"--side={name}:{compiler}", f"--steps={num_steps}"]
    found = child(own, f"{name} by {compiler}")
    with tempfile.TemporaryDirectory() as directory:
        flagfile, *more = MODELS[name]
        more += ["--num_steps=1", "--log_every=1", "--checkpoint_every=1", "--noexport"]
        more += [f"--jit_compile={str(OURS[compiler]).lower()}", f"--run_dir={directory}/run"]
        start = time.perf_counter()
        command = [sys.executable, "-m", "trainers.run", f"--flagfile=configs/{flagfile}.cfg", *more]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return found | {"first": time.perf_counter() - start}


def other_side(python, name, how, num_steps):
    """What others take, in a process of its own: PyTorch does not live beside TensorFlow in one."""
    command = [python, str(Path(__file__).with_name("other_steps.py")), name, how, str(num_steps)]
    return child(command, "scikit-learn" if name == "rbm" else f"PyTorch ({how})")


def sides_of(name, python):
    """Dict, side -> function of the number of steps that measures it."""
    sides = {compiler: lambda steps, c=compiler: our_side(name, c, steps) for compiler in OURS}
    if name == "rbm":
        return sides | {"scikit-learn": lambda steps: other_side(sys.executable, name, "eager", steps)}
    if python:
        for how in ("eager", "compiled"):
            sides[how] = lambda steps, how=how: other_side(python, name, how, steps)
    return sides


def measure(name, python, rounds, num_steps):
    """List of a dict for each round, side -> what it found; of a side that can not be measured, {"refused": why}."""
    refused, found = {}, []
    for _ in range(rounds):
        found.append({})
        for side, measure_side in sides_of(name, python).items():
            if side not in refused:
                try:
                    found[-1][side] = measure_side(num_steps)
                    continue
                except cli.UserError as error:
                    if side != "compiled":  # of which some steps are beyond
                        raise
                    refused[side] = {"refused": str(error)}
            found[-1][side] = refused[side]
    return found


def line(name, rounds):
    """One line of a terminal: the medians of all sides."""
    medians = {
        side: statistics.median(one[side]["ms"] for one in rounds) for side in rounds[0] if "ms" in rounds[0][side]
    }
    return f"{name:6}" + "".join(f"  {side} {ms:.2f} ms" for side, ms in medians.items())


def positive(text):
    if int(text) < 1:
        raise ValueError(text)
    return int(text)


def main(argv):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    help_text = "compare with PyTorch (extra `bench`), of this Python or another"
    parser.add_argument("--torch", nargs="?", const=sys.executable, metavar="PYTHON", help=help_text)
    parser.add_argument("--models", default=",".join(MODELS), help="which, separated by commas")
    parser.add_argument("--steps", type=positive, default=200, help="steps of each measurement")
    parser.add_argument("--rounds", type=positive, default=3, help="rounds of all sides")
    parser.add_argument("--out", metavar="FILE.json", help="where to keep what was found; what it has of others stays")
    parser.add_argument("--side", help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv[1:])
    if arguments.side:
        name, _, compiler = arguments.side.partition(":")
        with cli.quiet():
            import tensorflow as tf  # noqa: F401
        print(json.dumps(peak() if name == "peak" else ours(name, compiler, arguments.steps)))
        return
    chosen = arguments.models.split(",")
    if unknown := [name for name in chosen if name not in MODELS]:
        raise cli.UserError(f"--models={','.join(unknown)}: choose of {', '.join(MODELS)}.")
    cli.require_tensorflow()
    from common import provenance

    out = Path(arguments.out) if arguments.out else None
    kept = json.loads(out.read_text()) if out and out.exists() else {"models": {}}
    kept |= provenance.here() | {"steps": arguments.steps}
    kept["gflops"] = child([sys.executable, "-m", "benchmarks.training", "--side=peak"], "the peak")["gflops"]
    print(f"peak of matrix products: {kept['gflops']:.0f} GFLOP/s", flush=True)
    for name in chosen:
        kept["models"][name] = measure(name, arguments.torch, arguments.rounds, arguments.steps)
        print(line(name, kept["models"][name]), flush=True)
        if out:
            write_atomically(out, lambda temporary: temporary.write_text(to_json(kept, indent=1) + "\n"))


if __name__ == "__main__":
    os.chdir(Path(__file__).parents[1])
    cli.run(main)
