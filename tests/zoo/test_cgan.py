"""CGAN against its game written out, its paper's networks, and conditional distributions that are known."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras.optimizers import SGD, Adam
from scipy import stats
from zoo.cgan import CGAN

from trainers.data import load
from zoo.parts import noise

SHAPES = {"points": (3,), "images": (2, 2, 1)}
TINY = {
    "mlp": {"data_shape": (2,), "generator_units": (5, 4, 6), "discriminator_units": (3, 2, 4), "dropout": 0.0},
    "convolutional": {"data_shape": (8, 8, 1), "network": "convolutional", "filters": 3},
}
GENERATOR_OBJECTIVE = {  # what G descends, of D(G(z|y)|y)
    "minimax": lambda d: tf.math.log(1 - d),
    "non_saturating": lambda d: -tf.math.log(d),
    "maximum_likelihood": lambda d: -d / (1 - d),
}
RING = {  # those of configs/cgan_ring.cfg
    "latent_size": 2,
    "prior": "normal",
    "generator_units": (64, 64, 128),
    "discriminator_units": (64, 32, 64),
    "dropout": 0.0,
}


def maxout(x, pieces):
    return tf.reduce_max(tf.reshape(x, [x.shape[0], -1, pieces]), axis=2)


@pytest.mark.parametrize("loss", GENERATOR_OBJECTIVE)
@pytest.mark.parametrize("data, k, prior", [("points", 1, "normal"), ("images", 2, "uniform")])
def test_steps_of_a_second_implementation(loss, data, k, prior):
    """Two iterations in float64 with the paper's networks, and the minibatches and the noise that the model has."""
    m, rate, shape, num_classes = 5, 0.2, SHAPES[data], 4
    keras.utils.set_random_seed(2)
    options = {"prior": prior, "loss": loss, "num_discriminator_steps": k, "seed": 9, "dropout": 0.0}
    options |= {"generator_units": (5, 3, 6), "discriminator_units": (4, 2, 3)}
    model = CGAN(data_shape=shape, num_classes=num_classes, latent_size=2, **options)
    model.compile({"discriminator": SGD(rate), "generator": SGD(rate)}, jit_compile=False)
    theta_d, theta_g = (
        [tf.Variable(w.numpy().astype(np.float64)) for w in model.weights_of(player)] for player in model.players
    )

    def G(z, y):
        a, b, c, d, e, f, g, h = theta_g
        joint = tf.nn.relu(tf.concat([tf.nn.relu(z @ a + b), tf.nn.relu(y @ c + d)], 1) @ e + f) @ g + h
        return tf.tanh(joint) if data == "images" else joint

    def D(x, y):
        a, b, c, d, e, f, g, h = theta_d
        joint = maxout(tf.concat([maxout(x @ a + b, 5), maxout(y @ c + d, 5)], 1) @ e + f, 4)
        return tf.sigmoid(joint @ g + h)[:, 0]

    def move(weights, sign, objective):
        with tf.GradientTape() as tape:
            value = tf.reduce_mean(objective())
        for weight, gradient in zip(weights, tape.gradient(value, weights), strict=True):
            weight.assign_add(sign * rate * gradient)

    def draw(key):
        z = noise.normal(key, [m, 2]) if prior == "normal" else 2 * noise.uniform(key, [m, 2]) - 1
        return z.numpy().astype(np.float64)

    rng = np.random.default_rng(0)
    for step in range(2):
        data_of_step = rng.uniform(-1, 1, [k, m, *shape]).astype(np.float32)
        labels = rng.integers(0, num_classes, [k, m])
        model.train_step((tf.constant(data_of_step.reshape(k * m, *shape)), tf.constant(labels.ravel())))
        keys = noise.keys(9, step, 0, k + 1)
        for i in range(k):
            x, y, z = data_of_step[i].reshape(m, -1).astype(np.float64), np.eye(num_classes)[labels[i]], draw(keys[i])
            move(theta_d, 1, lambda: tf.math.log(D(x, y)) + tf.math.log(1 - D(G(z, y), y)))
        z = draw(keys[k])
        move(theta_g, -1, lambda: GENERATOR_OBJECTIVE[loss](D(G(z, y), y)))
    for player, weights in zip(model.players, (theta_d, theta_g), strict=True):
        for ours, theirs in zip(model.weights_of(player), weights, strict=True):
            np.testing.assert_allclose(ours, theirs, atol=1e-5)
    assert model.optimizers["discriminator"].iterations == 2 * k and model.optimizers["generator"].iterations == 2


