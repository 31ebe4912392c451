"""GAN against Algorithm 1 written out and against games of known Gaussians; DCGAN against its paper's architecture."""

import itertools
import typing

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras.optimizers import SGD, Adam
from scipy import special, stats
from zoo.dcgan import DCGAN
from zoo.gan import GAN

from zoo.parts import adversarial, noise

SHAPES = {"points": (3,), "images": (2, 2, 1)}
GENERATOR_OBJECTIVE = {  # what G descends, of D(G(z))
    "minimax": lambda d: tf.math.log(1 - d),
    "non_saturating": lambda d: -tf.math.log(d),
    "maximum_likelihood": lambda d: -d / (1 - d),
}


@pytest.mark.parametrize("loss", GENERATOR_OBJECTIVE)
@pytest.mark.parametrize("data, k, prior", [("points", 1, "normal"), ("images", 3, "uniform")])
def test_steps_of_a_second_implementation(loss, data, k, prior):
    """Two iterations of Algorithm 1 in float64, with the minibatches and the noise that the model has."""
    m, rate, shape = 5, 0.3, SHAPES[data]
    options = {"prior": prior, "loss": loss, "num_discriminator_steps": k, "seed": 9}
    model = GAN(data_shape=shape, latent_size=2, generator_units=(4,), discriminator_units=(6,), **options)
    model.compile({"discriminator": SGD(rate), "generator": SGD(rate)}, jit_compile=False)
    theta_d, theta_g = (
        [tf.Variable(w.numpy().astype(np.float64)) for w in model.weights_of(player)] for player in model.players
    )

    def G(z):
        a, b, c, d = theta_g
        x = tf.nn.relu(z @ a + b) @ c + d
        return tf.tanh(x) if data == "images" else x

    def D(x):
        a, b, c, d = theta_d
        h = x @ a + b
        return tf.sigmoid(tf.where(h > 0, h, 0.2 * h) @ c + d)[:, 0]

    def move(weights, sign, objective):
        with tf.GradientTape() as tape:
            value = tf.reduce_mean(objective())
        for weight, gradient in zip(weights, tape.gradient(value, weights), strict=True):
            weight.assign_add(sign * rate * gradient)

    def draw(key):
        z = noise.normal(key, [m, 2]) if prior == "normal" else 2 * noise.uniform(key, [m, 2]) - 1
        return z.numpy().astype(np.float64)

    rng = np.random.default_rng(0)
    for step in range(2):
        data_of_step = rng.uniform(-1, 1, [k, m, *shape]).astype(np.float32)
        model.train_step(tf.constant(data_of_step.reshape(k * m, *shape)))
        keys = noise.keys(9, step, 0, k + 1)
        for i in range(k):
            x, z = data_of_step[i].reshape(m, -1).astype(np.float64), draw(keys[i])
            move(theta_d, 1, lambda: tf.math.log(D(x)) + tf.math.log(1 - D(G(z))))
        z = draw(keys[k])
        move(theta_g, -1, lambda: GENERATOR_OBJECTIVE[loss](D(G(z))))
    for player, weights in zip(model.players, (theta_d, theta_g), strict=True):
        for ours, theirs in zip(model.weights_of(player), weights, strict=True):
            np.testing.assert_allclose(ours, theirs, atol=1e-5)
    assert model.optimizers["discriminator"].iterations == 2 * k and model.optimizers["generator"].iterations == 2
    assert model.batches_per_step == k and model.step == 2


def test_networks_of_the_two_dimensional_experiments():
    """Batch normalisation in G, maxout in D, and initial weights of a given deviation (Dumoulin et al. 2016)."""
    options = {"generator_batch_norm": True, "discriminator_activation": "maxout", "maxout_pieces": 5}
    model = GAN(data_shape=(2,), generator_units=(80,), discriminator_units=(60,), initial_std=0.07, **options)
    kinds = [type(layer).__name__ for layer in model.generator.layers]
    assert kinds == ["Flatten", "Dense", "BatchNormalization", "ReLU", "Dense", "Reshape"]
    kinds = [(type(layer).__name__, layer.output.shape[-1]) for layer in model.discriminator.layers]
    assert kinds == [("Flatten", 2), ("Dense", 300), ("Maxout", 60), ("Dense", 1), ("Reshape", 1)]
    for network in (model.generator, model.discriminator):
        kernels = np.concatenate([np.ravel(w) for w in network.trainable_variables if w.name == "kernel"])
        assert abs(kernels.std() - 0.07) < 0.01


