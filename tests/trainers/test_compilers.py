"""The choice of a compiler: what is tried when, by clocks that are set by hand; a training by what was chosen."""

from types import SimpleNamespace

import pytest
import tensorflow as tf

from tests.trainers.test_run import SMALL_VAE, _from_the_root, assert_same_bits, every, train_here  # noqa: F401
from trainers import compilers, rundir

CASES = {  # seconds of a step without a compiler, as a graph and by XLA, steps ahead -> what is found
    "few steps": (9.0, 9.0, 1.0, 999, {}),
    "short even without a compiler": (0.2, None, None, 1000, {}),
    "short as a graph": (1.0, 0.2, None, 1000, {}),
    "XLA": (1.0, 0.5, 0.25, 1000, {False: 0.5, True: 0.25}),
    "graph": (1.0, 0.5, 0.75, 1000, {False: 0.5, True: 0.75}),
}


@pytest.mark.parametrize("eager, by_graph, by_xla, num_steps, expected", CASES.values(), ids=CASES)
def test_only_a_long_training_is_tried(eager, by_graph, by_xla, num_steps, expected, monkeypatch):
    """The first calls, which trace and compile, do not count, nor does one that something else has slowed."""
    clock = [0.0]

    def model_of(jit_compile):
        calls, seconds = [0], {False: by_graph, True: by_xla}

        def train_function(iterator):
            next(iterator)
            calls[0] += 1
            clock[0] += 5 * seconds[jit_compile] * {1: 7.0, 4: 3.0}.get(calls[0], 1.0)

        def train_step(batch):
            calls[0] += 1
            clock[0] += 9.0 if calls[0] == 1 else eager
            if calls[0] == 2:
                calls[0] = 0

        parts = {"train_function": train_function, "make_train_function": lambda: None, "train_step": train_step}
        return SimpleNamespace(**parts, steps_per_execution=5)

    monkeypatch.setattr(compilers, "time", SimpleNamespace(perf_counter=lambda: clock[0]))
    made = []
    found = compilers.faster(model_of, lambda: made.append(1) or tf.data.Dataset.range(20), num_steps)
    assert found == pytest.approx(expected)
    assert len(made) == (num_steps >= compilers.FEWEST_STEPS)


@pytest.mark.slow
def test_what_was_chosen_is_kept_and_gives_its_own_bits(tmp_path, monkeypatch, capfd):
    """A resume takes it as it was; the same as if it had been asked for."""
    monkeypatch.setattr(compilers, "faster", lambda *arguments: {False: 0.0012, True: 0.00101})
    auto, asked = tmp_path / "auto", tmp_path / "asked"
    train_here(auto, *SMALL_VAE, *every(2), "--num_steps=2")
    sentence = "--jit_compile=auto: 1.01 ms a step by XLA, 1.2 ms a step as a graph; kept as --jit_compile=true\n"
    assert sentence in capfd.readouterr().out
    monkeypatch.setattr(compilers, "faster", None)  # nobody asks again
    assert train_here(auto, *SMALL_VAE, *every(2), "--num_steps=4")
    out = capfd.readouterr().out
    assert "resuming" in out and "jit_compile" not in out
    assert rundir.load(auto).settings.jit_compile == "true"
    train_here(asked, *SMALL_VAE, *every(2), "--num_steps=4", "--jit_compile=true")
    assert_same_bits(auto, asked)


def test_the_chief_chooses_for_all(monkeypatch):
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"], tf.distribute.ReductionToOneDevice())
    for choice in (None, False, True):
        assert compilers._of_the_chief(strategy, choice) is choice
    monkeypatch.setattr(compilers, "faster", lambda *arguments: {})
    assert compilers.choose(None, None, 10, strategy) == "auto"
