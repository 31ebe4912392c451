"""The benchmark's other side runs in a process of its own, and a sentence says why it does not."""

import importlib.util
import sys

import pytest
import tensorflow as tf

from benchmarks import cures, page, profiles, turns
from tests.mistakes import mistake
from tests.models import ROOT


@pytest.mark.parametrize("python, message", [
    ("/no/such/python", "--torch=/no/such/python can not be run: No such file or directory"),
    (sys.executable, "PyTorch (eager) could not be measured: torch is missing here"),
])  # fmt: skip
def test_a_pytorch_that_is_not_there(python, message):
    if python == sys.executable and importlib.util.find_spec("torch"):
        pytest.skip("PyTorch is there")
    with mistake(message):
        turns.other("steps", python, "vae", "eager", 1)


def test_cures_are_flagfiles_and_lines_of_a_table():
    assert all((ROOT / f"configs/labs/{name}.cfg").exists() for name in cures.CURES)
    results = {"modes_found": {"modes_found": {"mean": 7.666, "standard_deviation": 0.577}}}
    assert cures.row("ring_r1", results) == "| `ring_r1` | R1, equal rates | 7.67 +- 0.58 |  |  |  |"
    with mistake("there is no cure prayer: choose of ring_minimax"):
        cures.main(["", "prayer"])


def test_ratios_are_of_one_round_and_of_the_faster_sides():
    rounds = [
        {"graph": {"ms": 2.0}, "xla": {"ms": 1.0}, "eager": {"ms": 4.0}, "compiled": {"ms": 2.0}},
        {"graph": {"ms": 3.0}, "xla": {"ms": 9.0}, "eager": {"ms": 2.0}, "compiled": {"refused": "why"}},
    ]
    assert page.ratios(rounds) == [0.5, 1.5]
    assert page.ratios([{"graph": {"ms": 1.0}, "xla": {"ms": 2.0}}]) == []


def test_a_page_of_speed():
    sides = {
        "graph": {"ms": 10.0, "step_ms": 9.0, "first": 7.0, "gib": 1.0},
        "xla": {"ms": 20.0, "step_ms": 19.0, "first": 9.0, "gib": 1.1},
        "eager": {"ms": 8.0, "first": 2.0, "gib": 0.5, "gflop": 0.2},
        "compiled": {"refused": "PyTorch (compiled) could not be measured: no."},
    }
    found = {"models": {"vae": [sides, sides]}, "gflops": 40.0, "seconds": 5, "commit": "c0ffee"}
    on_gpu = {"vae": {"ours": {"ms": [2.0, 1.0, 9.0]}, "eager": {"ms": [8.0]}, "compiled": {"refused": "no."}}}
    on_gpu["vae"]["check"] = {"difference": 1.26e-5, "device": "a GPU"}
    drawn = {side: {"per_second": speed} for side, speed in {"graph": 98765.4, "xla": 8.0, "exported": 6.0}.items()}
    drawn |= {"eager": {"per_second": 3.0}, "compiled": {"per_second": 4.0}}
    machine = {"machine": {"cpu": "a CPU", "num_cores": 2}}
    samplers = {"models": {"vae": [drawn]}, "batch": 64, "seconds": 5, "commit": "c0ffee"}
    shares = {"products": 0.5, "optimizers": 0.25, "backward": 0.125, "forward": 0.125}
    shares = {"models": {"vae": {"compiler": "xla", "ratio": 0.9, **shares}}, "commit": "c0ffee"}
    text = page.render(found | machine, shares | machine, samplers | machine, on_gpu)
    assert "| `vae` | 10.00 | 20.00 | 8.00 |  |  | **1.25** (1.25 to 1.25) | 0.7, missed | 10.0 % | 50 % |" in text
    assert "| `vae` | 7.0 | 9.0 | 2.0 |  | 1.00 | 0.50 |" in text
    assert "| `vae` | xla | 50 % | 25 % | 12 % | 12 % | 0.45 |" in text
    assert "Of `vae`, PyTorch (compiled) could not be measured: no." in text and "on 2 cores of a CPU" in text
    assert "| `vae` | 98,800 | 8 | 6 | 3 | 4 | **1.50** (1.50 to 1.50) |" in text
    assert "| `vae` | 2.000 | 8.000 |  | **0.25** | 1e-05 |" in text and "Of `vae`, compiled: no." in text


def test_the_page_of_speed_is_that_of_its_numbers():
    assert page.PAGE.read_text() == page.stored()


def test_time_within_an_operation_is_not_that_around_it():
    events = [(0, 100, "outer"), (10, 40, "inner"), (20, 30, "innermost"), (50, 60, "inner"), (100, 120, "outer")]
    assert profiles.own_times(events) == {"outer": 80, "inner": 30, "innermost": 10}


@pytest.mark.parametrize("operation, kind", [
    ("encoder_1/dense_1/BiasAdd:_MklNativeFusedMatMul", "products"),
    ("gradient_tape/decoder_1/conv/Conv2DBackpropFilter:Conv2DBackpropFilter", "products"),
    ("adam_w/AssignAddVariableOp_1:AssignAddVariableOp", "optimizers"),
    ("gradient_tape/maxout_1/Sum:Sum", "backward"),
    ("adam_wide/Mul:Mul", "forward"),
])  # fmt: skip
def test_kinds_of_operations(operation, kind):
    assert profiles.kind_of(operation, {"adam_w"}) == kind


@pytest.mark.slow
@pytest.mark.parametrize("compiler", ["graph", "xla"])
def test_most_of_a_large_product_is_a_product(compiler):
    """Of what the profiler sees of it, by the names that TensorFlow or XLA has for it."""
    weights = tf.Variable(tf.ones([1000, 1000]))
    step = tf.function(lambda: {"product": weights @ weights}, jit_compile=compiler == "xla")
    step()
    times = profiles.profiled(step, 2)
    of_products = sum(time for name, time in times.items() if profiles.kind_of(name, ()) == "products")
    assert of_products > 0.8 * sum(times.values()) > 0.0


def test_profiles_are_of_what_is_measured():
    with mistake("--models=prayer: choose of vae"):
        profiles.main(["", "--models=prayer"])
