"""The benchmark's other side runs in a process of its own, and a sentence says why it does not."""

import importlib.util
import sys

import pytest

from benchmarks import training
from tests.mistakes import mistake


@pytest.mark.parametrize("python, message", [
    ("/no/such/python", "--torch=/no/such/python can not be run: No such file or directory"),
    (sys.executable, "eager PyTorch could not be measured: torch is missing here"),
])  # fmt: skip
def test_a_pytorch_that_is_not_there(python, message):
    if python == sys.executable and importlib.util.find_spec("torch"):
        pytest.skip("PyTorch is there")
    with mistake(message):
        training.torch_step(python, "vae", 1)
