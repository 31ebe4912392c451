"""What a training step costs: `python benchmarks/training.py [--torch]`.

For the VAE and the DCGAN of the MNIST flagfiles, as a graph and under XLA: the compiled step alone, on one batch that
lies in memory; a step of the real run, with its data and its loop; and the share of the latter that is not the former.
Then what a fresh command costs until its first step is done, and its memory. With --torch, the same networks, losses
and optimizers in eager PyTorch, measured in the same minutes in a process of its own: on a noisy machine only ratios
mean anything. `python -m benchmarks.training` is the same.
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

FLAGFILES = {"vae": "configs/vae_binarized_mnist.cfg", "dcgan": "configs/dcgan_mnist_original.cfg"}


def median_ms(step, repeats, number):
    """Median over repeats of the mean milliseconds of one call; the first call is not counted."""
    step()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        for _ in range(number):
            result = step()
        finish(result)
        times.append(1e3 * (time.perf_counter() - start) / number)
    return statistics.median(times)


def finish(result):
    for value in result.values() if isinstance(result, dict) else ():
        value.numpy()


def measure(name, jit_compile, num_steps):
    """(milliseconds of the compiled step alone, milliseconds of a step of the run)."""
    import tensorflow as tf

    from trainers import callbacks, flags, run, rundir
    from trainers.data import load

    tf.config.experimental.enable_op_determinism()  # as in a run
    with tempfile.TemporaryDirectory() as directory:
        settings = flags.parse(
            ["", f"--flagfile={FLAGFILES[name]}", f"--run_dir={directory}", f"--num_steps={2 * num_steps}"]
        )
        data = load(settings.dataset, settings.data_dir)
        facts = rundir.facts_of(settings, data)
        model = rundir.make_model(
            settings, facts, jit_compile=jit_compile, steps_per_execution=run.steps_per_execution(settings, 0)
        )
        batches = run.training_data(settings, data, model, tf.distribute.get_strategy(), 0)
        batch = next(iter(batches))
        step = tf.function(model.train_step, jit_compile=jit_compile)
        alone = median_ms(lambda: step(batch), 5, max(1, num_steps // 5))

        board = callbacks.Board(Path(directory) / "tensorboard", 0)
        log = callbacks.Log(Path(directory), num_steps, 0, 2 * num_steps, board=board)
        log.verbose = False
        model.fit(batches, steps_per_epoch=2 * num_steps, callbacks=[log], shuffle=False, verbose=0)
        lines = (Path(directory) / "metrics.jsonl").read_text().splitlines()
        in_run = 1e3 / json.loads(lines[-1])["steps_per_second"]  # the second half: nothing is compiled any more
        return alone, in_run


def first_step(name):
    """(seconds from the command to the end of its first steps, peak memory in GiB), in a process of its own."""
    with tempfile.TemporaryDirectory() as directory:
        command = [sys.executable, "-m", "trainers.run", f"--flagfile={FLAGFILES[name]}", f"--run_dir={directory}"]
        more = ["--dataset=mnist", "--num_steps=1", "--log_every=1", "--checkpoint_every=1", "--noexport"]
        start = time.perf_counter()
        subprocess.run([*command, *more], check=True, stdout=subprocess.DEVNULL)
        seconds = time.perf_counter() - start
    return seconds, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20


def torch_step(python, name, steps):
    """Milliseconds of a step in eager PyTorch, in a process of its own: it does not live beside TensorFlow in one.

    Raises:
        UserError: if that fails, as it does where PyTorch is missing.
    """
    command = [python, str(Path(__file__).with_name("eager_pytorch.py")), name, str(steps)]
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except OSError as error:
        raise cli.UserError(f"--torch={python} can not be run: {error.strerror}.") from error
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"it ended with status {done.returncode}, out of memory perhaps"])[
            -1
        ]
        raise cli.UserError(f"eager PyTorch could not be measured: {last.rstrip('.')}.")
    return float(done.stdout)


def positive(text):
    if int(text) < 1:
        raise ValueError(text)
    return int(text)


def main(argv):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    help_text = "compare with eager PyTorch (extra `bench`), of this Python or another"
    parser.add_argument("--torch", nargs="?", const=sys.executable, metavar="PYTHON", help=help_text)
    parser.add_argument("--steps", type=positive, default=200, help="steps of each measurement")
    arguments = parser.parse_args(argv[1:])
    cli.require_tensorflow()
    with cli.quiet():
        import tensorflow as tf  # noqa: F401
    print(
        "model   compiler  step alone  step of the run  outside the step"
        + ("  eager PyTorch" if arguments.torch else "")
    )
    for name in FLAGFILES:
        for compiler, jit_compile in (("graph", False), ("XLA", True)):
            beside = torch_step(arguments.torch, name, arguments.steps) if arguments.torch else None
            alone, in_run = measure(name, jit_compile, arguments.steps)
            line = f"{name:7} {compiler:9} {alone:7.2f} ms {in_run:13.2f} ms {100 * (1 - alone / in_run):14.1f} %"
            if arguments.torch:
                line += f" {beside:13.2f} ms"
            print(line, flush=True)
    for name in FLAGFILES:
        seconds, memory = first_step(name)
        print(f"{name}: a command of one step, its checkpoint and picture: {seconds:.1f} s, {memory:.2f} GiB at most")


if __name__ == "__main__":
    os.chdir(Path(__file__).parents[1])
    cli.run(main)
