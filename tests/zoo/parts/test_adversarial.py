"""Losses of both sides against the formulas, and their gradients at the optimal discriminator against the theory."""

import functools
import itertools
import typing

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from tests.models import batch_of, make
from zoo.parts import adversarial
from zoo.parts.adversarial import LOSSES, jensen_shannon_estimate

P = tf.constant([0.5, 0.2, 0.25, 0.05], tf.float64)  # the data: four points
THETA = tf.constant([0.3, -0.4, 1.0, 0.2], tf.float64)
Q = tf.nn.softmax(THETA)  # the generator


def log_d(v):
    return -np.logaddexp(0, -v)


def softplus(v):
    return np.logaddexp(0, v)


def log_softplus(v):
    return np.where(v < -30, v, np.log(softplus(np.maximum(v, -30))))


CLASSIC = {  # J_G of outputs on fakes, and what a generator of reals minimises, by d = D(x)
    "minimax": (lambda v: log_d(-v), log_d),  # log(1 - d), log d
    "non_saturating": (lambda v: -log_d(v), lambda v: -log_d(-v)),
    "maximum_likelihood": (lambda v: -np.exp(v), lambda v: v),  # -d / (1 - d), logit d
}
FORMULAS = {  # J_D of outputs on reals and fakes, and these
    **{name: (lambda real, fake: -log_d(real) - log_d(-fake), *sides) for name, sides in CLASSIC.items()},
    **{row: (lambda real, fake: -log_d(real) - log_d(-fake) - np.log(4), *sides) for row, sides in {  # for f(1) = 0
        "gan": (lambda v: log_d(-v) + np.log(4), log_d),
        "gan_non_saturating": (lambda v: -log_d(v), lambda v: -log_d(-v) - np.log(4)),
    }.items()},
    "least_squares": (lambda real, fake: ((real - 1) ** 2 + (fake + 1) ** 2) / 2, *2 * [lambda v: v**2 / 2]),
    "hinge": (lambda real, fake: np.maximum(0, 1 - real) + np.maximum(0, 1 + fake), lambda v: -v, lambda v: v),
    "wasserstein": (lambda real, fake: fake - real, lambda v: -v, lambda v: v),
    # r = softplus(v), f(r) = (r - 1)^2 or r log r - r + 1: r f'(r) - f(r) of fakes, -f'(r) of reals
    "b_gan_pearson": (
        lambda real, fake: softplus(fake) ** 2 + 1 - 2 * softplus(real),
        lambda v: (softplus(v) - 1) ** 2, lambda v: 2 * (softplus(v) - 1),
    ),
    "b_gan_kl": (
        lambda real, fake: softplus(fake) - 1 - log_softplus(real),
        lambda v: softplus(v) * (log_softplus(v) - 1) + 1, lambda v: log_softplus(v),
    ),
}  # fmt: skip


def kl(p, q):
    return tf.reduce_sum(p * tf.math.log(p / q))


def jensen_shannon(p, q):
    return 0.5 * (kl(p, 0.5 * (p + q)) + kl(q, 0.5 * (p + q)))


def pearson(p, q):
    """E_m[(q / m - 1)^2], m the mean of both."""
    m = 0.5 * (p + q)
    return tf.reduce_sum(m * tf.square(q / m - 1.0))


def pearson_of_ratio(p, q):
    """E_q[(p / q - 1)^2]"""
    return tf.reduce_sum(q * tf.square(p / q - 1.0))


def sign(x):
    return tf.sign(tf.where(abs(x) < 1e-12, tf.zeros_like(x), x))  # of rounded numbers


def l1(p, q):
    return tf.reduce_sum(abs(p - q))


