"""The deep belief network against sums over all states of networks with a few units."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy import special

from tests.zoo.enumeration import all_states, log_joint, slopes
from zoo.energy.dbn import DBN
from zoo.parts import noise

X = all_states([4])[0]  # all images


def make(hidden_units, scale=1.0, **arguments):
    """A network with random weights, p and q not those of one RBM, and an optimizer that moves it by the gradient."""
    options = {"layer_steps": (1,) * len(hidden_units), "sample_steps": 40, **arguments}
    model, rng = DBN(data_shape=(2, 2, 1), hidden_units=hidden_units, **options), np.random.default_rng(0)
    for weight in model.trainable_variables:
        weight.assign(rng.normal(size=weight.shape, scale=scale))
    model.compile({"machine": keras.optimizers.SGD(1.0)}, jit_compile=False)
    return model


def images(rows):
    return tf.constant(np.reshape(rows, [-1, 2, 2, 1]), tf.float32)


def wide(network):
    return [w.astype(np.float64) for w in network.get_weights()]


def log_bernoulli(x, logits):
    """[rows of logits, rows of x]."""
    return np.sum(x * logits[:, None] - np.logaddexp(0.0, logits)[:, None], axis=-1)


def log_q(model):
    """log q(h|x) [images, states of h_1 ... h_{L-1}]; h in the order of `all_states`."""
    below, log_p = X, None
    for kernel, bias in map(wide, model.recognition):
        (h,) = all_states([len(bias)])
        step = log_bernoulli(h, below @ kernel + bias)  # [below, h]
        log_p = step if log_p is None else (log_p[:, :, None] + step).reshape(16, -1)
        below = h
    return log_p


def log_p(model):
    """log p(x, h) - log p(h_{L-1}) + log p*(h_{L-1}), of the same table, and log Z."""
    (W,), biases, _ = model.machine.tensors()
    sizes = [len(b) for b in biases]
    energies = log_joint([W.numpy()], [b.numpy() for b in biases]).reshape(2 ** sizes[0], -1)
    table = special.logsumexp(energies, axis=1)[None]  # [1, h_{L-1}]
    for kernel, bias in map(wide, model.generator):
        above, below = (all_states([num])[0] for num in kernel.shape)
        step = log_bernoulli(below, above @ kernel + bias).T  # [below, above]
        table = (step[:, :, None] + table.reshape(1, len(above), -1)).reshape(len(below), -1)
    return table, special.logsumexp(energies)


def bounds(model):
    """E_q[log p(x, h) - log q(h|x)] of all images, and log p(x)."""
    (joint, log_z), q = log_p(model), log_q(model)
    return np.sum(np.exp(q) * (joint - q), axis=1) - log_z, special.logsumexp(joint, axis=1) - log_z


def as_rbm(model):
    """Makes p and q those of one RBM, and the top one this RBM upside down: its parameters."""
    (R, c), (_, b) = wide(model.recognition[0]), wide(model.generator[0])
    model.generator[0].set_weights([R.T, b])
    for variable, value in zip([*model.machine.W, *model.machine.b], [R.T, c, b], strict=True):
        variable.assign(value)
    return [R], [b, c]


def test_with_an_rbm_upside_down_on_top_it_is_this_rbm():
    """And q is its exact posterior: every draw has the weight p(x)."""
    model = make((2, 4))
    rbm = log_joint(*as_rbm(model))
    exact = special.logsumexp(rbm.reshape(16, -1), axis=1) - special.logsumexp(rbm)
    for found in bounds(model):
        np.testing.assert_allclose(found, exact, atol=1e-5)
    log_w = model.log_weights(images(X), 20) - special.logsumexp(rbm)  # of a log Z that is taken for 0
    np.testing.assert_allclose(log_w, np.tile(exact, [20, 1]), atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("hidden_units", [(2, 3), (2, 3, 2)])
def test_joint_and_bound_are_those_of_enumeration(hidden_units):
    """The joint of every state; the bound's mean over draws, by the log Z of annealing; and both below log p(x)."""
    model = make(hidden_units, log_z_betas=60, log_z_runs=1000, log_prob_samples=200)
    (joint, log_z), q = log_p(model), log_q(model)
    h = all_states(hidden_units[:-1])
    pairs = [np.tile(layer, [16, 1]) for layer in h]
    x = images(np.repeat(X, len(h[0]), axis=0))
    found = model.log_joint(x, [tf.constant(layer, tf.float32) for layer in pairs])
    np.testing.assert_allclose(tf.reshape(found, joint.shape), joint, atol=1e-4)
    np.testing.assert_allclose(tf.reshape(model.q(x).log_prob(tuple(map(np.float32, pairs))), q.shape), q, atol=1e-4)

    assert "log_prob" not in model.signatures()
    estimate = model.before_export({})
    assert abs(estimate["log_z"] - log_z) < 5 * estimate["log_z_standard_error"]
    bound, exact = bounds(model)
    log_prob = tf.function(model.signatures()["log_prob"][0])
    served = log_prob(images=images(X), seed=tf.range(16, dtype=tf.int64))
    error = log_z - estimate["log_z"]
    log_w = joint - log_z - q
    spread = np.sqrt(np.sum(np.exp(q) * (log_w - bound[:, None]) ** 2, axis=1) / 200)
    assert np.all(abs(served["elbo"] - error - bound) < 5 * spread + 1e-4)
    assert np.all(served["log_prob_lower_bound"] >= served["elbo"])
    weights = np.exp(log_w - exact[:, None])
    spread = np.sqrt(np.sum(np.exp(q) * (weights - 1.0) ** 2, axis=1) / 200)
    assert np.all(abs(np.exp(served["log_prob_lower_bound"] - error - exact) - 1.0) < 5 * spread + 1e-4)


