"""A training as one program that needs no TensorFlow, for accelerators for which TensorFlow is not built.

    python -m trainers.program write --flagfile=configs/NAME.cfg     # here: makes RUN_DIR/program/
    python trainers/program_client.py RUN_DIR/program ...            # there: JAX and NumPy are all that it needs
    python -m trainers.program read --run_dir=RUN_DIR                # here: the checkpoint, as if trained here

The program is XLA's own (HLO) of many steps in a row, with what they take of the data and of random numbers in it: up
to the order of sums the same steps on the same batches as by `trainers.run`, whose command goes on from the checkpoint
with the steps that are left, evaluation and export.

program/steps.hlo       the program
        program.json    its steps, its logs, and which variable each of its inputs and outputs is
        data.npz        its inputs that do not change: the training rows
        state.npz       the values of the variables at its first step
        expected.npz    with --expected, sums of the values after one call by TensorFlow, for the client's --check
        result.npz      of the client: the newest values; so are metrics.jsonl and machine.json
"""

import argparse
import json
import math
import re
from pathlib import Path

import numpy as np

from common import cli
from trainers.program_client import sketches

FOLDER = "program"
ALIASES = re.compile(r"\{(\d+)\}: \((\d+), \{\}, \w+-alias\)")


def shuffled(index, words, last):
    """What TensorFlow's `RandomIndexShuffle`, which XLA does not have, makes of its inputs, for `rows_of_step`.

    A cycle-walking cipher: Simon (Beaulieu et al. 2013, eprint.iacr.org/2013/404) on the fewest bits that hold the
    numbers, at least 16, again and again until the result is one of them.
    """
    import tensorflow as tf

    from trainers.data.batches import ROUNDS

    last = np.int64(last)
    num_bits = max(2 * math.ceil(math.log2(last) / 2), 16) // 2 if last else 8  # of half a block
    size = np.int64(2**num_bits)
    both, either = tf.bitwise.bitwise_and, tf.bitwise.bitwise_xor

    def left(x, by):
        return x * 2**by % size + x // 2 ** (num_bits - by)

    def mixed(x):
        return either(both(left(x, 1), left(x, 8)), left(x, 2))

    keys = [words[:, i] % size for i in range(3)]
    for i in range(ROUNDS - 3):
        constant = np.int64(0xFFFFFFFC) % size ^ ((0x7369F885192C0EF5 >> i) & 1)
        turned = either(left(keys[-1], num_bits - 3), left(keys[-1], num_bits - 4))
        keys.append(either(either(keys[-3], turned), constant))

    def encrypted(x):
        high, low = x // size, x % size
        for i in range(0, ROUNDS, 2):
            high = either(either(high, mixed(low)), keys[i])
            low = either(either(low, mixed(high)), keys[i + 1])
        return high * size + low

    again = lambda x: (tf.where(x > last, encrypted(x), x),)  # noqa: E731
    return tf.while_loop(lambda x: tf.reduce_any(x > last), again, (encrypted(index),))[0]


def variables_of(model):
    """Every variable that a step can read or change, each once, in an order that the settings of the run decide."""
    owners = [model, *model.optimizers.values(), *model.trackers.values()]
    found = {id(v): v for owner in owners for v in owner.variables}
    return list(found.values())


def steps_of(model, data, settings, number):
    """`number` training steps of a run by XLA: a TensorFlow function of its data that returns the means of its logs."""
    import tensorflow as tf

    from common.graph import as_written
    from trainers.data.batches import pixels_of_step, rows_of_step, served

    size = settings.batch_size * model.batches_per_step

    def step(x, labels=None):
        now = model.step.value
        row = rows_of_step(settings.seed, now, len(data.train), size, shuffled)
        binarize = settings.dynamic_binarization
        uniform = pixels_of_step(settings.seed, now, [1, size, *data.shape])[0] if binarize else None
        batch = served(tf.gather(x, row), uniform)
        model.train_step((batch, tf.gather(labels, row)) if model.labelled else batch)

    @tf.function(jit_compile=True, autograph=False)
    def steps(x, *labels):
        for tracker in model.trackers.values():
            tracker.reset_state()
        one = as_written(lambda i: (step(x, *labels), i + 1)[1:])
        tf.while_loop(lambda i: i < number, one, (0,))
        return model.logs()

    return steps


