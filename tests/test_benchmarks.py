"""The benchmark's other side runs in a process of its own, and a sentence says why it does not."""

import importlib.util
import sys

import pytest

from benchmarks import cures, training
from tests.mistakes import mistake
from tests.models import ROOT


@pytest.mark.parametrize("python, message", [
    ("/no/such/python", "--torch=/no/such/python can not be run: No such file or directory"),
    (sys.executable, "eager PyTorch could not be measured: torch is missing here"),
])  # fmt: skip
def test_a_pytorch_that_is_not_there(python, message):
    if python == sys.executable and importlib.util.find_spec("torch"):
        pytest.skip("PyTorch is there")
    with mistake(message):
        training.torch_step(python, "vae", 1)


def test_cures_are_flagfiles_and_lines_of_a_table():
    assert all((ROOT / f"configs/labs/{name}.cfg").exists() for name in cures.CURES)
    results = {"modes_found": {"modes_found": {"mean": 7.666, "standard_deviation": 0.577}}}
    assert cures.row("ring_r1", results) == "| `ring_r1` | R1, equal rates | 7.67 +- 0.58 |  |  |  |"
    with mistake("there is no cure prayer: choose of ring_minimax"):
        cures.main(["", "prayer"])
