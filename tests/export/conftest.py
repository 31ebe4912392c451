"""Every core model, exported, and the C program that serves it."""

import os

import pytest

from tests.export.exported import Exported, InC, InSession, compile_program, digits_model
from zoo import MODELS


@pytest.fixture(scope="session", params=sorted(MODELS))
def core(request, tmp_path_factory):
    """Each model of the zoo as its digits flagfile makes it, exported."""
    return Exported(digits_model(request.param), tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="module")
def vae(tmp_path_factory):
    """A model that a test file may publish further versions of."""
    return Exported(digits_model("vae"), tmp_path_factory.mktemp("vae"))


@pytest.fixture(scope="session")
def program(tmp_path_factory):
    """The compiled C program, or None where there is no compiler."""
    base = tmp_path_factory.getbasetemp()
    return compile_program(base.parent if "PYTEST_XDIST_WORKER" in os.environ else base)


@pytest.fixture
def server(core, program):
    """A core model served without Python."""
    server = InC(program, core.version) if program else InSession(core)
    yield server
    server.close()
