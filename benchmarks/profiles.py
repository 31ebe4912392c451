"""Where the time of a training step goes: `python -m benchmarks.profiles [--models=vae,dcgan]`.

For each model the step of its flagfile, by the compiler that was the faster one in benchmarks/training.json, under
TensorFlow's profiler: the share that each kind of operation has in the time of all of them. Without --models, those
whose aim is missed there. What is found is kept in benchmarks/profiles.json, and `python -m benchmarks.page` makes a
part of docs/speed.md of it.
"""

import argparse
import collections
import json
import os
import re
import statistics
import sys
import tempfile
from pathlib import Path

from benchmarks import page, training, turns
from common import cli
from common.files import to_json, write_atomically

NUM_STEPS = 20
PRODUCT = re.compile("MatMul|Conv[0-9]D|Einsum")


def kind_of(operation, optimizers):
    """The one of `page.KINDS` for an operation SCOPES/NAME:TYPE, of a step whose optimizers have these names."""
    scopes, _, of_type = operation.rpartition(":")
    if PRODUCT.search(of_type):
        return "products"
    if scopes.partition("/")[0] in optimizers:
        return "optimizers"
    return "backward" if "gradient_tape" in scopes else "forward"


def own_times(events):
    """Dict, name -> time in it and not in an event within it, of one thread's events (start, end, name)."""
    times, open_events = collections.Counter(), []
    for start, end, name in sorted(events, key=lambda event: (event[0], -event[1])):
        while open_events and open_events[-1][0] <= start:
            open_events.pop()
        if open_events:
            times[open_events[-1][1]] -= end - start
        times[name] += end - start
        open_events.append((end, name))
    return times


def instructions(space):
    """Dict, name of an instruction of XLA -> the operation that it is made of."""
    from tensorflow.compiler.xla.service import hlo_pb2

    found = {}
    for module in [
        stat.bytes_value for plane in space.planes for e in plane.event_metadata.values() for stat in e.stats
    ]:
        for computation in hlo_pb2.HloProto.FromString(module).hlo_module.computations if module else ():
            for instruction in computation.instructions:
                metadata = instruction.metadata
                found[instruction.name] = f"{metadata.op_name}:{metadata.op_type or instruction.opcode}"
    return found


def operations(space):
    """Dict, SCOPES/NAME:TYPE of an operation -> picoseconds in it, of what the profiler has seen."""
    of_xla, times = instructions(space), collections.Counter()
    for plane in space.planes:
        for line in plane.lines:
            names = ((event, plane.event_metadata[event.metadata_id].name) for event in line.events)
            events = [(e.offset_ps, e.offset_ps + e.duration_ps, of_xla.get(name, name)) for e, name in names]
            times.update(own_times(events))
    is_operation = re.compile(r"[^:]*:(?!__inference)\w[\w-]*")
    return {name: time for name, time in times.items() if is_operation.fullmatch(name)}


def profiled(step, num_steps):
    """`operations` of so many calls of a compiled step."""
    import tensorflow as tf
    from tensorflow.tsl.profiler.protobuf import xplane_pb2

    with tempfile.TemporaryDirectory() as directory:
        with tf.profiler.experimental.Profile(directory):
            for _ in range(num_steps):
                result = step()
            training.wait_for(result)
        (file,) = Path(directory).rglob("*.xplane.pb")
        return operations(xplane_pb2.XSpace.FromString(file.read_bytes()))


def profile(name, compiler):
    """Dict: `compiler`, and the share of each of `page.KINDS`."""
    import tensorflow as tf

    from trainers import run, rundir
    from trainers.data import load

    tf.config.experimental.enable_op_determinism()  # as in a run
    with tempfile.TemporaryDirectory() as directory:
        settings = training.settings_of(name, directory)
        data, by_xla = load(settings.dataset, settings.data_dir), training.OURS[compiler]
        model = rundir.make_model(settings, rundir.facts_of(settings, data), jit_compile=by_xla)
        batch = next(iter(run.training_data(settings, data, model, tf.distribute.get_strategy(), 0)))
        step = tf.function(model.train_step, jit_compile=by_xla)
        training.median_ms(lambda: step(batch), 1.0)  # warms up
        times = profiled(lambda: step(batch), NUM_STEPS)
    shares, optimizers = dict.fromkeys(page.KINDS, 0.0), {optimizer.name for optimizer in model.optimizers.values()}
    for operation, time in times.items():
        shares[kind_of(operation, optimizers)] += time / sum(times.values())
    return {"compiler": compiler, **shares}


def main(argv):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", help="which, separated by commas")
    parser.add_argument("--side", help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv[1:])
    if arguments.side:
        with cli.starting_tensorflow():
            import tensorflow as tf  # noqa: F401
        return print(json.dumps(profile(*arguments.side.split(":"))))
    if not page.TRAINING.exists():
        raise cli.UserError(
            "benchmarks/training.json is missing: python -m benchmarks.training --torch --out makes it."
        )
    measured = page.load(page.TRAINING)["models"]
    missed = [name for name, rounds in measured.items() if page.aim(name, page.ratios(rounds)).endswith("missed")]
    arguments.models = arguments.models or ",".join(missed)
    turns.check(arguments, measured)
    from common import provenance

    kept = provenance.here() | {"models": {}}
    for name in arguments.models.split(","):
        faster = min(training.OURS, key=lambda compiler: page.median(measured[name], compiler, "ms"))
        command = [sys.executable, "-m", "benchmarks.profiles", f"--side={name}:{faster}"]
        found = turns.child(command, name) | {"ratio": statistics.median(page.ratios(measured[name]))}
        kept["models"][name] = found
        print(name, *(f"{kind} {found[kind]:.2f}" for kind in page.KINDS), flush=True)
    write_atomically(page.PROFILES, lambda temporary: temporary.write_text(to_json(kept, indent=1) + "\n"))


if __name__ == "__main__":
    os.chdir(Path(__file__).parents[1])
    cli.run(main)
