"""Penalties against critics of known slope, and their own gradients against finite differences."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy import special, stats

from tests.models import batch_of, make
from tests.zoo.adversarial.second import assert_gradients
from zoo.adversarial.ali import ALI
from zoo.adversarial.gan import GAN
from zoo.parts import noise
from zoo.parts.penalties import PENALTIES, penalty_of, slope

KEY = noise.key(3, 0, 0)
REAL, FAKE = (tf.constant(x, tf.float32) for x in np.random.default_rng(0).normal(size=[2, 6, 3]))


def test_a_linear_critic():
    w = np.array([1.0, -2.0, 0.5])
    square, (real, fake) = w @ w, (special.expit(x.numpy() @ w) for x in (REAL, FAKE))
    expected = {
        "wgan_gp": (np.sqrt(square) - 1) ** 2, "dragan": (np.sqrt(square) - 1) ** 2,
        "r1": square / 2, "r2": square / 2, "roth": ((1 - real) ** 2 + fake**2) * square / 2,
    }  # fmt: skip
    for name, penalty in PENALTIES.items():
        found = penalty(lambda x: tf.linalg.matvec(x, tf.constant(w, tf.float32)), REAL, FAKE, KEY)
        np.testing.assert_allclose(found, np.broadcast_to(expected[name], 6), rtol=1e-5, err_msg=name)


def test_images_have_one_slope_each():
    x = tf.constant(np.random.default_rng(0).normal(size=[5, 4, 4, 2]), tf.float32)
    value, square = slope(lambda x: 0.5 * tf.reduce_sum(x**2, axis=[1, 2, 3]), x)
    np.testing.assert_allclose(square, np.sum(x.numpy() ** 2, axis=(1, 2, 3)), rtol=1e-5)
    np.testing.assert_allclose(2 * value, square, rtol=1e-5)


def seen_by(name, real, fake):
    """Where the penalty looks at the slope."""
    seen = []
    PENALTIES[name](lambda x: seen.append(x.numpy()) or x[:, 0], real, fake, KEY)
    return seen


def test_where_the_penalties_look():
    num = 5000
    real, fake = tf.zeros([num, 2]), tf.constant([[1.0, 3.0]]) * tf.ones([num, 1])
    (x,) = seen_by("wgan_gp", real, fake)
    np.testing.assert_allclose(x[:, 1], 3 * x[:, 0], rtol=1e-5)  # on the line, so one number for each sample
    assert stats.kstest(x[:, 0], "uniform").pvalue > 1e-3
    assert stats.kstest(x[:, 0], "norm", (0.5, 0.29)).pvalue < 1e-3
    data = tf.constant(np.random.default_rng(1).normal(5, 2, [num, 2]), tf.float32)
    (x,) = seen_by("dragan", data, fake)
    assert stats.kstest(np.ravel(x - data), "norm", (0, 2 / 6)).pvalue > 1e-3
    rows, elements = np.random.default_rng(2).random([num, 1]), np.random.default_rng(3).random([num, 2])
    authors = 0.5 * np.std(data) * rows * elements  # by their code
    np.testing.assert_allclose(np.std(x - data), np.sqrt(np.mean(authors**2)), rtol=0.03)
    for name, points in {"r1": [real], "r2": [fake], "roth": [real, fake]}.items():
        np.testing.assert_array_equal(seen_by(name, real, fake), points)


@pytest.mark.slow
@pytest.mark.parametrize("name", PENALTIES)
def test_gradient_by_weights_is_that_of_finite_differences(name):
    W, v = (tf.constant(np.random.default_rng(2).normal(size=size), tf.float32) for size in ([3, 8], 8))

    def mean_penalty(W):
        return tf.reduce_mean(PENALTIES[name](lambda x: tf.linalg.matvec(tf.tanh(x @ W), v), REAL, FAKE, KEY))

    (found,), (numeric,) = tf.test.compute_gradient(tf.function(mean_penalty), [W], delta=1e-2)
    np.testing.assert_allclose(found, numeric, atol=2e-3 * np.abs(numeric).max())

    gradient = tf.function(lambda W: tf.gradients(mean_penalty(W), W)[0], jit_compile=True)(W)
    np.testing.assert_allclose(np.reshape(gradient, [1, 24]), found, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", PENALTIES)
def test_no_nan_where_the_slope_is_zero(name):
    w = tf.Variable([0.0, 0.0, 0.0])
    with tf.GradientTape() as tape:
        penalty = PENALTIES[name](lambda x: tf.linalg.matvec(x, w), REAL, FAKE, KEY)
    np.testing.assert_allclose(penalty, np.full(6, float(name in ("wgan_gp", "dragan"))), atol=1e-5)
    np.testing.assert_array_equal(tape.gradient(penalty, w), np.zeros(3))


def test_the_weight_falls():
    model = GAN(data_shape=(2,), penalty="r1", penalty_weight=2.0, penalty_decay=0.5)
    for step, weight in ((0, 2.0), (1000, 1.0), (3000, 0.25)):
        model.step.assign(step)
        expected = weight * PENALTIES["r1"](lambda x: x[:, 0], REAL, FAKE, KEY)
        np.testing.assert_allclose(penalty_of(model, lambda x: x[:, 0], REAL, FAKE, KEY), expected, rtol=1e-5)
    assert penalty_of(model, lambda x: x[:, 0], REAL, FAKE, key=None) == 0.0


@pytest.mark.slow
def test_of_pairs():
    """ALI's penalty is on D's slope by x and z together."""
    w, z = np.random.default_rng(0).normal(size=[5, 1]), tf.zeros([6, 2])
    linear = {"x_discriminator_units": (), "z_discriminator_units": (), "joint_discriminator_units": ()}
    model = ALI(data_shape=(3,), latent_size=2, penalty="r1", penalty_weight=2.0, **linear)
    model.joint_discriminator.set_weights([w, np.zeros(1)])
    plain, penalised = (model.losses(REAL, z, z, key)["discriminator"] for key in (None, KEY))
    np.testing.assert_allclose(penalised - plain, np.full(6, np.sum(w**2)), rtol=1e-4)


@pytest.mark.parametrize("model, name", [*(("dcgan", name) for name in PENALTIES), ("cgan", "wgan_gp")])
def test_every_penalty_is_added_to_the_loss(model, name):
    """With its weight, by x alone where there is a condition, and with gradients by all weights of D."""
    loss, options = "minimax" if name == "roth" else "wasserstein", {"discriminator_batch_norm": False}
    options |= {"dropout": 0.0} if model == "cgan" else {}
    model = make(model, compiled=False, loss=loss, penalty=name, penalty_weight=3.0, **options)
    (x, *y), z = model.of_data(batch_of(model)), noise.normal([0, 1], [8, model.latent_size])
    plain, penalised = (model.discriminator_losses(x, z, *y, key=key)["discriminator"] for key in (None, KEY))
    expected = PENALTIES[name](lambda x: model.D_output(x, *y), x, model.G(z, *y), KEY)
    np.testing.assert_allclose(penalised - plain, 3 * expected, rtol=1e-3, atol=1e-5)
    assert_gradients(model, "discriminator", lambda: model.discriminator_losses(x, z, *y, key=KEY))


@pytest.mark.slow
def test_a_clipped_linear_critic_reaches_the_corner_of_its_box():
    """The best w in [-c, c]^2 for E[w x] - E[w G(z)] has the signs of the difference of means."""
    options, x = {"weight_constraint": "clipping", "clip_value": 0.5}, tf.constant([[1.0, -2.0]] * 4)
    model = GAN(data_shape=(2,), loss="wasserstein", discriminator_units=(), **options)
    model.compile({"discriminator": keras.optimizers.SGD(0.2), "generator": keras.optimizers.SGD(0.0)})
    model.generator.set_weights([w * 0.0 for w in model.generator.get_weights()])
    for _ in range(6):
        model.train_step(x)
    np.testing.assert_allclose(model.discriminator.get_weights()[0][:, 0], [0.5, -0.5])
    model.reset_metrics()
    np.testing.assert_allclose(model.test_step(x)["divergence"], 1.5, rtol=1e-5)


@pytest.mark.parametrize("name", ["gan", "dcgan", "cgan", "ali"])
def test_only_the_discriminator_is_clipped(name):
    model = make(name, compiled=False, weight_constraint="clipping")
    assert all(w.constraint.value == 0.01 for w in model.weights_of("discriminator"))
    assert all(w.constraint is None for w in model.weights_of("generator"))