def wide_top(model):
    return [v.numpy().astype(np.float64) for v in (*model.machine.W, *model.machine.b)]


def part_of_the_top(model, x):
    """The part of the bound that the top RBM has, a function of its float64 arrays: mean over x of E_q log p(h_1)."""
    q = np.exp(log_q(model))[x].mean(axis=0)

    def objective(W, b, c):
        table = special.logsumexp(log_joint([W], [b, c]).reshape(len(q), -1), axis=1)
        return q @ table - special.logsumexp(table)

    return objective


@pytest.mark.slow
def test_greedy_steps_on_top_never_lower_the_bound():
    """By the exact gradient, from the RBM below upside down on."""
    model, x = make((2, 4), scale=2.0), [3, 5, 5, 9, 15]
    as_rbm(model)
    theta, objective, found = wide_top(model), part_of_the_top(model, x), []
    for _ in range(20):
        found.append(bounds(model)[0][x].mean())
        for array, slope in [(a, slopes(lambda: objective(*theta), a)) for a in theta]:
            array += 0.2 * slope
        for variable, array in zip((*model.machine.W, *model.machine.b), theta, strict=True):
            variable.assign(array)
    assert np.all(np.diff(found) > 0) and found[-1] > found[0] + 0.03


@pytest.mark.slow
@pytest.mark.parametrize("persistent", [False, True])
def test_the_step_of_the_top_rbm_is_the_gradient_of_that_bound(persistent):
    """In expectation, after many sweeps."""
    num, rows = 20000, np.random.default_rng(0).choice([3, 5, 5, 9, 15], 20000)
    model = make((2, 3), gibbs_steps=15, persistent=persistent, num_chains=num)
    model.step.assign(1)
    theta = wide_top(model)
    below = [w for network in (*model.recognition, *model.generator) for w in network.get_weights()]
    model.train_step(images(X[rows]))
    objective = part_of_the_top(model, rows)
    for variable, array in zip((*model.machine.W, *model.machine.b), theta, strict=True):
        expected = slopes(lambda: objective(*theta), array)
        np.testing.assert_allclose(variable.numpy() - array, expected, atol=5 * 0.7 / np.sqrt(num))
    after = [w for network in (*model.recognition, *model.generator) for w in network.get_weights()]
    for a, b in zip(below, after, strict=True):
        np.testing.assert_array_equal(a, b)


def test_weights_down_are_those_of_the_generator():
    """What a unit adds to the logits of the layer beneath it; on top they are those of the RBM."""
    model = make((3, 2, 2))
    first, second, top = model.weights_down()
    for network, W in zip(model.generator, (second, first), strict=True):
        units = tf.eye(W.shape[1])
        logits = tf.reshape(network(units) - network(0.0 * units), [W.shape[1], -1])
        np.testing.assert_allclose(logits, tf.transpose(W), atol=1e-6)
    np.testing.assert_array_equal(top, model.machine.W[0])