def linear_game(mean=0.0, std=1.0, **arguments):
    """G(z) = mean + std z with z ~ N(0, 1), on points of one dimension."""
    keras.utils.set_random_seed(1)
    options = {"latent_size": 1, "prior": "normal", "generator_units": ()}
    model = GAN(data_shape=(1,), **options, **arguments)
    model.generator.set_weights([np.array([[std]]), np.array([mean])])
    return model


def test_accuracies_and_losses_of_a_known_discriminator():
    model = linear_game(mean=-1.0, discriminator_units=())
    model.compile()
    model.discriminator.set_weights([np.array([[2.0]]), np.array([-1.0])])  # logit 2 x - 1: real is right of 1/2
    x, z = tf.constant([[0.0], [0.4], [0.6], [3.0], [9.0]]), tf.constant([[0.0], [1.0], [2.0], [-5.0]])
    outcome = model.discriminator_losses(x, z[:1])
    np.testing.assert_array_equal(outcome["accuracy_on_real"], [False, False, True, True, True])
    outcome = model.discriminator_losses(x[:1], z)
    np.testing.assert_array_equal(outcome["accuracy_on_fake"], [True, True, False, True])  # fakes -1, 0, 1, -6
    logs = model.test_step(tf.repeat(x, 800, 0))
    np.testing.assert_allclose(logs["accuracy_on_real"], 0.6)
    np.testing.assert_allclose(logs["accuracy_on_fake"], stats.norm.cdf(0.5, -1, 1), atol=0.02)
    probability = special.expit(2 * x[:, 0].numpy() - 1)
    np.testing.assert_allclose(model.discriminate(x)["probability"], probability, rtol=1e-5)
    np.testing.assert_allclose(logs["discriminator_loss"], -np.log(probability).mean()
                               + np.mean(np.logaddexp(0, 2 * (stats.norm.ppf((np.arange(999) + 0.5) / 999) - 1) - 1)),
                               atol=0.02)  # fmt: skip


def test_discriminator_alone_finds_the_ratio_of_densities():
    """G stays; D tends to p / (p + q), and the logged estimate to the Jensen-Shannon divergence."""
    p, q = stats.norm(0.8, 1.0), stats.norm(-0.7, 0.6)
    model = linear_game(q.mean(), q.std(), discriminator_units=(32, 32))
    rate = keras.optimizers.schedules.CosineDecay(0.01, 500)
    model.compile({"discriminator": Adam(rate), "generator": SGD(0.0)}, jit_compile=False)
    quantiles = (np.arange(500) + 0.5) / 500
    x, z = (tf.constant(d.ppf(quantiles)[:, None], tf.float32) for d in (p, stats.norm))

    @tf.function
    def train():
        for _ in tf.range(500):
            model.minimize(lambda: model.discriminator_losses(x, z))

    train()
    grid = np.linspace(-2.2, 2.2, 23)
    answer = model.discriminate(tf.constant(grid[:, None], tf.float32))["probability"]
    np.testing.assert_allclose(answer, p.pdf(grid) / (p.pdf(grid) + q.pdf(grid)), atol=0.05)
    fine = np.linspace(-8, 8, 4001)
    m = 0.5 * (p.pdf(fine) + q.pdf(fine))
    divergence = np.trapezoid(0.5 * sum(d.pdf(fine) * (d.logpdf(fine) - np.log(m)) for d in (p, q)), fine)
    estimate = np.mean(model.discriminator_losses(x, z)["divergence"])
    np.testing.assert_allclose(estimate, divergence, atol=0.01)
    np.testing.assert_allclose(model.generator.get_weights()[1], [q.mean()], rtol=1e-6)  # which did not move


