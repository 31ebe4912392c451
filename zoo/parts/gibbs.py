"""Block Gibbs sampling of Boltzmann machines: all even layers given the odd ones, then all odd layers given the even.

Machines and states are those of `zoo.parts.boltzmann`. A function `draw(means, layer)` makes zeros and ones of means
[batch, n_l], and of those of real units real numbers.
"""

import tensorflow as tf

from zoo.parts import boltzmann, noise
from zoo.parts.boltzmann import layer_input
from zoo.parts.noise import Noise


def noise_of(machine):
    """What one row of one sweep takes, a nest of `noise.Noise`."""
    sizes = [b.shape[-1] for b in machine.biases]
    if machine.precisions:
        return Noise("normal", (sizes[0],)), Noise("uniform", (sum(sizes[1:]),))
    return Noise("uniform", (sum(sizes),))


def sampler(numbers, machine):
    """The `draw(means, layer)` of one sweep, by numbers [batch, ...] of its noise: ones where these are below the
    means, and of real units the means plus as many standard deviations.
    """
    of_layers = tf.split(tf.concat(tf.nest.flatten(numbers), axis=-1), [b.shape[-1] for b in machine.biases], -1)

    def draw(means, layer):
        of_layer = tf.cast(of_layers[layer], means.dtype)
        if boltzmann.is_real(machine, layer):
            return means + of_layer * tf.math.rsqrt(machine.precisions[0])
        return tf.cast(of_layer < means, means.dtype)

    return draw


def clamped(draw, known, x):
    """A `draw` whose visible units are x [batch, n_0] where bool `known` says so."""
    return lambda means, layer: draw(means, layer) if layer else tf.where(known, x, draw(means, layer))


def independent(machine, draw):
    """A state of the machine, as it would be without its weights."""
    return [draw(boltzmann.mean(machine, b, layer), layer) for layer, b in enumerate(machine.biases)]


def sweep(machine, states, draw, tempered=lambda logits, layer: logits):
    """The states after both blocks, each of which leaves p(x) as it is. The even ones before it are not read.

    Blocks 1 and 2 of algorithm 20.1 in Goodfellow et al. 2016. `tempered` is a function (logits, layer) -> logits, for
    another distribution of the same structure.
    """
    states = list(states)
    for i in [*range(0, len(states), 2), *range(1, len(states), 2)]:
        states[i] = draw(boltzmann.mean(machine, tempered(layer_input(machine, states, i), i), i), i)
    return states


def odd_means(machine, states):
    """States with means for draws in the odd layers: statistics of less variance, as no two odd layers touch."""
    return [tf.sigmoid(layer_input(machine, states, i)) if i % 2 else x for i, x in enumerate(states)]


def base_rates(states, precisions=()):
    """Biases whose machine without weights has the means of `states`, list [n_l]: log-odds of smoothed ones.

    With the `precisions` of real visible units theirs are the means times these: the base has the same s.
    """
    num = tf.cast(tf.shape(states[0])[0], states[0].dtype)
    sums = [tf.reduce_sum(x, axis=0) for x in states]
    real = [precision * sums.pop(0) / num for precision in precisions]
    return real + [tf.math.log(x + 1.0) - tf.math.log(num - x + 1.0) for x in sums]


def contrastive_divergence(rbm, h, keys, copies=(1, 1)):
    """The states [x, h] of an RBM k steps of Gibbs sampling after h: the model's side of CD-k (Hinton 2002).

    x is drawn, of h there are means, whose statistics vary less.

    Args:
        h: float [batch, n_1], means of the hidden units: given the data or, of persistent chains (Tieleman 2008), given
            where the last step left x.
        keys: list of k pairs of `noise.key`s, one for x and one for the h that it is drawn from.
        copies: (int, int): a layer may stand for several copies of itself. The machine then has the weights and biases
            of them all together, and a state is their mean.
    """

    def mean(states, layer):
        num = 1.0 if boltzmann.is_real(rbm, layer) else copies[layer]  # 1 / s^2 is that of all copies
        return boltzmann.mean(rbm, layer_input(rbm, states, layer) / num, layer)

    def draw(key, mean, layer):
        if boltzmann.is_real(rbm, layer):  # the mean of copies has their precisions together
            return mean + noise.normal(key, tf.shape(mean)) * tf.math.rsqrt(rbm.precisions[0])
        return tf.reduce_mean(noise.bernoulli(key, tf.repeat(mean[None], copies[layer], axis=0)), axis=0)

    for key_x, key_h in keys:
        x = draw(key_x, mean([None, draw(key_h, h, 1)], 0), 0)
        h = mean([x, None], 1)
    return [x, h]


def rbm_step(rbm, x, h, start, keys, targets=(), cost=0.0, copies=(1, 1)):
    """What one RBM learns from a minibatch: Delta, the model's states [x, h], and its `boltzmann.objectives`.

        Delta W  =  E_data[x h'] - E_model[x h'],   and so for the biases

    Args:
        x, h: data [batch, n_0], and the means of the hidden units given them.
        start: means of hidden units that k steps set out from: h for CD-k, or those of persistent chains (PCD).
        keys, copies: as for `contrastive_divergence`.
        targets, cost: of the sparsity penalty of `boltzmann.difference`.
    """
    real = bool(rbm.precisions)
    data, states = boltzmann.statistics([x, h], real), contrastive_divergence(rbm, start, keys, copies)
    model = boltzmann.statistics(states, real)
    if real and copies[0] > 1:  # what squares of copies exceed that of their mean by
        spread = (copies[0] - 1) / rbm.precisions[0]
        model = model._replace(precisions=(model.precisions[0] - 0.5 * spread,))
    delta = boltzmann.difference(data, model, targets, cost)
    return delta, states, boltzmann.objectives(rbm, [x, h], data, copies)
