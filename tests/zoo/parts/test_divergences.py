"""f-divergences against numeric suprema, and discrete distributions whose divergences are sums."""

import numpy as np
import pytest
import tensorflow as tf
from scipy import special, stats

from zoo.parts import adversarial, divergences
from zoo.parts.divergences import DIVERGENCES, RATIO_LOSSES

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
of_all = pytest.mark.parametrize("name", ALL)


def numbers(function, x, dtype=tf.float64):
    return function(tf.constant(x, dtype)).numpy()


def slope(function, x, dtype=tf.float64):
    x = tf.constant(x, dtype)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = function(x)
    return tape.gradient(y, x).numpy()


def output_for(name, u):
    """v with T(v) = f'(u), by bisection; of the total variation, which is reached in the limit, far off."""
    if name not in SMOOTH:
        return 20 * np.sign(u - 1)
    low, high = np.full(np.shape(u), -1e6), np.full(np.shape(u), 1e6)
    target = slope(ALL[name].f, u)
    for _ in range(100):
        middle = (low + high) / 2
        below = numbers(ALL[name].T, middle) < target
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return middle


@of_all
def test_generator_function(name):
    divergence, u = ALL[name], np.geomspace(1e-3, 1e3, 1001)
    f = numbers(divergence.f, u)
    assert abs(numbers(divergence.f, [1.0])[0]) < 1e-12
    assert np.all(np.diff(np.diff(f) / np.diff(u)) > -1e-9)  # convex
    if name in SMOOTH:
        np.testing.assert_allclose(slope(divergence.f, [1.0]), [divergence.threshold], atol=1e-12)


@of_all
def test_conjugate_is_the_supremum(name):
    u, v = np.geomspace(1e-7, 1e7, 400001), np.linspace(-3.0, 4.0, 29)
    if name == "pearson":  # the authors' is over all reals, which is no less
        u = np.concatenate([-u, u])
    T, f = numbers(ALL[name].T, v), numbers(ALL[name].f, u)
    assert np.all(np.diff(T) > 0)
    # The grid stops short of u = 0 and of infinity, where total variation and slow tails have theirs.
    supremum = [np.max(u * t - f) for t in T]
    np.testing.assert_allclose(numbers(ALL[name].conjugate, v), supremum, rtol=1e-4, atol=1e-3)


@of_all
def test_bound_is_the_divergence_at_the_slope_of_f_and_nowhere_else(name):
    (f, T, conjugate, _), pair, best = ALL[name], adversarial.f_gan(ALL[name]), output_for(name, P / Q)

    def bound(v):
        v = tf.constant(v)
        return np.sum(P[:, None] * Q[None] * pair.divergence(v[:, None], v[None]).numpy())

    np.testing.assert_allclose(np.sum(Q * numbers(f, P / Q)), EXACT[name], rtol=1e-12)
    np.testing.assert_allclose(bound(best), EXACT[name], rtol=1e-9)
    np.testing.assert_array_equal(pair.divergence(best, best[::-1]), -pair.discriminator(best, best[::-1]))
    assert np.all((numbers(pair.score, best) > 0) == (P > Q))
    if name in SMOOTH:  # where u = p / q is the slope of f*
        np.testing.assert_allclose(numbers(T, best), slope(f, P / Q), rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(slope(conjugate, best), P / Q * slope(T, best), rtol=1e-6)
        assert all(bound(best + np.random.default_rng(i).normal(0, 0.5, 4)) < EXACT[name] for i in range(20))


@pytest.mark.parametrize("name", SMOOTH)
def test_generators_descend_the_divergence(name):
    """At the optimal T, -E_Q[f*(T)] has the gradient of D_f in Q, and E_P[T] that in P (with P and Q normalised)."""
    divergence, pair = ALL[name], adversarial.f_gan(ALL[name])
    v = tf.constant(output_for(name, P / Q))
    for start, loss, exact in (
        (Q, pair.generator, lambda q: tf.reduce_sum(q * divergence.f(P / q))),
        (P, pair.encoder, lambda p: tf.reduce_sum(Q * divergence.f(p / Q))),
    ):
        at = np.log(start)
        found = slope(lambda theta, loss=loss: tf.reduce_sum(tf.nn.softmax(theta) * loss(v)), at)
        expected = slope(lambda theta, exact=exact: exact(tf.nn.softmax(theta)), at)
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-9)


