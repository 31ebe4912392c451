"""A model to publish versions of, and the C program that serves exported models."""

import os

import pytest
import tensorflow as tf

from tests.export.exported import Exported, InC, InSession, compile_program, load
from tests.models import make


@pytest.fixture
def loaded_once(monkeypatch):
    """Commands ask what this process has loaded before."""
    monkeypatch.setattr(tf.saved_model, "load", load)


@pytest.fixture(scope="session")
def vae(tmp_path_factory):
    """A model behind servers, and that other tests may publish further versions of."""
    return Exported(make("vae"), tmp_path_factory.mktemp("vae"))


@pytest.fixture(scope="session")
def program(tmp_path_factory):
    """The compiled C program, or None where there is no compiler."""
    base = tmp_path_factory.getbasetemp()
    return compile_program(base.parent if "PYTEST_XDIST_WORKER" in os.environ else base)


@pytest.fixture(scope="session")
def server(core, program):
    """A core model served without Python: for all tests that ask it."""
    server = InC(program, core.version) if program else InSession(core)
    yield server
    server.close()
