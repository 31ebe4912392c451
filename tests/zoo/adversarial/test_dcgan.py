"""DCGAN against its paper's architecture (Radford et al. 2015, figure 1 and section 3), and every loss in its game."""

import itertools
import typing

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.zoo.adversarial.second import assert_gradients, layers_of
from zoo.adversarial.ali import ALI
from zoo.adversarial.dcgan import DCGAN
from zoo.parts import adversarial, noise

SIDES_AND_WIDTHS = [(4, 1024), (8, 512), (16, 256), (32, 128)]


@pytest.fixture(scope="module")
def papers_dcgan():
    keras.utils.set_random_seed(0)
    return DCGAN(data_shape=(64, 64, 3))


@pytest.mark.slow
def test_generator_is_the_papers(papers_dcgan):
    expected = [("Dense", 16384)] + [(kind, 4, 4, 1024) for kind in ("Reshape", "BatchNormalization", "ReLU")]
    for side, width in SIDES_AND_WIDTHS[1:]:
        expected += [(kind, side, side, width) for kind in ("Conv2DTranspose", "BatchNormalization", "ReLU")]
    assert layers_of(papers_dcgan.generator) == [*expected, ("Conv2DTranspose", 64, 64, 3)]
    assert papers_dcgan.generator.layers[-1].activation is keras.activations.tanh
    assert papers_dcgan.generator.input_shape == (None, 100) and papers_dcgan.prior == "uniform"


def test_discriminator_mirrors_it(papers_dcgan):
    expected = [("Conv2D", 32, 32, 128), ("LeakyReLU", 32, 32, 128)]
    for side, width in SIDES_AND_WIDTHS[2::-1]:
        expected += [(kind, side, side, width) for kind in ("Conv2D", "BatchNormalization", "LeakyReLU")]
    assert layers_of(papers_dcgan.discriminator) == [*expected, ("Flatten", 16384), ("Dense", 1)]
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
@pytest.mark.parametrize("cls", [DCGAN, ALI])
def test_convolutions_of_other_sides(cls, side, channels, blocks):
    options = {"data_shape": (side, side, channels), "filters": 2, "latent_size": 3, "discriminator_batch_norm": True}
    if cls is ALI:
        options |= {"network": "convolutional", "joint_discriminator_units": (5,), "dropout": 0.5}
    model, x, z = cls(**options), noise.normal([0, 1], [4, side, side, channels]), noise.normal([0, 2], [4, 3])
    if cls is ALI:
        of_data, to_data = [model.encoder, model.x_discriminator], model.decoder
        assert model.G_z(x, z).shape == z.shape and model.G_x(z).shape == x.shape and model.D_output(x, z).shape == (4,)
        kinds = [kind for kind, *_ in layers_of(model.joint_discriminator)]
        assert kinds.count("BatchNormalization") == kinds.count("Dropout") == 1
    else:
        of_data, to_data = [model.discriminator], model.generator
        assert model.G(z).shape == x.shape and model.D_output(x).shape == (4,)
    networks = [(to_data, "Conv2DTranspose", blocks), *((network, "Conv2D", blocks - 1) for network in of_data)]
    for network, kind, num_norms in networks:
        assert [layer for layer, *_ in layers_of(network)].count(kind) == blocks
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


@pytest.mark.parametrize("loss", typing.get_args(adversarial.Loss))
def test_every_loss_moves_both_players(loss):
    """Both have finite gradients, and what is minimised, logged and served is what the constructor's loss defines."""
    keras.utils.set_random_seed(0)
    options = {"filters": 2, "discriminator_batch_norm": False, "penalty": "r1"}
    model = DCGAN(data_shape=(8, 8, 1), latent_size=2, loss=loss, loss_parameter=0.3, **options)
    x, z = tf.constant(np.random.default_rng(0).uniform(-1, 1, [4, 8, 8, 1]), tf.float32), noise.normal([0, 1], [4, 2])
    pair = adversarial.loss_pair(loss, 0.3)
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
