"""The bound of an auxiliary variable, by enumeration of a binary one beside a binary z."""

import itertools

import numpy as np
import pytest
import tensorflow as tf
from scipy import special

from zoo.variational.auxiliary_vae import AuxiliaryVAE

NUM = 3  # values of x, one a row
X = np.eye(NUM, dtype=np.float32)


def tables(seed):
    """Random p(z), p(x|z) [z, x], q(a|x) [x, a], q(z|a, x) [x, a, z] and p(a|x, z) [x, z, a]."""
    rng = np.random.default_rng(seed)
    shapes = [(2,), (2, NUM), (NUM, 2), (NUM, 2, 2), (NUM, 2, 2)]
    return [special.softmax(rng.normal(0, 1.5, shape), axis=-1) for shape in shapes]


class Table:
    """The probabilities of 0 and 1, `logits` [..., 2]: a posterior that takes a value for its noise, and a density."""

    def __init__(self, probabilities):
        self.log_probabilities, self.noise = tf.constant(np.log(probabilities), tf.float32), ()

    def log_prob(self, value):
        index = tf.cast(value[..., 0], tf.int32)
        logits = tf.broadcast_to(self.log_probabilities, [*index.shape, self.log_probabilities.shape[-1]])
        return tf.gather(logits, index, axis=-1, batch_dims=index.shape.rank)

    def draw(self, value):
        return value, self.log_prob(value)


def log_weights(monkeypatch, prior, likelihood, q_a, q_z, p_a):
    """For all a and z, [4, x], of a model with these tables, and q(a, z|x) [4, x]."""
    model = AuxiliaryVAE(data_shape=(NUM,), latent_size=1, auxiliary_size=1, hidden_units=(), likelihood="gaussian")

    def at(table, values):  # [x, value, ...], one value for each draw and row
        return table[np.arange(NUM), np.int32(values[..., 0])]

    monkeypatch.setattr(AuxiliaryVAE, "prior", Table(prior))
    model.p = lambda z, training=False: LikelihoodTable(likelihood, z)
    model.q_a = lambda x, training=False: Table(q_a)
    model.q_z = lambda a, x, training=False: Table(at(q_z, a))
    model.p_a = lambda x, z, training=False: Table(at(p_a, z))
    a, z = np.moveaxis(np.array(list(itertools.product([0.0, 1.0], repeat=2)), np.float32), -1, 0)
    a, z = (np.tile(value[:, None, None], [1, NUM, 1]) for value in (a, z))
    weight = at(q_a, a) * np.take_along_axis(at(q_z, a), np.int32(z), axis=-1)[..., 0]
    return model.log_weight(X, model.q(X), (tf.constant(a), tf.constant(z))).numpy().astype(np.float64), weight


class LikelihoodTable:
    def __init__(self, table, z):
        self.table, self.z = table, z

    def log_prob(self, x):
        return tf.constant(np.log(self.table[np.int32(self.z[..., 0]), np.argmax(x, axis=-1)]), tf.float32)


def kl(q, p):
    return special.rel_entr(q, p).sum(-1)


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_bound_falls_short_by_two_divergences(seed, exact, monkeypatch):
    """And with the exact p(a|x, z) it is the ELBO of q(z|x), which no single draw knows."""
    prior, likelihood, q_a, q_z, p_a = tables(seed)
    joint = q_a[:, :, None] * q_z  # q(a, z|x), [x, a, z]
    q = joint.sum(1)  # q(z|x)
    reverse = np.swapaxes(joint / q[:, None], 1, 2)  # q(a|x, z), [x, z, a]
    log_w, weight = log_weights(monkeypatch, prior, likelihood, q_a, q_z, reverse if exact else p_a)
    p_xz = (likelihood * prior[:, None]).T  # [x, z]
    p_x = p_xz.sum(1)
    bound = np.log(p_x) - kl(q, p_xz / p_x[:, None]) - (0 if exact else np.sum(q * kl(reverse, p_a), axis=1))
    np.testing.assert_allclose(np.sum(weight * log_w, axis=0), bound, rtol=1e-5)
    np.testing.assert_allclose(np.sum(weight * np.exp(log_w), axis=0), p_x, rtol=1e-5)  # no bias whatever p(a|x, z) is
    if exact:
        np.testing.assert_allclose(bound, np.sum(q * np.log(p_xz / q), axis=1))
