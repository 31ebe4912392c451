"""Graphs of our functions, and of those that a `tf.data.Dataset` maps."""

import functools

import tensorflow as tf

# Our functions say by TensorFlow's own operations what depends on tensors. To look for Python's `if` and `while` in
# them, and in the libraries that they call, would take most of the time of tracing.
as_written = tf.autograph.experimental.do_not_convert
graph = functools.partial(tf.function, autograph=False, reduce_retracing=True)


def once(function):
    """The same function, which a graph has once, however often it is called there. Eagerly it is called as it is."""
    traced = graph(function)

    @functools.wraps(function)
    def call(*args, **kwargs):
        return (function if tf.executing_eagerly() else traced)(*args, **kwargs)

    return call


def of_each(function, rows, dtype=tf.float32):
    """`function` of each row in turn, which needs the memory of one: tensor of this dtype, [number of rows, ...]."""
    return tf.map_fn(as_written(function), rows, fn_output_signature=dtype)  # eagerly it would be rewritten


def in_graph(function):
    """The function, as one graph where it is called eagerly; it sees the static shapes of its inputs in either case."""
    alone = graph(function, reduce_retracing=False)

    @functools.wraps(function)
    def called(*inputs):
        return (alone if tf.executing_eagerly() else function)(*inputs)

    return called
