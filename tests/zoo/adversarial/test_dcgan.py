"""DCGAN against its paper's architecture (Radford et al. 2015, figure 1 and section 3), and every loss in its game."""

import itertools
import typing

import keras
import numpy as np
import pytest
import tensorflow as tf

from zoo.adversarial.dcgan import DCGAN
from zoo.parts import adversarial, noise
from zoo.parts.penalties import PENALTIES

SIDES_AND_WIDTHS = [(4, 1024), (8, 512), (16, 256), (32, 128)]


@pytest.fixture(scope="module")
def papers_dcgan():
    keras.utils.set_random_seed(0)
    return DCGAN(data_shape=(64, 64, 3))


def layers_of(network):
    return [(type(layer).__name__, layer.output.shape[1:]) for layer in network.layers]


def test_generator_is_the_papers(papers_dcgan):
    expected = [("Dense", (16384,))] + [(kind, (4, 4, 1024)) for kind in ("Reshape", "BatchNormalization", "ReLU")]
    for side, width in SIDES_AND_WIDTHS[1:]:
        expected += [(kind, (side, side, width)) for kind in ("Conv2DTranspose", "BatchNormalization", "ReLU")]
    assert layers_of(papers_dcgan.generator) == [*expected, ("Conv2DTranspose", (64, 64, 3))]
    assert papers_dcgan.generator.layers[-1].activation is keras.activations.tanh
    assert papers_dcgan.generator.input_shape == (None, 100) and papers_dcgan.prior == "uniform"


def test_discriminator_mirrors_it(papers_dcgan):
    expected = [("Conv2D", (32, 32, 128)), ("LeakyReLU", (32, 32, 128))]
    for side, width in SIDES_AND_WIDTHS[2::-1]:
        expected += [(kind, (side, side, width)) for kind in ("Conv2D", "BatchNormalization", "LeakyReLU")]
    assert layers_of(papers_dcgan.discriminator) == [*expected, ("Flatten", (16384,)), ("Dense", (1,))]
    slopes = {layer.negative_slope for layer in papers_dcgan.discriminator.layers if "Leaky" in type(layer).__name__}
    assert slopes == {0.2} and papers_dcgan.discriminator.layers[-1].activation is keras.activations.linear


@pytest.mark.slow
def test_sizes_and_first_weights_of_the_papers_dcgan(papers_dcgan):
    widths = [width for _, width in SIDES_AND_WIDTHS]
    convolutions = 25 * sum(a * b for a, b in itertools.pairwise(widths))
    generator = 100 * 16384 + convolutions + 25 * 128 * 3 + 3 + 2 * sum(widths)  # batch normalisation: scale and offset
    discriminator = 25 * 3 * 128 + 128 + convolutions + 2 * sum(widths[:-1]) + 16384 + 1
    for move, count in {"generator": generator, "discriminator": discriminator}.items():
        assert sum(w.numpy().size for w in papers_dcgan.weights_of(move)) == count
        for w in papers_dcgan.weights_of(move):
            if w.name == "kernel":
                assert abs(w.numpy().std() - 0.02) < 0.0005 and abs(w.numpy().mean()) < 0.0005
                assert w.shape[:2] == (5, 5) or len(w.shape) == 2
            else:
                np.testing.assert_array_equal(w, np.full(w.shape, w.name == "gamma"))
    for settings in DCGAN.default_optimizers.values():
        assert settings == {"optimizer": "adam", "learning_rate": 2e-4, "beta_1": 0.5}
    for w in papers_dcgan.weights_of("generator"):  # G and D have kernels of the same shapes, and not the same kernels
        for v in papers_dcgan.weights_of("discriminator"):
            if w.name == v.name == "kernel" and w.shape == v.shape:
                assert abs(np.corrcoef(np.ravel(w), np.ravel(v))[0, 1]) < 0.1
    strides = {layer.strides for network in (papers_dcgan.generator, papers_dcgan.discriminator)
               for layer in network.layers if hasattr(layer, "strides")}  # fmt: skip
    assert strides == {(2, 2)}


@pytest.mark.parametrize("side, channels, blocks", [(8, 1, 1), (16, 3, 2), (28, 1, 2), (32, 3, 3)])
def test_dcgan_of_other_sides(side, channels, blocks):
    model = DCGAN(data_shape=(side, side, channels), filters=2, latent_size=3)
    assert model.generator.output_shape == (None, side, side, channels)
    assert model.D_output(model.G(tf.zeros([2, 3]))).shape == (2,)
    for network, kind, num_norms in (
        (model.generator, "Conv2DTranspose", blocks),
        (model.discriminator, "Conv2D", blocks - 1),
    ):
        assert [type(layer).__name__ for layer in network.layers].count(kind) == blocks
        norms = [layer for layer in network.layers if isinstance(layer, keras.layers.BatchNormalization)]
        assert len(norms) == num_norms
        # By averages over 100 batches, as Keras's default is, a trained D took all real images of MNIST for fakes.
        assert all((norm.momentum, norm.epsilon) == (0.9, 1e-5) for norm in norms)


