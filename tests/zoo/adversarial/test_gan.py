"""GAN against Algorithm 1 written out and against games of known Gaussians, CGAN's among them."""

import numpy as np
import pytest
import tensorflow as tf
from keras.optimizers import SGD, Adam
from keras.optimizers.schedules import CosineDecay
from keras.utils import set_random_seed
from scipy import special, stats

from tests.zoo.adversarial.second import GENERATOR_OBJECTIVE, SHAPES, assert_two_iterations, layers_of
from tests.zoo.steps import train
from zoo.adversarial.cgan import CGAN
from zoo.adversarial.gan import GAN


@pytest.mark.slow
@pytest.mark.parametrize("loss", GENERATOR_OBJECTIVE)
@pytest.mark.parametrize("data, k, prior", [("points", 1, "normal"), ("images", 3, "uniform")])
def test_steps_of_a_second_implementation(loss, data, k, prior):
    options = {"prior": prior, "loss": loss, "num_discriminator_steps": k, "seed": 9}
    model = GAN(data_shape=SHAPES[data], latent_size=2, generator_units=(4,), discriminator_units=(6,), **options)

    def G(theta, z):
        a, b, c, d = theta
        x = tf.nn.relu(z @ a + b) @ c + d
        return tf.tanh(x) if data == "images" else x

    def D(theta, x):
        a, b, c, d = theta
        h = x @ a + b
        return tf.sigmoid(tf.where(h > 0, h, 0.2 * h) @ c + d)[:, 0]

    assert_two_iterations(model, G, D, rate=0.3)


def test_networks_of_the_two_dimensional_experiments():
    """Batch normalisation in G, maxout in D, and initial weights of a given deviation (Dumoulin et al. 2016)."""
    options = {"generator_batch_norm": True, "discriminator_activation": "maxout", "maxout_pieces": 5}
    model = GAN(data_shape=(2,), generator_units=(80,), discriminator_units=(60,), initial_std=0.07, **options)
    kinds = [kind for kind, _ in layers_of(model.generator)]
    assert kinds == ["Flatten", "Dense", "BatchNormalization", "ReLU", "Dense", "Reshape"]
    kinds = [("Flatten", 2), ("Dense", 300), ("Maxout", 60), ("Dense", 1), ("Reshape", 1)]
    assert layers_of(model.discriminator) == kinds
    for network in (model.generator, model.discriminator):
        kernels = np.concatenate([np.ravel(w) for w in network.trainable_variables if w.name == "kernel"])
        assert abs(kernels.std() - 0.07) < 0.01


@pytest.mark.parametrize(
    "argument, served", [({}, True), ({"packing": 2}, False), ({"minibatch_deviation": True}, False)]
)
def test_what_judges_no_single_rows_is_not_served(argument, served):
    assert ("discriminate" in GAN(data_shape=(1,), discriminator_units=(3,), **argument).signatures()) == served


def linear_game(mean=0.0, std=1.0, **arguments):
    """G(z) = mean + std z with z ~ N(0, 1), on points of one dimension."""
    set_random_seed(1)
    options = {"latent_size": 1, "prior": "normal", "generator_units": ()}
    model = GAN(data_shape=(1,), **options, **arguments)
    model.generator.set_weights([np.array([[std]]), np.array([mean])])
    return model


