"""Networks against NumPy, and their shapes."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy import special

from zoo.parts import networks

FORMULAS = {
    "relu": lambda x: np.maximum(x, 0),
    "crelu": lambda x: np.concatenate([np.maximum(x, 0), np.maximum(-x, 0)], axis=-1),
    "leaky_relu": lambda x: np.where(x > 0, x, 0.2 * x),
    "elu": lambda x: np.where(x > 0, x, np.expm1(x)),
    "tanh": np.tanh,
    "sigmoid": special.expit,
    "maxout": lambda x: x.reshape(len(x), -1, 4).max(-1),
    "softplus": lambda x: np.log1p(np.exp(x)),
}
ALLOWED = {base * 2**n for base in (4, 5, 6, 7) for n in (1, 2, 3, 4)}


@pytest.mark.parametrize("activation", networks.ACTIVATIONS)
@pytest.mark.parametrize("hidden_units", [(), (5,), (4, 3)])
def test_mlp_is_its_formula(activation, hidden_units):
    network = networks.mlp((2, 2, 1), hidden_units, (3, 2), activation=activation, output_activation="tanh")
    rng = np.random.default_rng(0)
    network.set_weights([rng.normal(size=w.shape) for w in network.get_weights()])
    x = rng.normal(size=[7, 2, 2, 1]).astype(np.float32)
    h, weights = x.reshape(7, 4), network.get_weights()
    for kernel, bias in zip(weights[:-2:2], weights[1:-2:2], strict=True):
        h = FORMULAS[activation](h @ kernel + bias)
    expected = np.tanh(h @ weights[-2] + weights[-1]).reshape(7, 3, 2)
    np.testing.assert_allclose(network(x), expected, rtol=1e-4, atol=1e-5)
    assert weights[-2].shape[0] == ({"crelu": 2}.get(activation, 1) * hidden_units[-1] if hidden_units else 4)


def test_mlp_with_batch_normalisation_and_maxout():
    options = {"activation": "maxout", "maxout_pieces": 5, "batch_norm": True}
    network = networks.mlp((4,), (3,), (2,), **options)
    rng = np.random.default_rng(0)
    network.set_weights([rng.uniform(0.5, 2.0, size=w.shape) for w in network.get_weights()])
    x = rng.normal(size=[7, 4]).astype(np.float32)
    kernel, gamma, beta, mean, variance, output, bias = network.get_weights()
    h = x @ kernel
    for training, (m, v) in {False: (mean, variance), True: (h.mean(0), h.var(0))}.items():
        normalized = gamma * (h - m) / np.sqrt(v + 1e-5) + beta
        expected = normalized.reshape(7, 3, 5).max(-1) @ output + bias
        np.testing.assert_allclose(network(x, training=training), expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(network.get_weights()[3], 0.9 * mean + 0.1 * h.mean(0), rtol=1e-4)


@pytest.mark.parametrize("activation", ["elu", "tanh"])
@pytest.mark.parametrize("hidden_units", [(5,), (5, 3), (5, 4, 5)])
def test_residual_mlp_is_its_formula(activation, hidden_units):
    network, f = networks.residual_mlp((2, 2), hidden_units, (3,), activation=activation), FORMULAS[activation]
    x = np.random.default_rng(0).normal(size=[7, 2, 2]).astype(np.float32)
    for seed in (None, 0):  # at first the blocks change nothing
        if seed is not None:
            rng = np.random.default_rng(seed)
            network.set_weights([rng.normal(size=w.shape) for w in network.get_weights()])
        first, bias, *blocks, last, last_bias = network.get_weights()
        h = f(x.reshape(7, 4) @ first + bias)
        for i in range(0, len(blocks), 4):
            kernel, bias, change, change_bias = blocks[i : i + 4]
            assert seed is not None or not np.any(change)
            h = f(h + f(h @ kernel + bias) @ change + change_bias)
        np.testing.assert_allclose(network(x), h @ last + last_bias, rtol=1e-4, atol=1e-4)
    assert len(blocks) == 4 * (len(hidden_units) - 1)


def test_parallel_mlps_are_networks_of_their_own():
    network = networks.parallel_mlps(3, 4, (6, 5), 2, activation="tanh")
    x, weights = np.random.default_rng(0).normal(size=[7, 3, 4]).astype(np.float32), network.get_weights()
    for i in range(3):
        single = networks.mlp((4,), (6, 5), (2,), activation="tanh")
        single.set_weights([w[i] for w in weights])
        np.testing.assert_allclose(network(x)[:, i], single(x[:, i]), rtol=1e-5, atol=1e-6)
    kernel = networks.parallel_mlps(10, 40, (), 60).get_weights()[0]  # each starts by Glorot's rule
    np.testing.assert_allclose(kernel.std(axis=(1, 2)), np.sqrt(2 / 100), rtol=0.05)


def test_a_network_over_leading_axes():
    network = networks.mlp((4,), (), (2, 3))
    x = np.random.default_rng(0).normal(size=[5, 6, 4]).astype(np.float32)
    y = networks.over_leading_axes(network, x)
    assert y.shape == (5, 6, 2, 3)
    np.testing.assert_allclose(y[3], network(x[3]), rtol=1e-5)


def test_dropout():
    layer, other = networks.Dropout(0.3), networks.Dropout(0.3)
    x = np.ones([200, 100], np.float32)
    np.testing.assert_array_equal(layer(x), x)
    first, second, others = layer(x, training=True), layer(x, training=True), other(x, training=True)
    for y in (first, second, others):
        np.testing.assert_allclose(np.unique(y), [0.0, 1.0 / 0.7], rtol=1e-6)
        assert abs(np.mean(y) - 1.0) < 0.02  # 6 standard deviations
    for a, b in itertools.combinations((first, second, others), 2):
        assert abs(np.corrcoef(np.ravel(a), np.ravel(b))[0, 1]) < 0.05
    layer.set_weights([layer.calls.numpy() - 1])
    np.testing.assert_array_equal(layer(x, training=True), second)  # its count is all its state
    network = networks.mlp((4,), (1000, 1000), (1,), dropout=0.5)
    h = keras.Sequential(network.layers[:4])(np.ones([1, 4]), training=True)
    assert 0.65 < np.mean(h == 0.0) < 0.85  # half of them dropped, half of the rest negative


@pytest.mark.parametrize("shape", [(2, 3), (2, 3, 3, 4)])
def test_crelu(shape):
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    y = networks.ConcatenatedReLU()(x)
    np.testing.assert_array_equal(y, FORMULAS["crelu"](x))
    np.testing.assert_array_equal(y[..., : shape[-1]] - y[..., shape[-1] :], x)  # nothing is lost


@pytest.mark.parametrize("side", range(8, 65))
def test_convolutional_sides(side):
    if side in ALLOWED:
        sides = networks.convolutional_sides(side)
        assert 4 <= sides[0] <= 7 and sides[-1] == side and len(sides) >= 2
        assert all(large == 2 * small for small, large in itertools.pairwise(sides))
    else:
        with pytest.raises(ValueError, match=f"side {side}"):
            networks.convolutional_sides(side)


@pytest.mark.parametrize("side", [1, 4, 7])
def test_sides_with_nothing_to_halve(side):
    with pytest.raises(ValueError, match=f"side {side}"):
        networks.convolutional_sides(side)


@pytest.mark.parametrize("activation, factor", [("elu", 1), ("crelu", 2)])
@pytest.mark.parametrize("side, blocks", [(8, 1), (12, 1), (16, 2), (28, 2), (32, 3)])
@pytest.mark.parametrize("channels", [1, 3])
def test_convolutional_stacks_mirror_each_other(side, blocks, channels, activation, factor):
    shape, options = (side, side, channels), {"filters": 2, "activation": activation}
    encoder = networks.convolutional_encoder(shape, 6, **options)
    decoder = networks.convolutional_decoder(3, (side, side, 2 * channels), **options)
    assert encoder.output_shape == (None, 6) and decoder.output_shape == (None, side, side, 2 * channels)
    widths = [2 * 2**i for i in range(blocks)]
    kernels = [w.shape for w in encoder.weights if len(w.shape) == 4]  # height, width, in, out
    assert kernels == [(5, 5, *io) for io in zip([channels, *(factor * w for w in widths[:-1])], widths, strict=True)]
    kernels = [w.shape for w in decoder.weights if len(w.shape) == 4]  # height, width, out, in
    outputs = [*widths[-2::-1], 2 * channels]
    assert kernels == [(5, 5, *oi) for oi in zip(outputs, [factor * w for w in reversed(widths)], strict=True)]


def test_stacks_without_an_output_layer_end_in_their_last_hidden_layer():
    options = {"activation": "maxout", "maxout_pieces": 3, "initializer": keras.initializers.RandomNormal(stddev=0.3)}
    for make, shape, hidden in [
        (lambda output, **more: networks.mlp((4,), (5, 7), output and (output,), **more, **options), (4,), 7),
        (
            lambda output, **more: networks.convolutional_encoder((16, 16, 2), output, filters=2, **more, **options),
            (16, 16, 2),
            4 * 4 * 4,
        ),
    ]:
        whole, trunk = make(3), make(None)
        weights = whole.get_weights()
        trunk.set_weights(weights[:-2])
        x = np.random.default_rng(0).normal(size=[6, *shape]).astype(np.float32)
        assert trunk.output_shape == (None, hidden)
        np.testing.assert_allclose(trunk(x) @ weights[-2] + weights[-1], whole(x), rtol=1e-4, atol=1e-5)
        kinds = [type(layer).__name__ for layer in make(None, dropout=0.5).layers]
        assert kinds.count("Dropout") == kinds.count("Maxout") == 2
    assert networks.mlp((2, 2), (), None).output_shape == (None, 4)


@pytest.mark.parametrize("shape", [(8, 16, 1), (64,)])
def test_convolutions_want_squares(shape):
    for make in (lambda: networks.convolutional_encoder(shape, 2, filters=2),
                 lambda: networks.convolutional_decoder(2, shape, filters=2)):  # fmt: skip
        with pytest.raises(ValueError, match="square"):
            make()


@pytest.mark.parametrize("initializer", [None, keras.initializers.RandomNormal(stddev=0.02)])
def test_layers_start_from_weights_of_their_own(initializer):
    """Keras draws the same numbers for the same shape whenever it is given the same initializer."""
    stacks = [networks.mlp((6,), (6, 6), (6,), initializer=initializer) for _ in range(2)]
    stacks += [networks.convolutional_encoder((16, 16, 1), 6, filters=3, initializer=initializer),
               networks.convolutional_decoder(6, (16, 16, 1), filters=3, initializer=initializer)]  # fmt: skip
    kernels = [w.numpy() for network in stacks for w in network.weights if w.name == "kernel"]
    for a, b in itertools.combinations(kernels, 2):
        assert a.size != b.size or abs(np.corrcoef(a.ravel(), b.ravel())[0, 1]) < 0.7
    assert initializer is None or abs(np.concatenate([k.ravel() for k in kernels]).std() - 0.02) < 0.002


def test_outputs_are_float32_in_any_precision():
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        stacks = [networks.mlp((4,), (3,), (2,)), networks.convolutional_encoder((8, 8, 1), 2, filters=2),
                  networks.convolutional_decoder(2, (8, 8, 1), filters=2)]  # fmt: skip
    finally:
        keras.config.set_dtype_policy("float32")
    for network in stacks:
        output = network(np.zeros([1, *network.input_shape[1:]], np.float32))
        assert str(output.dtype) in ("float32", "<dtype: 'float32'>")
        assert network.layers[1].compute_dtype == "bfloat16"


def linear_layers(network):
    return [layer for layer in network.layers if isinstance(layer, networks.SpectralNormalization)]


@pytest.mark.parametrize("convolutional", [False, True])
def test_spectral_norm_divides_each_kernel_by_its_largest_singular_value(convolutional):
    if convolutional:
        network = networks.convolutional_encoder((8, 8, 2), 3, filters=4, activation="relu", spectral_norm=True)
        plain = networks.convolutional_encoder((8, 8, 2), 3, filters=4, activation="relu")
        shape = (8, 8, 2)
    else:
        network = networks.mlp((5,), (6, 4), (3,), spectral_norm=True)
        plain, shape = networks.mlp((5,), (6, 4), (3,)), (5,)
    x = tf.constant(np.random.default_rng(0).normal(size=[7, *shape]), tf.float32)
    for _ in range(200):
        network(x, training=True)  # power iterations
    weights = []
    for layer in linear_layers(network):
        kernel = layer.layer.kernel.numpy()
        largest = np.linalg.svd(kernel.reshape(-1, kernel.shape[-1]), compute_uv=False)[0]
        weights += [kernel / largest, np.random.default_rng(1).normal(size=layer.bias.shape)]
        layer.bias.assign(weights[-1])
    plain.set_weights(weights)
    before = network.get_weights()
    np.testing.assert_allclose(network(x), plain(x), rtol=1e-3, atol=1e-5)
    for a, b in zip(before, network.get_weights(), strict=True):  # training alone moves u
        np.testing.assert_array_equal(a, b)


def test_gradient_of_spectral_norm_is_that_of_the_quotient():
    """Against finite differences of the exact W / sigma(W), once u and v are its singular vectors."""
    network = networks.mlp((4,), (), (3,), spectral_norm=True)
    (layer,) = linear_layers(network)
    rng = np.random.default_rng(0)
    x, c = rng.normal(size=[5, 4]), rng.normal(size=[5, 3])
    for _ in range(300):
        network(tf.constant(x, tf.float32), training=True)
    with tf.GradientTape() as tape:
        value = tf.reduce_sum(network(tf.constant(x, tf.float32), training=True) * c.astype(np.float32))
    found = tape.gradient(value, layer.layer.kernel.value)
    W = layer.layer.kernel.numpy().astype(np.float64)

    def exact(W):
        return np.sum((x @ W / np.linalg.norm(W, 2)) * c)

    numeric = np.zeros_like(W)
    for index in np.ndindex(W.shape):
        step = np.zeros_like(W)
        step[index] = 1e-5
        numeric[index] = (exact(W + step) - exact(W - step)) / 2e-5
    np.testing.assert_allclose(found, numeric, rtol=1e-3, atol=1e-4)
