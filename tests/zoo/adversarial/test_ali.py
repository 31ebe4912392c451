"""ALI against Algorithm 1 written out, against games of known Gaussians, and against its authors' networks."""

import numpy as np
import pytest
import tensorflow as tf
from keras.optimizers import Adam
from keras.optimizers.schedules import CosineDecay
from keras.utils import set_random_seed
from scipy import stats

from tests.zoo.adversarial.second import SHAPES, layers_of
from tests.zoo.steps import assert_weights, descend, in_float64, train
from trainers import flags
from zoo.adversarial.ali import ALI
from zoo.parts import noise

POSTERIORS = ["gaussian", "implicit", "deterministic"]
GENERATOR_OBJECTIVE = {  # what both generators descend, of D(x, z_hat) and D(x_tilde, z)
    "minimax": lambda q, p: tf.math.log(q) + tf.math.log(1 - p),
    "non_saturating": lambda q, p: -tf.math.log(1 - q) - tf.math.log(p),
    "maximum_likelihood": lambda q, p: tf.math.log(q / (1 - q)) - p / (1 - p),
}


@pytest.mark.slow
@pytest.mark.parametrize("loss", GENERATOR_OBJECTIVE)
@pytest.mark.parametrize("posterior, data, prior", [
    ("gaussian", "points", "normal"), ("implicit", "images", "normal"), ("deterministic", "images", "uniform")
])  # fmt: skip
def test_steps_of_a_second_implementation(loss, posterior, data, prior):
    """Two iterations of Algorithm 1 in float64, with the minibatches and the noise that the model has."""
    m, rate, shape = 5, 0.1, SHAPES[data]
    set_random_seed(0)
    model = ALI(
        data_shape=shape, latent_size=2, prior=prior, posterior=posterior, loss=loss, encoder_units=(4,),
        decoder_units=(6,), x_discriminator_units=(3,), z_discriminator_units=(2,), joint_discriminator_units=(3,),
        maxout_pieces=2, initial_std=0.4, seed=9,
    )  # fmt: skip
    theta_d, theta_g = in_float64(model, rate)

    def hidden(h, kernel, gamma, beta):  # a layer with batch normalisation
        h = h @ kernel
        mean, variance = tf.reduce_mean(h, 0), tf.math.reduce_variance(h, 0)
        return tf.nn.relu(gamma * (h - mean) / tf.sqrt(variance + 1e-5) + beta)

    def G_z(x, epsilon):
        *first, a, b = theta_g[:5]
        h = hidden(tf.concat([x, epsilon], 1) if posterior == "implicit" else x, *first) @ a + b
        if posterior == "gaussian":
            return h[:, :2] + tf.exp(4 * tf.tanh(h[:, 2:] / 8)) * epsilon
        return tf.tanh(h) if prior == "uniform" else h

    def G_x(z):
        *first, a, b = theta_g[5:]
        x = hidden(z, *first) @ a + b
        return tf.sigmoid(x) if data == "images" else x

    def maxout(h, kernel, bias):
        h = h @ kernel + bias
        return tf.maximum(h[:, ::2], h[:, 1::2])

    def D(x, z):
        h = tf.concat([maxout(x, *theta_d[:2]), maxout(z, *theta_d[2:4])], 1)
        return tf.sigmoid(maxout(h, *theta_d[4:6]) @ theta_d[6] + theta_d[7])[:, 0]

    rng = np.random.default_rng(0)
    for step in range(2):
        x = rng.uniform(0, 1, [m, *shape]).astype(np.float32)
        model.train_step(tf.constant(x))
        x = x.reshape(m, -1).astype(np.float64)
        key_z, key_epsilon = (noise.key(9, step, 0, i) for i in range(2))
        z = noise.normal(key_z, [m, 2]) if prior == "normal" else 2 * noise.uniform(key_z, [m, 2]) - 1
        z, epsilon = (n.numpy().astype(np.float64) for n in (z, noise.normal(key_epsilon, [m, 2])))

        def rho():
            return D(x, G_z(x, epsilon)), D(G_x(z), z)

        def loss_d():
            rho_q, rho_p = rho()
            return -tf.math.log(rho_q) - tf.math.log(1 - rho_p)

        descend(rate, (theta_d, loss_d), (theta_g, lambda: GENERATOR_OBJECTIVE[loss](*rho())))
    assert_weights(model, (theta_d, theta_g), atol=2e-5)
    assert all(optimizer.iterations == 2 for optimizer in model.optimizers.values()) and model.step == 2