def test_accuracies_and_losses_of_a_known_discriminator():
    model = linear_game(mean=-1.0, discriminator_units=())
    model.compile()
    model.discriminator.set_weights([np.array([[2.0]]), np.array([-1.0])])  # logit 2 x - 1: real is right of 1/2
    x = tf.constant([[0.0], [0.4], [0.6], [3.0], [9.0]])
    logs = model.test_step(tf.repeat(x, 800, 0))
    np.testing.assert_allclose(logs["accuracy_on_real"], 0.6)
    np.testing.assert_allclose(logs["accuracy_on_fake"], stats.norm.cdf(0.5, -1, 1), atol=0.02)
    probability = special.expit(2 * x[:, 0].numpy() - 1)
    np.testing.assert_allclose(model.discriminate(x)["probability"], probability, rtol=1e-5)
    np.testing.assert_allclose(logs["discriminator_loss"], -np.log(probability).mean()
                               + np.mean(np.logaddexp(0, 2 * (stats.norm.ppf((np.arange(999) + 0.5) / 999) - 1) - 1)),
                               atol=0.02)  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("cls, options", [
    (GAN, {"discriminator_units": (32, 32)}),
    (CGAN, {"discriminator_units": (16, 8, 32), "num_classes": 2, "dropout": 0.0}),
])  # fmt: skip
def test_discriminator_alone_finds_the_ratio_of_densities(cls, options):
    """D tends to p(x|y) / (p(x|y) + q(x|y)), and the logged estimate to their mean Jensen-Shannon divergence."""
    set_random_seed(1)
    model = cls(data_shape=(1,), latent_size=1, prior="normal", **options)
    p = [stats.norm(0.8, 1.0), stats.norm(-1.0, 0.5)][: options.get("num_classes", 1)]
    q = [stats.norm(-0.7, 0.6), stats.norm(1.2, 0.9)][: len(p)]
    label, quantiles = np.repeat(np.arange(len(p)), 250), (np.arange(250) + 0.5) / 250
    mean, std = (np.float32([getattr(q[c], of)() for c in label])[:, None] for of in ("mean", "std"))
    model.G = lambda z, *y, training=True: mean + std * z
    model.compile({"discriminator": Adam(CosineDecay(0.02, 300)), "generator": SGD(0.0)}, jit_compile=False)
    x, z = (np.concatenate([d.ppf(quantiles) for d in of])[:, None] for of in (p, [stats.norm] * len(p)))
    data = tuple(tf.constant(each, tf.float32) for each in (x, z, *([model.condition(label)] if cls is CGAN else [])))
    train(model, data, 300, len(x), lambda data: model.minimize(lambda: model.discriminator_losses(*data)))
    fine, divergences = np.linspace(-8, 8, 4001), []
    for c, of in enumerate(zip(p, q, strict=True)):
        grid = np.linspace(-2.2, 2.2, 23)
        grid = grid[np.max([d.pdf(grid) for d in of], axis=0) > 0.1]
        given = {"label": tf.fill([len(grid)], c)} if cls is CGAN else {}
        answer = model.discriminate(tf.constant(grid[:, None], tf.float32), **given)["probability"]
        np.testing.assert_allclose(answer, of[0].pdf(grid) / sum(d.pdf(grid) for d in of), atol=0.06)
        log_m = np.log(sum(d.pdf(fine) for d in of) / 2)
        divergences.append(np.trapezoid(sum(d.pdf(fine) * (d.logpdf(fine) - log_m) for d in of) / 2, fine))
    estimate = np.mean(model.discriminator_losses(*data)["divergence"])
    np.testing.assert_allclose(estimate, np.mean(divergences), atol=0.015)


@pytest.mark.slow
@pytest.mark.parametrize("loss", ["minimax", "non_saturating"])  # few samples carry the third game's gradient
def test_training_finds_mean_and_deviation(loss):
    model = linear_game(discriminator_units=(32,), loss=loss, num_discriminator_steps=2)
    average = {"use_ema": True, "ema_momentum": 0.98}
    model.compile({"discriminator": Adam(0.01, 0.5), "generator": Adam(0.005, 0.5, **average)}, jit_compile=False)
    points = tf.constant(2.0 + 0.5 * np.random.default_rng(0).normal(size=[20000, 1]), tf.float32)

    train(model, points, 600, 128)
    with model.averaged():
        samples = model.sample(tf.range(2000, dtype=tf.int64)).numpy()
    assert abs(samples.mean() - 2.0) < 0.2 and abs(samples.std() - 0.5) < 0.15
