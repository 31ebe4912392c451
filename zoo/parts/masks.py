"""Masks of autoregressive networks, as degrees of their units (Germain et al. 2015, arXiv:1502.03509, section 4).

A unit of degree d depends on the first d numbers of the order at most: it sees the inputs before place d, places being
0 ... size - 1, and hidden units of degrees up to d. The input in place i has the degree i + 1, and what is said of it
the degree i. Hidden degrees of 1 ... size - 1 are of use; one of 0 sees a context alone, where there is one.

Several masks are rows, [num_masks, ...]: they share the weights of a network, each with degrees, and possibly an order,
of its own.

Of the channels of one pixel, degrees are the same, while units of other pixels are seen by where these lie: `causal`.
"""

import numpy as np

from zoo.parts import noise


def spread(units, first, end):
    """Degrees [units] from `first` to `end` - 1, evenly spread: each is as often there as any other, or once more."""
    return first + np.arange(units) * max(end - first, 1) // units


def orders(num_masks, size, kind, seed):
    """The place 0 ... size - 1 of each number in each mask's order, ints [num_masks, size].

    `kind` is "natural", from the first number to the last, or "random", a permutation for each mask by `seed`.
    """
    if kind == "natural":
        return np.tile(np.arange(size), [num_masks, 1])
    return np.stack([noise.permutation(noise.key(seed, mask, noise.MASKS), size) for mask in range(num_masks)])


def hidden_degrees(num_masks, size, hidden_units, seed):
    """Degrees of hidden layers, a list of ints [num_masks, units]: `spread` over 1 ... size - 1, and shuffled.

    Germain et al. draw each degree at random; spread, none is there more often by chance, in any mask.
    """

    def of_mask(mask, layer, units):
        return spread(units, 1, size)[noise.permutation(noise.key(seed, mask, noise.MASKS, layer), units)]

    layers = enumerate(hidden_units, start=1)  # 0 is the order's
    return [np.stack([of_mask(mask, layer, units) for mask in range(num_masks)]) for layer, units in layers]


def causal(height, width, below, above):
    """The mask [height // 2 + 1, width, inputs, units] of a kernel over pixels in lines from the upper left.

    Its lines are those above a pixel, and its own, in which it is number width // 2. Units see all inputs of pixels
    before theirs, and of their own, where they have the degrees `above` [units], those of degrees `below` [inputs] up
    to these. Channel i of an image is of degree i + 1, and what is said of it of degree i: of one channel this is the
    mask A of van den Oord et al. 2016 (arXiv:1601.06759, section 3.4), and between hidden units, of degree 0, mask B.
    """
    centre = width // 2
    mask = np.ones([height // 2 + 1, width, len(below), len(above)], np.float32)
    mask[-1, centre] = np.reshape(below, [-1, 1]) <= above
    mask[-1, centre + 1 :] = 0.0
    return mask
