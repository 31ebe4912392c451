"""BiGAN against its authors' networks and game written out a second time."""

import itertools

import numpy as np
import tensorflow as tf
from keras.utils import set_random_seed
from scipy import stats

from tests.zoo.steps import assert_weights, descend, in_float64
from trainers import flags
from zoo import BiGAN
from zoo.parts import noise


def normalized(h):
    return (h - tf.reduce_mean(h, 0)) / tf.sqrt(tf.math.reduce_variance(h, 0) + 1e-5)


def leaky(h):
    return tf.maximum(h, 0.2 * h)


def squashed(logits):
    return 2 * tf.sigmoid(logits) - 1


def test_steps_of_a_second_implementation():
    """Two steps in float64: z enters G and D by maps of its own, D starts at 0, the weights of all decay by L2."""
    m, rate, decay, width = 6, 0.5, 0.1, 5
    set_random_seed(0)
    model = BiGAN(data_shape=(2, 2, 1), latent_size=3, units=width, weight_decay=decay, initial_std=0.5, seed=4)
    theta_d, theta_g = in_float64(model, rate)
    assert [w.shape for w in theta_d] == [(4, 5), (8, 5), (5, 1)] and not theta_d[2].numpy().any()
    assert [w.shape for w in theta_g] == [(4, 5), (5, 5), (5, 3), (3, 5), (8, 5), (5, 4)]
    e, g = theta_g[:3], theta_g[3:]

    def E(x):
        return squashed(leaky(normalized(leaky(x @ e[0]) @ e[1])) @ e[2])

    def G(z):
        h = tf.nn.relu(normalized(z @ g[0]))
        return tf.sigmoid(tf.nn.relu(normalized(h @ g[1][:width] + z @ g[1][width:])) @ g[2])

    def D(x, z):
        from_x, from_h_and_z, last = theta_d
        h = leaky(x @ from_x) @ from_h_and_z[:width] + z @ from_h_and_z[width:]
        return tf.sigmoid(leaky(normalized(h)) @ last)

    def l2(weights):
        return decay / 2 * sum(tf.reduce_sum(w**2) for w in weights)

    rng = np.random.default_rng(1)
    for step in range(2):
        x = rng.random([m, 4])
        z = 2.0 * noise.uniform(noise.key(model.seed, step, 0, 0), [m, 3]).numpy().astype(np.float64) - 1.0
        model.train_step(tf.constant(x.reshape(m, 2, 2, 1), tf.float32))
        descend(
            rate,
            (theta_d, lambda: -tf.math.log(D(x, E(x))) - tf.math.log(1 - D(G(z), z)) + l2(theta_d)),
            (theta_g, lambda: -tf.math.log(1 - D(x, E(x))) - tf.math.log(D(G(z), z)) + l2(theta_g)),
        )
    assert_weights(model, (theta_d, theta_g))


def test_features_are_of_rows_alone_and_z_is_on_the_support():
    set_random_seed(0)
    model = BiGAN(data_shape=(2, 2, 1), latent_size=3, units=5, initial_std=3.0)
    x = tf.constant(np.random.default_rng(0).random([8, 2, 2, 1]), tf.float32)
    function, _ = model.signatures()["features"]
    served = function(images=x)
    z = model.encode(x)["z"].numpy()
    np.testing.assert_allclose(z, squashed(served["z_logits"]), rtol=1e-5)
    assert served["features"].shape == (8, 5) and 0.5 < np.abs(z).max() <= 1.0
    np.testing.assert_allclose(function(images=x[3:4])["features"][0], served["features"][3], rtol=1e-5)


def test_networks_of_the_flagfile_are_the_authors(monkeypatch, request):
    monkeypatch.chdir(request.config.rootpath)
    settings = flags.parse(["trainers.run", "--flagfile=configs/bigan_authors_mnist.cfg"])
    model = settings.model_class(data_shape=(28, 28, 1), **settings.model_settings)
    shapes = {move: [tuple(w.shape) for w in model.weights_of(move)] for move in model.moves}
    assert shapes["discriminator"] == [(784, 1024), (1024 + 50, 1024), (1024, 1)]
    encoder = [(784, 1024), (1024, 1024), (1024, 50)]
    assert shapes["generator"] == [*encoder, (50, 1024), (1024 + 50, 1024), (1024, 784)]
    for weight in (w for move in model.moves for w in model.weights_of(move) if w.shape[1] > 1):
        assert abs(weight.numpy().std() - 0.02) < 0.001
    assert model.weight_decay == 5e-5 and model.latent_size == 50
    assert settings.batch_size == 128 and settings.num_steps == 400 * 391
    for optimizer in settings.optimizers.values():
        assert (optimizer["beta_1"], optimizer["epsilon"]) == (0.5, 2e-8)
        schedule = optimizer["schedule"]
        ends = np.array([0, *schedule["boundaries"], settings.num_steps]) // 391  # in epochs
        for (first, end), rate in zip(itertools.pairwise(ends), schedule["values"], strict=True):
            theirs = 2e-4 * 0.01 ** (np.maximum(np.arange(first, end) - 199, 0) / 200)  # falls from epoch 200 on
            np.testing.assert_allclose(rate, stats.gmean(theirs), rtol=0.05)
