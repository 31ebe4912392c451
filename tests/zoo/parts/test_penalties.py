"""Penalties against critics of known slope, and their own gradients against finite differences."""

import numpy as np
import pytest
import tensorflow as tf
from scipy import special, stats

from zoo.dcgan import DCGAN
from zoo.gan import GAN
from zoo.parts import noise
from zoo.parts.penalties import PENALTIES, slope

KEY = noise.keys(3, 0, 0, 1)[0]
REAL, FAKE = (tf.constant(x, tf.float32) for x in np.random.default_rng(0).normal(size=[2, 6, 3]))


def test_a_linear_critic():
    w = np.array([1.0, -2.0, 0.5])
    real, fake = (special.expit(x.numpy() @ w) for x in (REAL, FAKE))
    expected = {
        "wgan_gp": (np.linalg.norm(w) - 1) ** 2,
        "dragan": (np.linalg.norm(w) - 1) ** 2,
        "r1": w @ w / 2,
        "r2": w @ w / 2,
        "roth": ((1 - real) ** 2 + fake**2) * (w @ w) / 2,
    }
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

    def D(x):
        seen.append(x)
        return x[:, 0]

    PENALTIES[name](D, real, fake, KEY)
    return [x.numpy() for x in seen]


def test_where_the_penalties_look():
    num = 5000
    real, fake = tf.zeros([num, 2]), tf.constant([[1.0, 3.0]]) * tf.ones([num, 1])
    (x,) = seen_by("wgan_gp", real, fake)
    np.testing.assert_allclose(x[:, 1], 3 * x[:, 0], rtol=1e-5)  # on the line, so one number for each sample
    assert stats.kstest(x[:, 0], "uniform").pvalue > 1e-3
    assert stats.kstest(x[:, 0], "norm", (0.5, 0.29)).pvalue < 1e-3
    data = tf.constant(np.random.default_rng(1).normal(5, 2, [num, 2]), tf.float32)
    (x,) = seen_by("dragan", data, fake)
    assert stats.kstest(np.ravel(x - data), "norm", (0, 1)).pvalue > 1e-3
    for name, points in {"r1": [real], "r2": [fake], "roth": [real, fake]}.items():
        np.testing.assert_array_equal(seen_by(name, real, fake), points)


@pytest.mark.parametrize("name", PENALTIES)
def test_gradient_by_weights_is_that_of_finite_differences(name):
    rng = np.random.default_rng(2)
    W, v = tf.Variable(rng.normal(size=[3, 8]), dtype=tf.float32), tf.constant(rng.normal(size=8), tf.float32)

    def mean_penalty():
        return tf.reduce_mean(PENALTIES[name](lambda x: tf.linalg.matvec(tf.tanh(x @ W), v), REAL, FAKE, KEY))

    def gradient():
        with tf.GradientTape() as tape:
            value = mean_penalty()
        return tape.gradient(value, W)

    found, h = gradient(), 1e-2
    numeric = np.zeros([3, 8])
    for index in np.ndindex(3, 8):
        for sign in (1, -1):
            for times, weight in ((1, 8), (2, -1)):  # of fourth order, for large steps in float32
                step = np.zeros([3, 8], np.float32)
                step[index] = sign * times * h
                W.assign_add(step)
                numeric[index] += sign * weight * mean_penalty() / (12 * h)
                W.assign_sub(step)
    np.testing.assert_allclose(found, numeric, atol=2e-3 * np.abs(numeric).max())
    for jit_compile in (False, True):
        np.testing.assert_allclose(tf.function(gradient, jit_compile=jit_compile)(), found, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", PENALTIES)
def test_no_nan_where_the_slope_is_zero(name):
    w = tf.Variable([0.0, 0.0, 0.0])
    with tf.GradientTape() as tape:
        penalty = PENALTIES[name](lambda x: tf.linalg.matvec(x, w), REAL, FAKE, KEY)
    np.testing.assert_allclose(penalty, np.full(6, float(name in ("wgan_gp", "dragan"))), atol=1e-5)
    np.testing.assert_array_equal(tape.gradient(penalty, w), np.zeros(3))


@pytest.mark.parametrize("name", PENALTIES)
def test_every_penalty_trains_a_dcgan(name):
    """It is added to D's loss with its weight, and training stays finite."""
    options = {"penalty": name, "penalty_weight": 3.0, "discriminator_batch_norm": False}
    model = DCGAN(data_shape=(8, 8, 1), latent_size=2, filters=2, loss="wasserstein", **options)
    model.compile(jit_compile=False)
    x = tf.constant(np.random.default_rng(0).uniform(-1, 1, [4, 8, 8, 1]), tf.float32)
    z = noise.normal(KEY, [4, 2])
    plain, penalised = (model.discriminator_losses(x, z, key=key)["discriminator"] for key in (None, KEY))
    expected = PENALTIES[name](model.D, x, model.G(z), KEY)
    np.testing.assert_allclose(penalised - plain, 3 * expected, rtol=1e-3, atol=1e-5)
    for _ in range(2):
        logs = model.train_step(x)
    assert all(np.isfinite(value) for value in logs.values())
    assert all(np.all(np.isfinite(w)) for w in model.trainable_weights)


def test_the_weight_falls():
    model = GAN(data_shape=(2,), penalty="roth", penalty_weight=2.0, penalty_decay=0.5)
    for step, weight in ((0, 2.0), (1000, 1.0), (3000, 0.25)):
        model.step.assign(step)
        np.testing.assert_allclose(model.weight_of_penalty(), weight, rtol=1e-5)


def test_batch_norm_is_refused():
    with pytest.raises(ValueError, match="discriminator_batch_norm"):
        DCGAN(data_shape=(8, 8, 1), penalty="r1")
