"""CGAN against its game written out, its paper's networks, and conditional distributions that are known."""

import itertools

import numpy as np
import pytest
import tensorflow as tf
from keras.optimizers import Adam
from keras.utils import set_random_seed

from tests.zoo.adversarial.second import GENERATOR_OBJECTIVE, SHAPES, assert_two_iterations
from tests.zoo.steps import train
from trainers.data import load
from zoo.adversarial.cgan import CGAN

TINY = {
    "mlp": {"data_shape": (2,), "generator_units": (5, 4, 6), "discriminator_units": (3, 2, 4), "dropout": 0.0},
    "convolutional": {"data_shape": (8, 8, 1), "network": "convolutional", "filters": 3},
}
RING = {  # smaller than in configs/cgan_ring.cfg
    "latent_size": 2, "prior": "normal", "generator_units": (32, 32, 64), "discriminator_units": (32, 16, 32),
    "dropout": 0.0,
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("loss", GENERATOR_OBJECTIVE)
@pytest.mark.parametrize("data, k, prior", [("points", 1, "normal"), ("images", 2, "uniform")])
def test_steps_of_a_second_implementation(loss, data, k, prior):
    """With the paper's networks."""
    set_random_seed(2)
    options = {"prior": prior, "loss": loss, "num_discriminator_steps": k, "seed": 9, "dropout": 0.0}
    options |= {"generator_units": (5, 3, 6), "discriminator_units": (4, 2, 3)}
    model = CGAN(data_shape=SHAPES[data], num_classes=4, latent_size=2, **options)

    def joined(hidden, joint, inputs, theta):
        a, b, c, d, e, f, g, h = theta
        x, y = inputs
        return joint(tf.concat([hidden(x @ a + b), hidden(y @ c + d)], 1) @ e + f) @ g + h

    def G(theta, *inputs):
        x = joined(tf.nn.relu, tf.nn.relu, inputs, theta)
        return tf.tanh(x) if data == "images" else x

    def maxout(pieces):
        return lambda h: tf.reduce_max(tf.reshape(h, [len(h), -1, pieces]), axis=2)

    def D(theta, *inputs):
        return tf.sigmoid(joined(maxout(5), maxout(4), inputs, theta))[:, 0]

    assert_two_iterations(model, G, D, rate=0.2)


def test_the_papers_networks():
    """Section 4.1: ReLU 200 and 1000, then 1200; maxout 240 and 50 of 5 pieces, then 240 of 4, one half dropped."""
    model = CGAN(data_shape=(28, 28, 1), num_classes=10)
    sizes = {player: [tuple(w.shape) for w in model.weights_of(player)] for player in model.moves}
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
    set_random_seed(0)
    model = CGAN(num_classes=4, latent_size=3, **TINY[network])
    rng = np.random.default_rng(0)
    z, y = (tf.constant(rng.normal(size=[20, n]), tf.float32) for n in (3, 4))
    x = tf.constant(rng.uniform(-1, 1, [20, *model.data_shape]), tf.float32)
    for answer in (lambda: model.G(z, y, training=False), lambda: model.D_output(x, y, training=False)):
        with tf.GradientTape() as tape:
            tape.watch(y)
            value = tf.reduce_sum(answer() ** 2)
        assert (np.abs(tape.gradient(value, y)).max(axis=0) > 1e-6).all()
    seeds = tf.range(6, dtype=tf.int64)
    by_class = [model.sample(seeds, label=tf.fill([6], label)) for label in range(4)]
    logits = [model.discriminate(model.to_served(x), label=tf.fill([20], label))["logits"] for label in range(4)]
    for one, other in [*itertools.combinations(by_class, 2), *itertools.combinations(logits, 2)]:
        assert np.abs(one - other).max() > 1e-5


def test_the_convolutional_networks_are_those_of_dcgan_and_a_projection():
    model = CGAN(num_classes=4, latent_size=3, **TINY["convolutional"])
    assert model.generator.input_shape == (None, 3 + 4) and model.discriminator.output_shape == (None, 1 + 4)
    rng = np.random.default_rng(0)
    x, z, y = (tf.constant(rng.normal(size=s), tf.float32) for s in ([5, 8, 8, 1], [5, 3], [5, 4]))
    np.testing.assert_allclose(model.G(z, y, training=False), model.generator(np.concatenate([z, y], 1)), atol=1e-6)
    outputs = model.discriminator(x).numpy()
    expected = outputs[:, 0] + np.einsum("bi,bi->b", y, outputs[:, 1:])
    np.testing.assert_allclose(model.D_output(x, y, training=False), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("label", [3, -1])
def test_labels_that_are_no_classes_are_refused_before_the_first_step(label):
    model, x, labels = CGAN(num_classes=3, **TINY["mlp"]), np.zeros([5, 2], np.float32), np.array([0, 1, 2, label, 1])
    model.compile(jit_compile=False)
    for use in (
        lambda: model.fit(x, labels, batch_size=2, verbose=0),
        lambda: model.fit(tf.constant(x), tf.constant(labels), 2, verbose=0),
        lambda: model.train_step((tf.constant(x), tf.constant(labels))),
        lambda: model.sample(tf.range(5, dtype=tf.int64), label=labels),
        lambda: model.discriminate(x, label=labels),
    ):
        with pytest.raises(ValueError, match=rf"^labels must be 0 to 2, the classes, but {label} is among them\.$"):
            use()
    assert model.step == 0
    model.fit(x, labels % 3, batch_size=2, verbose=0)
    assert model.step == 3


def play_on_points(model, x, y, num_steps):
    """Plays as configs/cgan_ring.cfg does, for fewer steps, and goes on with the average generator."""
    average = {"use_ema": True, "ema_momentum": 0.99}
    model.compile({"discriminator": Adam(1e-3, 0.5), "generator": Adam(1e-3, 0.5, **average)}, jit_compile=False)
    train(model, (tf.constant(x, tf.float32), tf.constant(y)), num_steps, 128)
    model.keep_averages()


@pytest.mark.slow
def test_each_class_of_the_ring_lands_on_its_component():
    ring = load("ring")
    set_random_seed(0)
    model = CGAN(data_shape=(2,), num_classes=8, **RING)
    labels = np.arange(4000) % 8

    def share_and_offsets():
        samples = model.sample(tf.range(4000, dtype=tf.int64), label=tf.constant(labels)).numpy()
        nearest = np.linalg.norm(samples[:, None] - ring.modes[None], axis=2).argmin(1)
        means = np.array([samples[labels == c].mean(0) for c in range(8)])
        return np.mean(nearest == labels), np.linalg.norm(means - ring.modes, axis=1) / ring.mode_std

    share, _ = share_and_offsets()
    assert share < 0.5
    play_on_points(model, ring.train, ring.train_labels, 600)
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
    set_random_seed(0)
    rng = np.random.default_rng(0)
    y = rng.uniform(-1, 1, 40_000).astype(np.float32)
    y = y[(y < 0.2) | (y > 0.4)][:, None]
    x = np.concatenate([y, y**2], 1) + 0.05 * rng.normal(size=[len(y), 2])
    model = OnTheCurve(data_shape=(2,), num_classes=1, **RING)
    play_on_points(model, x, y, 400)
    given = np.linspace(-0.9, 0.9, 1000, dtype=np.float32)[:, None]
    samples = model.sample(tf.range(1000, dtype=tf.int64), label=tf.constant(given)).numpy()
    error = np.linalg.norm(samples - np.concatenate([given, given**2], 1), axis=1)
    unseen = (given[:, 0] > 0.2) & (given[:, 0] < 0.4)
    assert error.mean() < 0.1 and error[unseen].mean() < 0.1  # noise of the data alone: 0.05 sqrt(pi / 2) = 0.063