@pytest.mark.parametrize("loss", ["minimax", "non_saturating"])  # few samples carry the third game's gradient
def test_training_finds_mean_and_deviation(loss):
    model = linear_game(discriminator_units=(32,), loss=loss, num_discriminator_steps=2)
    average = {"use_ema": True, "ema_momentum": 0.98}
    model.compile({"discriminator": Adam(0.01, 0.5), "generator": Adam(0.005, 0.5, **average)}, jit_compile=False)
    points = tf.constant(2.0 + 0.5 * np.random.default_rng(0).normal(size=[20000, 1]), tf.float32)

    @tf.function
    def train():
        for i in tf.range(600):
            first = (128 * i) % 19000
            model.train_step(points[first : first + 128])

    train()
    with model.averaged():
        samples = model.sample(tf.range(2000, dtype=tf.int64)).numpy()
    assert abs(samples.mean() - 2.0) < 0.2 and abs(samples.std() - 0.5) < 0.15


# --- DCGAN: Radford et al. 2015, figure 1 and section 3 ---------------------------------------------------------------

SIDES_AND_WIDTHS = [(4, 1024), (8, 512), (16, 256), (32, 128)]


@pytest.fixture(scope="module")
def papers_dcgan():
    keras.utils.set_random_seed(0)
    return DCGAN(data_shape=(64, 64, 3))


def layers_of(network):
    return [(type(layer).__name__, layer.output.shape[1:]) for layer in network.layers]


def test_generator_is_the_papers(papers_dcgan):
    expected = [("Dense", (16384,))] + [(kind, (4, 4, 1024)) for kind in ("Reshape", "BatchNormalization", "ReLU")]
    for side, width in SIDES_AND_WIDTHS[1:]:
        expected += [(kind, (side, side, width)) for kind in ("Conv2DTranspose", "BatchNormalization", "ReLU")]
    assert layers_of(papers_dcgan.generator) == [*expected, ("Conv2DTranspose", (64, 64, 3))]
    assert papers_dcgan.generator.layers[-1].activation is keras.activations.tanh
    assert papers_dcgan.generator.input_shape == (None, 100) and papers_dcgan.prior == "uniform"


def test_discriminator_mirrors_it(papers_dcgan):
    expected = [("Conv2D", (32, 32, 128)), ("LeakyReLU", (32, 32, 128))]
    for side, width in SIDES_AND_WIDTHS[2::-1]:
        expected += [(kind, (side, side, width)) for kind in ("Conv2D", "BatchNormalization", "LeakyReLU")]
    assert layers_of(papers_dcgan.discriminator) == [*expected, ("Flatten", (16384,)), ("Dense", (1,))]
    slopes = {layer.negative_slope for layer in papers_dcgan.discriminator.layers if "Leaky" in type(layer).__name__}
    assert slopes == {0.2} and papers_dcgan.discriminator.layers[-1].activation is keras.activations.linear


def test_sizes_and_first_weights_of_the_papers_dcgan(papers_dcgan):
    widths = [width for _, width in SIDES_AND_WIDTHS]
    convolutions = 25 * sum(a * b for a, b in itertools.pairwise(widths))
    generator = 100 * 16384 + convolutions + 25 * 128 * 3 + 3 + 2 * sum(widths)  # batch normalisation: scale and offset
    discriminator = 25 * 3 * 128 + 128 + convolutions + 2 * sum(widths[:-1]) + 16384 + 1
    for player, count in {"generator": generator, "discriminator": discriminator}.items():
        assert sum(w.numpy().size for w in papers_dcgan.weights_of(player)) == count
        for w in papers_dcgan.weights_of(player):
            if w.name == "kernel":
                assert abs(w.numpy().std() - 0.02) < 0.0005 and abs(w.numpy().mean()) < 0.0005
                assert w.shape[:2] == (5, 5) or len(w.shape) == 2
            else:
                np.testing.assert_array_equal(w, np.full(w.shape, w.name == "gamma"))
    for settings in DCGAN.default_optimizers.values():
        assert settings == {"optimizer": "adam", "learning_rate": 2e-4, "beta_1": 0.5}
    for w in papers_dcgan.weights_of("generator"):  # G and D have kernels of the same shapes, and not the same kernels
        for v in papers_dcgan.weights_of("discriminator"):
            if w.name == v.name == "kernel" and w.shape == v.shape:
                assert abs(np.corrcoef(np.ravel(w), np.ravel(v))[0, 1]) < 0.1
    strides = {layer.strides for network in (papers_dcgan.generator, papers_dcgan.discriminator)
               for layer in network.layers if hasattr(layer, "strides")}  # fmt: skip
    assert strides == {(2, 2)}


