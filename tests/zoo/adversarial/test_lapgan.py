"""LAPGAN: the games of its levels written out, their independence, sampling from the coarsest up, labels on request."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.models import settings_of
from trainers import rundir
from zoo.adversarial.gan import GAN
from zoo.adversarial.lapgan import LAPGAN
from zoo.parts import noise, pyramid

TINY = {
    "data_shape": (16, 16, 2), "coarsest_latent_size": 3, "generator_units": (5,), "discriminator_units": (4,),
    "dropout": 0.0, "filters": 2,
}  # fmt: skip
X = noise.uniform([0, 1], [6, 16, 16, 2])


def made(**options):
    keras.utils.set_random_seed(0)
    model = LAPGAN(**TINY, **options)
    model.compile({move: keras.optimizers.SGD(0.1) for move in model.moves}, jit_compile=False)
    return model


def values(model, level):
    return [w.numpy() for move in model.moves if move.endswith(f"_{level}") for w in model.weights_of(move)]


@pytest.mark.slow
def test_games_of_the_levels():
    """Against their networks in the formulas of the docstring; of the coarsest level against a GAN."""
    model = made()
    x, z = 2.0 * X - 1.0, model.latent_prior.draw([0, 2], [6, model.latent_size])
    losses = model.discriminator_losses(x, z, x) | model.generator_losses(z, x)
    z_2, z_1, z_0 = np.split(z.numpy(), [3, 3 + 8**2], axis=1)
    I_1 = pyramid.down(x)
    I_2 = pyramid.down(I_1)
    for k, (I_k, coarser, z_k) in enumerate([(x, I_1, z_0), (I_1, I_2, z_1)]):
        side = I_k.shape[1]
        l_k, D = pyramid.up(coarser, side), model.discriminators[k]
        h_k = model.generators[k](tf.concat([l_k, z_k.reshape(6, side, side, 1)], -1))
        real, fake = D(I_k)[:, 0], D(l_k + h_k)[:, 0]
        expected = -np.log(tf.sigmoid(real)) - np.log(1 - tf.sigmoid(fake))
        np.testing.assert_allclose(losses[f"discriminator_{k}"], expected, rtol=1e-4)
        np.testing.assert_allclose(losses[f"generator_{k}"], -np.log(tf.sigmoid(fake)), rtol=1e-4)
    units = {"generator_units": (5,), "discriminator_units": (4,), "discriminator_activation": "relu"}
    gan = GAN(data_shape=(4, 4, 2), latent_size=3, **units)
    gan.generator.set_weights(model.generators[2].get_weights())
    gan.discriminator.set_weights(model.discriminators[2].get_weights())
    expected = gan.discriminator_losses(I_2, z_2) | gan.generator_losses(z_2)
    for name, value in expected.items():
        np.testing.assert_allclose(losses[f"{name}_2"], value, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("other", [1, 2])
def test_levels_learn_independently(other):
    """Bit for bit, whatever the networks of another level are."""
    ours, theirs = made(), made()
    for move in theirs.moves:
        if move.endswith(f"_{other}"):
            for w in theirs.weights_of(move):
                w.assign(0.5 * w + 0.1)
    for model in (ours, theirs):
        model.train_step(X)
        model.train_step(X[::-1])
    for level in range(3):
        same = [np.array_equal(a, b) for a, b in zip(values(ours, level), values(theirs, level), strict=True)]
        assert not any(same) if level == other else all(same)


@pytest.mark.slow
def test_samples_go_from_the_coarsest_up(monkeypatch):
    model, seeds = made(), tf.range(6, dtype=tf.int64)
    z_2, z_1, z_0 = np.split(model.latent(seeds).numpy(), [3, 3 + 8**2], axis=1)
    x = model.generators[2](z_2)
    for generator, z_k, side in ((model.generators[1], z_1, 8), (model.generators[0], z_0, 16)):
        l_k = pyramid.up(x, side)
        x = l_k + generator(tf.concat([l_k, z_k.reshape(6, side, side, 1)], -1))
    np.testing.assert_allclose(model.sample(seeds), np.clip((x + 1) / 2, 0, 1), atol=1e-6)
    bands = pyramid.images(2.0 * X - 1.0, 2)
    monkeypatch.setattr(model, "G_k", lambda k, z, l_k, training: bands[k] - (0.0 if l_k is None else l_k))
    np.testing.assert_allclose(model.sample(seeds), X, atol=1e-6)  # of generators that know the bands of x


@pytest.mark.slow
def test_with_labels_every_network_sees_them():
    model = made(conditional=True, num_classes=3)
    x, z = 2.0 * X - 1.0, noise.uniform([0, 2], [6, model.latent_size])
    y = tf.Variable(tf.one_hot([0, 1, 2, 0, 1, 2], 3))
    for k in range(3):
        for of_level in (
            lambda k=k: model.D_output(pyramid.images(x, 2)[k], y, k=k),
            lambda k=k: list(model.levels(x, z, y))[k][2],
        ):
            with tf.GradientTape() as tape:
                answer = tf.reduce_sum(tf.square(of_level()))
            assert np.abs(tape.gradient(answer, y)).max(0).min() > 1e-6
    assert model.sample(tf.range(2, dtype=tf.int64), label=[0, 1]).shape == (2, 16, 16, 2)
    with pytest.raises(ValueError, match="labels must be 0 to 2"):
        model.check_rows(X, np.array([0, 1, 2, 3, 0, 1]))


@pytest.mark.slow
def test_without_labels_the_data_need_none():
    facts = {"dataset": "made", "data_shape": [8, 8, 1], "num_classes": None}
    assert not rundir.make_model(settings_of("lapgan"), facts).conditional
    model = made(num_classes=3)  # as the command gives it, of data that have labels
    assert model.num_classes is None and not model.labelled and "label" not in model.signatures()["sample"][1]
    model.check_rows(X)
    with pytest.raises(ValueError, match="needs num_classes"):
        made(conditional=True)


@pytest.mark.slow
def test_all_of_the_discriminators_is_constrained_and_nothing_else():
    model = made(conditional=True, num_classes=3, weight_constraint="spectral_norm")
    for move, parts in model.moves.items():
        state = [w for network in parts for w in network.non_trainable_variables]
        kernels = [w for w in model.weights_of(move) if w.name == "kernel"]
        assert len(state) == (len(kernels) if move.startswith("discriminator") else 0)


@pytest.mark.slow
def test_all_discriminators_are_clipped():
    model = made(loss="wasserstein", weight_constraint="clipping", clip_value=0.01)
    model.train_step(X)
    for k in range(3):
        assert max(np.abs(w).max() for w in model.weights_of(f"discriminator_{k}")) <= 0.01
