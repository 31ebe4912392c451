"""Losses of both sides against the formulas, and their gradients at the optimal discriminator against the theory."""

import itertools
import typing

import numpy as np
import pytest
import tensorflow as tf
from scipy import special

from zoo.adversarial.ali import ALI
from zoo.adversarial.cgan import CGAN
from zoo.adversarial.dcgan import DCGAN
from zoo.adversarial.gan import GAN
from zoo.parts import adversarial
from zoo.parts.adversarial import LOSSES, cross_entropy, jensen_shannon_estimate

P = tf.constant([0.5, 0.2, 0.25, 0.05], tf.float64)  # the data: four points
THETA = tf.constant([0.3, -0.4, 1.0, 0.2], tf.float64)
Q = tf.nn.softmax(THETA)  # the generator
FORMULAS = {  # J_G as a function of d = D(G(z)), and what a generator of reals minimises, of their d
    "minimax": (lambda d: np.log(1 - d), np.log),
    "non_saturating": (lambda d: -np.log(d), lambda d: -np.log(1 - d)),
    "maximum_likelihood": (lambda d: -np.exp(special.logit(d)), special.logit),
}


def kl(p, q):
    return tf.reduce_sum(p * tf.math.log(p / q))


def jensen_shannon(p, q):
    return 0.5 * (kl(p, 0.5 * (p + q)) + kl(q, 0.5 * (p + q)))


DIVERGENCE = {  # what each game's generator of q descends where D is optimal
    "minimax": lambda p, q: 2.0 * jensen_shannon(p, q),  # Goodfellow et al. 2014, theorem 1
    "non_saturating": lambda p, q: kl(q, p) - 2.0 * jensen_shannon(p, q),  # Arjovsky and Bottou 2017, theorem 2.5
    "maximum_likelihood": kl,  # Goodfellow 2016, section 3.2.4
}
ENCODER_DIVERGENCE = {name: lambda p, q, of=of: of(q, p) for name, of in DIVERGENCE.items()}  # and a generator of p
ENCODER_DIVERGENCE["maximum_likelihood"] = kl
BEST = {  # D's best outputs, what it then sees, and its loss as a function of that
    **dict.fromkeys(FORMULAS, (tf.math.log(P / Q), jensen_shannon(P, Q), lambda seen: np.log(4) - 2 * seen)),
    "least_squares": ((P - Q) / (P + Q), tf.reduce_sum((P - Q) ** 2 / (2 * (P + Q))), lambda seen: 1 - seen),
    "hinge": (tf.sign(P - Q), tf.reduce_sum(abs(P - Q)) / 2, lambda seen: 2 - 2 * seen),
}


def value_and_gradient(function, at):
    at = tf.convert_to_tensor(at)
    with tf.GradientTape() as tape:
        tape.watch(at)
        value = function(at)
    return value, tape.gradient(value, at)


