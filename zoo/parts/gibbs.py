"""Block Gibbs sampling of Boltzmann machines: all even layers given the odd ones, then all odd layers given the even.

Machines and states are those of `zoo.parts.boltzmann`. A function `draw(probs, layer)` makes zeros and ones of probs
[batch, n_l].
"""

import tensorflow as tf

from zoo.parts import noise
from zoo.parts.boltzmann import layer_input


def sampler(uniform, machine):
    """The `draw(probs, layer)` of one sweep: ones where numbers [batch, sum of n_l], uniform on [0, 1), are below."""
    uniforms = tf.split(uniform, [b.shape[-1] for b in machine.biases], axis=-1)
    return lambda probs, layer: tf.cast(tf.cast(uniforms[layer], probs.dtype) < probs, probs.dtype)


def clamped(draw, known, x):
    """A `draw` whose visible units are x [batch, n_0] where bool `known` says so."""
    return lambda probs, layer: draw(probs, layer) if layer else tf.where(known, x, draw(probs, layer))


def independent(biases, draw):
    """A state of the machine that has these biases [n_l] and no weights."""
    return [draw(tf.sigmoid(b), layer) for layer, b in enumerate(biases)]


def sweep(machine, states, draw, tempered=lambda logits, layer: logits):
    """The states after both blocks, each of which leaves p(x) as it is. The even ones before it are not read.

    Blocks 1 and 2 of algorithm 20.1 in Goodfellow et al. 2016. `tempered` is a function (logits, layer) -> logits, for
    another distribution of the same structure.
    """
    states = list(states)
    for i in [*range(0, len(states), 2), *range(1, len(states), 2)]:
        states[i] = draw(tf.sigmoid(tempered(layer_input(machine, states, i), i)), i)
    return states


def odd_means(machine, states):
    """States with means for draws in the odd layers: statistics of less variance, as no two odd layers touch."""
    return [tf.sigmoid(layer_input(machine, states, i)) if i % 2 else x for i, x in enumerate(states)]


def base_rates(states):
    """Biases whose machine without weights has the marginals of `states`, list [n_l]: log-odds of smoothed means."""
    num = tf.cast(tf.shape(states[0])[0], states[0].dtype)
    ones = [tf.reduce_sum(x, axis=0) for x in states]
    return [tf.math.log(x + 1.0) - tf.math.log(num - x + 1.0) for x in ones]


def contrastive_divergence(rbm, h, keys, copies=(1, 1)):
    """The states [x, h] of an RBM k steps of Gibbs sampling after the data: the model's side of CD-k (Hinton 2002).

    x is drawn, of h there are means, whose statistics vary less.

    Args:
        h: float [batch, n_1], means of the hidden units given the data.
        keys: list of k pairs of `noise.key`s, one for x and one for the h that it is drawn from.
        copies: (int, int): a layer may stand for several copies of itself. The machine then has the weights and biases
            of them all together, and a state is their mean.
    """

    def mean(states, layer):
        return tf.sigmoid(layer_input(rbm, states, layer) / copies[layer])

    def draw(key, mean, layer):
        return tf.reduce_mean(noise.bernoulli(key, tf.repeat(mean[None], copies[layer], axis=0)), axis=0)

    for key_x, key_h in keys:
        x = draw(key_x, mean([None, draw(key_h, h, 1)], 0), 0)
        h = mean([x, None], 1)
    return [x, h]
