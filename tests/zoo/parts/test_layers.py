"""Single layers against NumPy: their formulas, their noise, the gradient of spectral normalisation."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.zoo.enumeration import assert_close, slopes
from zoo.parts import layers, networks, noise


def test_dropout():
    layer, other = layers.Dropout(0.3), layers.Dropout(0.3)
    x = np.ones([200, 100], np.float32)
    np.testing.assert_array_equal(layer(x), x)
    first, second, others = layer(x, training=True), layer(x, training=True), other(x, training=True)
    for y in (first, second, others):
        np.testing.assert_allclose(np.unique(y), [0.0, 1.0 / 0.7], rtol=1e-6)
        assert abs(np.mean(y) - 1.0) < 0.02  # 6 standard deviations
    for a, b in itertools.combinations((first, second, others), 2):
        assert abs(np.corrcoef(np.ravel(a), np.ravel(b))[0, 1]) < 0.05
    calls = layer.calls.numpy() - 1
    layer.set_weights([calls])
    np.testing.assert_array_equal(layer(x, training=True), second)  # its count is all its state
    np.testing.assert_array_equal(second > 0, noise.uniform(noise.key(0, calls, noise.LAYERS), x.shape) < 0.7)
    with pytest.raises(ValueError, match="below 1"):
        layers.Dropout(1.0)


def test_numbers_train_as_attributes():
    numbers = layers.Numbers("numbers", a=2.0, b=np.arange(3.0))
    assert numbers.trainable_variables == [numbers.a, numbers.b] and numbers.a.numpy() == 2.0
    np.testing.assert_array_equal(numbers.b, np.arange(3.0))


@pytest.mark.parametrize("shape", [(3,), (2, 2, 3)])
def test_minibatch_deviation(shape):
    """One number, in NumPy; 1e-4 and a finite slope where all rows are the same; as the last hidden layer sees it."""
    x = np.random.default_rng(0).normal(size=[5, *shape]).astype(np.float32)
    y = layers.MinibatchDeviation()(x).numpy()
    np.testing.assert_array_equal(y[..., :-1], x)
    np.testing.assert_allclose(y[..., -1], np.full(y.shape[:-1], x.std(0).mean()), rtol=1e-5)
    x = tf.constant(np.repeat(x[:1], 4, 0))
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = layers.MinibatchDeviation()(x)[..., -1]
    np.testing.assert_allclose(y, np.full(y.shape, 1e-4), rtol=1e-3)
    np.testing.assert_array_equal(tape.gradient(y, x), np.zeros_like(x))


@pytest.mark.parametrize(
    "network",
    [
        lambda: networks.mlp((4,), (3, 2), (1,), minibatch_deviation=True),
        lambda: networks.convolutional_encoder((16, 16, 1), 1, filters=2, minibatch_deviation=True),
    ],
)
def test_the_last_hidden_layer_sees_the_minibatchs_deviation(network):
    keras.utils.set_random_seed(0)
    model = network()
    x = np.random.default_rng(0).normal(size=[4, *model.input_shape[1:]]).astype(np.float32)
    kinds = [type(layer).__name__ for layer in model.layers]
    linear = [i for i, kind in enumerate(kinds) if kind in ("Dense", "Conv2D")]
    assert kinds.index("MinibatchDeviation") == linear[-2] - 1
    assert np.abs(model(x)[0] - model(x[:1])[0]).max() > 1e-4  # what D says of a row depends on its company


@pytest.mark.parametrize("make, shape", [
    (lambda **options: keras.layers.Dense(4, **options), (3,)),
    (lambda **options: keras.layers.Conv2D(4, 3, **options), (6, 6, 3)),
])  # fmt: skip
def test_an_equalized_layer_is_a_plain_one_of_scaled_weights(make, shape):
    """Its outputs, and its gradient, which is scaled once more."""
    gain, rng = 0.7, np.random.default_rng(0)
    layer, plain, x = layers.Equalized(make(), gain), make(), tf.constant(rng.normal(size=[5, *shape]), tf.float32)
    layer(x), plain(x)
    kernel, bias = (rng.normal(size=w.shape).astype(np.float32) for w in plain.get_weights())
    scale = gain / np.sqrt(np.prod(kernel.shape[:-1]))
    layer.layer.kernel.assign(kernel), layer.bias.assign(bias), plain.set_weights([scale * kernel, bias])
    with tf.GradientTape(persistent=True) as tape:
        values = [tf.reduce_sum(network(x) ** 2) for network in (layer, plain)]
    np.testing.assert_allclose(layer(x), plain(x), rtol=1e-4, atol=1e-5)
    of_layer, of_plain = (
        tape.gradient(v, k) for v, k in zip(values, (layer.layer.kernel.value, plain.kernel.value), strict=True)
    )
    np.testing.assert_allclose(of_layer, scale * of_plain, rtol=1e-4, atol=1e-5)


def test_pixels_are_normalised():
    x = np.random.default_rng(0).normal(size=[4, 2, 2, 5]).astype(np.float32)
    y = layers.PixelNormalization()(x).numpy()
    np.testing.assert_allclose(np.mean(y**2, -1), 1.0, rtol=1e-5)
    np.testing.assert_allclose(y * np.sqrt(np.mean(x**2, -1, keepdims=True)), x, rtol=1e-4)
    np.testing.assert_array_equal(layers.PixelNormalization()(np.zeros([1, 3], np.float32)), np.zeros([1, 3]))


def converged(network, x, iterations):
    """The spectrally normalised layers of a network, after so many power iterations."""
    step = tf.function(lambda: network(x, training=True))
    for _ in range(iterations):
        step()
    return [layer for layer in network.layers if isinstance(layer, layers.SpectralNormalization)]


@pytest.mark.parametrize("shape", [(5,), (8, 8, 2)])
def test_spectral_norm_divides_each_kernel_by_its_largest_singular_value(shape):
    def make(**options):
        if len(shape) == 3:
            return networks.convolutional_encoder(shape, 3, filters=4, kernel_size=3, **options)
        return networks.mlp(shape, (6, 4), (3,), **options)

    keras.utils.set_random_seed(0)
    network, plain, rng = make(spectral_norm=True), make(), np.random.default_rng(0)
    x, weights = tf.constant(rng.normal(size=[7, *shape]), tf.float32), []
    for layer in converged(network, x, 200):
        kernel = layer.layer.kernel.numpy()
        largest = np.linalg.svd(kernel.reshape(-1, kernel.shape[-1]), compute_uv=False)[0]
        weights += [kernel / largest, rng.normal(size=layer.bias.shape)]
        layer.bias.assign(weights[-1])
    plain.set_weights(weights)
    before = network.get_weights()
    np.testing.assert_allclose(network(x), plain(x), rtol=1e-3, atol=1e-5)
    assert_close(before, network.get_weights(), rtol=0.0)  # training alone moves u


@pytest.mark.slow
def test_spectral_norm_falls_to_one_over_the_calls():
    keras.utils.set_random_seed(0)
    layer, x = layers.SpectralNormalization(keras.layers.Dense(30, use_bias=False)), np.eye(20, dtype=np.float32)
    norms = [np.linalg.norm(layer(x, training=True), 2) for _ in range(200)]
    assert norms[0] > 1.1 and np.all(np.diff(norms) < 1e-6) and abs(norms[-1] - 1.0) < 1e-3


def test_gradient_of_spectral_norm_is_that_of_the_quotient():
    """Against finite differences of the exact W / sigma(W), once u and v are its singular vectors."""
    network, rng = networks.mlp((4,), (), (3,), spectral_norm=True), np.random.default_rng(0)
    x, c = (tf.constant(rng.normal(size=[5, n]), tf.float32) for n in (4, 3))
    (layer,) = converged(network, x, 300)
    with tf.GradientTape() as tape:
        value = tf.reduce_sum(network(x, training=True) * c)
    W = layer.layer.kernel.numpy().astype(np.float64)
    numeric = slopes(lambda: np.sum((x.numpy() @ W / np.linalg.norm(W, 2)) * c.numpy()), W, h=1e-5)
    np.testing.assert_allclose(tape.gradient(value, layer.layer.kernel.value), numeric, rtol=1e-3, atol=1e-4)