DESCENDED = {  # of a fixed density and one that moves: what is descended by what moves it, where D is optimal
    "minimax": lambda fixed, moving: 2.0 * jensen_shannon(fixed, moving),  # Goodfellow et al. 2014, theorem 1
    # Arjovsky and Bottou 2017, theorem 2.5
    "non_saturating": lambda fixed, moving: kl(moving, fixed) - 2.0 * jensen_shannon(fixed, moving),
    "least_squares": lambda fixed, moving: 2.0 * kl(fixed, (fixed + moving) / 2.0) - pearson(fixed, moving),
    "hinge": l1,
    "b_gan_pearson": lambda fixed, moving: 2.0 * kl(fixed, moving) - pearson_of_ratio(fixed, moving),
    "b_gan_kl": lambda fixed, moving: kl(fixed, moving) - tf.reduce_sum(fixed * tf.math.log(fixed / moving) ** 2) / 2.0,
    "wasserstein": lambda fixed, moving: l1(tf.cumsum(fixed), tf.cumsum(moving)),  # of points one apart on a line
}
DESCENTS = [
    *((name, "generator", of) for name, of in DESCENDED.items()),
    *((name, "encoder", of) for name, of in DESCENDED.items() if "b_gan" not in name),
    ("b_gan_pearson", "encoder", lambda fixed, moving: pearson_of_ratio(moving, fixed)),
    ("b_gan_kl", "encoder", lambda fixed, moving: kl(moving, fixed)),
    ("maximum_likelihood", "generator", kl),  # Goodfellow 2016, section 3.2.4
    ("maximum_likelihood", "encoder", lambda fixed, moving: kl(moving, fixed)),
]
BEST = {  # D's best outputs of both densities, what it then sees, and its loss as a function of that
    **dict.fromkeys(CLASSIC, (lambda p, q: tf.math.log(p / q), jensen_shannon, lambda seen: np.log(4) - 2 * seen)),
    "least_squares": (lambda p, q: (p - q) / (p + q), pearson, lambda seen: 1 - seen),
    "hinge": (lambda p, q: sign(p - q), lambda p, q: l1(p, q) / 2, lambda seen: 2 - 2 * seen),
    "b_gan_pearson": (lambda p, q: tfp.math.softplus_inverse(p / q), pearson_of_ratio, lambda seen: -seen),
    "b_gan_kl": (lambda p, q: tfp.math.softplus_inverse(p / q), kl, lambda seen: -seen),
    "wasserstein": (  # of slope 1 at most
        lambda p, q: tf.cumsum(-sign(tf.cumsum(p - q)), exclusive=True), DESCENDED["wasserstein"], lambda seen: -seen,
    ),
}  # fmt: skip


def value_and_gradient(function, at):
    at = tf.convert_to_tensor(at)
    with tf.GradientTape() as tape:
        tape.watch(at)
        value = function(at)
    return value, tape.gradient(value, at)


@pytest.mark.parametrize("dtype, rtol", [(tf.float32, 1e-5), (tf.float64, 1e-9)])
@pytest.mark.parametrize("name", FORMULAS)
def test_losses_and_their_gradients_are_those_of_the_formulas_however_large_the_outputs(name, dtype, rtol):
    pair, (discriminator, generator, encoder) = LOSSES[name], FORMULAS[name]
    v, h = np.float32([-1e4, -100.0, *np.linspace(-9.3, 8.7, 19), 80.0, 1e4]).astype(np.float64), 1e-3
    for function, formula in (
        (lambda v: pair.discriminator(v, 0.3 - v), lambda v: discriminator(v, 0.3 - v)),
        (pair.encoder, encoder),
        (pair.generator, generator),
    ):
        v = v[:-1] if (name, function) == ("maximum_likelihood", pair.generator) else v  # the odds end where floats do
        loss, gradient = value_and_gradient(function, tf.constant(v, dtype))
        np.testing.assert_allclose(loss, formula(v), rtol=rtol, atol=10 * rtol)
        numeric = (formula(v + h) - formula(v - h)) / (2 * h)
        np.testing.assert_allclose(gradient, numeric, rtol=2e-5, atol=1e-6)
    assert (pair.probability is None) == (name not in CLASSIC) and (pair.score is None) == (name == "wasserstein")
    np.testing.assert_allclose(jensen_shannon_estimate(tf.constant(50.0), tf.constant(-50.0)), np.log(2.0), rtol=1e-6)


@pytest.mark.parametrize("name", BEST)
def test_best_response_of_the_discriminator_and_the_divergence_that_it_sees(name):
    pair, (best, divergence, loss) = LOSSES[name], (of(P, Q) if i < 2 else of for i, of in enumerate(BEST[name]))

    def mean(function, outputs):
        return tf.reduce_sum(P[:, None] * Q[None] * function(outputs[:, None], outputs[None]))

    lowest, gradient = value_and_gradient(lambda outputs: mean(pair.discriminator, outputs), best)
    np.testing.assert_allclose(mean(pair.divergence, best), divergence, rtol=1e-12)
    np.testing.assert_allclose(lowest, loss(divergence))
    even = tf.fill([4], np.log(np.e - 1) if "b_gan" in name else tf.zeros([], tf.float64))  # D = 1/2, or r = 1
    np.testing.assert_allclose(mean(pair.divergence, even), 0.0, atol=1e-12)  # sees no difference
    for scale, seed in itertools.product((0.5, 1.0), range(20)):
        other = best + np.random.default_rng(seed).normal(0, scale, 4)
        if name == "wasserstein":  # any response of lesser slope
            other = np.cumsum([0.0, *np.clip(np.diff(other), -0.99, 0.99)])
        assert mean(pair.divergence, other) < divergence and mean(pair.discriminator, other) > lowest
    if name not in ("hinge", "wasserstein"):  # which have a corner there, or a bound
        np.testing.assert_allclose(gradient, np.zeros(4), atol=1e-12)


@pytest.mark.slow
def test_the_number_in_the_comment_on_least_squares_and_what_is_no_divergence():
    np.testing.assert_allclose(pearson(P, Q), 0.1409, atol=1e-4)
    for name in ("least_squares", "b_gan_pearson", "b_gan_kl"):
        lowest = min(DESCENDED[name](P, q) for q in np.random.default_rng(0).dirichlet(np.ones(4), 200))
        assert lowest < -0.02


