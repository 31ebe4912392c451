"""The Helmholtz machine with 4 visible and 3 hidden units, all of whose states are there, against sums in float64."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy import special

from common.graph import graph
from zoo.parts import noise
from zoo.variational.helmholtz import DECAY, Helmholtz

VISIBLE, HIDDEN = 4, 3
PAIRS = np.divmod(np.arange(2 ** (VISIBLE + HIDDEN)), 2**HIDDEN)  # the numbers of all x, and of all h beside them
with_layers = pytest.mark.parametrize("hidden_units", [(HIDDEN,), (2, 1)])


def binary(size):
    return np.array(list(itertools.product([0.0, 1.0], repeat=size)))


def log_chain(logits, weights, states):
    """The log-probability of layers: the logits of the first; W and b of each further one, given that before it."""
    total = tf.reduce_sum(states[0] * logits - tf.nn.softplus(logits), -1)
    for W, b, before, state in zip(weights[::2], weights[1::2], states, states[1:], strict=False):
        logits = before @ W + b
        total += tf.reduce_sum(state * logits - tf.nn.softplus(logits), -1)
    return total


def gradients(value, weights):
    with tf.GradientTape() as tape:
        total = value()
    return [g.numpy() for g in tape.gradient(total, weights)]


def assert_close(left, right, tolerance=2e-5):
    assert len(left) == len(right)
    for a, b in zip(left, right, strict=True):
        np.testing.assert_allclose(a, b, atol=tolerance, rtol=tolerance)


class Machine:
    """A model with random weights, and a second one in float64: theta, phi, and tables over x (16) and h (8)."""

    def __init__(self, hidden_units=(HIDDEN,), scale=1.0, baseline_units=(), **arguments):
        self.model = Helmholtz(
            data_shape=(VISIBLE,), hidden_units=hidden_units, baseline_units=baseline_units, **arguments
        )
        rng = np.random.default_rng(0)
        for weight in self.model.trainable_variables:
            weight.assign(rng.normal(size=weight.shape, scale=scale))
        self.x, self.h = binary(VISIBLE), np.split(binary(HIDDEN), np.cumsum(hidden_units)[:-1], axis=1)
        self.data = rng.dirichlet(np.ones(len(self.x)))  # some p_data(x)
        self.theta, self.phi = ([tf.Variable(w.numpy().astype(np.float64)) for w in self.of(m)] for m in (0, 1))

    def of(self, i):
        """The model's weights of theta (0), phi (1) or the baseline (2)."""
        return self.model.weights_of(list(self.model.moves)[i])

    def log_p(self):
        """log p(x, h), [16, 8]."""
        h = [np.broadcast_to(layer, [16, *layer.shape]) for layer in self.h[::-1]]
        return log_chain(self.theta[0], self.theta[1:], [*h, np.repeat(self.x[:, None], 8, 1)])

    def log_q(self):
        """log q(h|x), [16, 8]."""
        h = [np.broadcast_to(layer, [16, *layer.shape]) for layer in self.h]
        return log_chain(self.x[:, None] @ self.phi[0] + self.phi[1], self.phi[2:], h)

    def losses(self, x, draws, dreams=PAIRS):
        """What the algorithm gives for rows of these numbers: x [n], draws h_k [K, n], and a pair of x~ and h~ [n]."""
        chosen = {
            "epsilon": [layer[draws] for layer in self.h],
            "dream": [*(layer[dreams[1]] for layer in self.h[::-1]), self.x[dreams[0]]],
        }

        def draw_noise(q, leading, name="epsilon"):
            states = [tf.constant(1.0 - state, tf.float32) for state in chosen[name]]  # u < p where u is 0
            return tuple(tf.ensure_shape(s, [*leading, *n.shape]) for s, n in zip(states, q.noise, strict=True))

        self.model.draw_noise = draw_noise
        return getattr(self.model, self.model.algorithm)(tf.constant(self.x[x], tf.float32), training=False)

    def expected(self, move, probability, i):
        """The gradient by weights i of a move's loss, when x and its one draw, or the dream, are all `PAIRS`."""
        by_pair = tf.constant(np.ravel(probability), tf.float32)
        return gradients(lambda: tf.reduce_sum(by_pair * self.losses(PAIRS[0], PAIRS[1][None])[move]), self.of(i))


@with_layers
def test_wake_gradient_in_expectation(hidden_units):
    """Of theta, under x ~ p_data, h ~ q: that of E log p(x, h)."""
    machine = Machine(hidden_units)
    p = machine.data[:, None] * np.exp(machine.log_q())
    expected = gradients(lambda: -tf.reduce_sum(p * machine.log_p()), machine.theta)
    assert_close(machine.expected("generator", p, 0), expected)