@pytest.mark.slow
def test_layers_share_weights_until_they_have_learned():
    model = DBN(data_shape=(2, 2, 1), hidden_units=(3, 3, 2), layer_steps=(2, 2, 2), num_chains=8)
    model.compile()  # with momentum
    step, rng, moved = tf.function(model.train_step), np.random.default_rng(0), []
    for _ in range(8):
        before = [v.numpy() for v in model.trainable_variables]
        step(images(X[rng.choice(16, 8)]))
        moved.append([np.any(v.numpy() != b) for v, b in zip(model.trainable_variables, before, strict=True)])
        tied = [
            np.array_equal(up.get_weights()[0], down.get_weights()[0].T)
            for up, down in zip(model.recognition, model.generator[::-1], strict=True)
        ]
        assert tied == [len(moved) <= 6] * 2
    R1, c1, R2, c2, G2, b1, G1, b0, W, *_ = range(len(moved[0]))  # in the order of `moves`
    for i, (own, others) in enumerate([((R1, c1, G1, b0), (R2, c2, G2, b1, W)), ((R2, c2, G2, b1), (W,))]):
        assert all(moved[2 * i][j] for j in own) and not any(moved[2 * i][j] for j in others)
    assert moved[4][W] and all(moved[7])


@pytest.mark.slow
def test_up_down_is_wake_and_sleep():
    """p moves along the slope of log p(x, h), h ~ q, and q along that of log q(dream), by automatic differentiation."""
    num = 30
    model = make((3, 2, 2), num_chains=num, gibbs_steps=2)
    model.step.assign(3)
    x = images(X[np.random.default_rng(0).choice(16, num)])
    networks = {"p": model.generator, "q": model.recognition}
    with tf.GradientTape(persistent=True) as tape:
        q = model.q(x)
        with model.drawing(noise.TRAINING, 3):
            h, _ = q.draw(model.draw_noise(q, [num]))
        wake = tf.reduce_mean(model.log_joint(x, h))
    before = {key: [wide(network) for network in of] for key, of in networks.items()}
    expected = {"p": [tape.gradient(wake, network.trainable_variables) for network in model.generator]}
    old = [tf.identity(v) for v in model.trainable_variables]
    logs = model.train_step(x)
    new = [tf.identity(v) for v in model.trainable_variables]
    assert logs["reconstruction"] > 0.0

    for variable, value in zip(model.trainable_variables, old, strict=True):
        variable.assign(value)
    with tf.GradientTape(persistent=True) as tape, model.drawing(noise.TRAINING, 3):
        dreams, p = [model.particles[0]], model.directed()  # the chains are where Gibbs sampling ended
        for i in (1, 2):
            uniform = noise.uniform(model.key("dream", i - 1), [num, *p.noise[i].shape])
            dreams.append(tf.cast(uniform < p.layer(i, dreams).mean(), tf.float32))
        *above, dream = dreams
        sleep = tf.reduce_mean(model.q(dream).log_prob(tuple(reversed(above))))
    expected["q"] = [tape.gradient(sleep, network.trainable_variables) for network in model.recognition]
    for variable, value in zip(model.trainable_variables, new, strict=True):
        variable.assign(value)
    for key, of in networks.items():
        for network, start, slope in zip(of, before[key], expected[key], strict=True):
            for w, w0, change in zip(wide(network), start, slope, strict=True):
                np.testing.assert_allclose(w - w0, change, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("hidden_units", [(2, 3), (2, 3, 2)])
def test_samples_are_of_the_network(hidden_units):
    """Frequencies of all images against enumeration."""
    model, num = make(hidden_units), 4000
    p = np.exp(bounds(model)[1])
    found = tf.function(lambda: model.sample(tf.range(num, dtype=tf.int64)))()
    counts = np.bincount(found.numpy().astype(int).reshape(num, 4) @ [8, 4, 2, 1], minlength=16) / num
    assert np.all(abs(counts - p) < 4 * np.sqrt(p * (1 - p) / num) + 1e-9)


@pytest.mark.parametrize("options, sentence", [
    ({"hidden_units": (3,), "layer_steps": (1,)}, "two layers at least"), ({"layer_steps": (1,)}, "each of the 2"),
    ({"log_z_runs": 1}, "2 or more"),
])  # fmt: skip
def test_arguments_that_do_not_go_together(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        DBN(**{"data_shape": (2, 2, 1), "hidden_units": (3, 2), "layer_steps": (1, 1), **options})
