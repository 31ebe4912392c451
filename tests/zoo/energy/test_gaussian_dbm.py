"""The deep Boltzmann machine of real numbers against the mixture of Gaussians that it is."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.zoo.enumeration import Mixture, slopes
from tests.zoo.steps import train_by_adam
from zoo.energy.dbm import DBM
from zoo.parts import boltzmann, gibbs
from zoo.parts.boltzmann import Machine

DATA = np.random.default_rng(1).normal(size=[6, 2]).astype(np.float32)


def make(hidden_units, scale=0.7, **arguments):
    """A machine with random weights and an optimizer that moves it by minus the gradient."""
    options = {"mean_field_tolerance": 1e-6, "mean_field_steps": 200, **arguments}
    model = DBM(data_shape=(2,), visible="gaussian", hidden_units=hidden_units, **options)
    rng = np.random.default_rng(0)
    for weight in model.weights_of("machine"):
        weight.assign(rng.normal(size=weight.shape, scale=scale))
    model.compile({"machine": keras.optimizers.SGD(1.0)}, jit_compile=False)
    return model


def parameters(model):
    """[W_1, ..., b_0, ..., log s^2], float64 arrays."""
    of = [*model.machine.W, *model.machine.b, model.machine.log_variance]
    return [variable.numpy().astype(np.float64) for variable in of]


def mixture_of(theta):
    *others, log_variance = theta
    L = len(others) // 2
    return Mixture(others[:L], others[L:], np.exp(log_variance))


def train(model):
    """One step, of particles that are exact samples: theta before it, its changes, and the particles after it."""
    theta = parameters(model)
    for chain, state in zip(model.chains, mixture_of(theta).draw(model.num_chains), strict=True):
        chain.assign(state)
    model.train_step(tf.constant(DATA))
    return theta, [after - before for after, before in zip(parameters(model), theta, strict=True)], model.particles


@pytest.mark.slow
@pytest.mark.parametrize("hidden_units, fixed", [((3,), False), ((3, 2), False), ((2, 2, 2), True)])
def test_gradient_is_that_of_the_variational_bound(hidden_units, fixed):
    """Less the bound's part log Z, whose gradient the particles give: by finite differences of both."""
    model = make(hidden_units, num_chains=50, gibbs_steps=2, fixed_variance=fixed, visible_variance=0.7)
    theta, delta, particles = train(model)
    L = len(hidden_units)

    @tf.function
    def objective(theta):
        machine = boltzmann.gaussian(Machine(theta[:L], theta[L:-1]), theta[-1])
        x = tf.constant(DATA, tf.float64)
        data = boltzmann.bound(machine, x, boltzmann.mean_field(machine, x, 1e-10, 1000))
        return tf.reduce_mean(data) + tf.reduce_mean(boltzmann.energy(machine, means))

    start = tf.nest.map_structure(tf.constant, theta)
    machine = boltzmann.gaussian(Machine(start[:L], start[L:-1]), start[-1])
    means = gibbs.odd_means(machine, [tf.cast(x, tf.float64) for x in particles])
    for change, array in zip(delta[:-1] if fixed else delta, theta, strict=not fixed):
        expected = slopes(lambda: objective(tf.nest.map_structure(tf.constant, theta)), array)
        np.testing.assert_allclose(change, expected, atol=3e-5)
    assert np.any(delta[-1]) == (not fixed)


@pytest.mark.slow
def test_gradient_of_an_rbm_is_that_of_the_likelihood():
    """In expectation, by finite differences of the log-likelihood of the mixture."""
    model = make((3,), num_chains=200000, gibbs_steps=1)
    theta, delta, _ = train(model)
    for change, array in zip(delta, theta, strict=True):
        expected = slopes(lambda: mixture_of(theta).log_prob(DATA.astype(np.float64)).mean(), array)
        assert np.abs(expected).max() > 0.05
        np.testing.assert_allclose(change, expected, atol=0.03)


@pytest.mark.slow
def test_two_hidden_units_learn_four_gaussians_at_the_corners_of_a_square():
    """KL near 0 by persistent chains; it starts above two nats."""
    keras.utils.set_random_seed(0)
    rng, deviation = np.random.default_rng(0), 0.4
    corners = rng.choice([-1.0, 1.0], [20000, 2])
    x = corners + deviation * rng.normal(size=corners.shape)
    truth = Mixture([2.0 * np.eye(2)], [np.full(2, -1.0), np.zeros(2)], np.full(2, deviation**2))
    truth.p[:] = 0.25
    start = {"visible_variance": 0.3}  # with that of the data, W = 0 would be a saddle point
    model = DBM(data_shape=(2,), visible="gaussian", hidden_units=(2,), num_chains=500, gibbs_steps=2, **start)

    def kl():
        return np.mean(truth.log_prob(x) - mixture_of(parameters(model)).log_prob(x))

    before = kl()
    train_by_adam(model, tf.constant(x, tf.float32), 1000, 500, 0.03)
    assert before > 2.0 and kl() < 0.01


@pytest.mark.slow
@pytest.mark.parametrize("hidden_units", [(3,), (2, 2)])
def test_samples_and_inpainting_are_of_the_mixture(hidden_units):
    model, num = make(hidden_units, sample_steps=30, log_z_betas=60, log_z_runs=1000), 4000
    mixture, seeds = mixture_of(parameters(model)), tf.range(num, dtype=tf.int64)
    x, given = (values.numpy() for values in tf.function(lambda: [model.sample(seeds), model.sample_mean(seeds)])())
    p = mixture.p[:, None]
    mean, square = (np.sum(p * m, 0) for m in (mixture.means, mixture.means**2 + mixture.variance))
    assert np.all(abs(x.mean(0) - mean) < 4 * x.std(0) / np.sqrt(num))
    assert np.all(abs((x**2).mean(0) - square) < 4 * (x**2).std(0) / np.sqrt(num))
    np.testing.assert_allclose((x - given).std(0), np.sqrt(mixture.variance), rtol=0.06)

    known = tf.constant([[True, False]] * num)
    draw, means = tf.function(lambda: model.inpaint(tf.fill([num, 2], 1.0), known, seeds))()
    distance = (1.0 - mixture.means[:, 0]) ** 2 / mixture.variance[0]
    posterior = mixture.p * np.exp(-0.5 * distance)
    expected = posterior @ mixture.means[:, 1] / posterior.sum()
    np.testing.assert_array_equal(draw[:, 0], 1.0)
    for values in (draw[:, 1].numpy(), means[:, 1].numpy()):
        assert abs(values.mean() - expected) < 4 * values.std() / np.sqrt(num)

    found = model.before_export({})
    assert abs(found["log_z"] - mixture.log_z) < 5 * found["log_z_standard_error"]
    bound = model.signatures()["log_prob"][0](points=DATA)["log_prob_lower_bound"] + found["log_z"] - mixture.log_z
    exact = mixture.log_prob(DATA.astype(np.float64))
    assert np.all(bound < exact + 1e-4)
    if len(hidden_units) == 1:
        np.testing.assert_allclose(bound, exact, atol=1e-4)
        np.testing.assert_allclose(model.encode(DATA)["h1"], model.states(DATA)[1])


@pytest.mark.parametrize("options, sentence", [
    ({"visible": "binary"}, "for points choose gaussian"), ({"centered": True}, "not centered"),
    ({"visible_variance": 0.0}, "visible_variance above 0"), ({"hidden_units": ()}, "hidden_units must not be empty"),
])  # fmt: skip
def test_arguments_that_do_not_go_together(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        DBM(**{"data_shape": (2,), "visible": "gaussian", "hidden_units": (3,), **options})
