"""What a folder of many pictures costs: `python -m benchmarks.large_data [--num=200000]`.

It draws pictures of 64x64x3 into a folder for the time of the measurement, and starts two processes on it, one after
the other, with a cache of their own. The first decodes the pictures, the second finds them decoded. Each is measured
until it has its data, until the first step of a DCGAN is done, and in its memory after it has passed all batches of an
epoch. Then what a batch costs beside a step of that DCGAN of 16 filters, both in time of the CPU.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from common import cli

SIDE, BATCH_SIZE, NUM_STEPS = 64, 64, 3
MODEL = [
    "--model=dcgan",
    "--dataset=image_folder",
    f"--image_side={SIDE}",
    f"--batch_size={BATCH_SIZE}",
    "--filters=16",
]


def draw(folder, num):
    """So many JPEG files of parts of one picture, a thousand in a sub-folder, of which two are classes."""
    rng = np.random.default_rng(0)
    small = Image.fromarray(rng.integers(0, 256, (96, 96, 3), np.uint8))
    scene = np.asarray(small.resize((1024, 1024), Image.Resampling.BICUBIC))
    for i in range(num):
        of_thousand = folder / "ab"[i // 1000 % 2] / str(i // 1000)
        of_thousand.mkdir(parents=True, exist_ok=True)
        y, x = rng.integers(0, 1024 - SIDE, 2)
        Image.fromarray(scene[y : y + SIDE, x : x + SIDE]).save(of_thousand / f"{i}.jpg", quality=85)


def work(folder, began):
    """In a process of its own: prints what was measured as a line of JSON."""
    with cli.starting_tensorflow():
        import tensorflow as tf

        from trainers import flags, run, rundir
        from trainers.data import load

    tf.config.experimental.enable_op_determinism()  # as in a run
    settings = flags.parse(["", *MODEL, f"--data_dir={folder}", "--num_steps=1000000", "--run_dir=none"])
    data = load(settings.dataset, settings.data_dir, settings.image_side, settings.image_channels)
    found = {"loaded": time.time() - began, "loaded_cpu": time.process_time()}
    model = rundir.make_model(settings, rundir.facts_of(settings, data), jit_compile=False)
    batches = iter(run.training_data(settings, data, model, tf.distribute.get_strategy(), 0))
    step = tf.function(model.train_step)
    batch = next(batches)
    step(batch)
    found |= {"stepped": time.time() - began, "stepped_cpu": time.process_time()}
    start = time.process_time()  # not of the clock: other processes may want the same cores
    for _ in range(NUM_STEPS):
        step(batch)
    found["step"] = 1e3 * (time.process_time() - start) / NUM_STEPS
    num = len(data.train) // BATCH_SIZE
    start = time.process_time()
    for _ in range(num):
        next(batches)
    found["batch"] = 1e3 * (time.process_time() - start) / num
    print(json.dumps(found))


def measure(folder, cache):
    """What a process of its own measures, and its peak memory in GiB."""
    command = [sys.executable, __file__, f"--work={folder}", f"--began={time.time()}"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, env={**os.environ, "KERAS_HOME": str(cache)}, text=True)
    lines = process.stdout.read().splitlines()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise cli.UserError(f"the measurement ended with status {process.returncode}.")
    return {**json.loads(lines[-1]), "memory": usage.ru_maxrss / 2**20}


def main(argv):
    cli.require_tensorflow()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--num", type=int, default=200_000, help="pictures")
    parser.add_argument("--work", help=argparse.SUPPRESS)
    parser.add_argument("--began", type=float, help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv[1:])
    if arguments.work:
        return work(arguments.work, arguments.began)
    with tempfile.TemporaryDirectory() as directory:
        folder, cache = Path(directory) / "pictures", Path(directory) / "cache"
        start = time.perf_counter()
        draw(folder, arguments.num)
        print(f"{arguments.num} pictures drawn in {time.perf_counter() - start:.0f} s", flush=True)
        for name in ("first", "second"):
            found = measure(folder, cache)
            for what, key in (("data", "loaded"), ("first step", "stepped")):
                print(f"{name} start: {what} after {found[key]:.1f} s, {found[f'{key}_cpu']:.1f} s of them of CPU")
            print(
                f"{name} start: {found['memory']:.2f} GiB at most; a step {found['step']:.0f} ms of CPU, a batch of "
                f"{BATCH_SIZE} rows {found['batch']:.2f} ms, {100 * found['batch'] / found['step']:.2f} % of it",
                flush=True,
            )
        size = sum(file.stat().st_size for file in cache.rglob("*.npy"))
        print(f"decoded: {size / 1e9:.2f} GB")


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))
    os.chdir(Path(__file__).parents[1])
    cli.run(main)