def test_the_papers_networks():
    """Section 4.1: ReLU 200 and 1000, then 1200; maxout 240 and 50 of 5 pieces, then 240 of 4, one half dropped."""
    model = CGAN(data_shape=(28, 28, 1), num_classes=10)
    sizes = {player: [tuple(w.shape) for w in model.weights_of(player)] for player in model.players}
    dense = [(100, 200), (200,), (10, 1000), (1000,), (1200, 1200), (1200,), (1200, 784), (784,)]
    assert sizes["generator"] == dense
    dense = [(784, 1200), (1200,), (10, 250), (250,), (290, 960), (960,), (240, 1), (1,)]
    assert sizes["discriminator"] == dense
    for network, rates in ((model.generator, []), (model.discriminator, [0.5] * 3)):
        layers = network._flatten_layers()
        assert [layer.rate for layer in layers if "Dropout" in type(layer).__name__] == rates
    assert model.prior == "uniform" and model.latent_size == 100 and model.condition_size == 10


@pytest.mark.parametrize("network", TINY)
def test_G_and_D_use_every_element_of_any_vector(network):
    keras.utils.set_random_seed(0)
    model = CGAN(num_classes=4, latent_size=3, **TINY[network])
    rng = np.random.default_rng(0)
    z, y = (tf.constant(rng.normal(size=[20, n]), tf.float32) for n in (3, 4))
    x = tf.constant(rng.uniform(-1, 1, [20, *model.data_shape]), tf.float32)
    for answer in (lambda: model.G(z, y, training=False), lambda: model.D(x, y, training=False)):
        with tf.GradientTape() as tape:
            tape.watch(y)
            value = tf.reduce_sum(answer() ** 2)
        assert (np.abs(tape.gradient(value, y)).max(axis=0) > 1e-6).all()
    seeds = tf.range(6, dtype=tf.int64)
    by_class = [model.sample(seeds, label=tf.fill([6], label)) for label in range(4)]
    logits = [model.discriminate(model.to_served(x), tf.fill([20], label))["logits"] for label in range(4)]
    for rows in (by_class, logits):
        for i in range(4):
            for j in range(i):
                assert np.abs(rows[i] - rows[j]).max() > 1e-5