@with_layers
def test_sleep_gradient_in_expectation(hidden_units):
    """Of phi, under x, h ~ p: that of E_p KL(p(h|x) || q(h|x))."""
    machine = Machine(hidden_units)
    p = np.exp(machine.log_p())
    np.testing.assert_allclose(p.sum(), 1.0)
    log_posterior = np.log(p / p.sum(1, keepdims=True))
    expected = gradients(lambda: tf.reduce_sum(p * (log_posterior - machine.log_q())), machine.phi)
    assert_close(machine.expected("recognition", p, 1), expected)


@with_layers
@pytest.mark.parametrize("phase", ["wake", "sleep", "both"])
def test_reweighted_gradients_of_any_draws(hidden_units, phase):
    """Of theta, sum_k w~_k grad log p(x, h_k) is that of log 1/K sum_k w_k; of phi, the weights are the same."""
    machine = Machine(hidden_units, algorithm="reweighted", num_samples=3, recognition_phase=phase)
    rng = np.random.default_rng(1)
    x, draws, dreams = rng.integers(16, size=9), rng.integers(8, size=[3, 9]), (rng.integers(16, size=9), PAIRS[1][:9])

    def at(table):
        return tf.gather_nd(table, np.stack(np.broadcast_arrays(x, draws), -1))

    w = tf.nn.softmax(at(machine.log_p() - machine.log_q()), axis=0)
    of_weights = gradients(lambda: -tf.reduce_sum(w * at(machine.log_p())), machine.theta)
    of_bound = gradients(
        lambda: -tf.reduce_sum(tf.reduce_logsumexp(at(machine.log_p() - machine.log_q()), 0)), machine.theta
    )
    assert_close(of_weights, of_bound, 1e-12)
    total = {
        move: lambda move=move: tf.reduce_sum(machine.losses(x, draws, dreams)[move]) for move in machine.model.moves
    }
    assert_close(gradients(total["generator"], machine.of(0)), of_bound)

    wake = gradients(lambda: -tf.reduce_sum(w * at(machine.log_q())), machine.phi)
    sleep = gradients(lambda: -tf.reduce_sum(tf.gather_nd(machine.log_q(), np.stack(dreams, -1))), machine.phi)
    expected = {"wake": wake, "sleep": sleep, "both": [(a + b) / 2.0 for a, b in zip(wake, sleep, strict=True)]}
    assert_close(gradients(total["recognition"], machine.of(1)), expected[phase])


@with_layers
def test_reweighted_with_all_states_is_exact(hidden_units):
    """K draws that are all h, of a uniform q: the bound is log p(x), its gradient that of log p(x), w~ is p(h|x)."""
    machine = Machine(hidden_units, algorithm="reweighted", num_samples=8, recognition_phase="wake")
    for weight in [*machine.of(1), *machine.phi]:
        weight.assign(tf.zeros_like(weight))
    x, draws = np.arange(16), np.repeat(np.arange(8)[:, None], 16, 1)
    log_p = machine.log_p()
    expected = gradients(lambda: -tf.reduce_sum(tf.reduce_logsumexp(machine.log_p(), 1)), machine.theta)
    np.testing.assert_allclose(machine.losses(x, draws)["generator"], -special.logsumexp(log_p, 1), rtol=1e-5)
    assert_close(gradients(lambda: tf.reduce_sum(machine.losses(x, draws)["generator"]), machine.of(0)), expected)
    posterior = tf.nn.softmax(log_p, 1)
    expected = gradients(lambda: -tf.reduce_sum(posterior * machine.log_q()), machine.phi)
    assert_close(gradients(lambda: tf.reduce_sum(machine.losses(x, draws)["recognition"]), machine.of(1)), expected)


