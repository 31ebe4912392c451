"""Two logical CPU devices for the strategy tests, and a quiet TensorFlow. Must run before TensorFlow starts.

Operations are deterministic, as they are in every training. XLA compiles as ever, but for LLVM's passes, which do not
depend on our code and take most of the time; `make test-all` has them, too.
"""

import functools
import gc
import os
import signal

import pytest

from common import cli

# Whoever starts the tests may have signals ignored, as shells do in the background, and so would all their processes.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGTERM, signal.SIG_DFL)

if not os.environ.get("ALL_VARIANTS"):
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_backend_optimization_level=0"

with cli.starting_tensorflow():
    import keras
    import tensorflow as tf

tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
)
tf.config.experimental.enable_op_determinism()
# Keras's `set_random_seed` sets TensorFlow's seed, too, by which nothing of ours draws. With each call TensorFlow
# forgets its kernels and the graphs that it has optimised, to make which is most of a first call: it is to do so only
# where graphs are freed, below.
forget_kernels = functools.partial(tf.random.set_seed, 0)
forget_kernels()
tf.random.set_seed = lambda seed: None

from tensorflow.python.framework import ops  # noqa: E402

from tests import models  # noqa: E402, it makes tensors
from zoo import MODELS  # noqa: E402


def pytest_addoption(parser):
    parser.addoption("--one-of-each-family", action="store_true", help="leave out the other models of a family")


def group_of(item):
    """The model whose tests share what is made for it, or "" of a test that shares nothing."""
    return next((mark.args[0] for mark in item.iter_markers("xdist_group")), "")


@pytest.hookimpl(trylast=True)  # after pytest's own order
def pytest_collection_modifyitems(config, items):
    """Takes model after model; leaves out all but the last of each family by their names, where that is asked for.

    What shares nothing comes last, test by test, so that no process waits for one that has a whole model to do.
    """
    items.sort(key=lambda item: (not group_of(item), group_of(item)))
    if config.getoption("--one-of-each-family"):
        chosen = {cls.__module__.split(".")[1]: name for name, cls in sorted(MODELS.items())}
        others = set(MODELS) - set(chosen.values())

        def is_of_another(item):
            parameters = item.callspec.params.values() if hasattr(item, "callspec") else ()
            parameters = [item.path.stem.removeprefix("test_"), *parameters]
            return any(str(value).partition(" ")[0] in others for value in parameters)

        config.hook.pytest_deselected(items=list(filter(is_of_another, items)))
        items[:] = [item for item in items if not is_of_another(item)]


def pytest_collection_finish():
    gc.freeze()  # what is imported never becomes garbage
    gc.set_threshold(100_000)  # a graph alone is tens of thousands of objects


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item, nextitem):
    """After a model, or a file of tests that share nothing, frees the graphs that nobody needs any more.

    TensorFlow would keep each in which it has registered a custom gradient.
    """
    yield
    if nextitem and (group_of(item) or item.path) != (group_of(nextitem) or nextitem.path):
        gradients = ops.gradient_registry._registry  # it has no public way
        for name in [name for name in gradients if name.startswith("CustomGradient-")]:
            del gradients[name]
        gc.collect()
        forget_kernels()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    """The same initial weights in each run of a test, whatever ran before it; fixtures, made after this, too."""
    keras.utils.set_random_seed(0)


@pytest.fixture(autouse=True)
def mapped_folder(tmp_path_factory, monkeypatch):
    """Where arrays that are made once are kept: not where the user has his."""
    monkeypatch.setattr("trainers.data.mapped.cache", tmp_path_factory.getbasetemp().joinpath)
    return tmp_path_factory.getbasetemp() / "mapped"


@pytest.fixture(scope="session", params=models.of_each_model(models.names()))
def core(request, tmp_path_factory):
    """The smallest model of each kind, after a step of training, exported: once for all tests that ask for it."""
    from tests.export.exported import Exported

    model = models.make(request.param)
    model.train_step(models.batch_of(model))
    return Exported(model, tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="session")
def program(tmp_path_factory):
    """The compiled C program, or None where there is no compiler."""
    from tests.export.exported import compile_program

    base = tmp_path_factory.getbasetemp()
    return compile_program(base.parent if "PYTEST_XDIST_WORKER" in os.environ else base)


@pytest.fixture(scope="session")
def server(core, program):
    """A core model served without Python: for all tests that ask it."""
    from tests.export.exported import InC, InSession

    server = InC(program, core.version) if program else InSession(core)
    yield server
    server.close()
