"""f-divergences against numeric suprema, discrete distributions, and closed forms of Gaussians."""

import numpy as np
import pytest
import tensorflow as tf
from scipy import special, stats

from zoo.parts import adversarial, divergences
from zoo.parts.divergences import DIVERGENCES

ALL = {
    **DIVERGENCES, "alpha_half": divergences.alpha(0.5), "alpha_negative": divergences.alpha(-1.0),
    "alpha_two": divergences.alpha(2.0), "alpha_three": divergences.alpha(3.0),
    "weighted_jensen_shannon": divergences.weighted_jensen_shannon(0.3),
}  # fmt: skip
P, Q = np.array([0.5, 0.2, 0.25, 0.05]), np.array([0.2, 0.1, 0.3, 0.4])
M, N = (P + Q) / 2, 0.3 * P + 0.7 * Q


def kl(p, q):
    return np.sum(special.rel_entr(p, q))


EXACT = {
    "total_variation": np.sum(abs(P - Q)) / 2, "squared_hellinger": np.sum((np.sqrt(P) - np.sqrt(Q)) ** 2),
    "kl": kl(P, Q), "reverse_kl": kl(Q, P), "jeffrey": kl(P, Q) + kl(Q, P),
    "pearson": np.sum((P - Q) ** 2 / Q), "neyman": np.sum((P - Q) ** 2 / P),
    "jensen_shannon": kl(P, M) + kl(Q, M), "gan": kl(P, M) + kl(Q, M),
    "weighted_jensen_shannon": 0.3 * kl(P, N) + 0.7 * kl(Q, N),
    "alpha_half": 4 * (1 - np.sum(np.sqrt(P * Q))), "alpha_negative": np.sum((P - Q) ** 2 / P) / 2,
    "alpha_two": np.sum((P - Q) ** 2 / Q) / 2, "alpha_three": (np.sum(P**3 / Q**2) - 1) / 6,
}  # fmt: skip
SMOOTH = [name for name in ALL if name != "total_variation"]  # which has a corner at 1


def numbers(function, x):
    return function(tf.constant(x, tf.float64)).numpy()


def slope(function, x, dtype=tf.float64):
    x = tf.constant(x, dtype)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = function(x)
    return tape.gradient(y, x).numpy()


def output_for(divergence, u):
    """v with T(v) = f'(u), by bisection."""
    low, high = np.full(np.shape(u), -1e6), np.full(np.shape(u), 1e6)
    target = slope(divergence.f, u)
    for _ in range(100):
        middle = (low + high) / 2
        below = numbers(divergence.T, middle) < target
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return middle


@pytest.mark.parametrize("name", ALL)
def test_generator_function(name):
    divergence, u = ALL[name], np.geomspace(1e-3, 1e3, 1001)
    f = numbers(divergence.f, u)
    assert abs(numbers(divergence.f, [1.0])[0]) < 1e-12
    assert np.all(np.diff(np.diff(f) / np.diff(u)) > -1e-9)  # convex
    if name in SMOOTH:
        np.testing.assert_allclose(slope(divergence.f, [1.0]), [divergence.threshold], atol=1e-12)
    np.testing.assert_allclose(np.sum(Q * numbers(divergence.f, P / Q)), EXACT[name], rtol=1e-12)