@with_layers
@pytest.mark.parametrize("centered, normalized, baseline_units", [
    (False, False, ()), (True, False, ()), (False, True, ()), (False, False, (5,)), (True, True, (5,)),
])  # fmt: skip
def test_score_function_gradient_in_expectation(hidden_units, centered, normalized, baseline_units):
    """That of the ELBO, whatever the baselines are, and as their deviation divides it."""
    signal = {"centered": centered, "normalized": normalized, "baseline_units": baseline_units}
    machine = Machine(hidden_units, algorithm="score_function", **signal)
    model, data = machine.model, machine.data[:, None]
    model.step.assign(1), model.moments.mean.assign(-3.0), model.moments.variance.assign(6.25)

    def negative_elbo():
        return -tf.reduce_sum(data * tf.exp(machine.log_q()) * (machine.log_p() - machine.log_q()))

    q = data * np.exp(machine.log_q())
    scale = 2.5 if normalized else 1.0
    assert_close(machine.expected("generator", q, 0), gradients(negative_elbo, machine.theta))
    expected = [g / scale for g in gradients(negative_elbo, machine.phi)]
    assert_close(machine.expected("recognition", q, 1), expected, 1e-4)
    if baseline_units:  # C descends half the squared error of what is left
        C = model.C(machine.x).numpy()[:, 0]
        left = np.sum(q * (machine.log_p() - machine.log_q() - C[:, None] + 3.0 * centered), 1)
        expected = gradients(
            lambda: -tf.reduce_sum(left * tf.cast(model.C(machine.x)[:, 0], tf.float64)), machine.of(2)
        )
        assert_close(machine.expected("baseline", q, 2), [g / scale for g in expected], 1e-4)


def test_moving_moments_are_those_of_the_steps_before():
    """Of the first step, its own; and outside training they stay."""
    model = Machine(algorithm="score_function").model
    model.compile({move: keras.optimizers.SGD(0.0) for move in model.moves}, jit_compile=False)
    x, before = tf.constant(binary(VISIBLE), tf.float32), None
    for step in range(3):
        with model.drawing(noise.TRAINING, step):
            log_w = model.wake(x)[1]
        now = np.array([np.mean(log_w), np.var(log_w)])
        before = now if before is None else before
        with model.drawing(noise.TRAINING, step):
            residual, scale = model.signal(log_w, training=False)
        np.testing.assert_allclose(residual, log_w - before[0], rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(scale, max(1.0, np.sqrt(before[1])), rtol=1e-4)
        model.train_step(x), model.test_step(x)
        before = DECAY * before + (1.0 - DECAY) * now
        found = [float(average.value) for average in (model.moments.mean, model.moments.variance)]
        np.testing.assert_allclose(found, before, rtol=1e-4)


@pytest.mark.slow
@with_layers
def test_what_is_served_is_of_the_machine(hidden_units):
    """Weights have the mean p(x); samples, latents and encodings the frequencies of the tables."""
    machine, num = Machine(hidden_units, log_prob_samples=500), 20_000
    model, x = machine.model, tf.constant(machine.x, tf.float32)
    q, p = np.exp(machine.log_q()), np.exp(machine.log_p())
    noise_of_h = tuple(tf.constant(1.0 - layer[PAIRS[1]], tf.float32) for layer in machine.h)
    rows = tf.gather(x, PAIRS[0])
    w = np.exp(model.log_weight(rows, model.q(rows), noise_of_h)).reshape(16, 8)
    np.testing.assert_allclose(w * q, p, rtol=1e-4)

    def assert_frequencies(states, probability):
        numbers = states.numpy().astype(int) @ 2 ** np.arange(states.shape[1])[::-1]
        found = np.bincount(numbers, minlength=len(probability)) / len(numbers)
        assert np.all(np.abs(found - probability) < 5 * np.sqrt(probability / num))

    seeds = tf.range(num, dtype=tf.int64)
    assert_frequencies(model.sample(seeds), p.sum(1))
    of_h1 = p.sum(0).reshape(2 ** hidden_units[0], -1).sum(1)
    assert_frequencies(model.latent(seeds), of_h1)
    np.testing.assert_allclose(model.encode(x)["z"], q @ machine.h[0], rtol=1e-5)
    assert set(model.encode(x)) == {"z", *(f"h{i}" for i in range(2, len(hidden_units) + 1))}
    w, log_px = p / q, np.log(p.sum(1))
    scores = graph(model.log_prob)(x, tf.range(16, dtype=tf.int64))
    error = np.sqrt(np.sum(q * (w - p.sum(1, keepdims=True)) ** 2, 1)) / p.sum(1) / np.sqrt(500)
    assert np.all(np.abs(scores["log_prob_lower_bound"] - log_px) < 5 * error + 1e-3)
    elbo = np.sum(q * np.log(w), 1)
    error = np.sqrt(np.sum(q * (np.log(w) - elbo[:, None]) ** 2, 1) / 500)
    assert np.all(np.abs(scores["elbo"] - elbo) < 5 * error + 1e-3)


def test_no_point_lies_between_binary_latents():
    model = Machine().model
    assert "interpolate" not in model.signatures()
    with pytest.raises(ValueError, match="no latent point lies between"):
        model.interpolate(tf.zeros([1, 3]), tf.ones([1, 3]), tf.constant([0.5]))
    with pytest.raises(ValueError, match="hidden_units must not be empty"):
        Helmholtz(data_shape=(4,), hidden_units=())
