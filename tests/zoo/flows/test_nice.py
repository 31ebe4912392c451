"""NICE against linear algebra, Jacobians by automatic differentiation, sums over the plane, and its own prior."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from tests.zoo.steps import train_by_adam
from zoo.flows.nice import NICE
from zoo.parts import levels

COUPLINGS, PRIORS = ("additive", "affine"), {"logistic": stats.logistic, "normal": stats.norm}
SEEDS = tf.range(4000, dtype=tf.int64)
IMAGES, POINTS = (3, 3, 1), (4,)


def model_of(data_shape=POINTS, units=(8, 8), activation="tanh", **more):
    """With weights and scales that are far from where they start."""
    keras.utils.set_random_seed(1)
    model = NICE(data_shape=data_shape, hidden_units=units, activation=activation, **more)
    rng = np.random.default_rng(0)
    for network in model.couplings:
        network.set_weights([w + 0.3 * rng.normal(size=w.shape) for w in network.get_weights()])
    model.scaling.log_scale.assign(0.05 * rng.normal(size=model.latent_size))
    return model


@pytest.mark.slow
@pytest.mark.parametrize("coupling", COUPLINGS)
@pytest.mark.parametrize("data_shape, logit", [
    (POINTS, False), ((5,), False), (IMAGES, False), (IMAGES, True), ((2, 2, 3), False),
])  # fmt: skip
def test_encode_and_decode_are_inverses(coupling, data_shape, logit):
    """Of all served data, and of all z whose data are served as they are."""
    model = model_of(data_shape, coupling=coupling, logit=logit)
    x = np.random.default_rng(0).random([50, *data_shape], np.float32)
    if len(data_shape) == 3:
        x[:20] = np.round(x[:20])  # black and white
    z = model.encode(x)["z"]
    np.testing.assert_allclose(model.decode(z), x, atol=1e-5)
    np.testing.assert_allclose(model.encode(model.decode(z))["z"], z, atol=1e-5, rtol=1e-5)
    reconstruct, name = model.signatures()["reconstruct"][0], model.data_name
    np.testing.assert_allclose(reconstruct(**{name: x})[name], x, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("coupling, prior, logit", [
    ("additive", "logistic", False), ("additive", "normal", True), ("affine", "logistic", True),
    ("affine", "normal", False),
])  # fmt: skip
def test_log_prob_is_the_priors_and_the_jacobians(coupling, prior, logit):
    model = model_of(IMAGES, coupling=coupling, prior=prior, logit=logit)
    x = tf.random.stateless_uniform([20, 9], [0, 1])
    with tf.GradientTape() as tape:
        tape.watch(x)
        z, log_det = model.flow().forward(x)
    expected = np.linalg.slogdet(tape.batch_jacobian(z, x).numpy().astype(np.float64))[1]
    np.testing.assert_allclose(log_det, expected, atol=1e-4)
    assert (np.ptp(expected) > 0.1) == (coupling == "affine" or logit)
    log_prior = PRIORS[prior].logpdf(z.numpy().astype(np.float64)).sum(axis=1)
    np.testing.assert_allclose(model.exact_log_prob(tf.reshape(x, [20, *IMAGES])), log_prior + expected, rtol=1e-4)


def test_linear_couplings_are_a_gaussian():
    """x = m + W z of z ~ N(0, I) is N(m, W W'); m and W are what `decode` says of 0 and the unit vectors."""
    model = model_of(units=(), prior="normal")
    x = model.decode(np.concatenate([np.zeros([1, 4]), np.eye(4)]).astype(np.float32)).numpy().astype(np.float64)
    W = (x[1:] - x[0]).T
    points = np.random.default_rng(0).normal(size=[30, 4]).astype(np.float32)
    truth = stats.multivariate_normal(x[0], W @ W.T).logpdf(points)
    np.testing.assert_allclose(model.signatures()["log_prob"][0](points=points)["log_prob"], truth, rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("coupling", COUPLINGS)
@pytest.mark.parametrize("prior", PRIORS)
def test_the_density_in_the_plane_sums_to_one(coupling, prior):
    side = np.linspace(-60.0, 60.0, 501, dtype=np.float32)
    grid = np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2)
    model = model_of((2,), coupling=coupling, prior=prior)
    density = np.exp(model.exact_log_prob(tf.constant(grid)).numpy().astype(np.float64))
    assert np.sum(density) * (side[1] - side[0]) ** 2 == pytest.approx(1.0, abs=2e-3)


@pytest.mark.slow
@pytest.mark.parametrize("coupling", COUPLINGS)
@pytest.mark.parametrize("prior", PRIORS)
def test_latents_of_samples_are_the_priors(coupling, prior):
    """And those of another model's samples are not."""
    model, other = model_of(coupling=coupling, prior=prior), model_of(coupling=coupling, prior=prior, num_couplings=2)
    z = model.encode(model.sample(SEEDS))["z"]
    np.testing.assert_allclose(z, model.latent(SEEDS), atol=1e-3)
    assert stats.kstest(np.ravel(z), PRIORS[prior].cdf).pvalue > 0.01
    assert stats.kstest(np.ravel(model.encode(other.sample(SEEDS))["z"]), PRIORS[prior].cdf).pvalue < 1e-4


@pytest.mark.slow
def test_every_number_depends_on_every_other():
    z = np.random.default_rng(0).normal(size=[10, 4]).astype(np.float32)
    model = model_of(num_couplings=3)
    changes = [model.decode(z + one) - model.decode(z) for one in np.eye(4, dtype=np.float32)]
    assert np.all(np.abs(changes).max(axis=1) > 1e-4)


def test_pixels_are_the_middles_of_their_levels_and_are_drawn_within_them():
    model = NICE(data_shape=(16, 16, 1), hidden_units=())
    served = (np.arange(256, dtype=np.float32) / 255.0).reshape(1, 16, 16, 1)
    x = model.from_served(tf.constant(served))
    np.testing.assert_allclose(x, levels.within_levels(served), atol=1e-7)
    np.testing.assert_allclose(model.to_served(x), served, atol=1e-6)
    drawn = model.draw_within_levels(x).numpy()
    np.testing.assert_array_equal(np.floor(256.0 * drawn), np.floor(256.0 * x))
    assert stats.kstest(256.0 * drawn.ravel() % 1.0, "uniform").pvalue > 0.01
    model.compile(jit_compile=False)
    draws = []
    model.exact_log_prob = lambda x: draws.append(x.numpy()) or tf.reduce_sum(model.scaling.log_scale.value)[None]
    for step in (model.train_step, model.train_step, model.test_step, model.test_step):
        step(tf.constant(served))
    assert len({draw.tobytes() for draw in draws}) == 4  # noise of every step's own
    assert all(np.array_equal(np.floor(256.0 * draw), np.floor(256.0 * x)) for draw in draws)


@pytest.mark.slow
def test_it_learns_a_gaussian_by_maximum_likelihood():
    """Down to the entropy of the data, which are correlated and of different scales."""
    rng = np.random.default_rng(0)
    cov = np.array([[1.0, 0.8 * 0.05], [0.8 * 0.05, 0.05**2]])
    x = rng.multivariate_normal([1.0, -2.0], cov, 4000).astype(np.float32)
    model = NICE(data_shape=(2,), hidden_units=(), prior="normal")
    train_by_adam(model, tf.constant(x), 400, 500, 0.02)
    best = stats.multivariate_normal(x.mean(0), np.cov(x.T)).logpdf(x).mean()
    assert np.mean(model.exact_log_prob(x)) == pytest.approx(best, abs=0.01)


@pytest.mark.parametrize("data_shape, logit, why", [
    ((1,), False, "at least two numbers"), ((2,), True, "leave it out for points"),
])  # fmt: skip
def test_data_that_it_can_not_take(data_shape, logit, why):
    with pytest.raises(ValueError, match=why):
        NICE(data_shape=data_shape, logit=logit)
