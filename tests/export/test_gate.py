"""The gate refuses what TensorFlow Serving can not serve, wherever in the SavedModel it hides."""

import keras
import pytest
import tensorflow as tf

from export import gate

ROWS = tf.TensorSpec([None, 2], tf.float32)


def scalar_text(x):
    return tf.strings.format("{}", tf.reduce_sum(x))


def on(device, x):
    with tf.device(device):
        return x + 1.0


def after(operation, x):
    with tf.control_dependencies([operation]):
        return tf.identity(x)


GOOD = {
    "plain": lambda x: 2.0 * x,
    "loop": lambda x: tf.map_fn(lambda row: row + 1.0, x),
    "condition": lambda x: tf.cond(tf.reduce_all(x > 0), lambda: x, lambda: -x),
    "stateless": lambda x: x + tf.random.stateless_normal(tf.shape(x), [1, 2]),
    "gradient": lambda x: tf.gradients(x**3, x)[0],
}
BAD = {
    "xla": (lambda x: tf.function(lambda x: x + 1.0, jit_compile=True)(x), "jit_compile"),
    "numpy_function": (lambda x: tf.ensure_shape(tf.numpy_function(abs, [x], tf.float32), [None, 2]), "PyFunc"),
    "py_function": (lambda x: tf.ensure_shape(tf.py_function(abs, [x], tf.float32), [None, 2]), "EagerPyFunc"),
    "normal": (lambda x: x + tf.random.normal([2], seed=1), "RandomStandardNormal, which is stateful"),
    "loop": (lambda x: tf.map_fn(lambda row: row + tf.random.uniform([2], seed=1), x), "Uniform, which is stateful"),
    "shuffle": (lambda x: tf.random.shuffle(x, seed=1), "RandomShuffle, which is stateful"),
    "read": (lambda x: x + tf.cast(tf.strings.length(tf.io.read_file(scalar_text(x))), tf.float32), "ReadFile"),
    "write": (lambda x: after(tf.io.write_file("x", scalar_text(x)), x), "WriteFile"),
    "print": (lambda x: after(tf.print(x), x), "PrintV2"),
    "assert": (lambda x: after(tf.debugging.Assert(tf.reduce_all(x > 0), [x]), x), "Assert"),
    "bitcast": (lambda x: tf.cast(tf.bitcast(x, tf.int32), tf.float32), "Bitcast"),
    "device": (lambda x: on("GPU:0", x), "device:GPU:0, which a server may not have"),
    "scalar_output": (lambda x: tf.reduce_sum(x), r"output of \w+ has shape \(\)"),
    "fixed_output": (lambda x: tf.zeros([3, 2]), r"output of \w+ has shape \(3, 2\)"),
    "unknown_width": (lambda x: tf.boolean_mask(x, x[0] > 0, axis=1), r"output of \w+ has shape \(None, None\)"),
}


def save(directory, function, spec=ROWS, weights=()):
    module = tf.Module()
    module.weights = list(weights)
    concrete = tf.function(lambda x: {"output": function(x)}).get_concrete_function(spec)
    tf.saved_model.save(module, str(directory), signatures=concrete)
    return directory


@pytest.mark.parametrize("function", GOOD.values(), ids=GOOD)
def test_good(function, tmp_path):
    gate.check(save(tmp_path, function))


@pytest.mark.parametrize("function, message", BAD.values(), ids=BAD)
def test_bad_operations_and_shapes(function, message, tmp_path):
    with pytest.raises(gate.GateError, match=message):
        gate.check(save(tmp_path, function))


@pytest.mark.parametrize("shape", [[], [3], [3, 2], [None, None], None], ids=str)
def test_bad_inputs(shape, tmp_path):
    with pytest.raises(gate.GateError, match="x of serving_default has shape"):
        gate.check(save(tmp_path, lambda x: tf.zeros([tf.size(x), 2]), tf.TensorSpec(shape, tf.float32)))


@pytest.mark.slow
def test_weights(tmp_path):
    used, unused, nan = tf.Variable([1.0, 2.0]), tf.Variable(3.0), tf.Variable(float("nan"))
    gate.check(save(tmp_path / "good", lambda x: x * used, weights=[used]))
    gate.check(save(tmp_path / "embedding", lambda x: x * tf.gather(used, [0, 1]), weights=[used]))
    for name, weights, function, message in [
        ("unused", [used, unused], lambda x: x * used, "read 1 variables, and loading restores 2"),
        ("nan", [nan], lambda x: x * nan, "weight 0 is not finite"),
    ]:
        with pytest.raises(gate.GateError, match=message):
            gate.check(save(tmp_path / name, function, weights=weights))


@pytest.mark.slow
def test_keras_exports_are_refused(tmp_path):
    """Those that hold the weights twice, or that restore copies of them, and so do not load outside Python."""
    network = keras.Sequential([keras.Input([2]), keras.layers.Dense(2)])
    module = tf.Module()
    module.network = network
    concrete = tf.function(lambda x: {"output": network(x)}).get_concrete_function(ROWS)
    tf.saved_model.save(module, str(tmp_path / "module"), signatures=concrete)
    archive = keras.export.ExportArchive()
    archive.track(network)
    archive.add_endpoint("serve", network.call, input_signature=[ROWS])
    archive.write_out(str(tmp_path / "archive"), verbose=False)
    for name in ("module", "archive"):
        with pytest.raises(gate.GateError, match="checkpoint|restores"):
            gate.check(tmp_path / name)


def test_every_violation_is_named(tmp_path):
    with pytest.raises(gate.GateError) as caught:
        gate.check(save(tmp_path, lambda x: after(tf.print(x), tf.random.normal([3], seed=1))))
    assert all(word in str(caught.value) for word in ("PrintV2", "RandomStandardNormal", "has shape (3,)"))
