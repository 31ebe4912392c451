"""Two logical CPU devices for the strategy tests, and a quiet TensorFlow. Must run before TensorFlow starts.

Operations are deterministic, as they are in every training.
"""

from common import cli

with cli.quiet():
    import tensorflow as tf

tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
)
tf.config.experimental.enable_op_determinism()
