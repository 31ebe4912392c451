"""The Laplacian pyramid: an image as a small one and what each doubling of the side has to add to it.

    I_0 = x,   I_{k+1} = down(I_k),   h_k = I_k - up(I_{k+1}) for k < K,   x = I_0 again from h_0 ... h_{K-1} and I_K

as I_k = up(I_{k+1}) + h_k, whatever `down` and `up` are. Here they are those of Burt and Adelson 1983 ("The Laplacian
pyramid as a compact image code", IEEE Transactions on Communications 31): `down` keeps every second pixel of an image
blurred by (1, 4, 6, 4, 1) / 16 along both axes, and `up` spreads pixels by the same weights. Next to an edge the
weights that are left are scaled to sum to 1, so that images of one colour keep it.
"""

import numpy as np
import tensorflow as tf

KERNEL = (1.0, 4.0, 6.0, 4.0, 1.0)


def weights(side):
    """(down, up), float32 [half, side] and [side, half], half = side / 2 rounded up; all rows sum to 1."""
    distance = np.arange(side)[:, None] - 2 * np.arange((side + 1) // 2)
    W = np.where(np.abs(distance) <= 2, np.take(KERNEL, np.clip(distance + 2, 0, 4)), 0.0)
    return [np.float32(rows / rows.sum(1, keepdims=True)) for rows in (W.T, W)]


def along_both_axes(matrix, x):
    return tf.einsum("ij,bjkc,lk->bilc", matrix, x, matrix)


def down(x):
    """Square images [batch, side, side, channels] at half of their side, rounded up."""
    return along_both_axes(weights(x.shape[1])[0], x)


def up(x, side):
    """Images [batch, half, half, channels] at this side, of which theirs is half, rounded up."""
    return along_both_axes(weights(side)[1], x)


def images(x, num_halvings):
    """[I_0 ... I_K], K = `num_halvings`."""
    of_level = [x]
    for _ in range(num_halvings):
        of_level.append(down(of_level[-1]))
    return of_level


def coarser(of_level):
    """[l_0 ... l_{K-1}], l_k = up(I_{k+1}), of I_0 ... I_K."""
    return [up(below, above.shape[1]) for above, below in zip(of_level, of_level[1:], strict=False)]


def rebuilt(x, sides, h):
    """I_0 of x = I_K, from the coarsest up.

    `sides` are those of I_0 ... I_{K-1}, and h_0 ... h_{K-1} are functions, h_k one of l_k = up(I_{k+1}).
    """
    for side, h_k in zip(reversed(sides), reversed(h), strict=True):
        l_k = up(x, side)
        x = l_k + h_k(l_k)
    return x