@pytest.mark.parametrize("name, side, divergence", DESCENTS)
def test_each_side_descends_the_divergence_of_its_game(name, side, divergence):
    def expected_loss(theta):  # D is optimal and does not move
        moving = tf.nn.softmax(theta)
        real, fake = (P, moving) if side == "generator" else (moving, P)
        return tf.reduce_sum(moving * getattr(LOSSES[name], side)(tf.stop_gradient(BEST[name][0](real, fake))))

    _, gradient = value_and_gradient(expected_loss, THETA)
    _, expected = value_and_gradient(lambda theta: divergence(P, tf.nn.softmax(theta)), THETA)
    np.testing.assert_allclose(gradient, expected, rtol=1e-10)
    assert np.linalg.norm(expected) > 0.01
    np.testing.assert_allclose(value_and_gradient(expected_loss, tf.math.log(P))[1], np.zeros(4), atol=1e-12)


def test_packs_are_neighbours_side_by_side():
    x = np.arange(7 * 2 * 2 * 3, dtype=np.float32).reshape(7, 2, 2, 3)
    packed = adversarial.pack(tf.constant(x), 3)  # the seventh is left over
    assert packed.shape == (2, 2, 2, 9)
    for i, j in itertools.product(range(2), range(3)):
        np.testing.assert_array_equal(packed[i, ..., 3 * j : 3 * j + 3], x[3 * i + j])
    np.testing.assert_array_equal(adversarial.pack(tf.constant(x[:, 0, 0]), 2)[1], [24, 25, 26, 36, 37, 38])
    np.testing.assert_array_equal(adversarial.pack(x[:2], 3), np.concatenate([x[:1], x[1:2], x[:1]], -1))  # too few
    assert adversarial.pack(x, 1) is x


CONVOLUTIONAL = [f"{name} --network=convolutional" for name in ("cgan", "ali")]


@pytest.mark.parametrize("name", ["gan", "dcgan", "cgan", "ali", *CONVOLUTIONAL])
def test_packing_trains_and_judges_packs(name):
    model = make(name, packing=2)
    before, data = model.get_weights(), batch_of(model, 6)
    for rows in (6, 1):  # one is too few for a pack
        logs = model.train_step(tf.nest.map_structure(lambda data: data[:rows], data))
        assert all(np.all(np.isfinite(value)) for value in [*logs.values(), *model.get_weights()])
    assert any(np.any(a != b) for a, b in zip(before, model.get_weights(), strict=True))
    assert "discriminate" not in model.signatures() and "discriminate" in make(name).signatures()
    shapes, minimize = [], model.minimize
    model.minimize = lambda loss_fn: minimize(lambda: shapes.append(outcome := loss_fn()) or outcome)
    model.train_step(data)
    assert shapes[0]["discriminator"].shape == (3,)


NAMES = typing.get_args(adversarial.Loss)


def all_of(pair):
    """All that a step has of its loss: what each side minimises, with its gradient, and what is logged."""
    outputs = tf.linspace([-3.1, 2.9], [3.0, -3.2], 50)
    with tf.GradientTape() as tape:
        tape.watch(outputs)
        real, fake = tf.unstack(outputs, axis=1)
        losses = [pair.generator(fake), pair.encoder(real), pair.discriminator(real, fake)]
        value = tf.tensordot([0.7, 0.4, 1.0], losses, 1)
    state = [tf.cast(values, tf.float32) for values in adversarial.state_of_game(pair, real, fake).values()]
    return tf.stack([*losses, *state, *tf.unstack(tape.gradient(value, outputs), axis=1)])


@pytest.mark.slow
def test_every_loss_is_the_same_in_eager_graph_and_xla():
    names = [name for name in NAMES if not name.endswith(adversarial.NON_SATURATING)]
    every = [functools.partial(all_of, adversarial.loss_pair(name, 0.3)) for name in names]
    graph, compiled = (tf.function(lambda: [of() for of in every], jit_compile=jit)() for jit in (None, True))
    for name, of, *found in zip(names, every, graph, compiled, strict=True):
        for values in found:
            np.testing.assert_allclose(values, of(), rtol=1e-5, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("name", [name for name in NAMES if name + adversarial.NON_SATURATING in NAMES])
def test_a_game_that_does_not_saturate_has_the_same_two_functions_on_the_other_sides(name):
    pair, other = (adversarial.loss_pair(name + end, 0.3) for end in ("", adversarial.NON_SATURATING))
    v = tf.linspace(-3.1, 3.0, 50)
    np.testing.assert_array_equal([other.generator(v), other.encoder(v)], [-pair.encoder(v), -pair.generator(v)])
    np.testing.assert_array_equal(other.discriminator(v, v[::-1]), pair.discriminator(v, v[::-1]))
