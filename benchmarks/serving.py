"""What serving costs: `python benchmarks/serving.py [--model=dcgan ...] [--rounds=15]`.

For each model of the MNIST flagfiles, untrained: the size of what is exported; loading it, as TensorFlow Serving does,
and the first request before and after the warm-up, each in a process of its own; the rows per second of every signature
in batches of 1, 64 and 512; and how much of the bare networks' speed is left of `sample`, and what its noise takes.

Speeds that are compared are measured in turns, and their ratio is the median over the rounds: on a noisy machine only
ratios mean anything.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from common import cli

FLAGFILES = {"vae": "configs/vae_binarized_mnist.cfg", "dcgan": "configs/dcgan_mnist_original.cfg"}
BATCHES = (1, 64, 512)


def make_model(name):
    """The model of a flagfile, for MNIST."""
    from trainers import flags, rundir

    settings = flags.parse(["", f"--flagfile={FLAGFILES[name]}"])
    return rundir.make_model(settings, {"data_shape": (28, 28, 1), "num_classes": 10})


def turns(functions, rounds, seconds=0.2):
    """Milliseconds of each function in each round: dict, name -> list. The functions take turns."""
    for function in functions.values():
        function()
        function()
    numbers = {}
    for name, function in functions.items():
        start = time.perf_counter()
        function()
        numbers[name] = max(1, int(seconds / (time.perf_counter() - start)))
    times = {name: [] for name in functions}
    for _ in range(rounds):
        for name, function in functions.items():
            start = time.perf_counter()
            for _ in range(numbers[name]):
                function()
            times[name].append(1e3 * (time.perf_counter() - start) / numbers[name])
    return times


def ratio(times, above, below):
    """Median over the rounds of the ratio of two times."""
    return statistics.median(a / b for a, b in zip(times[above], times[below], strict=True))


def size_of(path):
    return sum(file.stat().st_size for file in Path(path).rglob("*") if file.is_file())


def rows_of(specs, batch):
    """Rows for a signature, as the warm-up requests have them."""
    import tensorflow as tf

    from export import warmup

    return {key: tf.make_ndarray(value) for key, value in warmup.rows(specs, batch, num_classes=10).items()}


def fresh(version):
    """Prints as JSON: seconds of the load and of the warm-up, milliseconds of a first request before and after it."""
    with cli.starting_tensorflow():
        import tensorflow as tf
    from export import warmup

    session = tf.compat.v1.Session(graph=tf.Graph())
    start = time.perf_counter()
    with session.graph.as_default():
        meta_graph = tf.compat.v1.saved_model.load(session, ["serve"], version)
    load = time.perf_counter() - start
    signatures = {key: value for key, value in meta_graph.signature_def.items() if not key.startswith("__")}

    def ask(name, batch):
        signature = signatures[name]
        specs = {
            key: tf.TensorSpec(tf.TensorShape(info.tensor_shape), tf.as_dtype(info.dtype))
            for key, info in signature.inputs.items()
        }
        feeds = {signature.inputs[key].name: value for key, value in rows_of(specs, batch).items()}
        start = time.perf_counter()
        session.run({key: info.name for key, info in signature.outputs.items()}, feeds)
        return 1e3 * (time.perf_counter() - start)

    cold = ask("sample", 1)
    start = time.perf_counter()
    for name in signatures:
        for batch in warmup.BATCHES:
            ask(name, batch)
    warming = time.perf_counter() - start
    print(json.dumps({"load": load, "cold": cold, "warming": warming, "warm": ask("sample", 1)}))


def measure_fresh(version):
    """Medians of what three fresh processes measure."""
    command = [sys.executable, __file__, f"--fresh={version}"]
    found = [json.loads(subprocess.run(command, check=True, capture_output=True).stdout) for _ in range(3)]
    return {key: statistics.median(one[key] for one in found) for key in found[0]}


def measure(name, rounds):
    import numpy as np
    import tensorflow as tf

    from export.saved_model import export_model

    model = make_model(name)
    with tempfile.TemporaryDirectory() as directory:
        version = export_model(model, directory, metadata={"model": name})
        sample_only = export_model(model, directory, metadata={"model": name}, signatures=["sample"])
        networks = [network for networks in model.moves.values() for network in networks]
        weights = sum(4 * int(np.prod(v.shape)) for network in networks for v in network.variables)
        print(f"\n{name}: {FLAGFILES[name]}")
        for what, path in (("all signatures", version), ("--signatures=sample", sample_only)):
            checkpoint = size_of(path / "variables")
            print(
                f"  {what:20} {size_of(path) / 2**20:6.2f} MiB, of which weights {checkpoint / 2**20:.2f} MiB "
                f"({checkpoint / weights:.2f} of the model's)"
            )
        found = measure_fresh(version)
        print(
            f"  load {found['load']:.2f} s; first request {found['cold']:.0f} ms, or {found['warm']:.1f} ms after a "
            f"warm-up of {found['warming']:.1f} s"
        )

        loaded = tf.saved_model.load(str(version))
        print("  rows per second" + "".join(f"{f'batch of {batch}':>15}" for batch in BATCHES))
        for signature, function in loaded.signatures.items():
            if signature == "serving_default":
                continue
            speeds = []
            for batch in BATCHES:
                inputs = rows_of(function.structured_input_signature[1], batch)
                inputs = {key: tf.constant(value) for key, value in inputs.items()}
                times = turns({"": lambda: function(**inputs)}, max(1, rounds // 5))[""]
                speeds.append(1e3 * batch / statistics.median(times))
            print(f"    {signature:13}" + "".join(f"{speed:15,.0f}" for speed in speeds), flush=True)

        decoder = model.moves[list(model.moves)[-1]][-1]
        bare = tf.function(lambda z: decoder(z, training=False))
        noise = tf.function(model.latent)
        for batch in BATCHES[1:]:
            seeds = tf.range(batch, dtype=tf.int64)
            z = noise(seeds)
            times = turns(
                {
                    "bare": lambda: bare(z),
                    "sample": lambda: loaded.signatures["sample"](seed=seeds),
                    "noise": lambda: noise(seeds),
                },
                rounds,
            )
            print(
                f"  batch of {batch}: sample has {100 * ratio(times, 'bare', 'sample'):.0f} % of the bare network's "
                f"speed; its noise takes {100 * ratio(times, 'noise', 'sample'):.1f} % of it "
                f"({statistics.median(times['sample']):.2f}, {statistics.median(times['bare']):.2f} and "
                f"{statistics.median(times['noise']):.2f} ms)",
                flush=True,
            )


def main(argv):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", action="append", choices=FLAGFILES, help="default all")
    parser.add_argument("--rounds", type=int, default=15, help="rounds of each comparison")
    parser.add_argument("--fresh", help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv[1:])
    with cli.starting_tensorflow():
        import tensorflow as tf  # noqa: F401
    if arguments.fresh:
        return fresh(arguments.fresh)
    for name in arguments.model or FLAGFILES:
        measure(name, arguments.rounds)


if __name__ == "__main__":
    os.chdir(Path(__file__).parents[1])
    cli.run(main)