def write(settings, number, with_expected):
    """Writes the program of the rest of a run, in calls of `number` steps; returns its folder.

    Raises:
        UserError: as `trainers.run`, for data that lie in files, and if the steps left are no multiple of `number`.
    """
    import tensorflow as tf

    from common.files import to_json
    from trainers import initial_weights, run, rundir

    rundir.configure_keras(settings.precision)
    if settings.strategy != "none":
        raise cli.UserError(f"--strategy={settings.strategy}: a program runs on one device; give --strategy=none.")
    tf.config.experimental.enable_op_determinism()  # as in a run: TensorFlow makes other graphs without
    data = run.data_of(settings)
    if isinstance(data.train, np.memmap):
        raise cli.UserError(f"--dataset={settings.dataset} stays in its file, and a program takes its data along.")
    settings = settings.having(jit_compile="true")
    facts = rundir.facts_of(settings, data, "trainers.program")
    with run.begun(settings, facts, tf.distribute.get_strategy()) as (path, first_step, checkpoint):
        if (settings.num_steps - first_step) % number or first_step == settings.num_steps:
            raise cli.UserError(
                f"{settings.num_steps - first_step} steps are left, no multiple of --steps_per_call={number}: give "
                "another."
            )
        folder = path / FOLDER
        if last_step(folder) > first_step:
            raise cli.UserError(
                f"{folder} has the result of step {last_step(folder)}, which was not read: let trainers.program read "
                "it, or delete it."
            )
        model = rundir.make_model(settings, facts)
        if checkpoint:
            model.load_weights(checkpoint)
        else:
            initial_weights.begin(model, settings, data.train)
        run.training_data(settings, data, model, tf.distribute.get_strategy(), first_step)  # what can not be is told
        rundir.prepare(settings, facts)
        inputs = {"x": tf.constant(data.train)}
        if model.labelled:
            inputs["labels"] = tf.constant(data.train_labels)
        steps = steps_of(model, data, settings, number)
        graph = steps.get_concrete_function(*inputs.values())
        known = {id(v.value.handle): i for i, v in enumerate(variables_of(model))}
        captured = [known[id(tensor)] for tensor in graph.captured_inputs]
        hlo = steps.experimental_get_compiler_ir(*inputs.values())
        aliases = [tuple(map(int, pair)) for pair in ALIASES.findall(hlo(stage="hlo").split("\n", 1)[0])]
        about = {
            "first_step": first_step,
            "num_steps": settings.num_steps,
            "steps_per_call": number,
            "logs": sorted(graph.structured_outputs),
            "inputs": list(inputs),
            "variables": captured,
            "paths": [variables_of(model)[number].path for number in captured],
            "aliases": aliases,
        }
        folder.mkdir(exist_ok=True)
        for old in folder.iterdir():
            old.unlink()
        (folder / "steps.hlo").write_bytes(without_copies(hlo(stage="hlo_serialized")))
        np.savez_compressed(folder / "data.npz", **{name: tensor.numpy() for name, tensor in inputs.items()})
        np.savez_compressed(folder / "state.npz", **values_of(model, captured))
        (folder / "program.json").write_text(to_json(about, indent=1) + "\n")
        if with_expected:
            steps(*inputs.values())
            np.savez(folder / "expected.npz", **sketches(values_of(model, captured)))
    return folder


def last_step(folder):
    """The step that the client has reached, 0 if it has not begun."""
    log = folder / "metrics.jsonl"
    lines = log.read_text().splitlines() if log.exists() else []
    return json.loads(lines[-1])["step"] if lines else 0


def without_copies(code):
    """HLO without the instruction `copy`, for which StableHLO has no word: a reshape to the same shape."""
    from tensorflow.compiler.xla.service import hlo_pb2

    module = hlo_pb2.HloModuleProto.FromString(code)
    for computation in module.computations:
        for instruction in computation.instructions:
            if instruction.opcode == "copy":
                instruction.opcode = "reshape"
    return module.SerializeToString()


def values_of(model, numbers):
    """Dict, number of a variable as text -> its value, as the client has it."""
    variables = variables_of(model)
    return {str(number): variables[number].numpy() for number in numbers}


def read(run_dir):
    """Makes what the client has brought back a checkpoint of its run, with a picture, and returns its step.

    Raises:
        UserError: if there is no run, or nothing was brought back.
    """
    from common.files import to_json
    from trainers import callbacks, flags, run, rundir

    path = Path(run_dir)
    folder = path / FOLDER
    if not (folder / "result.npz").exists():
        raise cli.UserError(f"{folder} has no result.npz: let trainers/program_client.py run it first.")
    settings = flags.parse(["trainers.run", f"--flagfile={path / 'config.cfg'}", f"--run_dir={path}"])
    facts = rundir.read_facts(path)
    rundir.configure_keras(settings.precision)
    model = rundir.make_model(settings, facts)
    with rundir.claimed(path), np.load(folder / "result.npz") as values:
        variables = variables_of(model)
        for number in values.files:
            variables[int(number)].assign(values[number])
        step = int(model.step.numpy())
        machine = json.loads((folder / "machine.json").read_text())
        rundir.write_text(path / "facts.json", to_json(facts | {"machine": machine}, indent=2) + "\n")
        first = json.loads((folder / "program.json").read_text())["first_step"]
        log = path / "metrics.jsonl"
        before = log.read_text().splitlines(keepends=True) if log.exists() else []
        before = [line for line in before if json.loads(line)["step"] <= first]
        rundir.write_text(log, "".join(before) + (folder / "metrics.jsonl").read_text())
        rundir.save(model, path, step, keep=settings.keep_checkpoints)
        board = callbacks.Board(path / "tensorboard", first)
        for picture in run.pictures(path, 1, first, step, model, run.data_of(settings), board):
            picture.set_model(model)
            picture.on_train_begin()
            picture.act(step, {})
    return step


def main(argv):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("verb", choices=["write", "read"], help="write the program of a run, or read its result")
    parser.add_argument("--steps_per_call", type=int, help="steps in one call; by default --log_every")
    parser.add_argument("--expected", action="store_true", help="keep what one call gives here, for --check there")
    arguments, rest = parser.parse_known_args(argv[1:])
    with cli.starting_tensorflow():
        from trainers import flags

    if arguments.verb == "write":
        settings = flags.parse([argv[0], *rest])
        print(f"wrote {write(settings, arguments.steps_per_call or settings.log_every, arguments.expected)}")
        return
    where = argparse.ArgumentParser()
    where.add_argument("--run_dir", required=True)
    run_dir = where.parse_args(rest).run_dir
    print(f"{run_dir} has the checkpoint of step {read(run_dir)}: trainers.run goes on from there")


if __name__ == "__main__":
    cli.run(main)