def test_real_and_fake_minibatches_are_normalised_apart():
    model = DCGAN(data_shape=(16, 16, 1), filters=2, latent_size=3)
    x = noise.normal([0, 2], [4, 16, 16, 1])
    real = model.D_output(x)
    for z in (noise.normal([0, 3], [4, 3]), noise.normal([0, 4], [4, 3])):
        expected = tf.nn.softplus(-real) + tf.nn.softplus(model.D_output(model.G(z)))
        np.testing.assert_allclose(model.discriminator_losses(x, z)["discriminator"], expected, rtol=1e-5)
    assert np.abs(real - model.D_output(x, training=False)).max() > 1e-5  # in training by the minibatch's statistics


@pytest.fixture(scope="module")
def small():
    """A model, data and latent points of a minibatch."""
    keras.utils.set_random_seed(0)
    model = DCGAN(data_shape=(8, 8, 1), latent_size=2, filters=2, discriminator_batch_norm=False)
    x = tf.constant(np.random.default_rng(0).uniform(-1, 1, [4, 8, 8, 1]), tf.float32)
    return model, x, noise.normal([0, 1], [4, 2])


def assert_gradients(model, move, losses):
    """Every weight of a move has a gradient, all of them are finite, and some are not zero."""
    weights = model.weights_of(move)
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(losses()[move])
    gradients = tape.gradient(loss, weights)
    assert all(np.all(np.isfinite(gradient)) for gradient in gradients) and any(np.any(g) for g in gradients)


@pytest.mark.parametrize("loss", typing.get_args(adversarial.Loss))
def test_every_loss_moves_both_players(loss, small, monkeypatch):
    """Both have finite gradients, and what is minimised, logged and served is what the loss defines."""
    model, x, z = small
    pair = adversarial.loss_pair(loss, 0.3)
    monkeypatch.setattr(model, "loss_pair", pair)
    assert_gradients(model, "discriminator", lambda: model.discriminator_losses(x, z))
    assert_gradients(model, "generator", lambda: model.generator_losses(z))
    outcome = model.discriminator_losses(x, z, training=False) | model.generator_losses(z, training=False)
    real, fake = model.D_output(x, training=False), model.D_output(model.G(z, training=False), training=False)
    expected = {"discriminator": pair.discriminator(real, fake), "generator": pair.generator(fake)}
    for name, value in (expected | adversarial.state_of_game(pair, real, fake)).items():
        np.testing.assert_allclose(outcome[name], value, rtol=1e-4, atol=1e-6)
    answer = model.discriminate(model.to_served(x))
    classifies = loss in ("minimax", "non_saturating", "maximum_likelihood")
    assert set(answer) == ({"logits", "probability"} if classifies else {"score"})
    np.testing.assert_allclose(answer["logits" if classifies else "score"], real, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("loss", ["alpha", "weighted_jensen_shannon_non_saturating", "hinge"])
def test_the_constructor_chooses_the_loss(loss):
    model = DCGAN(data_shape=(8, 8, 1), filters=1, loss=loss, loss_parameter=0.3)
    real, fake = tf.constant([0.4, -0.2]), tf.constant([-1.0, 0.7])
    expected = adversarial.loss_pair(loss, 0.3)
    for part, outputs in (("discriminator", (real, fake)), ("generator", (fake,)), ("encoder", (real,))):
        np.testing.assert_array_equal(getattr(model.loss_pair, part)(*outputs), getattr(expected, part)(*outputs))


@pytest.mark.parametrize("name", PENALTIES)
def test_every_penalty_is_added_to_the_loss(name, small, monkeypatch):
    """With its weight, in the discriminator's loss alone, and with gradients by all its weights."""
    model, x, z = small
    arguments = {"penalty": name, "penalty_weight": 3.0, "loss_pair": adversarial.LOSSES["wasserstein"]}
    for argument, value in arguments.items():
        monkeypatch.setattr(model, argument, value)
    key = noise.key(3, 0, 0)
    plain, penalised = (model.discriminator_losses(x, z, key=key)["discriminator"] for key in (None, key))
    expected = PENALTIES[name](model.D_output, x, model.G(z), key)
    np.testing.assert_allclose(penalised - plain, 3 * expected, rtol=1e-3, atol=1e-5)
    assert_gradients(model, "discriminator", lambda: model.discriminator_losses(x, z, key=key))