@pytest.mark.parametrize("name", FORMULAS)
def test_losses_are_their_formulas(name):
    real, fake = np.meshgrid(np.linspace(-9, 9, 19), np.linspace(-8, 8, 17))
    (d_real, d_fake), (generator, encoder) = special.expit([real, fake]), FORMULAS[name]
    loss = LOSSES[name].discriminator(tf.constant(real), tf.constant(fake))
    np.testing.assert_allclose(loss, -np.log(d_real) - np.log(1 - d_fake), rtol=1e-9)
    np.testing.assert_allclose(LOSSES[name].generator(tf.constant(fake)), generator(d_fake), rtol=1e-9)
    np.testing.assert_allclose(LOSSES[name].encoder(tf.constant(real)), encoder(d_real), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("dtype", [tf.float32, tf.float64])
def test_losses_of_extreme_logits_are_linear(dtype):
    logits = tf.constant([-1e4, -100.0, 100.0, 1e4], dtype)
    win, lose = np.array([0, 0, 100, 1e4]), np.array([1e4, 100, 0, 0])  # softplus(+-logit)
    for function, value, slope in [
        (lambda real: cross_entropy(real, -real), 2 * lose, -2 * (lose > 0)),
        (LOSSES["minimax"].generator, -win, -1.0 * (win > 0)),
        (LOSSES["non_saturating"].generator, lose, -1.0 * (lose > 0)),
        (LOSSES["minimax"].encoder, -lose, 1.0 * (lose > 0)),
        (LOSSES["non_saturating"].encoder, win, 1.0 * (win > 0)),
    ]:
        loss, gradient = value_and_gradient(function, logits)
        np.testing.assert_allclose(loss, value, rtol=1e-6, atol=1e-30)
        np.testing.assert_allclose(gradient, slope, rtol=1e-6, atol=1e-30)
    # The third game's loss is the odds themselves, which end where floats do.
    loss, gradient = value_and_gradient(LOSSES["maximum_likelihood"].generator, tf.constant([-1e4, -80.0, 80.0], dtype))
    np.testing.assert_allclose(loss, -np.exp([-1e4, -80.0, 80.0]), rtol=1e-4)
    np.testing.assert_array_equal(gradient, loss)
    np.testing.assert_allclose(jensen_shannon_estimate(tf.constant(50.0), tf.constant(-50.0)), np.log(2.0), rtol=1e-6)


def test_minimax_generator_descends_the_value_of_the_game():
    logits = tf.linspace(tf.constant(-20.0, tf.float64), 20.0, 41)
    _, of_value = value_and_gradient(lambda fake: -cross_entropy(tf.zeros_like(fake), fake), logits)
    _, of_loss = value_and_gradient(LOSSES["minimax"].generator, logits)
    np.testing.assert_allclose(of_loss, of_value, rtol=1e-12)


@pytest.mark.parametrize("name", BEST)
def test_best_response_of_the_discriminator_and_the_divergence_that_it_sees(name):
    pair, (best, divergence, loss) = LOSSES[name], BEST[name]

    def mean(function, outputs):
        return tf.reduce_sum(P[:, None] * Q[None] * function(outputs[:, None], outputs[None]))

    lowest, gradient = value_and_gradient(lambda outputs: mean(pair.discriminator, outputs), best)
    np.testing.assert_allclose(mean(pair.divergence, best), divergence, rtol=1e-12)
    np.testing.assert_allclose(lowest, loss(divergence))
    np.testing.assert_allclose(mean(pair.divergence, tf.zeros_like(Q)), 0.0, atol=1e-12)  # D = 1/2 sees no difference
    for scale, seed in itertools.product((0.5, 1.0), range(20)):
        other = best + np.random.default_rng(seed).normal(0, scale, 4)
        assert mean(pair.divergence, other) < divergence and mean(pair.discriminator, other) > lowest
    if name != "hinge":  # which has a corner there
        np.testing.assert_allclose(gradient, np.zeros(4), atol=1e-12)
    if name not in FORMULAS:
        np.testing.assert_allclose(pair.generator(best), {"least_squares": best**2 / 2, "hinge": -best}[name])
        assert pair.probability is None


@pytest.mark.parametrize("name", FORMULAS)
@pytest.mark.parametrize("side", ["generator", "encoder"])
def test_each_side_descends_the_divergence_of_its_game(side, name):
    def divergence(moving):  # of the data, which the encoder moves, from the samples, which the generator does
        return DIVERGENCE[name](P, moving) if side == "generator" else ENCODER_DIVERGENCE[name](moving, P)

    def expected_loss(theta):  # D is optimal and does not move
        moving = tf.nn.softmax(theta)
        log_ratio = tf.math.log(P / moving) if side == "generator" else tf.math.log(moving / P)
        return tf.reduce_sum(moving * getattr(LOSSES[name], side)(tf.stop_gradient(log_ratio)))

    _, gradient = value_and_gradient(expected_loss, THETA)
    _, expected = value_and_gradient(lambda theta: divergence(tf.nn.softmax(theta)), THETA)
    np.testing.assert_allclose(gradient, expected, rtol=1e-10)
    assert np.linalg.norm(expected) > 0.01
    np.testing.assert_allclose(value_and_gradient(expected_loss, tf.math.log(P))[1], np.zeros(4), atol=1e-12)


def test_the_critic_of_wasserstein_sees_a_difference_of_means():
    real, fake = tf.constant([1.0, 4.0]), tf.constant([0.5, -2.0])
    pair = LOSSES["wasserstein"]
    np.testing.assert_allclose(pair.discriminator(real, fake), [-0.5, -6.0])
    np.testing.assert_allclose(pair.divergence(real, fake), [0.5, 6.0])
    np.testing.assert_allclose([pair.generator(fake), pair.encoder(real)], [[-0.5, 2.0], [1.0, 4.0]])


@pytest.mark.parametrize("name", ["minimax", "non_saturating"])
def test_the_row_gan_is_the_classic_game(name):
    """Up to the constant that makes f(1) = 0."""
    row = LOSSES["gan" + adversarial.NON_SATURATING * (name == "non_saturating")]
    real, fake = tf.linspace(-9.0, 9.0, 19), tf.linspace(7.0, -8.0, 19)
    np.testing.assert_allclose(row.discriminator(real, fake) + np.log(4.0), cross_entropy(real, fake), 1e-5, 1e-6)
    shift = np.log(4.0) if name == "minimax" else 0.0
    np.testing.assert_allclose(row.generator(fake) - shift, LOSSES[name].generator(fake), 1e-5, 1e-5)
    np.testing.assert_allclose(row.divergence(real, fake), 2.0 * LOSSES[name].divergence(real, fake), 1e-5, 1e-5)
    for side, accuracy in (("real", real > 0.0), ("fake", fake < 0.0)):
        np.testing.assert_array_equal(adversarial.state_of_game(row, real, fake)[f"accuracy_on_{side}"], accuracy)


def test_parameters_out_of_range_are_refused():
    for name, parameter in (("alpha", 0.0), ("alpha_non_saturating", 1.0), ("weighted_jensen_shannon", 1.5)):
        with pytest.raises(ValueError, match="loss_parameter must be"):
            adversarial.loss_pair(name, parameter)


def test_packs_are_neighbours_side_by_side():
    x = np.arange(7 * 2 * 2 * 3, dtype=np.float32).reshape(7, 2, 2, 3)
    packed = adversarial.pack(tf.constant(x), 3)  # the seventh is left over
    assert packed.shape == (2, 2, 2, 9)
    for i, j in itertools.product(range(2), range(3)):
        np.testing.assert_array_equal(packed[i, ..., 3 * j : 3 * j + 3], x[3 * i + j])
    np.testing.assert_array_equal(adversarial.pack(tf.constant(x[:, 0, 0]), 2)[1], [24, 25, 26, 36, 37, 38])
    assert adversarial.pack(x, 1) is x


SMALL, JOINT = {"generator_units": (4, 4), "discriminator_units": (4, 4)}, {"joint_discriminator_units": (4,)}
IMAGES, CONVOLUTIONAL = {"data_shape": (8, 8, 1), "filters": 2}, {"network": "convolutional"}


@pytest.mark.parametrize("cls, options", [
    (GAN, {"data_shape": (2,), **SMALL}), (DCGAN, IMAGES),
    (CGAN, {"data_shape": (8, 8, 1), "num_classes": 3, **SMALL}), (CGAN, {"num_classes": 3, **IMAGES, **CONVOLUTIONAL}),
    (ALI, {"data_shape": (2,), "latent_size": 2, **JOINT}), (ALI, {**IMAGES, **CONVOLUTIONAL, **JOINT}),
])  # fmt: skip
def test_packing_trains_and_judges_packs(cls, options):
    model = cls(packing=2, seed=1, **options)
    model.compile(jit_compile=False)
    before = model.get_weights()
    x = tf.constant(np.random.default_rng(0).normal(size=[6, *model.data_shape]), tf.float32)
    data = (x, tf.constant([0, 1, 2, 0, 1, 2])) if cls is CGAN else x
    logs = model.train_step(data)
    assert all(np.isfinite(value) for value in logs.values())
    assert any(np.any(a != b) for a, b in zip(before, model.get_weights(), strict=True))
    assert "discriminate" not in model.signatures() and "discriminate" in cls(packing=1, **options).signatures()
    shapes, minimize = [], model.minimize
    model.minimize = lambda loss_fn: minimize(lambda: shapes.append(outcome := loss_fn()) or outcome)
    model.train_step(data)
    assert shapes[0]["discriminator"].shape == (3,)


@pytest.mark.slow
def test_every_loss_is_the_same_in_eager_graph_and_xla():
    """All that a game's step has of its loss: what each side minimises, with its gradient, and what is logged."""
    outputs = tf.linspace([-3.1, 2.9], [3.0, -3.2], 50)
    names = [name for name in typing.get_args(adversarial.Loss) if not name.endswith(adversarial.NON_SATURATING)]

    def in_common(pair):
        both = outputs, outputs[::-1]
        return pair.score(outputs), pair.discriminator(*both), pair.divergence(*both)

    for name in names:  # a game that does not saturate has the same two functions, on the other sides
        if name + adversarial.NON_SATURATING in typing.get_args(adversarial.Loss):
            pair, other = (adversarial.loss_pair(name + end, 0.3) for end in ("", adversarial.NON_SATURATING))
            found = [other.generator(outputs), other.encoder(outputs), *in_common(other)]
            np.testing.assert_array_equal(found, [-pair.encoder(outputs), -pair.generator(outputs), *in_common(pair)])

    @tf.function
    def of_all():
        found = []
        for name in names:
            pair = adversarial.loss_pair(name, 0.3)
            with tf.GradientTape() as tape:
                tape.watch(outputs)
                real, fake = tf.unstack(outputs, axis=1)
                losses = [pair.discriminator(real, fake), pair.generator(fake), pair.encoder(real)]
                value = tf.tensordot([1.0, 0.7, 0.4], losses, 1)
            gradient = tf.unstack(tape.gradient(value, outputs), axis=1)
            found.append(tf.stack([*losses, *gradient, pair.divergence(real, fake), pair.score(real)]))
        return found

    graph = of_all()
    assert len(graph) > 15
    for compiled in (of_all.python_function, tf.function(of_all.get_concrete_function(), jit_compile=True)):
        for name, found, expected in zip(names, compiled(), graph, strict=True):
            np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5, err_msg=name)
