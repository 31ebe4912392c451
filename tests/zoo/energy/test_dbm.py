"""The deep Boltzmann machine against exact enumeration of machines with a few units."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy import special

from tests.zoo.enumeration import (
    all_states,
    assert_close,
    exact_samples,
    expectations,
    log_joint,
    marginal,
    slopes,
)
from tests.zoo.steps import train_by_adam
from zoo.energy.dbm import DBM
from zoo.parts import boltzmann
from zoo.parts.boltzmann import Machine


def make(hidden_units, scale=0.7, **arguments):
    """A machine with random weights and an optimizer that moves it by minus the gradient."""
    options = {"mean_field_tolerance": 1e-6, "mean_field_steps": 200, **arguments}
    model, rng = DBM(data_shape=(2, 2, 1), hidden_units=hidden_units, **options), np.random.default_rng(0)
    for weight in model.weights_of("machine"):
        weight.assign(rng.normal(size=weight.shape, scale=scale))
    model.compile({"machine": keras.optimizers.SGD(1.0)}, jit_compile=False)
    return model


def wide(arrays):
    return [array.numpy().astype(np.float64) for array in arrays]


def parameters(model):
    return [wide(model.machine.W), wide(model.machine.b)]


def stack(model):
    """W_i, and the biases of its lower and of its upper layer, for each RBM of pre-training."""
    W, biases, _ = model.machine.stack()
    return [wide(rbm) for rbm in zip(W, biases[: len(W)], biases[len(W) :], strict=True)]


def differences(before, after):
    return [b - a for a, b in zip(before, after, strict=True)]


def exact_statistics(weights, biases):
    return expectations(special.softmax(log_joint(weights, biases)), all_states([len(b) for b in biases]))


def images(num):
    return (np.random.default_rng(0).random([num, 2, 2, 1]) < 0.4).astype(np.float32)


def train(model, x):
    """One step, of particles that are exact samples: theta before it, a list of its changes, and the logs."""
    theta = parameters(model)
    for chain, states in zip(model.chains, exact_samples(*theta, model.num_chains), strict=True):
        chain.assign(states)
    logs = model.train_step(tf.constant(x))
    return theta, differences(sum(theta, []), sum(parameters(model), [])), logs


@pytest.mark.slow
@pytest.mark.parametrize("hidden_units", [(3,), (3, 2), (2, 2, 2)])
def test_gradient_is_that_of_the_variational_bound(hidden_units):
    """The part of the data by finite differences of the bound with q at its best, that of the model by enumeration."""
    model, x = make(hidden_units, num_chains=2000, gibbs_steps=2), images(5)
    theta, delta, logs = train(model, x)
    states = wide(model.chains)  # after Gibbs sweeps, still samples of the machine
    for i in range(1, len(states), 2):  # the means of odd layers stand for their draws
        above = states[i + 1] @ theta[0][i].T if i + 1 < len(states) else 0.0
        states[i] = special.expit(states[i - 1] @ theta[0][i - 1] + above + theta[1][i])
    of_particles = expectations(np.full(2000, 1 / 2000), states)
    for expected, found in zip(exact_statistics(*theta), of_particles, strict=True):
        assert np.all(abs(found - expected) < 5 * np.sqrt(expected * (1 - expected) / 2000))

    v = tf.constant(x.reshape(5, 4), tf.float64)

    @tf.function
    def mean_bound(theta):
        mu = boltzmann.mean_field(Machine(*theta), v, 1e-10, 1000)
        return tf.reduce_mean(boltzmann.bound(Machine(*theta), v, mu))

    for change, particle, array in zip(delta, of_particles, sum(theta, []), strict=True):
        numeric = slopes(lambda: mean_bound(tf.nest.map_structure(tf.constant, theta)), array)
        np.testing.assert_allclose(change + particle, numeric, atol=2e-5)

    mu = boltzmann.mean_field(Machine(*theta), v, 1e-6, 200)
    energies = [tf.reduce_mean(boltzmann.energy(Machine(*theta), x)) for x in ([v, *mu], states)]
    np.testing.assert_allclose(logs["machine_loss"], energies[0] - energies[1], atol=1e-5)
    np.testing.assert_allclose(logs["unnormalized_bound"], mean_bound(theta), atol=1e-5)


def test_gradient_of_an_rbm_is_that_of_the_likelihood():
    """In expectation, by finite differences of the enumerated log-likelihood."""
    model, x = make((3,), num_chains=100000, gibbs_steps=1), images(6)
    theta, delta, _ = train(model, x)
    index_of = x.reshape(6, 4) @ [8, 4, 2, 1]

    def log_likelihood():
        table = special.logsumexp(log_joint(*theta).reshape(16, 8), axis=1)
        return np.mean(table[index_of.astype(int)]) - special.logsumexp(table)

    for change, array in zip(delta, sum(theta, []), strict=True):
        assert np.all(abs(change - slopes(log_likelihood, array)) < 5 * 0.5 / np.sqrt(model.num_chains))


@pytest.mark.parametrize("cost", [0.5, 2.0])
def test_sparsity_penalty_is_a_cross_entropy(cost):
    """Of one image, between target and mean, by the input from below."""
    x, target = images(1), 0.1
    theta, without, _ = train(make((3,)), x)
    _, found, _ = train(make((3,), sparsity_targets=(target,), sparsity_cost=cost), x)

    def penalty():
        mean = special.expit(x.reshape(4) @ theta[0][0] + theta[1][1])
        return -cost * np.sum(target * np.log(mean) + (1 - target) * np.log1p(-mean))

    numeric = [slopes(penalty, array) for array in sum(theta, [])]
    assert not np.any(numeric[1])  # the biases of the image
    assert_close(differences(found, without), numeric, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("hidden_units", [(3,), (3, 2)])
def test_inpainting_draws_what_is_missing_given_what_is_known(hidden_units):
    """Frequencies of all completions against enumeration; with nothing known it is `sample`."""
    model, num = make(hidden_units, sample_steps=60), 4000
    v = all_states([4])[0]
    log_p = marginal(log_joint(*parameters(model)), model.sizes, [0])
    known, x = np.array([True, False, True, False]), np.array([1.0, 0.0, 0.0, 0.0], np.float32)
    expected = special.softmax(np.where((v == x)[:, known].all(1), log_p, -np.inf))
    inpaint = model.signatures()["inpaint"][0]
    rows = {"images": np.tile(x.reshape(1, *model.data_shape), [num, 1, 1, 1]), "seed": tf.range(num, dtype=tf.int64)}
    found = inpaint(**rows, mask=tf.broadcast_to(known.reshape(1, *model.data_shape) * 1.0, rows["images"].shape))
    counts = np.bincount(found["images"].numpy().astype(int).reshape(num, 4) @ [8, 4, 2, 1], minlength=16) / num
    assert np.all(abs(counts - expected) < 4 * np.sqrt(expected * (1 - expected) / num) + 1e-9)
    nothing = inpaint(**rows, mask=tf.zeros_like(rows["images"]))["images"]
    np.testing.assert_array_equal(nothing, model.sample(rows["seed"]))


@pytest.mark.slow
@pytest.mark.parametrize("layer, copies", [(1, (2, 1)), (2, (2, 2)), (3, (1, 2))])
def test_contrastive_divergence_is_that_of_a_machine_with_copies(layer, copies):
    """After many sweeps its model is the RBM in which the neighbours of a missing layer are there twice."""
    model = make((2, 3, 2), scale=0.5, pretraining_steps=(1, 1, 1), pretraining_gibbs_steps=20)
    before, num = stack(model), 20000
    V = images(num).reshape(num, 4)
    model.step.assign(layer - 1)
    model.train_step(tf.reshape(V, [-1, *model.data_shape]))

    x = V
    for W, _, above in before[: layer - 1]:
        x = special.expit(2 * x @ W + above)
    W, below, above = before[layer - 1]
    h = special.expit(copies[0] * x @ W + above)
    data = x.T @ h / num, x.mean(0), h.mean(0)

    pairs, *means = exact_statistics([np.tile(W, copies)], [np.tile(below, copies[0]), np.tile(above, copies[1])])
    expected = pairs[: len(below), : len(above)], means[0][: len(below)], means[1][: len(above)]
    changes = [differences(old, new) for old, new in zip(before, stack(model), strict=True)]
    rates = 1, copies[1], copies[0]  # b and r both move, where there is an r
    for change, rate, *moments in zip(changes.pop(layer - 1), rates, data, expected, strict=True):
        np.testing.assert_allclose(change / rate, moments[0] - moments[1], atol=5 * 0.5 / np.sqrt(num))
    for change in sum(changes, []):
        np.testing.assert_allclose(change, 0.0, atol=1e-6)
    states = wide(model.chains)  # of the last batch, for the chains to start from
    np.testing.assert_allclose(states[0], V[: model.num_chains])
    np.testing.assert_allclose(states[layer], h[: model.num_chains], atol=1e-5)


@pytest.mark.slow
def test_phases_follow_each_other_and_survive_a_reload(tmp_path):
    keras.utils.set_random_seed(0)
    options = {"num_chains": 8, "gibbs_steps": 1, "mean_field_steps": 5}
    model, x = DBM(data_shape=(2, 2, 1), hidden_units=(3, 2), pretraining_steps=(2, 3), **options), images(6)
    model.compile(jit_compile=False)
    step, moved = tf.function(model.train_step), []
    for i in range(7):
        before = stack(model)
        step(x)
        changes = [differences(old, new) for old, new in zip(before, stack(model), strict=True)]
        moved.append([any(np.any(change) for change in of_layer) for of_layer in changes])
        if i == 3:
            model.save(tmp_path / "model.keras")
    # Momentum lets a layer slide on when it is no longer trained.
    assert moved[0] == [True, False] and moved[2][1] and all(moved[6])
    again = keras.models.load_model(tmp_path / "model.keras")
    step = tf.function(again.train_step)
    step(x), step(x), step(x)
    assert_close(model.variables, again.variables, rtol=0.0)


@pytest.mark.slow
@pytest.mark.parametrize("hidden_units, pretraining_steps, excess", [((8,), (), 0.1), ((8, 4), (300, 300), 0.12)])
def test_training_approaches_the_entropy_of_the_data(hidden_units, pretraining_steps, excess):
    """3x3 bars and stripes with a tenth of the pixels flipped: a sum over all 512 images, against their entropy.

    Runs from other seeds end between 0.04 and 0.08 nats above it; units that know nothing of each other, 1 and more.
    """
    keras.utils.set_random_seed(1)
    (x,) = all_states([9])
    rows = x.reshape(512, 3, 3)
    patterns = x[np.all(rows == rows[:, :1], axis=(1, 2)) | np.all(rows == rows[:, :, :1], axis=(1, 2))]
    assert len(patterns) == 14
    flips = abs(x[:, None] - patterns).sum(-1)
    p = np.mean(0.1**flips * 0.9 ** (9 - flips), axis=1)
    draws, num_steps = np.random.default_rng(0).choice(512, 20000, p=p), 3000
    options = {"num_chains": 200, "gibbs_steps": 2, "mean_field_steps": 20}
    model = DBM(data_shape=(3, 3, 1), hidden_units=hidden_units, pretraining_steps=pretraining_steps, **options)
    train_by_adam(model, tf.constant(rows[draws, ..., None], tf.float32), num_steps, 200, 0.02)

    table = special.logsumexp(log_joint(*parameters(model)).reshape(512, -1), axis=1)
    cross_entropy, entropy = -p @ (table - special.logsumexp(table)), -p @ np.log(p)
    independent = np.sum(special.entr(p @ x) + special.entr(1 - p @ x))
    assert independent > entropy + 1.0
    assert entropy < cross_entropy < entropy + excess