# --- Linear games: x = a z and z_hat = b x + c epsilon, so that both joint distributions are known Gaussians ----------


def linear_model(latent_size, posterior, deviation, **arguments):
    """A model without hidden layers in encoder and decoder, and data x ~ N(0, deviation^2) of one dimension."""
    set_random_seed(0)
    options = {"encoder_units": (), "decoder_units": (), "joint_discriminator_units": (32,), "maxout_pieces": 4}
    model = ALI(data_shape=(1,), latent_size=latent_size, posterior=posterior, initial_std=0.5, **options, **arguments)
    quantiles = stats.norm.ppf((np.arange(20000) + 0.5) / 20000)
    x = np.random.default_rng(0).permutation(deviation * quantiles)[:, None]
    return model, tf.constant(x, tf.float32)


def test_at_the_optimum_no_player_moves_on(monkeypatch):
    """With the posterior of the decoder, q = p: D = 1/2 is optimal, D's and G's losses are log 4, gradients vanish."""
    deviation = 1.5
    a = deviation * np.array([0.6, 0.8])
    b = a / deviation**2
    c = np.eye(2) - np.outer(a, a) / deviation**2  # the projection that is its own square root
    joint = np.block([[np.full([1, 1], deviation**2), a[None]], [a[:, None], np.eye(2)]])  # of (x_tilde, z)
    np.testing.assert_allclose(joint[1:, 1:], deviation**2 * np.outer(b, b) + c @ c.T, atol=1e-12)  # and of (x, z_hat)
    model, x = linear_model(2, "implicit", deviation)
    model.decoder.set_weights([a[:, None], np.zeros(1)])
    model.encoder_output.set_weights([np.concatenate([b[None], c.T]), np.zeros(2)])
    z, epsilon = (noise.normal([2, key], [len(x), 2]) for key in range(2))
    z_hat, x_tilde = model.G_z(x, epsilon), model.G_x(z)
    for pairs in ([x, z_hat], [x_tilde, z]):
        np.testing.assert_allclose(np.cov(np.hstack(pairs).T), joint, atol=0.06)
    with tf.GradientTape() as tape:  # of a D with any weights: at its optimum, the two terms cancel
        rho_q, rho_p = model.D_output(x, z_hat), model.D_output(x_tilde, z)
        difference = tf.reduce_mean(rho_q) - tf.reduce_mean(rho_p)
    weights = model.weights_of("discriminator")
    for gradient, weight in zip(tape.gradient(difference, weights), weights, strict=True):
        np.testing.assert_allclose(gradient, np.zeros(weight.shape), atol=0.06)
    monkeypatch.setattr(model, "D_output", lambda x, z, training: tf.zeros(len(x)))
    for player in ("discriminator", "generator"):
        np.testing.assert_allclose(model.losses(x, z, epsilon)[player], np.log(4), rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("loss", ["non_saturating", "minimax", "maximum_likelihood"])
def test_training_matches_the_joint_distributions(loss):
    """z has one dimension more than x, as noise that the decoder adds: the encoder must find the true posterior.

    The optimum is unique up to rotation: any a of length 1.5 with p(z | x) = N(a x / |a|^2, I - a a' / |a|^2).
    """
    deviation, steps, m = 1.5, 400, 200
    model, points = linear_model(2, "implicit", deviation, loss=loss)
    rate = CosineDecay(0.015, steps)
    average = {"use_ema": True, "ema_momentum": 0.97}
    model.compile({"discriminator": Adam(rate, 0.5), "generator": Adam(rate, 0.5, **average)}, jit_compile=False)
    a, z = model.decoder.get_weights()[0], noise.normal([3, 0], [len(points), 2])
    epsilon = noise.normal([3, 1], [len(points), 2])

    def joints():
        return np.hstack([points, model.G_z(points, epsilon)]), np.hstack([model.G_x(z), z])

    assert np.abs(np.subtract(*(np.cov(pairs.T) for pairs in joints()))).max() > 0.5

    train(model, points, steps, m)
    with model.averaged():
        q, p = joints()
        a = model.decoder.get_weights()[0]
        kernel, offset = model.encoder_output.get_weights()
    np.testing.assert_allclose(q.mean(0), p.mean(0), atol=0.15)
    np.testing.assert_allclose(np.cov(q.T), np.cov(p.T), atol=0.25)
    np.testing.assert_allclose(np.cov(q[:, 1:].T), np.eye(2), atol=0.2)  # z_hat ~ p(z)
    np.testing.assert_allclose(np.linalg.norm(a), deviation, atol=0.15)  # x_tilde ~ q(x)
    b, c = kernel[0], kernel[1:].T
    np.testing.assert_allclose(b, a[:, 0] / deviation**2, atol=0.15)  # the mean of the posterior
    np.testing.assert_allclose(c @ c.T, np.eye(2) - a @ a.T / deviation**2, atol=0.25)  # and its covariance


# --- Networks: Dumoulin et al. 2016, by their code --------------------------------------------------------------------


def model_of(config, data_shape, *more):
    settings = flags.parse(["trainers.run", f"--flagfile=configs/{config}.cfg", *more])
    return settings, settings.model_class(data_shape=data_shape, **settings.model_settings)


def hidden(width, *kinds):
    return [(kind, width) for kind in kinds]


@pytest.fixture(autouse=True)
def _from_the_root(monkeypatch, request):
    monkeypatch.chdir(request.config.rootpath)  # flagfiles name each other from there


def test_networks_of_the_grid_are_the_authors():
    settings, model = model_of("ali_grid", (2,))
    block = hidden(400, "Dense", "BatchNormalization", "ReLU")
    assert layers_of(model.encoder) == [("Flatten", 4), *block, *block]  # x and noise
    assert layers_of(model.encoder_output)[-2:] == hidden(2, "Dense", "Reshape")
    assert layers_of(model.decoder) == [("Flatten", 2), *4 * block, ("Dense", 2), ("Reshape", 2)]
    assert layers_of(model.x_discriminator) == layers_of(model.z_discriminator) == [("Flatten", 2)]
    maxout = [("Dense", 1000), ("Maxout", 200)]
    assert layers_of(model.joint_discriminator) == [("Flatten", 4), *3 * maxout, ("Dense", 1), ("Reshape", 1)]
    for move in model.moves:
        for weight in model.weights_of(move):
            if weight.name == "kernel" and weight.shape[0] > 4:
                assert abs(weight.numpy().std() - 0.02) < 0.003
        optimizer = settings.optimizers[move]
        assert (optimizer["learning_rate"], optimizer["beta_1"], optimizer["beta_2"]) == (1e-4, 0.8, 0.999)
    assert settings.batch_size == 100 and settings.dataset == "grid"

    baseline, gan = model_of("gan_grid", (2,))  # "identical except for the input of the discriminator"
    assert layers_of(gan.generator) == layers_of(model.decoder)
    assert layers_of(gan.discriminator) == [("Flatten", 2), *layers_of(model.joint_discriminator)[1:]]
    assert baseline.optimizers == settings.optimizers and gan.prior == model.prior and gan.loss == model.loss
    assert all(baseline.values[name] == settings.values[name] for name in ("batch_size", "num_steps", "latent_size"))


def test_networks_of_a_bigan():
    settings, model = model_of("bigan_mnist", (28, 28, 1))
    for network, widths in ((model.encoder, [1024, 1024]), (model.decoder, [1024, 1024, 784])):
        assert [("Dense", width) for width in widths] == [layer for layer in layers_of(network) if layer[0] == "Dense"]
    assert layers_of(model.encoder_output)[-1] == ("Reshape", 50)
    assert layers_of(model.x_discriminator) == [("Flatten", 784), ("Dense", 1024), ("LeakyReLU", 1024)]
    assert layers_of(model.z_discriminator) == [("Flatten", 50)]
    block = hidden(1024, "Dense", "BatchNormalization", "LeakyReLU")
    assert layers_of(model.joint_discriminator) == [("Flatten", 1074), *block, ("Dense", 1), ("Reshape", 1)]
    assert settings.batch_size == 128 and (model.prior, model.posterior) == ("uniform", "deterministic")
    x = tf.constant(np.random.default_rng(0).random([64, 28, 28, 1]), tf.float32)
    model.encoder_output.set_weights([100 * w for w in model.encoder_output.get_weights()])
    z = model.encode(x)["z"].numpy()
    assert np.abs(z).max() <= 1.0 and np.abs(z).mean() > 0.5  # on the support of the prior, however large


# --- Serving ----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("posterior", POSTERIORS)
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_served_rows_do_not_know_each_other(posterior, shape):
    set_random_seed(1)  # else chance may leave no unit of so small an encoder alive
    options = {"joint_discriminator_units": (3,), "discriminator_batch_norm": True, "dropout": 0.5, "initial_std": 0.5}
    model = ALI(data_shape=shape, latent_size=2, posterior=posterior, encoder_units=(5,), decoder_units=(4,), **options)
    model.compile(jit_compile=False)
    rng = np.random.default_rng(0)
    x = tf.constant(rng.random([6, *shape]), tf.float32)
    model.train_step(x)
    rows = {model.data_name: x, "seed": tf.constant([5, 7, 5, 8, 9, 10], tf.int64),
            "z": tf.constant(rng.normal(size=[6, 2]), tf.float32)}  # fmt: skip
    for name in ("encode", "features", "reconstruct", "discriminate"):
        function, specs = model.signatures()[name]
        assert ("seed" in specs) == (posterior == "implicit" and name != "discriminate")
        together = function(**{key: rows[key] for key in specs})
        for i in range(6):
            alone = function(**{key: rows[key][i : i + 1] for key in specs})
            for key, value in together.items():
                np.testing.assert_allclose(alone[key][0], value[i], rtol=1e-5, atol=1e-6)

    outputs = model.encode(x, rows["seed"])
    assert set(outputs) == ({"z", "z_log_var"} if posterior == "gaussian" else {"z"})
    features = model.features(x, rows["seed"]).numpy()
    kernel, bias = model.encoder_output.get_weights()
    assert features.shape == (6, 5) and features.min() == 0.0  # a hidden layer of ReLUs, from which z comes
    z = (features @ kernel + bias)[:, :2]  # of a Gaussian, the mean
    np.testing.assert_allclose(z, outputs["z"], rtol=1e-4, atol=1e-5)
    if posterior == "gaussian":  # the mean and variance of the z that training draws
        epsilon = tf.constant(rng.normal(size=[6, 2]), tf.float32)
        expected = outputs["z"] + tf.exp(0.5 * outputs["z_log_var"]) * epsilon
        np.testing.assert_allclose(model.G_z(x, epsilon, training=False), expected, rtol=1e-5)
    elif posterior == "implicit":  # other seeds, other draws from the same posterior
        same_x = model.encode(tf.repeat(x[:1], 6, 0), rows["seed"])["z"].numpy()
        np.testing.assert_allclose(same_x[0], same_x[2], rtol=1e-6)
        assert np.abs(same_x[0] - same_x[1]).max() > 1e-3
    answer = model.discriminate(x, rows["z"])
    np.testing.assert_allclose(answer["logits"], model.D_output(x, rows["z"], training=False), rtol=1e-6)
    np.testing.assert_allclose(answer["probability"], 1 / (1 + np.exp(-answer["logits"])), rtol=1e-5)
