"""Two logical CPU devices for the strategy tests, and a quiet TensorFlow. Must run before TensorFlow starts.

Operations are deterministic, as they are in every training.
"""

import pytest

from common import cli

with cli.quiet():
    import tensorflow as tf

tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
)
tf.config.experimental.enable_op_determinism()

from tests import models  # noqa: E402, it makes tensors


@pytest.fixture(scope="session", params=models.of_each_model(models.names()))
def core(request, tmp_path_factory):
    """The smallest model of each kind, after a step of training, exported: once for all tests that ask for it."""
    from tests.export.exported import Exported

    model = models.make(request.param)
    model.train_step(models.batch_of(model))
    return Exported(model, tmp_path_factory.mktemp(request.param))
