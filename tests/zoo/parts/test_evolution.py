"""The gradient estimator of evolution strategies against closed forms, and against backpropagation in a game."""

import numpy as np
import pytest
import tensorflow as tf
from keras.optimizers import SGD
from keras.utils import set_random_seed
from scipy import stats

from tests.models import batch_of, make
from zoo.adversarial.gan import GAN
from zoo.parts import evolution

RNG = np.random.default_rng(0)
THETA = [tf.constant(RNG.normal(size=shape)) for shape in ((2, 3), (4,))]
A, B = RNG.normal(size=[10, 10]), RNG.normal(size=10)
A += A.T


def flat(parts):
    return tf.concat([tf.reshape(part, [-1]) for part in parts], 0)


def quadratic(*theta):
    theta = flat(theta)
    return tf.tensordot(theta, A @ theta[:, None], 1)[0] / 2 + tf.tensordot(theta, B, 1)


FUNCTIONS = {
    "linear": (lambda *theta: 100.0 + tf.tensordot(flat(theta), B, 1), B),
    "quadratic": (quadratic, A @ flat(THETA).numpy() + B),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("scale", [0.1, 3.0])
def test_pairs_along_a_basis_give_the_gradient_itself(name, scale):
    """Pairs tell the slope along their direction, whatever the scale; as many as dimensions, orthogonal, tell all."""
    f, expected = FUNCTIONS[name]
    basis = np.sqrt(10) * np.linalg.qr(RNG.normal(size=[10, 10]))[0]
    found = evolution.gradient(f, THETA, tf.constant(basis), scale)
    assert [part.shape for part in found] == [part.shape for part in THETA]
    np.testing.assert_allclose(flat(found), expected, rtol=1e-9)
    one = evolution.gradient(f, THETA, tf.constant(basis[:1]), scale)
    np.testing.assert_allclose(flat(one), basis[0] * (basis[0] @ expected), rtol=1e-9)


@pytest.mark.parametrize("f, expected", [
    (lambda theta: tf.reduce_sum(tf.where(theta > 0.0, 1.0, 0.0)), stats.norm.pdf(0.3 / 0.5) / 0.5),  # a step
    (lambda theta: tf.reduce_sum(theta**3), 3 * 0.3**2 + 3 * 0.5**2),
])  # fmt: skip
def test_it_is_the_gradient_of_the_mean_over_the_noise(f, expected):
    quantiles = stats.norm.ppf((np.arange(20000) + 0.5) / 20000)[:, None]
    estimate = tf.function(lambda: evolution.gradient(f, [tf.constant([0.3])], tf.constant(quantiles, tf.float32), 0.5))
    np.testing.assert_allclose(estimate()[0], [expected], rtol=0.003)


@pytest.mark.slow
def test_a_step_of_a_game_is_about_that_of_backpropagation():
    after = []
    for pairs in (0, 4000):
        set_random_seed(0)
        options = {"latent_size": 1, "generator_units": (), "discriminator_units": (3,), "evolution_scale": 0.01}
        model = GAN(data_shape=(2,), num_evolution_pairs=pairs, discriminator_activation="tanh", **options)
        model.compile({"discriminator": SGD(0.1), "generator": SGD(1.0)}, jit_compile=False)
        before = flat([w.value for w in model.weights_of("generator")])
        logs = model.train_step(tf.constant(np.random.default_rng(1).normal(size=[50, 2]), tf.float32))
        after.append((flat([w.value for w in model.weights_of("generator")]) - before, logs["generator_loss"]))
    (expected, loss), (found, same) = after
    np.testing.assert_allclose(found, expected, atol=0.1 * np.linalg.norm(expected))
    np.testing.assert_allclose(same, loss, rtol=1e-5)


@pytest.mark.slow
def test_a_generator_of_black_and_white_learns_by_it_alone():
    model = make("gan", binary=True, num_evolution_pairs=3)
    before = [w.numpy() for w in model.weights_of("generator")]
    model.train_step(batch_of(model))
    assert set(np.unique(model.sample(tf.range(9)))) <= {0.0, 1.0}
    assert all(np.any(a != b) for a, b in zip(before, model.weights_of("generator"), strict=True))


@pytest.mark.slow
def test_a_move_of_the_generator_leaves_the_state_of_D_alone():
    model = make("gan", num_evolution_pairs=2, weight_constraint="spectral_norm")
    before = [v.numpy() for v in model.discriminator.non_trainable_variables]
    model.move_generator(batch_of(model), model.latent(tf.range(8, dtype=tf.int64)))
    for a, b in zip(before, model.discriminator.non_trainable_variables, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("options, message", [
    ({"binary": True}, "binary pixels have no gradient: give num_evolution_pairs"),
    ({"num_evolution_pairs": 2, "generator_batch_norm": True}, "num_evolution_pairs does not go with"),
    ({"num_evolution_pairs": 2, "num_unrolled_steps": 1}, "num_evolution_pairs does not go with"),
    ({"num_evolution_pairs": 2, "evolution_scale": 0.0}, "evolution_scale must be positive"),
])  # fmt: skip
def test_what_does_not_go_together(options, message):
    with pytest.raises(ValueError, match=message):
        GAN(data_shape=(8, 8, 1), **options)
