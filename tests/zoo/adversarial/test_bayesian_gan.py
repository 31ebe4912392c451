"""The Bayesian GAN: SGHMC's stationary distribution, the GAN that it becomes without noise, and who makes a sample."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras.optimizers import SGD
from scipy import linalg

from tests.zoo.steps import train
from zoo.adversarial.bayesian_gan import BayesianGAN
from zoo.adversarial.gan import GAN

SMALL = {"data_shape": (2,), "num_train": 50, "latent_size": 3, "num_generators": 2, "num_chains": 2}
UNITS = {"generator_units": (5,), "discriminator_units": (4,)}


def points(num=8):
    return tf.constant(np.random.default_rng(0).normal(size=[num, 2]), tf.float32)


@pytest.mark.slow
@pytest.mark.parametrize("eta, alpha, sigma", [(0.05, 0.2, 1.0), (0.5, 0.5, 1.0), (0.05, 0.2, 0.5)])
def test_stationary_variance_without_likelihood_is_that_of_the_prior(eta, alpha, sigma):
    """U = |theta|^2 / 2 sigma^2. What is left of the step size, SGHMC having no acceptance test, is known exactly."""
    N, units = 10, {"generator_units": (40, 40), "discriminator_units": (40,)}
    model = BayesianGAN(**{**SMALL, "num_train": N}, prior_std=sigma, **units)
    model.loss_pair = model.loss_pair.__class__(*3 * [lambda *x: 0.0 * x[0]], divergence=lambda *x: 0.0 * x[0])
    model.compile({move: SGD(eta, 1 - alpha) for move in model.moves}, jit_compile=False)
    for weight in model.trainable_variables:
        weight.assign(sigma * np.random.default_rng(0).normal(size=weight.shape))
    train(model, points(), round(3 * N * sigma**2 * alpha / eta) + 30, 8)
    curvature = 1 / (sigma**2 * N)
    step = np.array([[1 - eta * curvature, 1 - alpha], [-eta * curvature, 1 - alpha]])  # of (theta, v)
    n = np.sqrt(2 * alpha * eta / N) * np.ones([2, 1])
    exact = linalg.solve_discrete_lyapunov(step, n @ n.T)[0, 0]
    assert abs(exact / sigma**2 - 1) < 0.15
    for kind in (model.generators, model.discriminators):
        theta = np.concatenate([np.ravel(w) for network in kind for w in network.trainable_variables])
        np.testing.assert_allclose(theta.var(), exact, rtol=5 * np.sqrt(2 / len(theta)))


@pytest.mark.slow
def test_one_generator_without_noise_is_a_gan_with_weight_decay():
    """As a GAN's steps, whose losses have |theta|^2 / 2 sigma^2 N, by SGD with momentum 1 - alpha."""
    one = {**SMALL, "num_generators": 1, "num_chains": 1, "num_discriminator_steps": 2, "seed": 5}
    bayesian = BayesianGAN(**one, noise=0.0, prior_std=0.7, **UNITS)
    gan = GAN(**{name: one[name] for name in ("data_shape", "latent_size", "num_discriminator_steps", "seed")}, **UNITS)
    bayesian.compile({move: SGD(0.1, 0.9) for move in bayesian.moves}, jit_compile=False)
    gan.compile({move: SGD(0.1, 0.9) for move in gan.moves}, jit_compile=False)
    networks = [(gan.generator, bayesian.generators[0]), (gan.discriminator, bayesian.discriminators[0])]
    for of_gan, ours in networks:
        of_gan.set_weights(ours.get_weights())
    minimize = gan.minimize

    def decayed(loss_fn):
        def losses():
            outcome = loss_fn()
            decay = {
                move: sum(tf.reduce_sum(tf.square(w.value)) for w in gan.weights_of(move)) / (2 * 0.7**2 * 50)
                for move in gan.moves
                if move in outcome
            }
            return outcome | {move: outcome[move] + value for move, value in decay.items()}

        minimize(losses)

    gan.minimize = decayed
    for _ in range(3):
        gan.train_step(points()), bayesian.train_step(points())
    for of_gan, ours in networks:
        for a, b in zip(of_gan.get_weights(), ours.get_weights(), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_games_do_not_know_of_each_other():
    """Weights of one game change nothing in what the other minimises."""
    model = BayesianGAN(**SMALL, **UNITS)
    model.compile(jit_compile=False)
    z = tf.random.stateless_normal([2, 8, 3], [0, 0])

    def losses():
        outcome = model.discriminator_losses(points(), z) | model.generator_losses(z)
        return {move: float(tf.reduce_mean(outcome[move])) for move in model.moves}

    before = losses()
    for network in (model.discriminators[1], model.generators[2]):
        network.set_weights([w + 1.0 for w in network.get_weights()])
    after = losses()
    assert {move for move in before if before[move] != after[move]} == {"discriminator_1", "generator_2", "generator_3"}
    model.generators[0].set_weights([w + 1.0 for w in model.generators[0].get_weights()])
    changed = {move for move, loss in losses().items() if loss != after[move]}
    assert changed == {"discriminator_0", "generator_0"}


def test_a_seed_draws_its_generator_and_each_draws_as_often():
    model = BayesianGAN(**SMALL, **UNITS)
    seeds = tf.range(4000, dtype=tf.int64)
    of = model.generator_of(seeds).numpy()
    np.testing.assert_allclose(np.bincount(of), 4 * [1000], atol=100)
    samples, z = model.sample(seeds).numpy(), model.latent(seeds)
    for i, G in enumerate(model.generators):
        np.testing.assert_allclose(samples[of == i], G(z).numpy()[of == i], atol=1e-6)
    assert abs(np.corrcoef(of, z[:, 0])[0, 1]) < 0.1  # the generator and the latent point are drawn independently
    assert list(model.signatures()) == ["sample", "discriminate"]


def test_the_noise_falls_as_its_arguments_say_and_with_the_rate():
    model = BayesianGAN(**SMALL, noise=0.5, noise_decay=0.1, **UNITS)
    rate = keras.optimizers.schedules.PiecewiseConstantDecay([10], [0.1, 0.4])
    model.compile({move: SGD(rate, 0.8) for move in model.moves})
    first = 0.5 * np.sqrt(2 * 0.2 / (0.1 * 50))
    np.testing.assert_allclose(model.noise_in_gradient("generator_0"), first, rtol=1e-5)
    model.step.assign(1000), model.optimizers["generator_0"].iterations.assign(1000)
    np.testing.assert_allclose(model.noise_in_gradient("generator_0"), 0.1 * first / 2, rtol=1e-5)