@pytest.mark.parametrize("name", ALL)
def test_conjugate_is_the_supremum(name):
    divergence, u = ALL[name], np.geomspace(1e-7, 1e7, 400001)
    # The authors take Pearson's f on all reals: below T = -2 the supremum is at negative u.
    v = np.linspace(-1.9 if name == "pearson" else -3.0, 4.0, 29)
    T, f = numbers(divergence.T, v), numbers(divergence.f, u)
    assert np.all(np.diff(T) > 0)
    supremum = [np.max(u * t - f) for t in T]
    # The grid stops short of u = 0 and of infinity, where total variation and slow tails have theirs.
    np.testing.assert_allclose(numbers(divergence.conjugate, v), supremum, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("name", ALL)
def test_bound_is_tight_at_the_slope_of_f_and_nowhere_else(name):
    divergence, pair = ALL[name], adversarial.f_gan(ALL[name])

    def bound(v):
        v = tf.constant(v, tf.float64)
        return np.sum(P[:, None] * Q[None] * pair.divergence(v[:, None], v[None]).numpy())

    if name == "total_variation":  # which is reached in the limit
        np.testing.assert_allclose(bound(20 * np.sign(P - Q)), EXACT[name], rtol=1e-12)
        return
    best = output_for(divergence, P / Q)
    np.testing.assert_allclose(numbers(divergence.T, best), slope(divergence.f, P / Q), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(bound(best), EXACT[name], rtol=1e-9)
    for seed in range(20):
        assert bound(best + np.random.default_rng(seed).normal(0, 0.5, 4)) < EXACT[name]
    assert np.all((numbers(pair.score, best) > 0) == (P > Q))


@pytest.mark.parametrize("name", SMOOTH)
def test_generators_descend_the_divergence(name):
    """At the optimal T, -E_Q[f*(T)] has the gradient of D_f in Q, and E_P[T] that in P (with P and Q normalised)."""
    divergence, pair = ALL[name], adversarial.f_gan(ALL[name])
    v = tf.constant(output_for(divergence, P / Q))
    for start, loss, exact in (
        (Q, pair.generator, lambda q: tf.reduce_sum(q * divergence.f(P / q))),
        (P, pair.encoder, lambda p: tf.reduce_sum(Q * divergence.f(p / Q))),
    ):
        at = np.log(start)
        found = slope(lambda theta, loss=loss: tf.reduce_sum(tf.nn.softmax(theta) * loss(v)), at)
        expected = slope(lambda theta, exact=exact: exact(tf.nn.softmax(theta)), at)
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("name", ALL)
def test_values_and_gradients_are_finite_in_float32(name):
    pair, v = adversarial.f_gan(ALL[name]), tf.linspace(-20.0, 20.0, 401)
    for function in (pair.generator, pair.encoder, lambda v: pair.discriminator(v, v)):
        assert np.all(np.isfinite([function(v), slope(function, v, tf.float32)]))


def test_lambert_w():
    y = np.concatenate([np.linspace(-30, 30, 121), [300.0, 1e4]])
    w = numbers(divergences.lambert_w_of_exp, y)
    np.testing.assert_allclose(w + np.log(w), y, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(w[:121], special.lambertw(np.exp(y[:121])).real, rtol=1e-10)
    np.testing.assert_allclose(slope(divergences.lambert_w_of_exp, y), w / (1 + w), rtol=1e-10)


SHIFT = 0.7  # P = N(SHIFT, 1), Q = N(0, 1)
X = np.linspace(-8.0, 8.0 + SHIFT, 1001)
PX, QX = stats.norm.pdf(X, SHIFT) * (X[1] - X[0]), stats.norm.pdf(X) * (X[1] - X[0])
GAUSSIAN = {
    "total_variation": 2 * stats.norm.cdf(SHIFT / 2) - 1, "squared_hellinger": 2 - 2 * np.exp(-(SHIFT**2) / 8),
    "kl": SHIFT**2 / 2, "reverse_kl": SHIFT**2 / 2, "jeffrey": SHIFT**2,
    "pearson": np.exp(SHIFT**2) - 1, "neyman": np.exp(SHIFT**2) - 1, "alpha_half": 4 - 4 * np.exp(-(SHIFT**2) / 8),
    "alpha_negative": (np.exp(SHIFT**2) - 1) / 2, "alpha_two": (np.exp(SHIFT**2) - 1) / 2,
    "alpha_three": (np.exp(3 * SHIFT**2) - 1) / 6,
}  # fmt: skip


@pytest.mark.parametrize("name", GAUSSIAN)
def test_bound_of_gaussians_is_their_divergence_in_closed_form(name):
    divergence, exact = ALL[name], GAUSSIAN[name]
    np.testing.assert_allclose(np.sum(QX * numbers(divergence.f, PX / QX)), exact, rtol=1e-3)
    best = 20 * np.sign(PX - QX) if name == "total_variation" else output_for(divergence, PX / QX)
    bound = np.sum(PX * numbers(divergence.T, best)) - np.sum(QX * numbers(divergence.conjugate, best))
    np.testing.assert_allclose(bound, exact, rtol=1e-3)


@pytest.mark.parametrize("name", ALL)
def test_gradients_lead_an_adversary_to_the_bound(name):
    """At every output, in float32 as in training, that of the loss has the sign of output - best."""
    pair, p, q = adversarial.f_gan(ALL[name]), tf.constant(P, tf.float32), tf.constant(Q, tf.float32)
    best = output_for(ALL[name], P / Q) if name in SMOOTH else np.full(4, np.inf) * (P - Q)
    outputs = np.float32(np.where(np.isfinite(best), best, 0.0) + np.linspace(-3, 3, 60)[:, None])
    gradient = slope(lambda v: tf.reduce_sum(-p * pair.encoder(v) - q * pair.generator(v)), outputs, tf.float32)
    np.testing.assert_array_equal(np.sign(gradient), np.sign(outputs - best))