@pytest.mark.parametrize("side, blocks", [(8, 1), (16, 2), (28, 2), (32, 3)])
@pytest.mark.parametrize("channels", [1, 3])
def test_dcgan_of_other_sides(side, blocks, channels):
    model = DCGAN(data_shape=(side, side, channels), filters=2, latent_size=3)
    assert model.generator.output_shape == (None, side, side, channels)
    assert model.D(model.G(tf.zeros([2, 3]))).shape == (2,)
    for network, kind in ((model.generator, "Conv2DTranspose"), (model.discriminator, "Conv2D")):
        assert [type(layer).__name__ for layer in network.layers].count(kind) == blocks
    norms = [[la for la in n.layers if "Norm" in type(la).__name__] for n in (model.generator, model.discriminator)]
    assert len(norms[0]) == blocks and len(norms[1]) == blocks - 1
    # By averages over 100 batches, as Keras's default is, a trained D took all real images of MNIST for fakes.
    assert {(norm.momentum, norm.epsilon) for norm in sum(norms, [])} == {(0.9, 1e-5)}


def test_real_and_fake_minibatches_are_normalised_apart():
    model = DCGAN(data_shape=(16, 16, 1), filters=2, latent_size=3)
    rng = np.random.default_rng(0)
    x = tf.constant(rng.uniform(-1, 1, [4, 16, 16, 1]), tf.float32)
    z, other = (tf.constant(rng.uniform(-1, 1, [4, 3]), tf.float32) for _ in range(2))
    losses = [model.discriminator_losses(x, latent)["discriminator"] for latent in (z, other)]
    real, fakes = model.D(x), [model.D(model.G(latent)) for latent in (z, other)]
    for loss, fake in zip(losses, fakes, strict=True):
        np.testing.assert_allclose(loss, tf.nn.softplus(-real) + tf.nn.softplus(fake), rtol=1e-5)
    assert np.abs(model.D(x) - model.D(x, training=False)).max() > 1e-5  # in training by the minibatch's own statistics


@pytest.mark.parametrize("loss", typing.get_args(adversarial.Loss))
def test_every_loss_trains_a_dcgan(loss):
    """Two steps: both players move, everything stays finite, and what is logged and served is what the loss defines."""
    model = DCGAN(data_shape=(8, 8, 1), latent_size=2, filters=2, loss=loss, loss_parameter=0.3)
    model.compile(jit_compile=False)
    before = {player: [w.numpy() for w in model.weights_of(player)] for player in model.players}
    x = tf.constant(np.random.default_rng(0).uniform(-1, 1, [4, 8, 8, 1]), tf.float32)
    for _ in range(2):
        logs = model.train_step(x)
    assert all(np.isfinite(value) for value in logs.values())
    for player, weights in before.items():
        assert all(np.all(np.isfinite(w)) for w in model.weights_of(player))
        assert any(np.any(w != a) for w, a in zip(model.weights_of(player), weights, strict=True))
    pair = adversarial.loss_pair(loss, 0.3)
    z = model.draw_z(*model.keys(1), x)
    losses = model.discriminator_losses(x, z, training=False)
    real, fake = model.D(x, training=False), model.D(model.G(z, training=False), training=False)
    np.testing.assert_allclose(losses["discriminator"], pair.discriminator(real, fake), rtol=1e-4, atol=1e-6)
    answer = model.discriminate(model.to_served(x))
    assert ("probability" in answer) == (loss in ("minimax", "non_saturating", "maximum_likelihood"))
