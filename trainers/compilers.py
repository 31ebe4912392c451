"""Which compiler takes the steps of a long training: the one that is faster on this machine, as a few steps show."""

import statistics
import time
from pathlib import Path

import tensorflow as tf

LONG = 300.0  # seconds of training ahead, from which on trying pays
FEWEST_STEPS = 1000  # ahead, below which nothing is tried
SECONDS = 4.0  # of timed steps by each compiler
NUM_TURNS = 3, 30  # of timed calls by each, at least and at most
COUNT = 8  # steps whose data are used again and again
DEFAULT, OF_CHOICES = "auto", {False: "false", True: "true"}


def settled(settings):
    """The settings with `--jit_compile=auto` as it was settled when the run began, if it was."""
    config = Path(settings.run_dir) / "config.cfg"
    if settings.jit_compile != DEFAULT or not config.exists():
        return settings
    lines = config.read_text(errors="replace").splitlines()
    written = [line.partition("=")[2] for line in lines if line.startswith("--jit_compile=")]
    return settings.having(jit_compile=written[-1]) if written and written[-1] in OF_CHOICES.values() else settings


def faster(make_model, make_batches, num_steps):
    """Seconds of a step by each compiler, for a long training.

    Args:
        make_model: function of `jit_compile` that returns a new compiled model, which is trained a little and dropped.
        make_batches: function without arguments that returns a tf.data.Dataset of what a step takes.
        num_steps: the steps that lie ahead.

    Returns:
        dict, jit_compile -> seconds; empty where less than `LONG` of training lie ahead.
    """
    if num_steps < FEWEST_STEPS:
        return {}
    data, model = make_batches().take(COUNT).cache().repeat(), make_model(False)
    batch = next(iter(data))
    of_a_step = [_seconds(lambda: model.train_step(batch)) for _ in range(2)][-1]  # by no compiler, which is no faster
    if of_a_step * num_steps < LONG:
        return {}
    steps = {False: stepper(model, data)}
    if _seconds(steps[False]) / model.steps_per_execution * num_steps < LONG:
        return {}
    steps[True] = stepper(make_model(True), data)
    spent, times = 0.0, {jit_compile: [] for jit_compile in steps}
    while (turns := len(times[False])) < NUM_TURNS[0] or (spent < len(steps) * SECONDS and turns < NUM_TURNS[1]):
        for jit_compile, some_steps in steps.items():
            times[jit_compile].append(_seconds(some_steps))
            spent += times[jit_compile][-1]
    return {jit: statistics.median(of_one) / model.steps_per_execution for jit, of_one in times.items()}


def stepper(model, data):
    """A function that takes one compiled call of `steps_per_execution` steps; compiled by then."""
    model.make_train_function()
    iterator = iter(data)

    def steps():
        model.train_function(iterator)

    steps()
    return steps


def _seconds(function):
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def choose(make_model, make_batches, num_steps, strategy):
    """What `--jit_compile=auto` is to be for a training that begins: "true", "false" or, for a short one, "auto".

    The chief worker tries for all, and says what it found. On a GPU nothing is tried: there "auto" is XLA.
    """
    if tf.config.list_physical_devices("GPU"):
        return DEFAULT
    found = {}
    if strategy.extended.should_checkpoint:
        found = faster(make_model, make_batches, num_steps)
        if found:
            by_graph, by_xla = (f"{1e3 * found[jit_compile]:.3g} ms a step" for jit_compile in (False, True))
            kept = OF_CHOICES[min(found, key=found.get)]
            print(
                f"--jit_compile=auto: {by_xla} by XLA, {by_graph} as a graph; kept as --jit_compile={kept}", flush=True
            )
    choice = min(found, key=found.get) if found else None
    if strategy.num_replicas_in_sync > 1:
        choice = _of_the_chief(strategy, choice)
    return OF_CHOICES.get(choice, DEFAULT)


def _of_the_chief(strategy, choice):
    """The chief worker's choice, in all workers; the others have None."""
    number = -1 if choice is None else int(choice)
    numbers = strategy.gather(strategy.run(lambda: tf.constant([number])), axis=0).numpy()
    return None if numbers.max() < 0 else bool(numbers.max())
