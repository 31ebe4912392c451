"""Image-to-image translation: its losses written out, what it is told, and how near it comes to its targets."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.zoo.steps import train
from trainers.data import load
from zoo.adversarial.image_to_image import ImageToImage
from zoo.parts import corruptions, noise

TINY = {"num_halvings": 2, "num_strides": 1, "filters": 2, "latent_size": 3}
X = noise.uniform([0, 1], [6, 8, 8, 3])
SEEDS = tf.range(6, dtype=tf.int64)


def made(x=X, **options):
    keras.utils.set_random_seed(0)
    model = ImageToImage(data_shape=x.shape[1:], **TINY | options)
    model.compile(jit_compile=False)
    return model


@pytest.mark.slow
@pytest.mark.parametrize("feature_matching_weight", [0.0, 10.0])
@pytest.mark.parametrize("condition", ["edges", "coarse", "grey", "masked_half"])
def test_losses(condition, feature_matching_weight):
    """Isola et al. 2017, equations 1 to 4; Wang et al. 2018, equation 4."""
    model = made(condition=condition, feature_matching_weight=feature_matching_weight, l1_weight=7.0)
    z, x = noise.uniform([0, 2], [6, 3]), 2.0 * X - 1.0
    c = 2.0 * corruptions.CORRUPTIONS[condition].function(X) - 1.0
    fake = model.generator([c, z])
    of_real, of_fake = (model.discriminator(tf.concat([c, image], -1)) for image in (x, fake))
    p, q = (tf.sigmoid(outputs[-1]).numpy() for outputs in (of_real, of_fake))
    mean = {"axis": (1, 2, 3)}
    differences = [np.abs(a - b).mean(**mean) for a, b in zip(of_real[:-1], of_fake[:-1], strict=True)]
    expected = -np.log(q).mean(**mean) + 7.0 * np.abs(x - fake).mean(**mean)
    expected += feature_matching_weight * sum(differences)
    data = model.of_data(model.from_served(X))
    np.testing.assert_allclose(data[1], c, atol=1e-6)
    np.testing.assert_allclose(model.discriminate(X)["probability"], p.mean(**mean), rtol=1e-4)
    losses = {  # those of training last: they change the averages of batch normalisation
        training: model.discriminator_losses(data[0], z, *data[1:], training=training)
        | model.generator_losses(z, *data[1:], training=training)
        for training in (False, True)
    }
    np.testing.assert_allclose(losses[False]["generator"], expected, rtol=1e-4)
    value = (np.log(p) + np.log(1 - q)).mean(**mean)
    np.testing.assert_allclose(np.mean(losses[False]["discriminator"], 1), -value, rtol=1e-4)
    assert set(losses[True]) == set(model.metric_names) | set(model.moves)


@pytest.mark.slow
def test_a_translation_is_of_its_row_and_seed_alone():
    model = made()
    (function, specs), *_ = model.signatures().values()
    assert list(model.signatures()) == ["translate", "discriminate"] and set(specs) == {"images", "seed"}
    together = function(images=X, seed=SEEDS)
    for i in range(6):
        alone = function(images=X[i : i + 1], seed=SEEDS[i : i + 1])
        for name, values in together.items():
            np.testing.assert_allclose(alone[name][0], values[i], atol=1e-6)
    assert np.abs(together["images"] - function(images=X, seed=SEEDS + 1)["images"]).max() > 1e-5
    np.testing.assert_allclose(together["condition_images"], corruptions.edges(X), atol=1e-6)


@pytest.mark.slow
def test_without_z_a_translation_is_a_function_of_the_condition():
    model = made(latent_size=0)
    assert set(model.signatures()["translate"][1]) == {"images"}
    model.train_step(X)
    assert model.translate(X)["images"].shape == X.shape


@pytest.mark.slow
def test_pairs():
    """Told the left image, it makes the right one, and is told no more of that than of any target."""
    rows = tf.concat([X, 1.0 - X], axis=2)
    model = made(rows, condition="pairs")
    model.train_step(rows)
    (function, specs), (_, of_pairs) = model.signatures().values()
    assert specs["images"].shape == (None, 8, 8, 3) and of_pairs["images"].shape == (None, 8, 16, 3)
    conditions, images, targets = model.translations(rows, SEEDS)
    np.testing.assert_allclose(conditions, X, atol=1e-6)
    np.testing.assert_allclose(targets, 1.0 - X, atol=1e-6)
    np.testing.assert_allclose(function(images=X, seed=SEEDS)["images"], images, atol=1e-6)


@pytest.mark.parametrize("shape, condition, mistake", [
    ((8, 8, 1), "grey", "grey images have no colours"),
    ((8, 8, 1), "pairs", "rows of pairs are twice as wide as high, .* not 8 x 8"),
    ((8, 16, 1), "edges", "square images"),
    ((2,), "edges", "points"),
])  # fmt: skip
def test_data_that_do_not_go_together(shape, condition, mistake):
    with pytest.raises(ValueError, match=mistake):
        ImageToImage(data_shape=shape, condition=condition)


@pytest.mark.slow
def test_translations_of_digits_come_nearer_to_them():
    """Of digits that it has not seen, than their coarse images are, and than it was."""
    digits = load("digits")
    model = made(digits.train, condition="coarse", filters=16)
    x, seeds = tf.constant(digits.test / 255.0, tf.float32), tf.range(len(digits.test), dtype=tf.int64)

    def errors():
        conditions, images, targets = model.translations(x, seeds)
        return [np.abs(kind - targets).mean() for kind in (conditions, images)]

    (_, before), steps = errors(), 150
    model.compile({move: keras.optimizers.Adam(2e-3, 0.5) for move in model.moves}, jit_compile=False)
    train(model, tf.constant(digits.train / 255.0, tf.float32), steps, 64)
    coarse, after = errors()
    assert after < 0.5 * before and after < 0.8 * coarse
