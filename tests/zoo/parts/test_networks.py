"""Networks against NumPy, and their shapes."""

import itertools

import keras
import numpy as np
import pytest
from scipy import special

from zoo.parts import layers, networks

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


def inputs(*shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def with_weights(network, draw):
    network.set_weights([draw(size=w.shape) for w in network.get_weights()])
    return network


@pytest.mark.parametrize(
    "activation, hidden_units", [*((name, (4, 3)) for name in layers.ACTIVATIONS), ("relu", ()), ("relu", (5,))]
)
def test_mlp_is_its_formula(activation, hidden_units):
    network = networks.mlp((2, 2, 1), hidden_units, (3, 2), activation=activation, output_activation="tanh")
    weights = with_weights(network, np.random.default_rng(1).normal).get_weights()
    h = inputs(7, 4)
    for kernel, bias in zip(weights[:-2:2], weights[1:-2:2], strict=True):
        h = FORMULAS[activation](h @ kernel + bias)
    expected = np.tanh(h @ weights[-2] + weights[-1]).reshape(7, 3, 2)
    np.testing.assert_allclose(network(inputs(7, 2, 2, 1)), expected, rtol=1e-4, atol=1e-5)
    assert weights[-2].shape[0] == ({"crelu": 2}.get(activation, 1) * hidden_units[-1] if hidden_units else 4)


def test_mlp_with_batch_normalisation_and_maxout():
    network = networks.mlp((4,), (3,), (2,), activation="maxout", maxout_pieces=5, batch_norm=True)
    with_weights(network, lambda size: np.random.default_rng(sum(size)).uniform(0.5, 2.0, size=size))
    x, (kernel, gamma, beta, mean, variance, output, bias) = inputs(7, 4), network.get_weights()
    h = x @ kernel
    for training, (m, v) in {False: (mean, variance), True: (h.mean(0), h.var(0))}.items():
        normalized = gamma * (h - m) / np.sqrt(v + 1e-5) + beta
        expected = normalized.reshape(7, 3, 5).max(-1) @ output + bias
        np.testing.assert_allclose(network(x, training=training), expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(network.get_weights()[3], 0.9 * mean + 0.1 * h.mean(0), rtol=1e-4)


@pytest.mark.parametrize("activation, hidden_units", [("elu", (5,)), ("tanh", (5, 3)), ("elu", (5, 4, 5))])
def test_residual_mlp_is_its_formula(activation, hidden_units):
    network, f = networks.residual_mlp((2, 2), hidden_units, (3,), activation=activation), FORMULAS[activation]
    for fresh in (True, False):  # at first the blocks change nothing
        if not fresh:
            with_weights(network, np.random.default_rng(1).normal)
        first, bias, *blocks, last, last_bias = network.get_weights()
        h = f(inputs(7, 4) @ first + bias)
        for i in range(0, len(blocks), 4):
            kernel, bias, change, change_bias = blocks[i : i + 4]
            assert not fresh or not np.any(change)
            h = f(h + f(h @ kernel + bias) @ change + change_bias)
        np.testing.assert_allclose(network(inputs(7, 2, 2)), h @ last + last_bias, rtol=1e-4, atol=1e-4)
    assert len(blocks) == 4 * (len(hidden_units) - 1)


def test_parallel_mlps_are_networks_of_their_own():
    network, x = networks.parallel_mlps(3, 4, (6, 5), 2, activation="tanh"), inputs(7, 3, 4)
    single = networks.mlp((4,), (6, 5), (2,), activation="tanh")
    for i in range(3):
        single.set_weights([w[i] for w in network.get_weights()])
        np.testing.assert_allclose(network(x)[:, i], single(x[:, i]), rtol=1e-5, atol=1e-6)
    kernel = networks.parallel_mlps(10, 40, (), 60).get_weights()[0]  # each starts by Glorot's rule
    np.testing.assert_allclose(kernel.std(axis=(1, 2)), np.sqrt(2 / 100), rtol=0.05)


def test_a_network_over_leading_axes():
    network, x = networks.mlp((4,), (), (2, 3)), inputs(5, 6, 4)
    y = networks.over_leading_axes(network, x)
    assert y.shape == (5, 6, 2, 3)
    np.testing.assert_allclose(y[3], network(x[3]), rtol=1e-5)


def test_dropout_takes_its_share_of_hidden_units():
    network = networks.mlp((4,), (1000, 1000), (1,), dropout=0.5)
    h = keras.Sequential(network.layers[:4])(np.ones([1, 4]), training=True)
    assert 0.65 < np.mean(h == 0.0) < 0.85  # half of them dropped, half of the rest negative


@pytest.mark.parametrize("side", range(1, 65))
def test_convolutional_sides(side):
    if side in {base * 2**n for base in (4, 5, 6, 7) for n in (1, 2, 3, 4)}:
        sides = networks.convolutional_sides(side)
        assert 4 <= sides[0] <= 7 and sides[-1] == side and len(sides) >= 2
        assert all(large == 2 * small for small, large in itertools.pairwise(sides))
    else:
        with pytest.raises(ValueError, match=f"side {side}"):
            networks.convolutional_sides(side)


def test_sides_that_are_rounded_up():
    assert networks.convolutional_sides(28, 3) == [4, 7, 14, 28] and networks.convolutional_sides(8, 2) == [2, 4, 8]
    with pytest.raises(ValueError, match="side 8 can not be halved 3 times"):
        networks.convolutional_sides(8, 3)
    shape, options = (28, 28, 1), {"filters": 2, "num_halvings": 3}
    encoder = networks.convolutional_encoder(shape, 5, **options)
    decoder = networks.convolutional_decoder(3, shape, **options)
    assert encoder.output_shape == (None, 5) and decoder.output_shape == (None, 28, 28, 1)
    assert encoder.layers[-1].kernel.shape[0] == 4 * 4 * 8 == decoder.layers[0].kernel.shape[1]


@pytest.mark.parametrize("activation, factor", [("elu", 1), ("crelu", 2)])
@pytest.mark.parametrize("side, blocks, channels", [(8, 1, 1), (12, 1, 3), (28, 2, 3), (32, 3, 1)])
def test_convolutional_stacks_mirror_each_other(side, blocks, channels, activation, factor):
    shape, options = (side, side, channels), {"filters": 2, "activation": activation}
    encoder = networks.convolutional_encoder(shape, 6, **options)
    decoder = networks.convolutional_decoder(3, (side, side, 2 * channels), **options)
    assert encoder.output_shape == (None, 6) and decoder.output_shape == (None, side, side, 2 * channels)
    widths = [2 * 2**i for i in range(blocks)]
    inputs_of_widths = zip([channels, *(factor * w for w in widths[:-1])], widths, strict=True)
    outputs_of_widths = zip([*widths[-2::-1], 2 * channels], [factor * w for w in reversed(widths)], strict=True)
    for network, pairs in ((encoder, inputs_of_widths), (decoder, outputs_of_widths)):
        assert [w.shape for w in network.weights if len(w.shape) == 4] == [(5, 5, *pair) for pair in pairs]


@pytest.mark.parametrize("shape, hidden", [((4,), 7), ((16, 16, 2), 4 * 4 * 4)])
def test_stacks_without_an_output_layer_end_in_their_last_hidden_layer(shape, hidden):
    options = {"activation": "maxout", "maxout_pieces": 3, "initializer": keras.initializers.RandomNormal(stddev=0.3)}

    def make(output, **more):
        if len(shape) == 1:
            return networks.mlp(shape, (5, 7), output and (output,), **more, **options)
        return networks.convolutional_encoder(shape, output, filters=2, **more, **options)

    whole, trunk = make(3), make(None)
    *weights, kernel, bias = whole.get_weights()
    trunk.set_weights(weights)
    assert trunk.output_shape == (None, hidden)
    np.testing.assert_allclose(trunk(inputs(6, *shape)) @ kernel + bias, whole(inputs(6, *shape)), rtol=1e-4, atol=1e-5)
    kinds = [type(layer).__name__ for layer in make(None, dropout=0.5).layers]
    assert kinds.count("Dropout") == kinds.count("Maxout") == 2
    assert networks.mlp(shape, (), None).output_shape == (None, np.prod(shape))


@pytest.mark.parametrize("shape", [(8, 16, 1), (64,)])
def test_convolutions_want_squares(shape):
    for make, sizes in ((networks.convolutional_encoder, (shape, 2)), (networks.convolutional_decoder, (2, shape))):
        with pytest.raises(ValueError, match="square"):
            make(*sizes, filters=2)


def stacks(side, units, **options):
    yield networks.mlp((units,), (units, units), (units,), **options)
    yield networks.convolutional_encoder((side, side, 1), units, filters=3, **options)
    yield networks.convolutional_decoder(units, (side, side, 1), filters=3, **options)


@pytest.mark.parametrize("initializer", [None, keras.initializers.RandomNormal(stddev=0.02)])
def test_layers_start_from_weights_of_their_own(initializer):
    """Keras draws the same numbers for the same shape whenever it is given the same initializer."""
    made = [*stacks(16, 6, initializer=initializer), networks.mlp((6,), (6, 6), (6,), initializer=initializer)]
    kernels = [w.numpy() for network in made for w in network.weights if w.name == "kernel"]
    for a, b in itertools.combinations(kernels, 2):
        assert a.size != b.size or abs(np.corrcoef(a.ravel(), b.ravel())[0, 1]) < 0.7
    assert initializer is None or abs(np.concatenate([k.ravel() for k in kernels]).std() - 0.02) < 0.002


def test_outputs_are_float32_in_any_precision():
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        made = list(stacks(8, 2))
    finally:
        keras.config.set_dtype_policy("float32")
    for network in made:
        output = network(np.zeros([1, *network.input_shape[1:]], np.float32))
        assert str(output.dtype) in ("float32", "<dtype: 'float32'>")
        assert network.layers[1].compute_dtype == "bfloat16"