def test_the_convolutional_networks_are_those_of_dcgan_and_a_projection():
    model = CGAN(num_classes=4, latent_size=3, **TINY["convolutional"])
    assert model.generator.input_shape == (None, 3 + 4) and model.discriminator.output_shape == (None, 1 + 4)
    rng = np.random.default_rng(0)
    x, z, y = (tf.constant(rng.normal(size=s), tf.float32) for s in ([5, 8, 8, 1], [5, 3], [5, 4]))
    np.testing.assert_allclose(model.G(z, y, training=False), model.generator(np.concatenate([z, y], 1)), atol=1e-6)
    outputs = model.discriminator(x).numpy()
    expected = outputs[:, 0] + np.einsum("bi,bi->b", y, outputs[:, 1:])
    np.testing.assert_allclose(model.D(x, y, training=False), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("units", ["generator_units", "discriminator_units"])
def test_widths_that_are_missing(units):
    with pytest.raises(ValueError, match=f"{units} must be two widths or more, not .5,."):
        CGAN(data_shape=(2,), num_classes=3, **{units: (5,)})
    CGAN(data_shape=(2,), num_classes=3, **{units: (5, 4)})  # no joint layer


def test_dropout_out_of_range():
    with pytest.raises(ValueError, match="dropout must be less than 1"):
        CGAN(data_shape=(2,), num_classes=3, dropout=1.0)


def test_discriminator_alone_finds_the_ratio_of_conditional_densities():
    """G stays; D(x|y) tends to p(x|y) / (p(x|y) + q(x|y)), for classes where this differs."""
    p = [stats.norm(0.8, 1.0), stats.norm(-1.0, 0.5)]
    q = [stats.norm(-0.7, 0.6), stats.norm(1.2, 0.9)]
    keras.utils.set_random_seed(1)
    options = {"latent_size": 1, "prior": "normal", "discriminator_units": (16, 8, 32), "dropout": 0.0}
    model = CGAN(data_shape=(1,), num_classes=2, **options)
    mean, std = (tf.constant([[getattr(d, of)()] for d in q], tf.float32) for of in ("mean", "std"))
    model.G = lambda z, y, training=True: y @ mean + (y @ std) * z
    rate = keras.optimizers.schedules.CosineDecay(0.01, 600)
    model.compile({"discriminator": Adam(rate), "generator": SGD(0.0)}, jit_compile=False)
    quantiles = (np.arange(400) + 0.5) / 400
    x = tf.constant(np.concatenate([d.ppf(quantiles) for d in p])[:, None], tf.float32)
    z = tf.constant(np.tile(stats.norm.ppf(quantiles), 2)[:, None], tf.float32)
    y = model.condition(tf.repeat([0, 1], 400))

    @tf.function
    def train():
        for _ in tf.range(600):
            model.minimize(lambda: model.discriminator_losses(x, z, y))

    train()
    for label in range(2):
        grid = np.linspace(-2, 2, 21)
        density = p[label].pdf(grid), q[label].pdf(grid)
        seen = np.maximum(*density) > 0.1
        points = tf.constant(grid[seen, None], tf.float32)
        answer = model.discriminate(points, tf.fill([seen.sum()], label))["probability"]
        np.testing.assert_allclose(answer, (density[0] / sum(density))[seen], atol=0.06)


def train_on_points(model, x, y, num_steps):
    """Plays as configs/cgan_ring.cfg does, for fewer steps, and goes on with the average generator."""
    average = {"use_ema": True, "ema_momentum": 0.99}
    model.compile({"discriminator": Adam(1e-3, 0.5), "generator": Adam(1e-3, 0.5, **average)}, jit_compile=False)
    step = tf.function(model.train_step, jit_compile=True)
    rng = np.random.default_rng(0)
    for _ in range(num_steps):
        rows = rng.integers(len(x), size=128)
        step((tf.constant(x[rows], tf.float32), tf.constant(y[rows])))
    model.keep_averages()


@pytest.mark.slow
def test_each_class_of_the_ring_lands_on_its_component():
    ring = load("ring")
    keras.utils.set_random_seed(0)
    model = CGAN(data_shape=(2,), num_classes=8, **RING)
    labels = np.arange(4000) % 8

    def share_and_offsets():
        samples = model.sample(tf.range(4000, dtype=tf.int64), label=tf.constant(labels)).numpy()
        nearest = np.linalg.norm(samples[:, None] - ring.modes[None], axis=2).argmin(1)
        means = np.array([samples[labels == c].mean(0) for c in range(8)])
        return np.mean(nearest == labels), np.linalg.norm(means - ring.modes, axis=1) / ring.mode_std

    share, _ = share_and_offsets()
    assert share < 0.5
    train_on_points(model, ring.train, ring.train_labels, 1500)
    share, offsets = share_and_offsets()
    assert share >= 0.99 and offsets.max() < 3.0


class OnTheCurve(CGAN):
    """Conditioned on a number instead of a class."""

    condition_size = 1

    def condition(self, label):
        return label


@pytest.mark.slow
def test_a_subclass_conditions_on_any_vector():
    """x ~ N((y, y^2), 0.05^2) for y in (-1, 1), none of the y between 0.2 and 0.4 having been seen."""
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    y = rng.uniform(-1, 1, 40_000).astype(np.float32)
    y = y[(y < 0.2) | (y > 0.4)][:, None]
    x = np.concatenate([y, y**2], 1) + 0.05 * rng.normal(size=[len(y), 2])
    model = OnTheCurve(data_shape=(2,), num_classes=1, **RING)
    train_on_points(model, x, y, 1000)
    given = np.linspace(-0.9, 0.9, 1000, dtype=np.float32)[:, None]
    samples = model.sample(tf.range(1000, dtype=tf.int64), label=tf.constant(given)).numpy()
    error = np.linalg.norm(samples - np.concatenate([given, given**2], 1), axis=1)
    unseen = (given[:, 0] > 0.2) & (given[:, 0] < 0.4)
    assert error.mean() < 0.1 and error[unseen].mean() < 0.1  # noise of the data alone: 0.05 sqrt(pi / 2) = 0.063
