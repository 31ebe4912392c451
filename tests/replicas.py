"""The replicas that tests of strategies share."""

import functools

import tensorflow as tf


@functools.cache
def two_replicas():
    """One strategy for all tests of a process: TensorFlow numbers collectives anew in each, and confuses theirs."""
    return tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