@of_all
@pytest.mark.parametrize("part", ["T", "conjugate"])
def test_float32_has_values_and_gradients_wherever_it_can_hold_them(name, part):
    function, v = getattr(ALL[name], part), np.linspace(-100.0, 100.0, 401)
    for of in (numbers, slope):
        exact = of(function, v)
        held = (abs(exact) < 1e38) & (abs(numbers(function, v)) < 1e38)
        assert np.all(np.isfinite(exact)) and held.sum() > 370
        np.testing.assert_allclose(of(function, v, tf.float32)[held], exact[held], rtol=2e-4, atol=1e-6)


def test_lambert_w():
    y = np.concatenate([np.linspace(-30, 30, 121), [-300.0, 300.0, 1e4]])
    log_w = numbers(divergences.log_lambert_w_of_exp, y)
    np.testing.assert_allclose(np.exp(log_w) + log_w, y, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(log_w[:121], np.log(special.lambertw(np.exp(y[:121])).real), rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(slope(divergences.log_lambert_w_of_exp, y), 1 / (1 + np.exp(log_w)), rtol=1e-10)


@of_all
def test_gradients_lead_an_adversary_to_the_bound(name):
    """At every output, in float32 as in training, that of the loss has the sign of output - best."""
    pair, p, q = adversarial.f_gan(ALL[name]), tf.constant(P, tf.float32), tf.constant(Q, tf.float32)
    best = output_for(name, P / Q)
    outputs = np.float32((best if name in SMOOTH else 0.0) + np.linspace(-3, 3, 60)[:, None] + 0.0 * best)
    gradient = slope(lambda v: tf.reduce_sum(-p * pair.encoder(v) - q * pair.generator(v)), outputs, tf.float32)
    np.testing.assert_array_equal(np.sign(gradient), np.sign(outputs - best))


GRID = np.linspace(-15, 15, 6001)  # on which sums are integrals of these Gaussians to the last digits
LOG_P, LOG_Q = stats.norm.logpdf(GRID, 0.5, 0.8), stats.norm.logpdf(GRID, -0.2, 1.1)
D_F = {  # of these p and q, in closed form
    "pearson": 1.1**2 / (0.8 * np.sqrt(2 * 1.1**2 - 0.8**2)) * np.exp(0.7**2 / (2 * 1.1**2 - 0.8**2)) - 1,
    "kl": np.log(1.1 / 0.8) + (0.8**2 + 0.7**2) / (2 * 1.1**2) - 0.5,
}


@pytest.mark.parametrize("name", RATIO_LOSSES)
def test_a_bregman_divergence_is_least_at_the_ratio_of_two_gaussians(name):
    """There the loss is -D_f, and elsewhere greater by E_q[f(p / q) - f(r) - f'(r) (p / q - r)]."""
    loss = RATIO_LOSSES[name]
    log_ratio, (p, q) = LOG_P - LOG_Q, (0.005 * np.exp(log) for log in (LOG_P, LOG_Q))

    def mean(v):
        return tf.reduce_sum(q * loss.conjugate(v) - p * loss.slope(v))

    def output_of(log_r):  # r = e^v or softplus(v)
        return log_r if name == "logistic" else np.where(log_r < -30, log_r, np.log(np.expm1(np.exp(log_r))))

    best = output_of(log_ratio)
    np.testing.assert_allclose(numbers(loss.log_ratio, best), log_ratio, rtol=1e-9, atol=1e-9)
    exact = D_F.get(name, np.sum(q * numbers(loss.f, best)))
    np.testing.assert_allclose(mean(tf.constant(best)), -exact, rtol=1e-9)
    np.testing.assert_allclose(slope(mean, best), 0.0, atol=1e-12)
    log_r = 0.3 * log_ratio + 0.1 * np.sin(GRID)
    v = output_of(log_r)
    r, f, slopes = np.exp(log_r), numbers(loss.f, v), numbers(loss.slope, v)
    bregman = np.sum(q * (numbers(loss.f, best) - f - slopes * (np.exp(log_ratio) - r)))
    np.testing.assert_allclose(mean(tf.constant(v)) + exact, bregman, rtol=1e-7)
    np.testing.assert_allclose(numbers(loss.conjugate, v), r * slopes - f, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(slope(loss.f, v), slopes * slope(lambda v: tf.exp(loss.log_ratio(v)), v), atol=1e-9)
    assert bregman > 0.01
